"""The n-gram stage of a cascade: fitted to a model's answers, and written as serving reads it.

Says nothing about what the stage may answer; that is in `tasks.compress.cascading.threshold`.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.compress.cascading.features import MAX_N, MIN_N, Features, find_features, spell, text_rows, token_mass
from tasks.compress.cascading.linear import Linear, fit
from tasks.progress import report_progress

log = logging.getLogger(__name__)

STRENGTH, STEPS = 300.0, 70


@dataclass(frozen=True)
class Stage:
    """A fitted stage: what it knows, and what each feature says."""

    features: Features
    model: Linear


def fit_stage(texts: Sequence[str], answers: np.ndarray, max_features: int) -> Stage:
    """Return the stage that learned the answers, [texts, labels] probabilities, to the texts."""
    features = find_features(texts, max_features)
    rows = text_rows(texts, features)

    def watch(computed: int) -> None:
        report_progress("cascade", min(computed, STEPS), STEPS)

    model = fit(rows, answers.astype(np.float32), STRENGTH, STEPS, watch)
    return Stage(features, model)


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
        fits = len(rows) == 0 or float(np.abs(rows).max()) < np.finfo(np.float16).max
        np.save(folder / f"{name}.npy", rows.astype(np.float16 if fits else np.float32), allow_pickle=False)
        np.save(folder / f"{name}_mass.npy", mass.astype(np.float32), allow_pickle=False)
    np.save(folder / "bias.npy", stage.model.bias, allow_pickle=False)
    names = {"words": features.words, "grams": features.grams, "pairs": features.pairs}
    content = {"lower": True, "min_n": MIN_N, "max_n": MAX_N, **names}
    (folder / "words.json").write_text(json.dumps(content), "utf-8")
