"""Which rows must share a split: the units that a draw places whole, joined of near duplicates and of groups.

A unit is a connected component: two rows share one when their texts are near duplicates or their `group` is the same,
or a chain of such rows lies between them. Says nothing of which split a unit gets.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from tasks.data.cleaning.scrub import scrub_text
from tasks.data.rows import shorten
from tasks.errors import DataError


def join_units(clusters: Sequence[int], groups: Sequence[str]) -> list[int]:
    """Return for each row the first row of its unit.

    `clusters` are the first rows of each row's near-duplicate cluster; `groups` is empty where the table has none, and
    "" where a row is in none.
    """
    if not any(groups):
        return list(clusters)
    parents = list(range(len(clusters)))
    first: dict[str, int] = {}
    for row, (cluster, group) in enumerate(zip(clusters, groups, strict=True)):
        if cluster != row:
            _join(parents, row, cluster)
        if group and (other := first.setdefault(group, row)) != row:
            _join(parents, row, other)
    return [_root(parents, row) for row in range(len(parents))]


def refuse_giant(units: Sequence[int], texts: Sequence[str], groups: Sequence[str]) -> None:
    """Do nothing where no unit with groups in it holds more than half of the rows; no share could hold otherwise.

    Raises:
        DataError: one does: the group's name, or the text that joins most groups.
    """
    if not any(groups):
        return
    unit, size = Counter(units).most_common(1)[0]
    rows = [row for row, at in enumerate(units) if at == unit] if 2 * size > len(units) else []
    members = Counter(groups[row] for row in rows if groups[row])
    if not members:
        return
    name, count = members.most_common(1)[0]
    if len(members) == 1:
        raise DataError(
            f"data.group: group {_shown(name)} has {count} of {len(units)} rows, and groups stay in one split: name a "
            "column with smaller groups, or name the splits in `data.source.splits`"
        )
    text, joined = _joining_text(rows, texts, groups)
    raise DataError(
        f"data.group: {len(members)} groups share texts, so that {size} of {len(units)} rows would have to stay in one "
        f"split (e.g. {_shown(text)} stands in {joined} groups): remove such texts, or leave out `data.group`"
    )


def _joining_text(rows: Sequence[int], texts: Sequence[str], groups: Sequence[str]) -> tuple[str, int]:
    """Return the text that stands in most groups, and in how many."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if groups[row]:
            found[" ".join(texts[row].casefold().split())].add(groups[row])
    text = max(found, key=lambda text: (len(found[text]), text))
    return text, len(found[text])


def _shown(text: str) -> str:
    return repr(shorten(scrub_text(text), 60))


def _join(parents: list[int], left: int, right: int) -> None:
    ends = _root(parents, left), _root(parents, right)
    parents[max(ends)] = min(ends)


def _root(parents: list[int], row: int) -> int:
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return row
