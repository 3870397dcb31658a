"""Levers: which stage each touches, what it makes of a recipe, and in what order they are tried."""

from dataclasses import replace

import pytest

from tasks.compress.export import Onnx
from tasks.compress.quantize import Int8Dynamic
from tasks.data.augment import Typos
from tasks.data.clean import DropEmpty
from tasks.levers import CLAIMS, STAGES, in_order, pull, stage_of
from tasks.specs import Lever, Recipe
from tasks.train.finetune import FineTune

LEVERS = {
    "clean": Lever("c", clean=(DropEmpty(),)),
    "augment": Lever("a", augment=(Typos(),)),
    "train": Lever("t", train=FineTune(epochs=9)),
    "compress": Lever("q", compress=(Onnx(), Int8Dynamic())),
}
RECIPE = Recipe(clean=(), train=FineTune(epochs=2))


@pytest.mark.parametrize("stage", STAGES)
def test_a_lever_replaces_its_stage_and_nothing_else(stage):
    lever = LEVERS[stage]
    assert stage_of(lever) == stage
    pulled = pull(lever, RECIPE)
    assert getattr(pulled, stage) == getattr(lever, stage)
    assert replace(pulled, **{stage: getattr(RECIPE, stage)}) == RECIPE


@pytest.mark.parametrize("stage", STAGES)
def test_pulled_twice_a_lever_changes_nothing(stage):
    once = pull(LEVERS[stage], RECIPE)
    assert pull(LEVERS[stage], once) == once


def test_an_empty_list_is_a_change_too():
    lever = Lever("plain", compress=())
    assert pull(lever, Recipe(compress=(Onnx(),))).compress == ()


@pytest.mark.parametrize(
    ("lever", "named"),
    [
        (Lever("idle"), "lever 'idle' must set exactly one of clean, augment, train, compress; it sets none of them"),
        (Lever("both", train=FineTune(), compress=()), "it sets train and compress"),
    ],
)
def test_a_lever_of_no_or_two_stages_is_refused(lever, named):
    with pytest.raises(ValueError, match=named):
        stage_of(lever)


def test_levers_are_tried_in_the_order_of_the_stages():
    shuffled = [LEVERS[stage] for stage in ("compress", "train", "clean", "augment")]
    assert [stage_of(lever) for lever in in_order(shuffled)] == list(STAGES)


def test_levers_of_one_stage_stay_as_declared():
    first, second = Lever("z", train=FineTune(epochs=1)), Lever("a", train=FineTune(epochs=2))
    assert in_order([LEVERS["compress"], first, second]) == [first, second, LEVERS["compress"]]


def test_every_stage_claims_something():
    assert set(STAGES) <= set(CLAIMS)
    assert all(CLAIMS.values())
