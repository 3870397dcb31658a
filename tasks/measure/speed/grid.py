"""Throughput by batch size and length of text, all candidates in turn. Judges nothing."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from serving.classes import Tokenize
from serving.predictors import Predictor
from tasks.measure.speed.latency import Clock
from tasks.records import GridPoint

LENGTHS = {"short": 0.1, "median": 0.5, "long": 0.9}  # quantiles of the texts' lengths
BUDGET_S = 1.5  # for the whole grid of one candidate; every point is called three times at least
MIN_CALLS, MAX_CALLS = 3, 7


def measure_grid(
    predictors: Sequence[Predictor],
    tokenizers: Sequence[Tokenize],
    texts: Sequence[str],
    batches: Sequence[int],
    clock: Clock,
) -> list[tuple[GridPoint, ...]]:
    """Return the points of each candidate, in their order: every batch size with short, median and long texts.

    Rounds of one call per point and candidate, the order of candidates reversed every other round; a point is the
    median of its calls, three at least and seven at most, as its share of `BUDGET_S` allows.
    """
    points = list(product(batches, LENGTHS))
    calls = [texts_of_length(texts, LENGTHS[length], batch) for batch, length in points]
    budget = BUDGET_S / max(1, len(points))
    seconds: list[list[list[float]]] = [[[] for _ in points] for _ in predictors]
    for turn in range(MAX_CALLS):
        order = range(len(predictors)) if turn % 2 == 0 else reversed(range(len(predictors)))
        for row in order:
            for column, call in enumerate(calls):
                spent = seconds[row][column]
                if len(spent) < MIN_CALLS or sum(spent) < budget:
                    started = clock.now()
                    predictors[row].predict(call)
                    spent.append(clock.now() - started)
    return [
        tuple(
            _point(batch, length, count_tokens(tokenize, call), spent)
            for (batch, length), call, spent in zip(points, calls, seconds[row], strict=True)
        )
        for row, tokenize in enumerate(tokenizers)
    ]


def _point(batch: int, length: str, tokens: int, spent: list[float]) -> GridPoint:
    typical = float(np.median(spent))
    return GridPoint(
        batch_size=batch,
        length=length,
        tokens_per_text=tokens / batch,
        texts_per_s=batch / typical,
        tokens_per_s=tokens / typical,
        calls=len(spent),
    )


def texts_of_length(texts: Sequence[str], quantile: float, count: int) -> list[str]:
    """Return so many texts about a quantile of the lengths in characters, some again where there are fewer."""
    ordered = sorted(texts, key=len)
    start = round(quantile * (len(ordered) - 1)) - (count - 1) // 2
    start = max(0, min(start, len(ordered) - count))
    return [ordered[(start + offset) % len(ordered)] for offset in range(count)]


def count_tokens(tokenize: Tokenize, texts: Sequence[str]) -> int:
    """Return how many tokens the model reads of the texts: cut at its longest input, padding not counted."""
    return int(tokenize(texts)["attention_mask"].sum())
