"""A base in the spec: its three forms at the door, its folder's place, its identity, and how a report shows it."""

import json
from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from flows.models import place_models
from flows.recipes import difference
from flows.spec import Spec, json_schema, read_spec
from tasks.errors import SpecError
from tasks.levers import pull
from tasks.records import from_json, to_json
from tasks.registry import flat_params
from tasks.search.space import Search
from tasks.specs import Lever, Recipe
from tasks.train.bases.base import FromConfig, Pretrained, base_identity
from tasks.train.methods import Distil, FineTune

DATA = "name: x\ndata:\n  source: {kind: file, path: a.csv}\n"


@pytest.fixture
def read(tmp_path):
    def _read(text):
        path = tmp_path / "ratchet.yaml"
        path.write_text(DATA + text, "utf-8")
        return read_spec(path)

    return _read


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("minilm", "minilm"),
        ("{name: minilm, layers: [4, 0, 2]}", Pretrained("minilm", (4, 0, 2))),
        ("{name: some/base, window: 64}", Pretrained("some/base", window=64)),
        ("{family: gpt2, layers: 3, heads: 4}", FromConfig("gpt2", layers=3, heads=4)),
    ],
)
def test_a_base_has_three_forms(read, text, base):
    spec = read(f"recipe:\n  base: {text}\nlevers:\n  - {{name: other, base: {text}}}\n")
    assert spec.recipe.base == base
    assert pull(spec.levers[0], Recipe()).base == base
    assert from_json(Recipe, to_json(spec.recipe)) == spec.recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{name: minilm, layrs: [0]}", "base.layrs: unknown key; did you mean 'layers'?"),
        ("{layers: [0]}", "base.name: missing; it is required"),
        ("{family: t6}", "base.family: expected 'bert', 'deberta-v2', 'modernbert', 't5' or 'gpt2' (found 't6')"),
        ("{family: t5, hidden: 64}", "base.hidden: unknown key; did you mean 'hidden_size'?"),
        ("{family: t5, hidden_size: 4}", "base.hidden_size: expected greater than or equal to 8 (found 4)"),
        ("{name: minilm, layers: [-1]}", "base.layers[0]: expected greater than or equal to 0 (found -1)"),
        ("{name: minilm, window: 1}", "base.window: expected greater than or equal to 2 (found 1)"),
        ("[minilm]", "base: expected a valid string (found a list of 1)"),
        ("''", "base: string should have at least 1 character (found '')"),
    ],
)
def test_a_mistake_in_a_base_speaks_of_its_form_only(read, tmp_path, text, message):
    for place, content in (
        ("recipe.", f"recipe: {{base: {text}}}"),
        ("levers[0].", f"levers: [{{name: a, base: {text}}}]"),
    ):
        with pytest.raises(SpecError) as caught:
            read(content + "\n")
        assert str(caught.value) == f"{tmp_path / 'ratchet.yaml'}: {place}{message}"


def test_a_mistake_in_a_student_is_found_too(read):
    with pytest.raises(SpecError, match=r"recipe\.train\.distil\.student\.layrs: unknown key; did you mean 'layers'\?"):
        read("recipe: {train: {distil: {student: {family: gpt2, layrs: 2}}}}\n")


def test_the_json_schema_knows_the_forms():
    schema = json_schema()
    forms = schema["$defs"]["Recipe"]["properties"]["base"]["oneOf"]
    assert [form.get("type", form.get("$ref")) for form in forms] == [
        "string",
        "#/$defs/Pretrained",
        "#/$defs/FromConfig",
    ]
    json.dumps(schema)


def test_folders_beside_the_spec_are_placed_wherever_a_base_is_named(tmp_path):
    (tmp_path / "own").mkdir()
    here = str(tmp_path / "own")
    spec = TypeAdapter(Spec).validate_python(
        {
            "name": "x",
            "data": {"source": {"kind": "file", "path": "a.csv"}},
            "recipe": {"base": "own", "train": {"distil": {"student": {"name": "own", "layers": [0]}}}},
            "levers": [
                {"name": "named", "base": {"name": "own", "window": 8}},
                {"name": "made", "base": {"family": "t5", "tokenizer": "own"}},
                {"name": "hub", "base": "some/base"},
                {"name": "student", "train": {"distil": {"student": "own"}}},
                {"name": "layers", "train": {"distil": {"student": [0, 2]}}},
                {
                    "name": "search",
                    "search": {"trials": 2, "space": {"base": ["own", "minilm", {"name": "own"}], "epochs": [1, 2]}},
                },
                {"name": "passes", "compress": ["onnx"]},
            ],
        }
    )
    placed = place_models(tmp_path, spec)
    assert placed.recipe.base == here
    assert placed.recipe.train.distil.student == Pretrained(here, (0,))
    levers = {lever.name: lever for lever in placed.levers}
    assert levers["named"].base == Pretrained(here, window=8)
    assert levers["made"].base == FromConfig("t5", here)
    assert levers["hub"].base == "some/base"
    assert levers["student"].train == FineTune(distil=Distil(student=here))
    assert levers["layers"].train.distil.student == (0, 2)
    assert levers["search"].search == Search({"base": (here, "minilm", Pretrained(here)), "epochs": (1, 2)}, trials=2)
    assert levers["passes"] == spec.levers[-1]


def test_an_identity_changes_with_the_folder_and_with_what_is_changed_about_it(tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}", "utf-8")
    name = str(folder)
    bases = [name, Pretrained(name), Pretrained(name, (0,)), Pretrained(name, window=8), FromConfig("t5", name)]
    first = [base_identity(base) for base in bases]
    assert len(set(first)) == len(bases)
    assert [base_identity(base) for base in bases] == first
    (folder / "config.json").write_text("{ }", "utf-8")
    assert not set(first) & {base_identity(base) for base in bases}


def test_a_report_shows_a_base_readably():
    before = Recipe()
    cut, made = Pretrained("minilm", (0, 2, 4), window=64), FromConfig("gpt2", layers=3)
    assert difference(before, replace(before, base=cut)) == [("base", "minilm", "minilm (layers 0 2 4, window 64)")]
    assert difference(replace(before, base=cut), replace(before, base=Pretrained("minilm", window=64))) == [
        ("base", "minilm (layers 0 2 4, window 64)", "minilm (window 64)")
    ]
    [(_, _, shown)] = difference(before, replace(before, base=made))
    assert shown == (
        "gpt2 (tokenizer minilm, hidden_size 128, layers 3, heads 2, intermediate_size 512, max_length 512)"
    )
    assert json.loads(flat_params(replace(before, base=cut))["base"]) == {
        "name": "minilm", "layers": [0, 2, 4], "window": 64,
    }  # fmt: skip
    assert difference(before, pull(Lever("none", base="minilm"), before)) == []
