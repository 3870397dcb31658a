"""Odd rows, and what becomes of contradicting labels over time."""

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.data.cleaning.clean import apply
from tasks.data.cleaning.conflicts import Conflicts, choose_targets
from tasks.data.cleaning.outliers import FARTHEST, Outliers, measure_distances
from tasks.data.rows import values
from tasks.errors import DataError
from tests.unit.data_rows import rows
from tests.unit.test_data_label_errors import made

ODD = ["how tall is the tower of pisa", "zxqw plf mnbv qqqq"]


@pytest.mark.parametrize("among", ["label", "all"])
def test_odd_rows_are_the_farthest_and_go(among: Any) -> None:
    texts, labels, _ = made(0)
    step = Outliers(features="ngrams", among=among, share=0.015)
    left, report = apply(step, rows(texts + ODD, [*labels, "card", "money"]))
    assert set(values(left, "text")) == set(texts)
    assert (report.rows_in - report.rows_out, report.left_out) == (2, {"dropped, far from all others": 2})


def test_flag_keeps_all_rows_and_near_ones_are_none() -> None:
    texts, labels, _ = made(0)
    table = rows(texts + ODD, [*labels, "card", "money"])
    left, report = apply(Outliers(features="ngrams", action="flag", share=0.015), table)
    assert left.equals(table)
    assert report.left_out == {"flagged, kept": 2}
    assert apply(Outliers(features="ngrams", distance=1.99), table)[0].equals(table)


def test_a_copy_of_an_odd_row_does_not_make_it_usual() -> None:
    texts, labels, _ = made(0)
    step = Outliers(features="ngrams", neighbours=1)
    found = measure_distances(step, [*texts, ODD[0], ODD[0].upper() + "!"], [*labels, "card", "card"])
    assert set(np.argsort(found)[-2:]) == {len(texts), len(texts) + 1}


def test_distances_do_not_go_by_the_order_of_rows() -> None:
    texts, labels, _ = made(0)
    step = Outliers(features="ngrams")
    order = random.Random(2).sample(range(len(texts)), len(texts))
    found = measure_distances(step, texts, labels)
    other = measure_distances(step, [texts[row] for row in order], [labels[row] for row in order])
    assert np.allclose(found[order], other, atol=1e-5)
    assert ((found >= 0) & (found <= FARTHEST)).all()


def test_rows_with_nothing_to_be_like_are_farthest() -> None:
    step = Outliers(features="ngrams")
    assert measure_distances(step, ["", " "], ["a", "b"]).tolist() == [FARTHEST] * 2
    assert measure_distances(step, ["the same text"] * 3, ["a"] * 3).tolist() == [FARTHEST] * 3


def timed(texts: list[str], targets: list[str], times: list[str]) -> pa.Table:
    return rows(texts, targets).append_column("time", pa.array(times))


def test_the_newest_label_wins_and_an_unknown_time_is_the_oldest() -> None:
    table = timed(["x"] * 4 + ["y", "Y "], ["a", "a", "b", "c", "a", "b"],
                  ["2026-01-01", "2026-01-02", "2026-03-01", "", "", "2020-01-01"])  # fmt: skip
    left, _ = apply(Conflicts(policy="newest"), table)
    assert values(left, "id") == ["r2", "r5"]


def test_equal_times_go_by_majority_and_a_tie_drops_all() -> None:
    late = "2026-05-05T10:00:00Z"
    table = timed(["x"] * 4 + ["y"] * 3, ["a", "b", "b", "a", "a", "b", "b"],
                  [late, late, late, "2026-01-01", late, late, ""])  # fmt: skip
    left, _ = apply(Conflicts(policy="newest"), table)
    assert values(left, "id") == ["r1", "r2"]


def test_newest_without_times_names_what_to_set() -> None:
    with pytest.raises(DataError, match=r"name the column under `data\.time`"):
        apply(Conflicts(policy="newest"), rows(["x", "x"], ["a", "b"]))


def test_the_winner_does_not_go_by_the_order_of_rows() -> None:
    rng = random.Random(8)
    for _ in range(50):
        cells = [(rng.choice("xy"), rng.choice("abc"), rng.choice(["", "2026", "2027"])) for _ in range(8)]
        shuffled = rng.sample(cells, len(cells))
        assert choose_targets(*map(list, zip(*cells, strict=True))) == choose_targets(
            *map(list, zip(*shuffled, strict=True))
        )
