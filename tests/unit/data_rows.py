"""Rows for the tests of `tasks.data`."""

from collections.abc import Sequence

import pyarrow as pa

from tasks.data.rows import make_rows


def rows(texts: Sequence[str], targets: Sequence[str] | None = None, split: str | Sequence[str] = "train") -> pa.Table:
    """Return a table of the texts; targets "a" and splits "train" where none are given."""
    count = len(texts)
    return make_rows(
        {
            "id": [f"r{number}" for number in range(count)],
            "text": texts,
            "target": targets or ["a"] * count,
            "split": [split] * count if isinstance(split, str) else split,
            "source": ["test"] * count,
        }
    )
