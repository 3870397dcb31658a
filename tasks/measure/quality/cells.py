"""The rows of each metric as cells: which rows are alike, what they add to which sums, and the statistic of the sums.

Every function takes the arrays of one model, or of two on the same rows; of two the statistic is the first's less the
second's. Knows no metric by name and makes no intervals: that is `metrics` and `bootstrap`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tasks.measure.quality.bootstrap import Cells

MAX_CELLS = 1000  # that continuous values are grouped into
ECE_BINS = 15
LEVELS_AT_ONCE = 2000

Statistic = Callable[[np.ndarray], np.ndarray]


def group_rows(keys: np.ndarray, values: Sequence[np.ndarray]) -> np.ndarray:
    """Return each row's cell [rows], from 0 on and in the order of the keys: rows alike in their key and all values.

    Where that makes more than `MAX_CELLS` cells, the values are first rounded to a common share of their standard
    deviations, as coarsely as it takes. Who gives each cell the exact mean of its rows keeps every sum over the rows
    exact; only what varies within a cell is lost to the resamples: at 20,000 rows less than 0.1 % of the standard error
    of every metric here, measured for models far apart and for models almost alike.

    Args:
        keys: [rows], whole numbers from 0 on, at most a few hundred different ones.
        values: arrays [rows] of finite numbers.
    """
    cell = _combine([keys, *(np.unique(value, return_inverse=True)[1] for value in values)])
    step = 1 / 128
    while len(np.unique(cell)) > MAX_CELLS:
        rounded = [np.rint((value - value.mean()) / (step * (value.std() or 1.0))) for value in values]
        cell = _combine([keys, *((number - number.min()).astype(np.int64) for number in rounded)])
        step *= 1.2
    return np.unique(cell, return_inverse=True)[1]


def _combine(codes: Sequence[np.ndarray]) -> np.ndarray:
    """Return one whole number [rows] for each combination of whole numbers from 0 on, in their order."""
    combined = np.zeros(len(codes[0]), dtype=np.int64)
    for code in codes:
        combined = combined * (int(code.max()) + 1) + code
    return combined


def _cell_means(values: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return the mean [cells] of the values [rows] of each cell."""
    means: np.ndarray = np.bincount(cell, weights=values) / np.bincount(cell)
    return means


def _compared(statistic: Statistic, models: int) -> Statistic:
    """Return the statistic of one model's sums, or of two models' sums side by side the first's less the second's."""
    if models == 1:
        return statistic

    def difference(sums: np.ndarray) -> np.ndarray:
        first, second = np.split(sums, 2, axis=1)
        return statistic(first) - statistic(second)

    return difference


def mean_cells(values: Sequence[np.ndarray]) -> Cells:
    """Return the cells of the mean of each model's values [rows]."""
    compared = values[0] - values[1] if len(values) == 2 else values[0]
    cell = group_rows(np.zeros(len(compared), dtype=np.int64), [compared])
    counts = np.bincount(cell)
    features = np.column_stack([np.ones(len(counts)), _cell_means(compared, cell)])
    return Cells(counts, features, lambda sums: sums[:, 1] / sums[:, 0])


def f1_cells(target: np.ndarray, outputs: Sequence[np.ndarray], labels: int, label: int | None = None) -> Cells:
    """Return the cells of the F1 of one label, or (None) of its mean over all labels among targets and outputs.

    F1 is 2 tp / (2 tp + fp + fn). For a label that occurs in neither it is not defined, and the mean leaves it out.

    Args:
        target: [rows], numbers of labels from 0 on.
        outputs: [rows] of each model, numbers of labels.
        labels: how many labels there are.
        label: the number of the one asked for.
    """
    columns = [target, *outputs]
    _, first, counts = np.unique(_combine(columns), return_index=True, return_counts=True)
    features = _f1_features(target[first], [output[first] for output in outputs], labels)

    def statistic(sums: np.ndarray) -> np.ndarray:
        hits, named = sums[:, :labels], sums[:, labels:]  # [resamples, labels]; named: tp + fp and tp + fn
        if label is not None:
            one: np.ndarray = 2 * hits[:, label] / named[:, label]
            return one
        scores = np.divide(2 * hits, named, out=np.zeros_like(hits), where=named > 0)
        mean: np.ndarray = scores.sum(axis=1) / (named > 0).sum(axis=1)
        return mean

    return Cells(counts, features, _compared(statistic, len(outputs)))


