"""The tests and intervals that the gate judges row scores by. Ratios of timings are in `tasks.measure.speed.ratios`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

UNDEFINED = 1e9  # stands for an infinite score
NEGLIGIBLE = 1e-9  # of the range of a row's score


@dataclass(frozen=True)
class Difference:
    """A paired difference of scores with its one-sided bounds, and the counts that any further test of it stands on."""

    value: float  # in [-1, 1], as are the bounds
    low: float
    high: float
    rows: int
    won: float  # rows that only the candidate has right, fractional where scores are
    lost: float  # rows that only the reference has right

    def p_above(self, bound: float) -> float:
        """Return the one-sided p-value of "not above the bound", from the statistic that the bounds are made of."""
        return NormalDist().cdf(-_score(self.won, self.lost, self.rows, bound))


def mean_interval(scores: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the two-sided interval of the mean of scores in [0, 1].

    Wilson's score interval, with the scores' mean in the place of a proportion: for scores between 0 and 1 the variance
    is at most that of a proportion of the same mean, so it is never too narrow for that reason.
    Source: E. B. Wilson, JASA 22 (1927).

    Raises:
        ValueError: there are no scores, or one is outside [0, 1] or not a number.
    """
    check_scores(scores)
    rows, mean = len(scores), float(scores.mean())
    z = NormalDist().inv_cdf(0.5 + level / 2)
    centre = (mean + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(mean * (1 - mean) / rows + z * z / (4 * rows * rows))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_difference(candidate: np.ndarray, reference: np.ndarray, alpha: float) -> Difference:
    """Return the mean of candidate minus reference on the same rows, with one-sided bounds at level alpha each.

    Tango's score interval: the differences that the score test does not reject, its variance taken under the difference
    tested. No discordant row at all still gives an interval of positive width. For scores between 0 and 1 the counts of
    discordant rows are fractional and match sum and sum of squares of the differences (`_count_discordant`).

    As every score test it is asymptotic. Measured by enumerating all tables of 533 settings (50 to 3000 rows, true
    losses of 0 to 5 points, 0 to 10 % of rows won) at alpha 0.05: the lower bound lies above the truth in at most 6.0 %
    of cases, which is at 300 rows of which 2 % are lost and none won; with 400 and 800 rows and 1 % lost it is 1.8 and
    4.2 %. The upper bound lies below the truth in at most 8.9 %: a loser is rejected early rather than promoted.
    Source: T. Tango, Statistics in Medicine 17 (1998), 891-908.

    Args:
        candidate: [rows], in [0, 1].
        reference: [rows], in [0, 1], of the same rows in the same order.
        alpha: level of each bound, in (0, 1).

    Raises:
        ValueError: the arrays differ in length, are empty, or hold what is no score.
    """
    won, lost = _count_discordant(candidate, reference)
    rows, z = len(candidate), NormalDist().inv_cdf(1 - alpha)
    low, high = _bound(won, lost, rows, z), _bound(won, lost, rows, -z)
    return Difference((won - lost) / rows, low, high, rows, won, lost)


def _count_discordant(candidate: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Return how many of the rows [rows] the candidate won and lost: whole for 0 and 1, else matched by moments.

    Won minus lost is the sum of the differences d, won plus lost the sum of d^2, but at least that of d in absolute
    value, which keeps both counts from going negative: a shift of every row alike is judged too carefully, never too
    mildly.
    """
    check_scores(candidate)
    check_scores(reference)
    if len(candidate) != len(reference):
        raise ValueError(f"paired scores must have equal length, not {len(candidate)} and {len(reference)}")
    differences = np.asarray(candidate, dtype=np.float64) - reference
    differences[np.abs(differences) < NEGLIGIBLE] = 0.0  # rounding is no won or lost row
    net = float(differences.sum())
    discordant = max(float(differences @ differences), abs(net))
    return (discordant + net) / 2, (discordant - net) / 2


def _bound(won: float, lost: float, rows: int, z: float) -> float:
    """Return the difference in [-1, 1] whose score is z; the score falls as the difference rises."""
    from scipy.optimize import brentq

    def excess(difference: float) -> float:
        return _score(won, lost, rows, difference) - z

    if excess(-1.0) <= 0:
        return -1.0
    return 1.0 if excess(1.0) >= 0 else float(brentq(excess, -1.0, 1.0, xtol=1e-13))


def _score(won: float, lost: float, rows: int, difference: float) -> float:
    """Return Tango's statistic of a true difference: estimate minus truth over its standard error under that truth.

    Under the difference D the share of lost rows has the maximum likelihood estimate q, the larger root of
    2 n q^2 + (-b - c + (2 n - b + c) D) q - c D (1 - D) = 0 with b rows won and c lost, and a row has
    the variance 2 q + D (1 - D).
    """
    if difference < 0:  # by symmetry; for a positive one no digits cancel
        return -_score(lost, won, rows, -difference)
    gap = won - lost - rows * difference
    if gap == 0:
        return 0.0
    linear = -won - lost + (2 * rows - won + lost) * difference
    product = lost * difference * (1 - difference)
    root = math.sqrt(linear * linear + 8 * rows * product)
    share = 2 * product / (linear + root) if linear > 0 else (root - linear) / (4 * rows)
    variance = 2 * share + difference * (1 - difference)
    return gap / math.sqrt(rows * variance) if variance > 0 else math.copysign(UNDEFINED, gap)


def rows_needed(difference: Difference, bound: float, alpha: float) -> int | None:
    """Return how many further rows would put the lower bound above a bound if the shares of rows won and lost hold.

    None where the estimate itself is not above the bound: then more rows of the same kind never would. The score grows
    with the root of the rows, so that n (z / score)^2 rows are enough.
    """
    if difference.value - bound < 1e-9:
        return None
    score = _score(difference.won, difference.lost, difference.rows, bound)
    z = NormalDist().inv_cdf(1 - alpha)
    return max(1, math.ceil(difference.rows * (z / score) ** 2) - difference.rows)


def smallest_shown(difference: Difference, bound: float, alpha: float) -> float | None:
    """Return the smallest mean difference that as many rows, with as many won or lost in all, show to be above a bound.

    None where even winning all of them would not.
    """
    from scipy.optimize import brentq

    discordant, z = difference.won + difference.lost, NormalDist().inv_cdf(1 - alpha)

    def excess(net: float) -> float:
        return _score((discordant + net) / 2, (discordant - net) / 2, difference.rows, bound) - z

    if excess(discordant) <= 0:
        return None
    if excess(-discordant) >= 0:
        return -discordant / difference.rows
    return float(brentq(excess, -discordant, discordant, xtol=1e-9)) / difference.rows


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Return which hypotheses Holm's step-down procedure rejects at family-wise level alpha.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979), 65-70.
    """
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        if p_values[index] > alpha / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def mcnemar(won: int, lost: int) -> float:
    """Return the exact one-sided p-value of "the candidate wins no more rows than it loses".

    Given the discordant rows, each is won with probability 1/2 at most: P[Binomial(won + lost, 1/2) >= won]. 1 where no
    row is discordant.
    Source: Q. McNemar, Psychometrika 12 (1947), 153-157; the exact conditional form.

    Args:
        won: rows that only the candidate has right.
        lost: rows that only the reference has right.

    Raises:
        ValueError: a count is negative or not whole.
    """
    from scipy.stats import binom

    _check_counts(won, lost)
    return float(binom.sf(won - 1, won + lost, 0.5))


def mcnemar_mid_p(won: int, lost: int) -> float:
    """Return the one-sided mid-p-value: `mcnemar` less half of the probability of exactly `won` rows.

    1 where no row is discordant. Less conservative than the exact one; it seldom exceeds its level, and by little.
    Source: M. W. Fagerland, S. Lydersen and P. Laake, BMC Medical Research Methodology 13 (2013), 91.

    Raises:
        ValueError: a count is negative or not whole.
    """
    from scipy.stats import binom

    exact = mcnemar(won, lost)
    return exact - 0.5 * float(binom.pmf(won, won + lost, 0.5)) if won + lost else 1.0


def _check_counts(won: int, lost: int) -> None:
    if not all(count >= 0 and count % 1 == 0 for count in (won, lost)):
        raise ValueError(f"won and lost must be whole counts of rows from 0 on, not {won} and {lost}; "
                         "judge fractional scores by their paired difference")  # fmt: skip


def check_scores(scores: np.ndarray) -> None:
    """Raise ValueError unless there is at least one score and every one is a number in [0, 1]."""
    if len(scores) == 0:
        raise ValueError("no scores")
    if not np.isfinite(scores).all() or scores.min() < 0 or scores.max() > 1:
        raise ValueError("every row score must be a number in [0, 1]")
