"""The Pareto front of points between loss, speed and size. Measures nothing."""

from collections.abc import Sequence

Merits = tuple[float, ...]  # each better where it is higher


def pareto_front(merits: Sequence[Merits]) -> list[int]:
    """Return the numbers of those that none of the others beats, in their order.

    One beats another where it is at least as good in everything and better in something; of equals all stay. In the
    order of falling merits a point can be beaten only by one before it, so that those found so far are all it meets.
    """
    kept: list[int] = []
    for number in sorted(range(len(merits)), key=lambda each: merits[each], reverse=True):
        if not any(beats(merits[other], merits[number]) for other in kept):
            kept.append(number)
    return sorted(kept)


def beats(one: Merits, other: Merits) -> bool:
    """Return whether the first is at least as good in everything and better in something."""
    return one != other and all(mine >= its for mine, its in zip(one, other, strict=True))
