"""The cleaning step for texts that stand in several rows with different targets.

It goes by the rows of one text alone: a label that contradicts what a text says is `label_errors`' matter.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic.dataclasses import dataclass

from tasks.data.cleaning.clean import apply, remove
from tasks.data.rows import values
from tasks.data.similarity import text_key
from tasks.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.records import StepReport


@dataclass(frozen=True, config={"extra": "forbid"})
class Conflicts:
    """Where one text has several targets: keep the rows of the `majority`, of the `newest`, or `drop` all of its rows.

    `newest` goes by the column that `data.time` names: the latest row's target wins, by majority among rows of that
    very time; an unknown time is the oldest. Where a majority is a tie all rows of the text go. To be listed before the
    steps against duplicates, which leave one row of each text.
    """

    kind: Literal["conflicts"] = "conflicts"
    policy: Literal["majority", "newest", "drop"] = "majority"


@apply.register(Conflicts)
def _resolve_conflicts(step: Conflicts, table: "pa.Table") -> "tuple[pa.Table, StepReport]":
    keys, targets = [text_key(text) for text in values(table, "text")], values(table, "target")
    times = _times(table) if step.policy == "newest" else [""] * table.num_rows
    winners = choose_targets(keys, targets, times, drop=step.policy == "drop")
    return remove(step.kind, table, [winners[key] == target for key, target in zip(keys, targets, strict=True)])


def choose_targets(
    keys: Sequence[str], targets: Sequence[str], times: Sequence[str], *, drop: bool = False
) -> dict[str, str | None]:
    """Return for each key the target that its rows may keep, None where all of them go.

    Args:
        times: of the rows, ISO 8601 in UTC, "" where it is unknown; only a key's rows of its latest time have a vote.
        drop: whether no target may be kept where there are several.
    """
    latest: dict[str, str] = {}
    votes: dict[str, Counter[str]] = defaultdict(Counter)
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


def _times(table: "pa.Table") -> list[str]:
    if "time" not in table.column_names:
        raise DataError(
            "cleaning step 'conflicts' with policy 'newest' needs to know when rows came into being: name the column "
            "under `data.time`, or choose policy 'majority' or 'drop'"
        )
    return values(table, "time")
