"""Cleaning steps that look at one text at a time, run as one pass over all texts: in parallel, and remembered.

What such a step does is a function of texts alone. A run of them in the recipe costs one pass, and a text that an
earlier run has seen costs none.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial, singledispatch
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.data.cleaning.effects import MAX_EXAMPLES, Effect, Memory, make_report, removals, show_change
from tasks.data.cleaning.scrub import scrub_text
from tasks.data.rows import shorten
from tasks.data.text_pass import as_array, map_texts

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


Looked = tuple[Sequence[str], Sequence[str]]  # the texts after a step, and why each goes ("" for one that stays)


@singledispatch
def look(step: Any, texts: Sequence[str]) -> Looked:
    """Return what a step makes of texts, each looked at alone. A new step of this kind registers its function here."""
    raise TypeError(f"no cleaning step for single texts is registered for {type(step).__name__}")


@singledispatch
def reads_one_text(step: Any) -> bool:
    """Return whether a step with these parameters looks at one text at a time."""
    return look.dispatch(type(step)) is not look.dispatch(object)


def run_steps(steps: Sequence[Any], table: "pa.Table", memory: Memory | None = None) -> list[Effect]:
    """Return the effect of each of the steps, which all look at one text at a time.

    Only the last effect's table is there to go on with: the others hold no rows.
    """
    import numpy as np

    made = map_texts(
        "clean", as_array(table.column("text")), partial(_run_chain, steps), _schema(), _folder(steps, memory)
    )
    gone = made.column("gone").to_numpy()
    changes = made.column("changed").to_numpy()
    ids, reasons = table.column("id"), made.column("reason")
    effects = []
    for number, step in enumerate(steps):
        going = np.flatnonzero(gone == number)
        changed = np.flatnonzero((gone < 0) | (gone > number))
        changed = changed[(changes[changed] >> number) & 1 == 1]
        why = reasons.take(going).to_pylist()
        rows_in = int(((gone < 0) | (gone >= number)).sum())
        counts = Counter(filter(None, why))
        examples = _examples(steps[: number + 1], table, _spread(going, why, changed))
        report = make_report(step.kind, rows_in, rows_in - len(going), len(changed), examples, counts)
        removed = removals(step.kind, ids.take(going).to_pylist(), why, [""] * len(going))
        effects.append(Effect(table.slice(0, 0), report, removed))
    return [*effects[:-1], effects[-1]._replace(table=_apply(table, made))]


def _schema() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema([("text", pa.large_string()), ("gone", pa.int8()), ("reason", pa.large_string()),
                      ("changed", pa.int64())])  # fmt: skip


def _folder(steps: Sequence[Any], memory: Memory | None) -> Path | None:
    if memory is None:
        return None
    named = json.dumps([asdict(step) for step in steps], sort_keys=True)
    return memory("clean") / hashlib.sha256(named.encode()).hexdigest()[:24]


def _run_chain(steps: Sequence[Any], texts: list[str]) -> Mapping[str, Any]:
    """Return of a batch of texts: the text after all steps where it changed, the step that removed it, why, and a bit
    for each step that changed it."""
    now = list(texts)
    gone, why, changed = [-1] * len(texts), [""] * len(texts), [0] * len(texts)
    left = list(range(len(texts)))
    for number, step in enumerate(steps):
        after, reasons = look(step, [now[row] for row in left])
        for row, text, reason in zip(left, after, reasons, strict=True):
            if text != now[row]:
                now[row] = text
                changed[row] |= 1 << number
            if reason:
                gone[row], why[row] = number, reason
        left = [row for row in left if gone[row] < 0]
    shown = [new if new != old else None for old, new in zip(texts, now, strict=True)]
    return {"text": shown, "gone": gone, "reason": why, "changed": changed}


def _apply(table: "pa.Table", made: "pa.Table") -> "pa.Table":
    """Return the rows that stay, with their new texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    place = table.schema.get_field_index("text")
    texts = pc.coalesce(made.column("text"), as_array(table.column("text"))).cast(pa.string())
    return table.set_column(place, "text", texts).filter(pc.less(made.column("gone"), 0))


def _spread(going: "np.ndarray", reasons: Sequence[str], changed: "np.ndarray") -> list[int]:
    """Return rows to show: one of each reason, one that was changed, then a second of each, and so on."""
    groups: dict[str, list[int]] = {}
    for row, reason in zip(going.tolist(), reasons, strict=True):
        group = groups.setdefault(reason, [])
        if len(group) < MAX_EXAMPLES:
            group.append(row)
    shown = chain.from_iterable(zip_longest(*groups.values(), changed[:MAX_EXAMPLES].tolist()))
    return [row for row in shown if row is not None][:MAX_EXAMPLES]


def _examples(steps: Sequence[Any], table: "pa.Table", rows: Sequence[int]) -> Iterator[str]:
    """Yield what the last of the steps did to these rows, without personal data."""
    import numpy as np

    before: Sequence[str] = table.column("text").take(np.array(rows, np.int64)).to_pylist()
    for step in steps[:-1]:
        before, _ = look(step, before)
    after, reasons = look(steps[-1], before)
    for old, new, reason in zip(before, after, reasons, strict=True):
        yield f"{reason}: {shorten(scrub_text(old))!r}" if reason else show_change(old, new)