def _f1_features(target: np.ndarray, outputs: Sequence[np.ndarray], labels: int) -> Any:
    """Return, sparse [cells, 2 labels of each model]: is each label hit, how often target and output name it."""
    from scipy.sparse import coo_array

    cells, entries = np.arange(len(target)), []
    for number, output in enumerate(outputs):
        hits, named, hit = 2 * labels * number, 2 * labels * number + labels, target == output
        entries += [(cells[hit], hits + target[hit]), (cells, named + target), (cells, named + output)]
    rows, columns = (np.concatenate(part) for part in zip(*entries, strict=True))
    shape = len(target), 2 * labels * len(outputs)
    return coo_array((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()


def ece_cells(scores: Sequence[np.ndarray], confidences: Sequence[np.ndarray]) -> Cells:
    """Return the cells of the expected calibration error: |mean score - mean confidence| of each bin, by its rows.

    15 bins of equal width in the confidence, open below and closed above.
    Source: C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, ICML 2017.
    """
    bins = [np.clip(np.ceil(ECE_BINS * each).astype(np.int64) - 1, 0, ECE_BINS - 1) for each in confidences]
    gaps = [score - confidence for score, confidence in zip(scores, confidences, strict=True)]
    compared = [gaps[0], gaps[0] - gaps[1]] if len(gaps) == 2 else gaps
    cell = group_rows(_combine(bins), compared)
    counts = np.bincount(cell)
    features = np.zeros((len(counts), len(gaps), 1 + ECE_BINS))  # [cells, models, rows and gaps by bin]
    features[:, :, 0] = 1
    for number, (gap, chosen) in enumerate(zip(gaps, bins, strict=True)):
        bin_of = np.zeros(len(counts), dtype=np.int64)
        bin_of[cell] = chosen
        features[np.arange(len(counts)), number, 1 + bin_of] = _cell_means(gap, cell)

    def statistic(sums: np.ndarray) -> np.ndarray:
        error: np.ndarray = np.abs(sums[:, 1:]).sum(axis=1) / sums[:, 0]
        return error

    return Cells(counts, features.reshape(len(counts), -1), _compared(statistic, len(gaps)))


def auroc_cells(inside: np.ndarray, confidences: Sequence[np.ndarray]) -> Cells:
    """Return the cells of the AUROC: how likely a row inside has a higher confidence than one outside, ties half.

    The Mann-Whitney statistic. Rows are grouped by their placements, the share of the other kind's rows that each beats
    (E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson, Biometrics 44, 1988), of which its variance is made; a pair of
    cells counts with the exact mean of its pairs of rows.

    Args:
        inside: [rows] bool; rows of both kinds must be there.
        confidences: [rows] of each model.
    """
    from scipy.sparse import eye_array

    placements = [_placements(inside, confidence) for confidence in confidences]
    compared = [placements[0], placements[0] - placements[1]] if len(placements) == 2 else placements
    cell = group_rows(np.where(inside, 0, 1), compared)
    counts, within = np.bincount(cell), int(cell[inside].max()) + 1
    wins = [_wins(cell[inside], cell[~inside] - within, confidence[inside], confidence[~inside])
            for confidence in confidences]  # fmt: skip
    share = wins[0] - wins[1] if len(wins) == 2 else wins[0]  # [cells inside, cells outside]
    share /= np.outer(counts[:within], counts[within:])

    def statistic(sums: np.ndarray) -> np.ndarray:
        ours, theirs = sums[:, :within], sums[:, within:]
        area: np.ndarray = ((ours @ share) * theirs).sum(axis=1) / (ours.sum(axis=1) * theirs.sum(axis=1))
        return area

    return Cells(counts, eye_array(len(counts), format="csr"), statistic)


def _placements(inside: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Return the share [rows] of the rows of the other kind that lie below each row, ties half."""
    shares = np.empty(len(confidence))
    for kind in (inside, ~inside):
        others = np.sort(confidence[~kind])
        ends = [np.searchsorted(others, confidence[kind], side) for side in ("left", "right")]
        shares[kind] = (ends[0] + ends[1]) / 2 / len(others)
    return shares


def _wins(ours: np.ndarray, theirs: np.ndarray, our_values: np.ndarray, their_values: np.ndarray) -> np.ndarray:
    """Return [our cells, their cells] how many pairs of rows we win, ties half; cells and values are [rows]."""
    from scipy.sparse import coo_array

    levels, level = np.unique(np.concatenate([our_values, their_values]), return_inverse=True)
    our_rows, their_rows = (
        coo_array((np.ones(len(cells)), (rank, cells)), shape=(len(levels), int(cells.max()) + 1)).tocsr()
        for rank, cells in ((level[: len(ours)], ours), (level[len(ours) :], theirs))
    )  # [levels, cells]
    wins, below = np.zeros((our_rows.shape[1], their_rows.shape[1])), np.zeros(their_rows.shape[1])
    for start in range(0, len(levels), LEVELS_AT_ONCE):  # so that memory stays small
        here = their_rows[start : start + LEVELS_AT_ONCE].toarray()
        upto = below + np.cumsum(here, axis=0)
        wins += our_rows[start : start + LEVELS_AT_ONCE].T @ (upto - here / 2)
        below = upto[-1]
    return wins
