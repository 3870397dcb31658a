"""What is kept of a snapshot's rows so that a later one can be compared with it: counts, shares and quantiles, no text.

Small and JSON-able; deriving a suite from it costs no look at the rows. It judges nothing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

LENGTH_QUANTILES = (0.01, 0.5, 0.99)


@dataclass(frozen=True)
class DataProfile:
    """A snapshot's rows in numbers; shares are from 0 to 1."""

    digest: str  # the snapshot's
    rows: int
    columns: tuple[str, ...]
    splits: dict[str, int]  # rows of each
    classes: dict[str, int]  # training rows of each label
    lengths: tuple[int, int, int]  # characters: quantiles 0.01, 0.5 and 0.99 of the texts that are not empty
    empty_share: float
    duplicate_share: float  # rows whose text stands in an earlier row
    pii_share: float
    languages: dict[str, int]  # rows of the sample whose language could be told, by ISO 639 code


def make_profile(table: "pa.Table", measures: "pa.Table", digest: str) -> DataProfile:
    """Return the profile of rows and what `measure_rows` measured of them."""
    chars = measures["chars"].to_numpy()[~_flags(measures, "empty")]
    lengths = np.quantile(chars, LENGTH_QUANTILES) if chars.size else np.zeros(len(LENGTH_QUANTILES))
    low, median, high = (int(value) for value in lengths)
    return DataProfile(
        digest=digest,
        rows=table.num_rows,
        columns=tuple(table.column_names),
        splits=count_values(table["split"]),
        classes=count_values(train_targets(table)),
        lengths=(low, median, high),
        empty_share=_share(measures, "empty"),
        duplicate_share=_share(measures, "duplicate"),
        pii_share=_share(measures, "pii"),
        languages=count_values(measures["language"].drop_null()),
    )


def train_targets(table: "pa.Table") -> "pa.ChunkedArray":
    """Return the targets of the training rows."""
    import pyarrow.compute as pc

    return table["target"].filter(pc.equal(table["split"], "train"))


def count_values(column: "pa.ChunkedArray") -> dict[str, int]:
    """Return how often each value stands in a column of text, in order of the values."""
    counts = column.value_counts()
    return dict(sorted(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True)))


def _flags(measures: "pa.Table", name: str) -> "np.ndarray":
    flags: np.ndarray = measures[name].to_numpy()
    return flags


def _share(measures: "pa.Table", name: str) -> float:
    return float(_flags(measures, name).mean()) if measures.num_rows else 0.0
