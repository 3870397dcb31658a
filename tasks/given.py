"""What stages are given beside recipe and rows: teachers, parents, texts without labels. Handles, as in `records`."""

import hashlib
import json
from dataclasses import dataclass

from tasks.records import Candidate, Snapshot, Table


@dataclass(frozen=True)
class Guides:
    """What training learns from beside its rows: where it starts, whose answers it learns, texts without labels."""

    parent: Candidate | None = None  # the torch model that it starts from
    teachers: tuple[Candidate, ...] = ()  # torch models
    unlabelled: Table | None = None

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of its parts."""
        parts = [part.digest if part else "" for part in (self.parent, self.unlabelled)]
        return hashlib.sha256(json.dumps([*parts, [each.digest for each in self.teachers]]).encode()).hexdigest()


@dataclass(frozen=True)
class Given:
    """What a model is made with beside recipe and snapshot; a part that its recipe does not ask for is None."""

    teacher: Candidate | None = None  # judged the rows that augmentation generated
    parent: Candidate | None = None  # the torch model of the champion that training started or learned from
    unlabelled: Table | None = None  # production's texts that training learned from


@dataclass(frozen=True)
class Origin:
    """The torch model before the first compression pass, and the rows it was made of, which passes learn from."""

    model: Candidate
    rows: Table  # training rows, cleaned and augmented
    snapshot: Snapshot
    unlabelled: Table | None = None  # production's texts, where a pass reads such

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of its parts."""
        texts = self.unlabelled.digest if self.unlabelled else ""
        parts = [self.model.digest, self.rows.digest, self.snapshot.digest, texts]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
