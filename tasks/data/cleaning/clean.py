"""Cleaning: named steps, each a pure function on a table of rows that says what it changed and removed.

Only training rows are cleaned; evaluation rows pass through as they came, since production text is not cleaned either.
Steps against duplicates are in `dedup`, against contradicting labels in `conflicts`, against unfit rows in `filter`.
Nothing here learns from data; the steps that do are `label_errors` and `outliers`.
"""

import logging
import re
from collections.abc import Iterable, Sequence
from functools import singledispatch
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.cleaning.scrub import scrub_text
from tasks.data.rows import keep, shorten, training_mask, values, with_values
from tasks.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.records import StepReport

log = logging.getLogger(__name__)

MAX_REMOVED_SHARE = 0.5
MAX_EXAMPLES = 10

_PLAIN = re.compile(r"[ -%'-~\n]*")  # ASCII without control characters and ampersands: nothing for ftfy to mend
_INVISIBLE = re.compile(
    "[\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]"
)  # joiners stay: scripts and emoji use them
_LINE_BREAKS = re.compile(r"\s*[\n\u2028\u2029]\s*")
_SPACES = re.compile(r"[^\S\n]+")
_MAX_ROUNDS = 10


@dataclass(frozen=True, config={"extra": "forbid"})
class Normalise:
    """Unicode NFC, mojibake repaired, control characters out, white space collapsed; `html` also decodes entities."""

    kind: Literal["normalise"] = "normalise"
    html: bool = True


@dataclass(frozen=True, config={"extra": "forbid"})
class DropEmpty:
    """Remove rows whose text has fewer than `min_chars` characters (1 to 10 000), outer white space not counted."""

    kind: Literal["drop_empty"] = "drop_empty"
    min_chars: Annotated[int, Field(ge=1, le=10_000)] = 1


@dataclass(frozen=True, config={"extra": "forbid"})
class Scrub:
    """Replace personal data with `<EMAIL>`, `<PHONE>`, `<IBAN>`, `<CARD>`, `<IP>`, secret URLs with `<URL>`."""

    kind: Literal["scrub"] = "scrub"


def clean(table: "pa.Table", steps: Sequence[Any]) -> "tuple[pa.Table, list[StepReport]]":
    """Return the table with its training rows cleaned by the steps in order, and what each step did.

    Evaluation rows come after the training rows, unchanged.

    Raises:
        DataError: a step would remove more than half of the training rows, or there are none.
    """
    import pyarrow as pa

    mask = training_mask(table)
    rows, rest = keep(table, mask), keep(table, [not training for training in mask])
    if steps and not rows.num_rows:
        raise DataError("cleaning found no training rows: name the `train` split or leave rows to be split")
    reports = []
    for step in steps:
        rows, report = apply(step, rows)
        _refuse_collapse(report)
        reports.append(report)
        counts = report.rows_in, report.rows_out, report.rows_changed
        log.info("clean %s: %d rows in, %d out, %d changed", report.step, *counts)
    return pa.concat_tables([rows, rest]), reports


@singledispatch
def apply(step: Any, table: "pa.Table") -> "tuple[pa.Table, StepReport]":
    """Return the rows after one cleaning step, and its report. A new step registers its function here."""
    raise TypeError(f"no cleaning step is registered for {type(step).__name__}")


@apply.register(Normalise)
def _normalise(step: Normalise, table: "pa.Table") -> "tuple[pa.Table, StepReport]":
    return _rewrite(step.kind, table, [normalise_text(text, html=step.html) for text in values(table, "text")])


@apply.register(Scrub)
def _scrub(step: Scrub, table: "pa.Table") -> "tuple[pa.Table, StepReport]":
    return _rewrite(step.kind, table, [scrub_text(text) for text in values(table, "text")])


@apply.register(DropEmpty)
def _drop_empty(step: DropEmpty, table: "pa.Table") -> "tuple[pa.Table, StepReport]":
    return remove(step.kind, table, [len(text.strip()) >= step.min_chars for text in values(table, "text")])


def normalise_text(text: str, *, html: bool = True) -> str:
    """Return the text in NFC, mended and with white space collapsed; applying it again changes nothing.

    Line breaks stay (one for a run of them), quotation marks are not straightened: production text has them too.
    """
    for _ in range(_MAX_ROUNDS):
        mended = _normalise_once(text, html=html)
        if mended == text:
            break
        text = mended
    return text


def _normalise_once(text: str, *, html: bool) -> str:
    if not _PLAIN.fullmatch(text):
        import ftfy

        text = _INVISIBLE.sub("", ftfy.fix_text(text, unescape_html=html, uncurl_quotes=False, normalization="NFC"))
    return _SPACES.sub(" ", _LINE_BREAKS.sub("\n", text)).strip()


def remove(step: str, table: "pa.Table", mask: Sequence[bool]) -> "tuple[pa.Table, StepReport]":
    """Return the rows for which the mask holds, and the report with the removed texts as examples."""
    removed = (scrub_text(text) for text, kept in zip(values(table, "text"), mask, strict=True) if not kept)
    left = keep(table, mask)
    return left, make_report(step, table.num_rows, left.num_rows, 0, removed)


def _rewrite(step: str, table: "pa.Table", new: Sequence[str]) -> "tuple[pa.Table, StepReport]":
    pairs = [(old, text) for old, text in zip(values(table, "text"), new, strict=True) if old != text]
    examples = (_show_change(scrub_text(old), scrub_text(text)) for old, text in pairs)
    return with_values(table, "text", new), make_report(step, table.num_rows, table.num_rows, len(pairs), examples)


def make_report(step: str, rows_in: int, rows_out: int, rows_changed: int, examples: Iterable[str]) -> "StepReport":
    """Return a step's report with the first ten of the examples, which hold no personal data any more."""
    from tasks.records import StepReport  # tasks.records reads tasks.specs, which reads this module

    shown = tuple(shorten(example, 250) for example in islice(examples, MAX_EXAMPLES))
    return StepReport(step, rows_in, rows_out, rows_changed, shown)


def _show_change(old: str, new: str) -> str:
    return new if old == new else f"{shorten(old)!r} -> {shorten(new)!r}"


def _refuse_collapse(report: "StepReport") -> None:
    removed = report.rows_in - report.rows_out
    if removed > MAX_REMOVED_SHARE * report.rows_in:
        raise DataError(
            f"cleaning step '{report.step}' would remove {removed} of {report.rows_in} training rows, more than "
            f"half is never done: look at the rows ({'; '.join(report.examples[:3])}) or leave the step out"
        )
