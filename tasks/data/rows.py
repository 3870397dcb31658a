"""The shape of rows: a `pyarrow.Table` of strings with `id`, `text`, `target`, `split`, `source` and the slice columns.

`split` is empty until a split is named or drawn; `target` is a label for a classifier, an answer for a generator. Reads
no files and judges no content.

Columns of provenance may stand beside them, "" where a row has none: `line` is the row's place in its source ("12"),
`time` when it came into being (ISO 8601 in UTC, so that text order is time order), `group` who or what it belongs to
(a user, a session), whose rows stay in one split.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("id", "text", "target", "split", "source")
PROVENANCE = ("line", "time", "group")
FEEDBACK = "feedback"  # the source of harvested rows
SPLITS = ("train", "valid", "select", "golden")

_UNSAFE = re.compile("[\x00\ud800-\udfff]")  # Arrow and tokenizers refuse them, databases cut text at NUL


def mend_text(text: str) -> str:
    """Return the text with NUL bytes and lone surrogates, which storage cannot carry, replaced by U+FFFD."""
    return _UNSAFE.sub("\ufffd", text)


def make_rows(columns: Mapping[str, Sequence[str]]) -> "pa.Table":
    """Return a table of string columns, in the order given."""
    import pyarrow as pa

    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def values(table: "pa.Table", column: str) -> list[str]:
    """Return one column as a list."""
    found: list[str] = table.column(column).to_pylist()
    return found


def with_values(table: "pa.Table", column: str, new: Sequence[str]) -> "pa.Table":
    """Return the table with one of its columns replaced."""
    import pyarrow as pa

    return table.set_column(table.schema.get_field_index(column), column, pa.array(new, pa.string()))


def keep(table: "pa.Table", mask: Sequence[bool]) -> "pa.Table":
    """Return the rows for which the mask holds, in their order."""
    import pyarrow as pa

    return table.filter(pa.array(mask, pa.bool_()))


def training_mask(table: "pa.Table") -> "pa.ChunkedArray":
    """Return for each row whether training may change it: rows of `train` and those not yet assigned."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.is_in(table.column("split"), pa.array(["", "train"]))


def shorten(text: str, width: int = 100) -> str:
    """Return the text on one line of at most `width` characters, for messages and examples."""
    line = " ".join(text.splitlines())
    return line if len(line) <= width else line[: width - 1] + "…"
