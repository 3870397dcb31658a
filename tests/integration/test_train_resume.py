"""A training that is killed, however often and wherever, ends with the weights and metrics of one that was not."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.texts_support import make_masking_base
from tests.training_support import KILLED, Child, result, run_child, steps

FOREVER = 1e9

# the options, where it is killed, and from which step each process after the first goes on
CASES: dict[str, tuple[dict[str, Any], list[dict[str, int]], list[int]]] = {
    # five steps to an epoch; a checkpoint after each step but those at an epoch's end, which come after its evaluation
    "every draw there is": (
        {"method": {"mixup": 0.4, "ema": 0.5, "dropout": 0.3, "label_smoothing": 0.1}},
        [{"die_at": 3}, {"die_at": 5}, {"die_at": 6}, {"die_saving": 8}, {"die_saving": 10}, {"die_at": 15}],
        [3, 5, 6, 8, 10, 15],
    ),
    "epochs' ends only, no valid rows, two parts to a batch": (
        {"method": {"accumulate": 2}, "valid": False, "every_seconds": FOREVER},
        [{"die_at": 3}, {"die_at": 7}, {"die_saving": 15}],
        [1, 6, 11],
    ),
    "stopped early": (
        {"method": {"epochs": 8, "learning_rate": 0.3, "patience": 1}, "every_seconds": FOREVER},
        [{"die_at": 6}, {"die_at": 9}],
        [6, 6],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_ends_as_if_it_had_not_been_killed(case: str, tmp_path: Path, tiny_base: Path) -> None:
    options, kills, starts = CASES[case]
    whole = Child(str(tmp_path / "undisturbed"), str(tiny_base), "model", **options)
    killed = replace(whole, root=str(tmp_path / "killed"))
    assert run_child(whole) == 0
    for kill in kills:
        assert run_child(replace(killed, **kill)) == KILLED
        assert not (tmp_path / "killed" / "model.json").exists()
    assert run_child(killed) == 0
    done = steps(tmp_path / "killed")
    assert [step for before, step in pairwise(done) if step != before + 1] == [step for step in starts if step > 0]
    weights, notes = result(tmp_path / "undisturbed", "model")
    found, found_notes = result(tmp_path / "killed", "model")
    assert found_notes == notes
    assert found == weights


def test_phases_killed_on_the_way_go_on_too(tmp_path: Path) -> None:
    base = str(make_masking_base(tmp_path / "base"))
    method = {
        "epochs": 1,
        "adapt": {"epochs": 1.5, "learning_rate": 0.01},  # 203 texts read, seven steps
        "contrastive": {"loss": "cosine", "below": 40, "pairs": 1, "learning_rate": 0.005, "batch_size": 64},
    }
    whole = Child(str(tmp_path / "undisturbed"), base, "model", method)
    killed = replace(whole, root=str(tmp_path / "killed"))
    assert run_child(whole) == 0
    kills: list[dict[str, Any]] = [
        *({"die_in": "adapt", **place} for place in ({"die_at": 3}, {"die_at": 6}, {"die_saving": 7})),
        *({"die_in": "contrastive", **place} for place in ({"die_at": 2}, {"die_saving": 4})),
        {"die_at": 2},
    ]
    for kill in kills:
        assert run_child(replace(killed, **kill)) == KILLED
    assert run_child(killed) == 0
    assert steps(tmp_path / "killed", "adapt") == [1, 2, 3, 3, 4, 5, 6, 6, 7, 7]
    assert steps(tmp_path / "killed", "contrastive") == [1, 2, 2, 3, 4, 4, 5]
    assert steps(tmp_path / "killed") == [1, 2, 2, 3, 4, 5]
    assert result(tmp_path / "killed", "model") == result(tmp_path / "undisturbed", "model")
    assert not (tmp_path / "killed" / "work" / "adapt").exists()  # its checkpoints


def test_a_process_killed_after_the_end_of_training_trains_no_more(tmp_path: Path, tiny_base: Path) -> None:
    child = Child(str(tmp_path), str(tiny_base), "first", {"epochs": 8, "learning_rate": 0.3, "patience": 1})
    assert run_child(child) == 0
    steps = json.loads((tmp_path / "first.json").read_text())["epochs_run"] * 5
    assert 5 < steps < 40
    assert run_child(replace(child, name="again", die_at=int(steps) + 1)) == 0
    assert result(tmp_path, "first") == result(tmp_path, "again")
