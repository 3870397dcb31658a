"""What tests of compression passes share: the material that a pass is given."""

from collections.abc import Sequence
from pathlib import Path

from tasks.artifacts import open_artifact
from tasks.compress.material import Material
from tasks.records import Candidate

Pairs = Sequence[tuple[str, str]]


def material_of(origin: Candidate, train: Pairs = (), valid: Pairs = (), root: Path | None = None) -> Material:
    """Return the material of passes on a model; what they keep lies under `root`, where it is given."""
    labels = tuple(open_artifact(origin)[1]["labels"])
    if root is None:
        return Material(origin, list(train), list(valid), labels)
    return Material(origin, list(train), list(valid), labels, answers=root / "answers", work=root / "work",
                    tokens=root / "tokens")  # fmt: skip
