"""What a search may vary: checked at the door, and what stands for its values."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tasks.search.space import Range, Search, change, is_whole, made_of, own_value, plain, shown, usual_space, with_own
from tasks.train.bases.base import FromConfig, Pretrained
from tasks.train.methods import Contrastive, FineTune, Frozen, Full, Lora

DOOR = TypeAdapter(Search)


def refusal(**section):
    with pytest.raises(ValidationError) as caught:
        DOOR.validate_python(section)
    [error] = caught.value.errors()
    return error["msg"].removeprefix("Value error, ")


def test_choices_are_what_the_field_holds_however_they_are_written():
    space = DOOR.validate_python(
        {
            "trials": 3,
            "space": {
                "tune": ["frozen", {"kind": "frozen"}, {"kind": "lora", "rank": 8}],
                "contrastive": [None, {"pairs": 3}],
                "base": ["minilm", {"name": "minilm", "layers": [0, 2]}, {"family": "bert", "layers": 1}],
                "epochs": {"low": 1, "high": 4},
                "learning_rate": {"low": 1e-5, "high": 1e-2, "log": True},
            },
        }
    ).space
    assert space == {
        "tune": (Frozen(), Lora(rank=8)),
        "contrastive": (None, Contrastive(pairs=3)),
        "base": ("minilm", Pretrained("minilm", (0, 2)), FromConfig("bert", layers=1)),
        "epochs": Range(1, 4),
        "learning_rate": Range(1e-5, 1e-2, True),
    }
    assert is_whole("epochs") and not is_whole("learning_rate")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"learning_rat": [0.1]},
         "'learning_rat' is no field of `train` and not `base`; did you mean 'learning_rate'?"),
        ({"bas": ["x"]}, "'bas' is no field of `train` and not `base`; did you mean 'base'?"),
        ({"schedule": ["linea"]},
         "schedule: 'linea' cannot be a choice: expected 'linear', 'cosine' or 'constant'"),
        ({"tune": [{"kind": "lora", "rnk": 8}]}, "tune: {'kind': 'lora', 'rnk': 8} has an unknown key 'rnk'"),
        ({"epochs": []}, "epochs: an empty list leaves nothing to choose from; remove it or give choices"),
        ({"epochs": {"low": 1.5, "high": 4}},
         "epochs: 1.5 cannot be a choice: expected a valid integer, got a number with a fractional part"),
        ({"learning_rate": {"low": 0.1, "high": 2}}, "learning_rate: 2.0 cannot be a choice: expected less than 1"),
        ({"learning_rate": {"low": 0.1, "high": 0.1}},
         "learning_rate: low must lie below high (found low 0.1, high 0.1)"),
        ({"dropout": {"low": 0, "high": 0.5, "log": True}},
         "dropout: a logarithmic range starts above 0 (found low 0)"),
        ({"dropout": {"low": 0, "high": float("nan")}}, "dropout: low must lie below high (found low 0, high nan)"),
        ({"tune": {"low": 0, "high": 1}}, "tune: a range needs a number, and tune is none; give a list of choices"),
        ({"checkpointing": {"low": 0, "high": 1}},
         "checkpointing: a range needs a number, and checkpointing is none; give a list of choices"),
        ({"epochs": 5}, "epochs: expected a list of choices or {low: .., high: ..}, found 5"),
    ],
)  # fmt: skip
def test_a_space_that_no_trial_could_be_made_of_is_refused_naming_field_and_value(space, message):
    assert refusal(trials=3, space=space) == message


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"minutes": 0}, "a search with a budget of 0 tries nothing; give more than 0"),
        ({"minutes": -2.5}, "a search with a budget of -2.5 tries nothing; give more than 0"),
        ({"trials": 0}, "a search with a budget of 0 tries nothing; give more than 0"),
        ({}, "a search without a budget never ends; give `minutes` or `trials`, as in {trials: 20}"),
        ({"trials": 2, "address": "tcp://h:1"},
         "`address` is that of a Dask or Ray cluster, and the runner is 'threads'; set `runner: dask` or "
         "`runner: ray`, or remove the address"),
    ],
)  # fmt: skip
def test_a_budget_of_zero_or_none_is_refused(section, message):
    assert refusal(**section) == message


METHODS = st.builds(
    FineTune,
    epochs=st.integers(1, 1000), learning_rate=st.floats(1e-9, 0.99), batch_size=st.integers(1, 4096),
    tune=st.sampled_from([Full(), Frozen(), Lora(rank=2)]),
)  # fmt: skip


@given(METHODS, st.integers(0, 100))
def test_the_usual_space_passes_the_door_and_holds_the_recipe(method, fewest):
    space = with_own(usual_space("minilm", method, fewest), "minilm", method)
    assert DOOR.validate_python({"trials": 1, "space": space}).space == space
    for name, each in space.items():
        own = own_value(name, "minilm", method)
        assert each.low <= own <= each.high if isinstance(each, Range) else own in each
    assert ("contrastive" in space) == (fewest < 20)


def test_a_change_is_that_of_the_named_fields_and_of_nothing_else():
    base, method = change("minilm", FineTune(epochs=7), {"base": "other", "dropout": 0.3, "tune": Frozen()})
    assert (base, method) == ("other", replace(FineTune(epochs=7), dropout=0.3, tune=Frozen()))


def test_what_stands_for_a_value_tells_it_from_others():
    values = [
        None,
        True,
        0.5,
        "linear",
        Full(),
        Full(layer_decay=0.9),
        Frozen(),
        Lora(),
        Pretrained("a"),
        Contrastive(),
    ]
    assert len({plain(value) for value in values}) == len(values)
    assert plain(Full("full", 0.9)) == plain(Full(layer_decay=0.9))
    assert made_of("a", FineTune()) == made_of("a", FineTune(epochs=3)) != made_of("a", FineTune(epochs=4))


def test_values_are_shown_as_a_person_writes_them():
    assert [shown(value) for value in (Lora(rank=8), Frozen(), None, 0.000123456, 3, Contrastive())] == [
        "lora (rank 8)", "frozen", "none", "0.0001235", "3", "contrastive",
    ]  # fmt: skip
    assert shown(Pretrained("minilm", (0, 2))) == "pretrained (name minilm, layers (0, 2))"
