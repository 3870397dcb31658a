"""What a compression pass is given beside its source: the model before the first pass, and rows to learn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.records import Candidate

Rows = Sequence[tuple[str, str]]  # text, label


@dataclass(frozen=True)
class Material:
    """The origin, whose answers count as right, and rows; the evaluation rows of `select` and `golden` are not here."""

    origin: Candidate  # the torch model before the first pass
    train: Rows  # cleaned and augmented, as the origin learned from them
    valid: Rows  # that no model learned from
    labels: tuple[str, ...]
    unlabelled: tuple[str, ...] = ()  # production's texts, where the recipe reads such
    answers: Path | None = None  # where the origin's answers are kept for all passes; None: nowhere
    work: Path | None = None  # where a killed training's checkpoints outlive the process; None: they do not
    tokens: Path | None = None  # where tokenised texts are kept by content; None: nowhere
    stage: Candidate | None = None  # what the passes of a cascade's own stage made of the origin; None: it has none
