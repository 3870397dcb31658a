"""Who is train and who is evaluation: drawing the sets that a source does not name, and finding what leaks into train.

A row's place is decided by its unit (near duplicates and rows of one group stay together): by hashing the seed and the
unit, never by its position in the file, or by time. Which rows would make a good evaluation set is not asked. How units
are joined is in `units`, how they are drawn in `drawing`.

By hash, n further rows of a target move at most about sqrt(n) old ones, those next to a cut, and only to the neighbour
there: between golden and train lie select and valid. A unit is hashed by its first group, else by its first text: rows
appended to it do not move it. What is sealed does not move at all.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tasks.data.cleaning.scrub import scrub_text
from tasks.data.drawing import cut_at, draw_by_hash, draw_by_time, unit_interval
from tasks.data.rows import keep, shorten, values, with_values
from tasks.data.similarity import THRESHOLD, find_similar, near_duplicate_clusters, text_key
from tasks.data.units import join_units, refuse_giant
from tasks.errors import DataError, LeakageError

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_GUARDED = ("golden", "select", "valid")  # a text or group that stands in several splits belongs to the first of them
_EXAMPLES = 3


def assign_splits(
    table: "pa.Table",
    *,
    valid: float,
    select: float,
    golden: float,
    seed: int,
    labelled: bool = True,
    by: Literal["hash", "time"] = "hash",
    sealed: AbstractSet[str] = frozenset(),
    out_of_scope: str = "",
    memory: Path | None = None,
) -> "pa.Table":
    """Return the table with every row's `split` named: train, valid, select or golden.

    Named evaluation splits stay as they are; each one that is missing gets its share of the unnamed and train rows.
    With `labelled`, shares hold within each target (up to one unit) and each target keeps a training row; without,
    over all rows. `by="time"` gives each missing set the newest rows instead (`drawing.draw_by_time`). Rows whose id
    is `sealed` are golden, and all of their unit is, where golden is drawn at all. `memory` is a folder that keeps the
    texts' sketches.

    Raises:
        DataError: the shares leave nothing for train, one group has most rows or, by time, a row has no time, the times
            divide nothing, or a label stands only in rows newer than train.
    """
    splits = values(table, "split")
    shares = _missing({"golden": golden, "select": select, "valid": valid}, splits)
    pool = [row for row, split in enumerate(splits) if split in ("", "train")]
    if not shares:
        return with_values(table, "split", [split or "train" for split in splits])
    strata = _take(table, "target", pool) if labelled else [""] * len(pool)
    drawn = _draw(table, pool, strata, shares, seed, by, sealed if "golden" in shares else frozenset(),
                  memory)  # fmt: skip
    for row, split in zip(pool, drawn, strict=True):
        splits[row] = split
    if by == "time" and labelled:
        _refuse_untaught(drawn, strata, _take(table, "time", pool), out_of_scope)
    log.info("split: %s", dict(Counter(splits)))
    return with_values(table, "split", splits)


def _missing(wanted: Mapping[str, float], splits: Sequence[str]) -> dict[str, float]:
    """Return the shares of the evaluation sets that no row names."""
    named = set(splits)
    shares = {name: share for name, share in wanted.items() if name not in named}
    if sum(shares.values()) >= 1:
        raise DataError(f"the shares of {', '.join(shares)} sum to 1 or more and leave nothing for train: lower them")
    return shares


def _draw(
    table: "pa.Table", pool: Sequence[int], strata: Sequence[str], shares: Mapping[str, float], seed: int, by: str,
    sealed: AbstractSet[str], memory: Path | None,
) -> list[str]:  # fmt: skip
    """Return a split for each row of the pool, drawn by units."""
    texts, groups = _take(table, "text", pool), _take(table, "group", pool)
    units = join_units(near_duplicate_clusters(texts, memory=memory), groups)
    refuse_giant(units, texts, groups)
    ids = _take(table, "id", pool) if sealed else []
    kept = {unit for unit, row_id in zip(units, ids, strict=False) if row_id in sealed}
    if by == "time":
        return draw_by_time(units, _times(table, pool), shares, kept)
    return draw_by_hash(units, _keys(units, texts, groups), strata, shares, seed, kept)


def assign_feedback_splits(
    table: "pa.Table",
    *,
    golden: float,
    select: float,
    valid: float,
    seed: int,
    placed: Mapping[str, str] | None = None,
    sealed: AbstractSet[str] = frozenset(),
) -> "pa.Table":
    """Return the table with every row's `split` drawn by the hash of the seed and its `group`, else its `id`.

    The draw is fixed before anyone looks at a label, and no other row can change it. Only two things come before it:
    a group that is `placed` already (group to split, in the source) stays there, and a `sealed` row stays golden.
    """
    shares = {"golden": golden, "select": select, "valid": valid}
    ids, known = values(table, "id"), placed or {}
    drawn = []
    for row_id, group in zip(ids, _take(table, "group", range(len(ids))) or [""] * len(ids), strict=True):
        if row_id in sealed:
            drawn.append("golden")
        elif group and group in known:
            drawn.append(known[group])
        else:
            parts = ("feedback group", group) if group else ("feedback", row_id)
            drawn.append(cut_at(unit_interval(seed, *parts), shares))
    return with_values(table, "split", drawn)


def find_leaks(
    train_texts: Sequence[str], golden_texts: Sequence[str], threshold: float = THRESHOLD, memory: Path | None = None
) -> list[tuple[int, int]]:
    """Return (train index, golden index) of each training text that exactly or nearly repeats a golden one.

    Texts of white space only are left out: they say nothing.
    """
    train = [index for index, text in enumerate(train_texts) if text.strip()]
    golden = [index for index, text in enumerate(golden_texts) if text.strip()]
    found = find_similar([train_texts[i] for i in train], [golden_texts[i] for i in golden], threshold, memory)
    return [(train[here], golden[there]) for here, there in found]


def check_leakage(
    table: "pa.Table", policy: str, threshold: float = THRESHOLD, memory: Path | None = None
) -> "tuple[pa.Table, int]":
    """Return the table without rows that repeat a row of a better guarded split or share its group, and their number.

    Golden is guarded from all others, select from valid and train, valid from train. The guarded row always stays.

    Raises:
        LeakageError: there are such rows and the policy is "refuse", not "drop".
    """
    splits = values(table, "split")
    repeats = _find_repeats(splits, values(table, "text"), threshold, memory)
    shared = _find_shared_groups(splits, _take(table, "group", range(len(splits))))
    leaks = {**shared, **repeats}
    if not leaks:
        return table, 0
    told = _describe_leaks(table, repeats, {row: there for row, there in shared.items() if row not in repeats})
    if policy == "refuse":
        raise LeakageError(f"{told}: remove them from the source, or set `data.leakage: drop` to leave them out")
    log.warning("leakage: dropped %s", told)
    return keep(table, [row not in leaks for row in range(table.num_rows)]), len(leaks)


def _find_repeats(splits: Sequence[str], texts: Sequence[str], threshold: float, memory: Path | None) -> dict[int, int]:
    """Return the rows that repeat a text of a better guarded split, each with such a row."""
    leaks: dict[int, int] = {}
    for level, split in enumerate((*_GUARDED[1:], "train"), start=1):
        lower = [row for row, name in enumerate(splits) if name == split]
        upper = [row for row, name in enumerate(splits) if name in _GUARDED[:level]]
        found = find_leaks([texts[row] for row in lower], [texts[row] for row in upper], threshold, memory)
        leaks.update({lower[here]: upper[there] for here, there in found})
    return leaks


def _find_shared_groups(splits: Sequence[str], groups: Sequence[str]) -> dict[int, int]:
    """Return the rows whose group stands in a better guarded split, each with the first such row."""
    order = {name: place for place, name in enumerate((*_GUARDED, "train"))}
    best: dict[str, int] = {}
    for row, group in enumerate(groups):
        if group and order[splits[row]] < order[splits[best.setdefault(group, row)]]:
            best[group] = row
    return {
        row: best[group]
        for row, group in enumerate(groups)
        if group and order[splits[row]] > order[splits[best[group]]]
    }


def _describe_leaks(table: "pa.Table", repeats: Mapping[int, int], shared: Mapping[int, int]) -> str:
    """Return how many rows leak, and the first of them, in words."""
    splits, ids, texts = values(table, "split"), values(table, "id"), values(table, "text")
    groups = _take(table, "group", range(len(ids)))
    told = []
    for leaks, what in ((repeats, "exactly or nearly repeat a row"), (shared, "belong to a group")):
        shown = [
            f"{splits[here]} row {ids[here]} repeats {splits[there]} row {ids[there]}: "
            f"{shorten(scrub_text(texts[here]))!r}"
            if leaks is repeats
            else f"group {shorten(scrub_text(groups[here]))!r} has {splits[here]} row {ids[here]} and {splits[there]} "
            f"row {ids[there]}"
            for here, there in list(leaks.items())[:_EXAMPLES]
        ]
        if shown:
            told.append(f"{len(leaks)} of {table.num_rows} rows {what} that they are evaluated on ({'; '.join(shown)})")
    return ", and ".join(told)


def _take(table: "pa.Table", column: str, rows: Sequence[int]) -> list[str]:
    """Return the column's values of the rows; none where the table has no such column."""
    if column not in table.column_names:
        return []
    found = values(table, column)
    return found if len(rows) == len(found) else [found[row] for row in rows]


