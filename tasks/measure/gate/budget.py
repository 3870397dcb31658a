"""The promotion budget: at which level one more look at the same golden set may be judged. Keeps and promotes nothing.

Alpha spending: look i gets the share gamma_i of alpha, and the shares of all looks to come sum to 1. Whatever the looks
have in common, by the union bound the probability of promoting any candidate that is no better stays at most alpha, for
ever: while nothing was promoted wrongly, which candidate comes at look i depends on golden only through the verdicts
before it. Sources: D. P. Foster and R. A. Stine, JRSS B 70 (2008), 429-444 (alpha spending); J. Tian and A. Ramdas,
Statistical Methods in Medical Research 30 (2021), 976-993 (its online form, under any dependence).
"""

import hashlib
import math
from collections.abc import Iterable, Sequence

from tasks.records import GoldenLook

SUM_OF_SHARES = 2.109742801236892  # of 1 / (n ln^2 n) from n = 2 on
SKETCH_ROWS = 1000


def level_of(number: int, alpha: float) -> float:
    """Return the level of look `number` (from 1): alpha times 1 / (n ln^2 n) with n = number + 1, scaled to sum to 1.

    The slowest fall of the usual sequences: half of alpha at the first look, a fortieth at the fifth.

    Raises:
        ValueError: the number is below 1, or alpha not in (0, 1).
    """
    if number < 1 or not 0 < alpha < 1:
        raise ValueError(f"a look has a number from 1 on and a level in (0, 1), not {number} and {alpha}")
    return alpha / ((number + 1) * math.log(number + 1) ** 2) / SUM_OF_SHARES


def left_after(number: int, alpha: float) -> float:
    """Return how much of alpha is left for all looks after look `number`; 0 looks leave all of it."""
    return alpha - sum(level_of(look, alpha) for look in range(1, number + 1))


def next_look(
    taken: Sequence[GoldenLook],
    rows: Iterable[str],
    candidate: str,
    champion: str,
    claims: Iterable[str],
    alpha: float,
    refresh: float,
) -> GoldenLook:
    """Return the look that a comparison takes, after those taken: the same one where this comparison was made before.

    A count starts anew on a refreshed golden set: when at least the share `refresh` of its rows are new against every
    set that a count began with, so that going back to a set that was used up restores nothing. `rows` identify the
    golden rows; their content counts, not their order.
    """
    hashes = sorted(row_hash(row) for row in rows)
    golden = hashlib.sha256("".join(hashes).encode()).hexdigest()
    comparison = (golden, candidate, champion, tuple(sorted(claims)))
    for look in taken:
        if (look.golden, look.candidate, look.champion, look.claims) == comparison:
            return look
    begun = next((look.golden for look in _begins(taken) if _share_new(hashes, look.sketch) < refresh), None)
    if begun is None:
        return GoldenLook(*comparison, golden, 1, level_of(1, alpha), alpha, tuple(hashes[:SKETCH_ROWS]))
    number = 1 + max(look.number for look in taken if look.begun == begun)
    return GoldenLook(*comparison, begun, number, level_of(number, alpha), alpha)


def row_hash(row: str) -> str:
    """Return 64 bits of the SHA-256 of a row's content, in hexadecimal."""
    return hashlib.sha256(row.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def renewal(taken: Sequence[GoldenLook], hashes: Iterable[str]) -> float:
    """Return the share of the rows that is new against every set that a count began with; 1 where none did.

    From `refresh` on, the next look begins a new count (`next_look`).
    """
    ordered = sorted(hashes)
    return min((_share_new(ordered, look.sketch) for look in _begins(taken)), default=1.0)


def _begins(taken: Sequence[GoldenLook]) -> list[GoldenLook]:
    """Return the looks that a count began with, newest first."""
    return [look for look in reversed(taken) if look.number == 1]


def _share_new(hashes: Sequence[str], sketch: Sequence[str]) -> float:
    """Return the share of rows that are not in a set of which the sketch holds the smallest hashes.

    Exact where the sketch holds all of the set. Else only rows as small as the sketch's largest tell (bottom-k sketch:
    E. Cohen and H. Kaplan, PODC 2007): a random sample, as hashes are.
    """
    limit = sketch[-1] if len(sketch) == SKETCH_ROWS else "g"  # above every hexadecimal digit
    told = [value for value in hashes if value <= limit]
    known = set(sketch)
    return sum(value not in known for value in told) / len(told) if told else 1.0
