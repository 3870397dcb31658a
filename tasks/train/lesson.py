"""What a training is given beside base and method: rows, labels, and what else it learns from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.records import Candidate

Rows = Sequence[tuple[str, str]]  # text, label


@dataclass(frozen=True)
class Lesson:
    """Rows and labels of one training, and what else it may learn from."""

    train: Rows
    valid: Rows
    labels: tuple[str, ...]
    ids: tuple[str, ...] = ()  # of the train rows, by which messages name them; empty: their numbers
    parent: Candidate | None = None  # the torch model that training starts from instead of the base
    teachers: tuple[Candidate, ...] = ()  # the torch models whose answers it learns from
    unlabelled: tuple[str, ...] = ()  # texts without labels
    source: Candidate | None = None  # the torch model, as compression left it, that training goes on with
    work: Path | None = None  # where checkpoints outlive the process; None: they do not
    answers: Path | None = None  # where the teachers' answers are kept for other trainings too; None: in `work`
    tokens: Path | None = None  # where tokenised texts are kept by content; None: they are not

    def row_name(self, row: int) -> str:
        """Return how a message names a train row; those beyond them are unlabelled texts."""
        if row >= len(self.train):
            return f"unlabelled text {row - len(self.train) + 1}"
        return self.ids[row] if self.ids else f"row {row + 1}"
