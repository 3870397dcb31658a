"""The gate by simulation: how often it is wrong over long histories on one golden set, and how soon it is right.

Every figure comes from the gate's own functions. The last line is one JSON object.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tasks.measure.gate.budget import level_of
from tasks.measure.gate.decide import decide
from tasks.measure.gate.online import OnlineSpec
from tasks.measure.statistics import Difference, mcnemar
from tasks.specs import GateSpec
from tests.bench.gate_cost import gate_cost
from tests.bench.online import (
    online_delivered_thrice,
    online_false_winner_share,
    online_win_units,
    upper,
    win_days,
)
from tests.bench.speed import speed_coverage
from tests.unit.measured import measured, paired_scores

SEED = 20_260
HISTORIES, LOOKS, ROWS, ALPHA, MARGIN = 10_000, 50, 1000, 0.05, 0.01
DISCORDANT = 0.10  # share of rows on which candidate and champion differ
LEVELS = np.array([level_of(look, ALPHA) for look in range(1, LOOKS + 1)])
USERS_PER_DAY = 2000  # at which the time to a win is told
Draws = tuple[np.ndarray, np.ndarray]  # rows won and lost, [histories, looks] each


def main() -> None:
    """Run the simulations."""
    rng = np.random.default_rng(SEED)
    _say(f"seed {SEED}; {HISTORIES} histories of {LOOKS} looks at {ROWS} golden rows, alpha {ALPHA}, margin {MARGIN}")
    _check_rule(rng)
    same = p_values(draw(rng, 0.0), 0.0)
    edge = p_values(draw(rng, -MARGIN), -MARGIN)
    false, at_margin = ever(same < LEVELS), ever(edge < LEVELS)
    won, lost = draw(rng, 0.02, rows=3000, shape=(HISTORIES, 1))
    power = float((p_values((won, lost), 0.0, 3000) < LEVELS[0]).mean())
    naive_gap, gap = overfit(rng)
    result = {
        "false_promotion_share": false.mean(),
        "false_promotion_upper": upper(false),
        "at_margin_share": at_margin.mean(),
        "at_margin_upper": upper(at_margin),
        "naive_point_share": ever(same < 0.5).mean(),
        "naive_fresh_test_share": ever(same < ALPHA).mean(),
        "power": power,
        "overfit_points_naive": 100 * naive_gap,
        "overfit_points": 100 * gap,
        **gate_cost(),
        "seed": SEED,
    }
    _say(f"no better: ever promoted in {false.mean():.2%} of histories")
    _say(f"  naive: by point estimate {result['naive_point_share']:.2%}, by a fresh 5 % test each time "
         f"{result['naive_fresh_test_share']:.2%}")  # fmt: skip
    _say(f"exactly at the margin: ever promoted in {at_margin.mean():.2%}")
    _say(f"truly better by 2 points, 3000 rows: promoted at the first look in {power:.2%}")
    _say(f"accuracy on golden above the truth after {LOOKS} looks: {100 * gap:+.2f} points; keeping whatever scores "
         f"best there: {100 * naive_gap:+.2f}")  # fmt: skip
    _say(
        f"one decision on 100,000 rows with 50 slices: {result['gate_seconds']:.1f} s, {result['gate_peak_mb']:.0f} MB"
    )
    result |= {**online(rng), **speed()}
    sys.stdout.write(json.dumps({name: float(value) for name, value in result.items()}) + "\n")


def online(rng: np.random.Generator) -> dict[str, float]:
    """Return the errors of the online gate, asked after every user, and how soon it finds a winner."""
    false = online_false_winner_share(rng, HISTORIES, 20_000)
    thrice = online_delivered_thrice(rng)
    wins, spec = online_win_units(rng), OnlineSpec()
    days = win_days(wins.median_units, USERS_PER_DAY, spec)
    _say(f"online, no better, asked after each of {false.units} users: a winner in {false.share:.2%} of histories")
    _say(f"  naive: a fixed-sample test asked as often {false.naive_share:.2%}")
    _say(f"  each event delivered three times, votes changed: {thrice.share:.2%} of {thrice.histories} histories")
    _say(f"online, truly better by 3 points: a winner after {wins.median_units:.0f} users in the median")
    _say(
        f"  that is {days:.1f} days at {USERS_PER_DAY} a day; a test of one look needs {wins.fixed_units:.0f} for 80 %"
    )
    return {
        "online_false_winner_share": false.share,
        "online_false_winner_upper": false.upper,
        "online_naive_share": false.naive_share,
        "online_thrice_share": thrice.share,
        "online_win_users": wins.median_units,
        "online_win_days": days,
    }


def speed() -> dict[str, float]:
    """Return how often the interval of a speed ratio covers the truth, under a load switched on and off."""
    found = speed_coverage()
    _say(f"two copies of a model under a load switched on and off: the 95 % interval covers 1 in "
         f"{found['speed_coverage']:.1%} of {found['speed_trials']:.0f} trials")  # fmt: skip
    _say(f"  naive: one model after the other, Welch's interval: {found['naive_speed_coverage']:.1%}")
    return found


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def draw(rng: np.random.Generator, gain: float, rows: int = ROWS, shape: tuple[int, int] = (HISTORIES, LOOKS)) -> Draws:
    """Return rows won and lost by candidates of a true gain, in [-1, 1], each drawn anew."""
    shares = [(DISCORDANT + gain) / 2, (DISCORDANT - gain) / 2, 1 - DISCORDANT]
    counts = rng.multinomial(rows, shares, size=shape)
    return counts[..., 0], counts[..., 1]


def p_values(draws: Draws, bound: float, rows: int = ROWS) -> np.ndarray:
    """Return the gate's p-values of "not above the bound", shaped as the draws; each pair of counts is judged once.

    Where it is better that is claimed (a bound of 0), the larger of the score test's and McNemar's exact one.
    """
    won, lost = draws
    pairs, places = np.unique(np.stack([won.ravel(), lost.ravel()]), axis=1, return_inverse=True)
    judged = []
    for w, b in pairs.T.tolist():
        p = Difference((w - b) / rows, 0, 0, rows, w, b).p_above(bound)
        judged.append(max(p, mcnemar(w, b)) if bound == 0 else p)
    result: np.ndarray = np.array(judged)[places.ravel()].reshape(won.shape)
    return result


def ever(promoted: np.ndarray) -> np.ndarray:
    """Return which histories promote at any look; [histories]."""
    result: np.ndarray = promoted.any(axis=1)
    return result


def overfit(rng: np.random.Generator, histories: int = 400, truth: float = 0.85) -> tuple[float, float]:
    """Return how far accuracy on golden lies above the truth at the end, for a search without the budget and with it.

    Every candidate redraws a tenth of the champion's answers: all models are right with the same probability.
    """
    rules: list[Callable[[float, int], bool]] = [lambda p, _: p < 0.5, lambda p, look: p < LEVELS[look]]
    gaps = []
    for promotes in rules:
        champion = rng.random((histories, ROWS)) < truth
        for look in range(LOOKS):
            redrawn = rng.random((histories, ROWS)) < DISCORDANT
            candidate = np.where(redrawn, rng.random((histories, ROWS)) < truth, champion)
            won, lost = (candidate & ~champion).sum(axis=1), (champion & ~candidate).sum(axis=1)
            p = p_values((won[:, None], lost[:, None]), 0.0)[:, 0]
            taken = np.array([promotes(value, look) for value in p])
            champion = np.where(taken[:, None], candidate, champion)
        gaps.append(float(champion.mean() - truth))
    return gaps[0], gaps[1]


def _check_rule(rng: np.random.Generator, looks: int = 300) -> None:
    """Make sure that the gate itself promotes exactly where the simulations say so."""
    for number in range(looks):
        gain, bound, claim = ((0.03, 0.0, "quality"), (-0.002, -MARGIN, "cost"))[number % 2]
        won, lost = (int(count[0, 0]) for count in draw(rng, gain, shape=(1, 1)))
        level = LEVELS[number % 10]
        scores = paired_scores(ROWS, 800, won, lost)
        models = [measured(scores[0], "candidate", 0.5), measured(scores[1], "champion", 1.0)]
        verdict = decide(*models, None, (claim,), replace(GateSpec(margin=MARGIN), alpha=level))  # type: ignore[arg-type]
        promoted = p_values((np.array([won]), np.array([lost])), bound)[0] < level
        assert (verdict.decision == "promote") == promoted, (won, lost, level, verdict)


if __name__ == "__main__":
    main()