def _keys(units: Sequence[int], texts: Sequence[str], groups: Sequence[str]) -> dict[int, str]:
    """Return what each unit is hashed by: its first row's group, the next row's where that has none, else its text."""
    keys: dict[int, str] = {}
    for unit, group in zip(units, groups, strict=False):
        if group:
            keys.setdefault(unit, f"group\x1f{group}")
    return {unit: keys.get(unit) or text_key(texts[unit]) for unit in dict.fromkeys(units)}


def _times(table: "pa.Table", pool: Sequence[int]) -> list[str]:
    """Return the time of each row of the pool.

    Raises:
        DataError: rows have none.
    """
    times = _take(table, "time", pool)
    ids = _take(table, "id", pool)
    missing = [row_id for row_id, time in zip(ids, times or [""] * len(ids), strict=True) if not time]
    if missing:
        raise DataError(
            f"data.split.by: {len(missing)} of {len(pool)} rows have no time (e.g. row {', '.join(missing[:_EXAMPLES])}"
            "), so that nobody can say which are newest: fill `data.time`, remove them, or split by `hash`"
        )
    return times


def _refuse_untaught(splits: Sequence[str], targets: Sequence[str], times: Sequence[str], out_of_scope: str) -> None:
    """Raise DataError where a label stands in evaluation rows that were drawn by time but not in train."""
    taught = {target for target, split in zip(targets, splits, strict=True) if split == "train"} | {out_of_scope}
    first: dict[str, str] = {}
    for target, time in zip(targets, times, strict=True):
        if target not in taught:
            first[target] = min(first.get(target, time), time)
    if first:
        label, since = min(first.items())
        raise DataError(
            f"data.split.by: label {label!r} stands only in rows from {since} on, all newer than train, which cannot "
            "learn it so: wait for more rows, lower the shares, name it in `data.out_of_scope`, or split by `hash`"
        )
