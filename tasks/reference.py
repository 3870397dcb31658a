"""The copy of a version's golden rows that goes to the registry: what the monitor compares production with.

Personal data is replaced in it, and where a row came from is left out: a registry may be read by more people than the
project's own store. It measures nothing.
"""

from pathlib import Path

from tasks.data.cleaning.scrub import scrub_text
from tasks.data.rows import PROVENANCE, values, with_values

SCRUBBED = ("text", "target", "output")


def write_reference(scores: Path, folder: Path) -> Path:
    """Return a Parquet file in the folder with the rows of a scores file, texts, targets and outputs scrubbed."""
    import pyarrow.parquet as pq

    table = pq.read_table(scores)
    for column in SCRUBBED:
        table = with_values(table, column, [scrub_text(text) for text in values(table, column)])
    path = folder / scores.name
    pq.write_table(table.drop_columns([name for name in PROVENANCE if name in table.column_names]), path)
    return path
