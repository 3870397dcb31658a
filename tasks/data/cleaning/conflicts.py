"""The cleaning step for texts that stand in several rows with different targets.

It goes by the rows of one text alone: a label that contradicts what a text says is `label_errors`' matter.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic.dataclasses import dataclass

from tasks.data.cleaning.effects import Effect, Memory, effect_of, remove
from tasks.data.shingles import number_keys
from tasks.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


OUTVOTED = "its text has another target in other rows"
UNDECIDED = "its text has several targets, and none wins"


@dataclass(frozen=True, config={"extra": "forbid"})
class Conflicts:
    """Where one text has several targets: keep the rows of the `majority`, of the `newest`, or `drop` all of its rows.

    `newest` goes by the column that `data.time` names: the latest row's target wins, by majority among rows of that
    very time; an unknown time is the oldest. Where a majority is a tie all rows of the text go. To be listed before the
    steps against duplicates, which leave one row of each text.
    """

    kind: Literal["conflicts"] = "conflicts"
    policy: Literal["majority", "newest", "drop"] = "majority"


@effect_of.register(Conflicts)
def _resolve_conflicts(step: Conflicts, table: "pa.Table", memory: Memory | None = None) -> Effect:
    import numpy as np

    numbers, _ = number_keys(table.column("text"))
    times = table.column("time") if step.policy == "newest" and _has_times(table) else None
    several = np.flatnonzero(np.bincount(numbers)[numbers] > 1)  # most texts stand once
    keys, targets = numbers[several].tolist(), table.column("target").take(several).to_pylist()
    winners = choose_targets(
        keys, targets, times.take(several).to_pylist() if times else [""] * len(keys), drop=step.policy == "drop"
    )
    mask, reasons = np.ones(table.num_rows, bool), [""] * table.num_rows
    for row, key, target in zip(several.tolist(), keys, targets, strict=True):
        if winners[key] != target:
            mask[row] = False
            reasons[row] = OUTVOTED if winners[key] else UNDECIDED
    return remove(step.kind, table, mask.tolist(), reasons)


def choose_targets(
    keys: Sequence[Hashable], targets: Sequence[str], times: Sequence[str], *, drop: bool = False
) -> dict[Hashable, str | None]:
    """Return for each key the target that its rows may keep, None where all of them go.

    Args:
        times: of the rows, ISO 8601 in UTC, "" where it is unknown; only a key's rows of its latest time have a vote.
        drop: whether no target may be kept where there are several.
    """
    latest: dict[Hashable, str] = {}
    votes: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for key, target, time in zip(keys, targets, times, strict=True):
        if time > latest.setdefault(key, time):
            latest[key] = time
            votes[key].clear()
        if time == latest[key]:
            votes[key][target] += 1
    return {key: _winner(counts, drop) for key, counts in votes.items()}


def _winner(counts: Counter[str], drop: bool) -> str | None:
    ranked = counts.most_common(2)
    if len(ranked) > 1 and (drop or ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def _has_times(table: "pa.Table") -> bool:
    if "time" not in table.column_names:
        raise DataError(
            "cleaning step 'conflicts' with policy 'newest' needs to know when rows came into being: name the column "
            "under `data.time`, or choose policy 'majority' or 'drop'"
        )
    return True
