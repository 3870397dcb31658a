"""How fast several models answer banking77's test set, one text after another and in batches, all of them in turn."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from serving.predictors import Predictor
from serving.runtimes.cascade import CascadePredictor
from tasks.measure.runtime import load
from tasks.measure.speed.closed_loop import interleave
from tasks.measure.speed.latency import Clock
from tasks.records import Candidate
from tests.bench.train_text import Rows, share_right

BLOCKS = 22  # in each of which every model answers the same texts
BATCH = 32


@dataclass(frozen=True)
class Answered:
    """One model on the whole test set."""

    accuracy: float
    mean_ms: float  # of a text alone
    p99_ms: float
    batch_ms: float  # of a text in batches of 32


def measure_models(models: Mapping[str, Candidate], test: Rows, threads: int) -> dict[str, Answered]:
    """Return what each model took on the test set, with so many threads, interleaved in this process."""
    texts = [text for text, _ in test]
    predictors = {name: load(model, threads) for name, model in models.items()}
    accuracies = {name: share_right(each.predict(texts).outputs, test) for name, each in predictors.items()}
    clock, size = Clock(), -(-len(texts) // BLOCKS)
    parts = [texts[start : start + size] for start in range(0, len(texts), size)]
    single = interleave(list(predictors.values()), [[[text] for text in part] for part in parts], clock)
    batches = [[part[start : start + BATCH] for start in range(0, len(part), BATCH)] for part in parts]
    batched = interleave(list(predictors.values()), batches, clock)
    found = {}
    for row, name in enumerate(predictors):
        calls, inside = np.concatenate(single[row].seconds), np.concatenate(batched[row].seconds)
        found[name] = Answered(accuracies[name], 1000 * float(calls.mean()), 1000 * float(np.quantile(calls, 0.99)),
                               1000 * float(inside.sum()) / len(texts))  # fmt: skip
    return found


def answered_here(predictor: Predictor, texts: list[str]) -> list[float]:
    """Return the share of the texts that each stage of a cascade answers, the first first; 1 of a single model."""
    if not isinstance(predictor, CascadePredictor):
        return [1.0]
    stages: list[int] = predictor.stages_of(texts)
    return [stages.count(stage) / len(texts) for stage in sorted(set(stages))]
