"""Drawing splits for units of rows: by hash, which no row's place in the file changes, or by time.

Lists in, lists out: what a unit is, and which rows are drawn at all, is decided before.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import groupby

from tasks.errors import DataError

_GOLDEN = "golden"
_SLACK = 1e-9  # of a count, for shares that are not exact in binary


def draw_by_hash(
    units: Sequence[int],
    keys: Mapping[int, str],
    strata: Sequence[str],
    shares: Mapping[str, float],
    seed: int,
    sealed: AbstractSet[int] = frozenset(),
) -> list[str]:
    """Return a split for each row, so that units stay whole, each stratum keeps its shares and something for train.

    A unit belongs to the stratum of its first row. Within a stratum, units are ranked by the hash of their key and the
    ranks are cut at the shares (systematic sampling with a random start). A unit of more rows than the smallest share
    of all rows is ranked last, which is train: anywhere else it would be most of its set. `sealed` units are golden
    whatever they draw.
    """
    sizes = Counter(units)
    ranks = {unit: unit_interval(seed, "cluster", keys[unit]) for unit in sizes}
    limit = max(1.0, min(shares.values(), default=1.0) * len(units))
    by_stratum: dict[str, list[int]] = defaultdict(list)
    for unit in sorted(sizes, key=lambda unit: (sizes[unit] > limit, ranks[unit], unit)):
        by_stratum[strata[unit]].append(unit)
    chosen: dict[int, str] = {}
    for stratum, ordered in by_stratum.items():
        start = unit_interval(seed, "start", stratum)
        chosen.update(zip(ordered, _cut_ranks([sizes[unit] for unit in ordered], shares, start), strict=True))
    chosen.update(dict.fromkeys(sealed, _GOLDEN))
    _keep_some_for_train(chosen, units, strata, ranks, sealed)
    return [chosen[unit] for unit in units]


def draw_by_time(
    units: Sequence[int], times: Sequence[str], shares: Mapping[str, float], sealed: AbstractSet[int] = frozenset()
) -> list[str]:
    """Return a split for each row: the newest rows are golden, then select, then valid; the oldest are train.

    The time is cut over all rows, not within labels: a model that goes live at one moment knows nothing later about
    any label. A unit stands where its newest row does, so that train holds nothing from after the cut; an evaluation
    set may so hold older rows too. Rows of one moment are not divided: each set has at least its share. With `sealed`
    units, all from the oldest of them on is golden: the window grows, and moves only when it is redrawn.

    Raises:
        DataError: all times are equal, or so few differ that a split would be empty.
    """
    newest: dict[int, str] = {}
    for unit, time in zip(units, times, strict=True):
        newest[unit] = max(newest.get(unit, ""), time)
    sizes, cut = Counter(units), min((newest[unit] for unit in sealed), default=None)
    chosen: dict[int, str] = {}
    left, filled = list(shares), 0
    for moment, block in groupby(sorted(newest, key=lambda unit: newest[unit], reverse=True), key=newest.__getitem__):
        while (
            left
            and filled >= shares[left[0]] * len(units) - _SLACK
            and not (left[0] == _GOLDEN and _holds(cut, moment))
        ):
            left, filled = left[1:], 0
        for unit in block:
            chosen[unit] = left[0] if left else "train"
            filled += sizes[unit]
    _refuse_empty(set(chosen.values()), shares, set(times), cut)
    return [chosen[unit] for unit in units]


def cut_at(position: float, shares: Mapping[str, float]) -> str:
    """Return the split in whose share of [0, 1) the position lies; train has what the shares leave."""
    bound = 0.0
    for name, share in shares.items():
        bound += share
        if position < bound:
            return name
    return "train"


def unit_interval(*parts: object) -> float:
    """Return a number in [0, 1) that depends on nothing but the parts."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7]) / 2**56


def _cut_ranks(sizes: Sequence[int], shares: Mapping[str, float], start: float) -> list[str]:
    """Return a split for each of the ranked units by where it stands among all rows (0 to 1)."""
    total, before, splits = sum(sizes), 0, []
    for size in sizes:
        splits.append(cut_at((before + start * size) / total, shares))
        before += size
    return splits


def _keep_some_for_train(
    chosen: dict[int, str],
    units: Sequence[int],
    strata: Sequence[str],
    ranks: Mapping[int, float],
    sealed: AbstractSet[int],
) -> None:
    """Move the last ranked unit of each stratum that has no training row to train; what is sealed stays."""
    taught = {stratum for stratum, unit in zip(strata, units, strict=True) if chosen[unit] == "train"}
    last: dict[str, int] = {}
    for stratum, unit in zip(strata, units, strict=True):
        if stratum not in taught and unit not in sealed:
            found = last.setdefault(stratum, unit)
            last[stratum] = max(found, unit, key=lambda unit: (ranks[unit], -unit))
    chosen.update(dict.fromkeys(last.values(), "train"))


def _holds(cut: str | None, moment: str) -> bool:
    return cut is not None and moment >= cut


def _refuse_empty(
    found: AbstractSet[str], shares: Mapping[str, float], times: AbstractSet[str], cut: str | None
) -> None:
    if len(times) == 1:
        raise DataError(
            f"data.split.by: all rows have the time {next(iter(times))}, which orders nothing: name another "
            "`data.time`, or split by `hash`"
        )
    if missing := [name for name in (*shares, "train") if name not in found]:
        window = f" (golden is sealed from {cut} on; `ratchet golden refresh --accept` moves it to the newest rows)"
        raise DataError(
            f"data.split.by: the {len(times)} times between {min(times)} and {max(times)} leave no rows for "
            f"{', '.join(missing)}{window if cut else ''}: give older rows or finer times, or split by `hash`"
        )
