"""The gate by simulation: how often it is wrong over long histories on one golden set, and how soon it is right.

Every figure comes from the gate's own functions. The last line is one JSON object.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.stats import beta

from tasks.measure.budget import level_of
from tasks.measure.gate import decide
from tasks.measure.statistics import Difference
from tasks.specs import GateSpec
from tests.unit.measured import measured, paired_scores

SEED = 20_260
HISTORIES, LOOKS, ROWS, ALPHA, MARGIN = 10_000, 50, 1000, 0.05, 0.01
DISCORDANT = 0.10  # share of rows on which candidate and champion differ
LEVELS = np.array([level_of(look, ALPHA) for look in range(1, LOOKS + 1)])
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
        "gate_seconds": gate_seconds(rng),
        "seed": SEED,
    }
    _say(f"no better: ever promoted in {false.mean():.2%} of histories")
    _say(f"  naive: by point estimate {result['naive_point_share']:.2%}, by a fresh 5 % test each time "
         f"{result['naive_fresh_test_share']:.2%}")  # fmt: skip
    _say(f"exactly at the margin: ever promoted in {at_margin.mean():.2%}")
    _say(f"truly better by 2 points, 3000 rows: promoted at the first look in {power:.2%}")
    _say(f"accuracy on golden above the truth after {LOOKS} looks: {100 * gap:+.2f} points; keeping whatever scores "
         f"best there: {100 * naive_gap:+.2f}")  # fmt: skip
    sys.stdout.write(json.dumps({name: float(value) for name, value in result.items()}) + "\n")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def draw(rng: np.random.Generator, gain: float, rows: int = ROWS, shape: tuple[int, int] = (HISTORIES, LOOKS)) -> Draws:
    """Return rows won and lost by candidates of a true gain, in [-1, 1], each drawn anew."""
    shares = [(DISCORDANT + gain) / 2, (DISCORDANT - gain) / 2, 1 - DISCORDANT]
    counts = rng.multinomial(rows, shares, size=shape)
    return counts[..., 0], counts[..., 1]


def p_values(draws: Draws, bound: float, rows: int = ROWS) -> np.ndarray:
    """Return the gate's p-values of "not above the bound", shaped as the draws; each pair of counts is judged once."""
    won, lost = draws
    pairs, places = np.unique(np.stack([won.ravel(), lost.ravel()]), axis=1, return_inverse=True)
    judged = [Difference((w - b) / rows, 0, 0, rows, w, b).p_above(bound) for w, b in pairs.T.tolist()]
    result: np.ndarray = np.array(judged)[places.ravel()].reshape(won.shape)
    return result


def ever(promoted: np.ndarray) -> np.ndarray:
    """Return which histories promote at any look; [histories]."""
    result: np.ndarray = promoted.any(axis=1)
    return result


def upper(happened: np.ndarray, level: float = 0.95) -> float:
    """Return the one-sided upper confidence limit of a share (C. J. Clopper and E. S. Pearson, Biometrika 26, 1934)."""
    count, total = int(happened.sum()), len(happened)
    return 1.0 if count == total else float(beta.ppf(level, count + 1, total - count))


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


def gate_seconds(rng: np.random.Generator, rows: int = 100_000, slices: int = 50) -> float:
    """Return the seconds of one decision on many rows and slices."""
    scores = (rng.random((2, rows)) < 0.9).astype(float)
    masks = {f"slice {number}": rng.random(rows) < 0.1 for number in range(slices)}
    models = [measured(row, name, 1.0, masks) for row, name in zip(scores, ("candidate", "champion"), strict=True)]
    started = time.perf_counter()
    decide(models[0], models[1], None, ("quality",), GateSpec())
    return time.perf_counter() - started


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
