"""The n-gram stage of a cascade: fitted to a model's answers, and written as serving reads it.

Says nothing about what the stage may answer; that is in `tasks.compress.cascading.threshold`.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.compress.cascading.features import (
    MAX_N,
    MIN_N,
    Features,
    TextRows,
    find_features,
    spell,
    text_rows,
    token_mass,
)
from tasks.compress.cascading.linear import Linear, cross_entropy, fit
from tasks.data.drawing import unit_interval
from tasks.progress import report_progress

log = logging.getLogger(__name__)

STRENGTHS = (30.0, 300.0)  # of which the data choose; banking77 and clinc150 like the second best, sms_spam the first
STEPS = 120  # of L-BFGS; after 40 the stage agrees less
JUDGING = 0.2  # of the texts, which judge the strengths


@dataclass(frozen=True)
class Stage:
    """A fitted stage: what it knows, and what each feature says."""

    features: Features
    model: Linear
    strength: float  # how little the weights are held back


def fit_stage(texts: Sequence[str], answers: np.ndarray, real: int, max_features: int, seed: int) -> Stage:
    """Return the stage that learned the answers, [texts, labels] probabilities, to the texts.

    The first `real` texts are those that were not made of others. The features are theirs; and how far the weights are
    held back is chosen by the cross-entropy on a part of them, drawn by their hash, that a first fit does not learn
    from.
    """
    features = find_features(texts[:real], max_features)
    targets = answers.astype(np.float32)
    strength = _choose_strength(texts[:real], targets[:real], features, seed)
    model = _fit(text_rows(texts, features), targets, strength, len(STRENGTHS))
    return Stage(features, model, strength)


def _choose_strength(texts: Sequence[str], targets: np.ndarray, features: Features, seed: int) -> float:
    judging = np.array([unit_interval(seed, "strength", text) < JUDGING for text in texts])
    if judging.all() or not judging.any():
        return STRENGTHS[-1]
    learned, judged = (
        text_rows([texts[at] for at in np.flatnonzero(of).tolist()], features) for of in (~judging, judging)
    )
    tried = [_fit(learned, targets[~judging], strength, number) for number, strength in enumerate(STRENGTHS)]
    losses = [cross_entropy(model, judged, targets[judging]) for model in tried]
    log.info("cascade: cross-entropy %s of the strengths %s", [round(loss, 4) for loss in losses], STRENGTHS)
    return STRENGTHS[int(np.argmin(losses))]


def _fit(rows: TextRows, targets: np.ndarray, strength: float, number: int) -> Linear:
    """Return one of the fits, and tell how far all of them are."""
    before, total = number * STEPS, (len(STRENGTHS) + 1) * STEPS
    return fit(
        rows, targets, strength, STEPS, lambda done: report_progress("cascade", before + min(done, STEPS), total)
    )


def write_stage(stage: Stage, folder: Path) -> None:
    """Write the stage into the folder: `words.json` and the tables of rows.

    A word's row holds all that the word adds to a text: its own weight and those of its n-grams, each times its
    frequency; its mass is the sum of their squared frequencies. Rows are float16 where they fit into it.
    """
    features, weights = stage.features, stage.model.weights
    inside, words = features.inside, len(features.words)
    spelling = spell(features.words, features)
    valued = weights * features.idf[:, None]
    tables = {
        "words": (spelling @ weights[:inside], token_mass(spelling, features)),
        "grams": (valued[words:inside], features.idf[words:inside] ** 2),
        "pairs": (valued[inside:], features.idf[inside:] ** 2),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (rows, mass) in tables.items():
        fits = len(rows) == 0 or float(np.abs(rows).max()) < float(np.finfo(np.float16).max)
        np.save(folder / f"{name}.npy", rows.astype(np.float16 if fits else np.float32), allow_pickle=False)
        np.save(folder / f"{name}_mass.npy", mass.astype(np.float32), allow_pickle=False)
    np.save(folder / "bias.npy", stage.model.bias, allow_pickle=False)
    names = {"words": features.words, "grams": features.grams, "pairs": features.pairs}
    content = {"lower": True, "min_n": MIN_N, "max_n": MAX_N, **names}
    (folder / "words.json").write_text(json.dumps(content), "utf-8")
