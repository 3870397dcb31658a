"""The spec at the door: what it takes, and that each mistake is one line naming file, field and mend."""

import copy
import json
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

import flows
from flows.spec import DEFAULT_FILE, Spec, json_schema, read_spec
from tasks.compress.methods import Int8Dynamic
from tasks.data.augmentation.augment import Typos
from tasks.data.augmentation.keep_label import KeepLabel
from tasks.errors import SpecError

TEMPLATE = Path(flows.__file__).parent / "templates" / DEFAULT_FILE
EXAMPLE = yaml.safe_load(TEMPLATE.read_text("utf-8"))
GONE = object()


@pytest.fixture
def read(tmp_path):
    def _read(content):
        path = tmp_path / DEFAULT_FILE
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_spec(path)

    return _read


@pytest.fixture
def refusal(read, tmp_path):
    """Return a function that reads what must not pass, and gives the message after the file's name."""

    def _refusal(content):
        with pytest.raises(SpecError) as caught:
            read(content)
        message = str(caught.value)
        assert message.startswith(f"{tmp_path / DEFAULT_FILE}: ")
        assert "\n" not in message
        assert len(message) < 1000
        return message.removeprefix(f"{tmp_path / DEFAULT_FILE}: ")

    return _refusal


def changed(path, value):
    """Return the example as YAML with one value changed, or gone, at a path such as `gate.margin`."""
    content = copy.deepcopy(EXAMPLE)
    *parents, last = path.split(".")
    place = content
    for step in parents:
        place = place[step]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return yaml.safe_dump(content)


def lever(**action):
    return changed("levers", [{"name": "first", "clean": ["normalise"]}, {"name": "second", **action}])


def test_the_template_is_valid_and_means_what_it_says(read):
    spec = read(TEMPLATE.read_bytes())
    assert spec.name == "support-intents"
    assert [lever.name for lever in spec.levers] == ["clean", "augment", "retrain", "compress"]
    assert spec.levers[1].augment == (Typos(share=0.2), KeepLabel())
    assert spec.levers[3].compress[1] == Int8Dynamic()
    assert (spec.gate.margin, spec.data.target, spec.data.slices) == (0.02, "intent", ("channel",))


def test_name_and_data_are_enough(read):
    spec = read("name: x\ndata:\n  source: {kind: file, path: a.csv}\n")
    assert (spec.levers, spec.recipe.base, spec.gate.promotion) == ((), "minilm", "auto")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("levrs", []), "levrs: unknown key; did you mean 'levers'?"),
        (changed("gate.margn", 0.1), "gate.margn: unknown key; did you mean 'margin'?"),
        (changed("data.split.vald", 0.1), "data.split.vald: unknown key; did you mean 'valid'?"),
        (changed("data.source.pth", "x"), "data.source.pth: unknown key; did you mean 'path'?"),
        (changed("feedback", {"harvest": {"max_row_per_unit": 3}}),
         "feedback.harvest.max_row_per_unit: unknown key; did you mean 'max_rows_per_unit'?"),
        (lever(trian={}), "levers[1].trian: unknown key; did you mean 'train'?"),
        (lever(train={"epoch": 3}), "levers[1].train.epoch: unknown key; did you mean 'epochs'?"),
        (lever(augment=["swap", {"kind": "typos", "shar": 0.3}]),
         "levers[1].augment[1].shar: unknown key; did you mean 'share'?"),
        (lever(clean=["normalise", {"kind": "near_duplicates", "treshold": 0.3}]),
         "levers[1].clean[1].treshold: unknown key; did you mean 'threshold'?"),
        (changed("recipe.compress", [{"kind": "int8", "reduce": True}]),
         "recipe.compress[0].reduce: unknown key; did you mean 'reduce_range'?"),
        (lever(search={"trials": 2, "space": {"epoch": [1]}}),
         "levers[1].search.space: 'epoch' is no field of `train` and not `base`; did you mean 'epochs'?"),
        (lever(search={"minute": 2}), "levers[1].search.minute: unknown key; did you mean 'minutes'?"),
        (changed("registry", {"zzz": 1}), "registry.zzz: unknown key; known are tracking_uri"),
    ],
)  # fmt: skip
def test_a_misspelt_key_suggests_the_nearest(refusal, content, message):
    assert refusal(content) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lever(search={"minutes": 0}),
         "levers[1].search.minutes: a search with a budget of 0 tries nothing; give more than 0"),
        (lever(search={}),
         "levers[1].search: a search without a budget never ends; give `minutes` or `trials`, as in {trials: 20}"),
        (changed("budget", {"minutes": 0}),
         "budget.minutes: a budget of 0 minutes tries no lever; give more than 0, or leave it out for no limit"),
        (lever(clean=["normalize"]), "levers[1].clean[0].kind: unknown kind 'normalize'; did you mean 'normalise'?"),
        (lever(compress=["onnx", {"kind": "cascade", "stage": [{"kind": "onix"}]}]),
         "levers[1].compress[1].stage[0].kind: unknown kind 'onix'; did you mean 'onnx'?"),
        (lever(compress=["onnx", {"kind": "cascade", "stage": ["onnx", "cascade"]}]),
         "levers[1].compress[1].stage[1]: a stage holds no cascade itself; let the cascades stand one behind another "
         "in `compress`"),
        (lever(compress=["onnx", {"kind": "cascade", "stage": "onnx"}]),
         "levers[1].compress[1].stage: expected 'ngrams' (found 'onnx')"),
        (lever(compress=["onnx", {"kind": "cascade", "stage": []}]),
         "levers[1].compress: the stage of the pass 'cascade' ends as a PyTorch model, which is not served; put 'onnx' "
         "or 'openvino' at its end"),
        (lever(compress=[{"kind": "onix"}]), "levers[1].compress[0].kind: unknown kind 'onix'; did you mean 'onnx'?"),
        (lever(augment=[{"share": 0.1}]), "levers[1].augment[0].kind: missing; known are typos, swap, "
         "dropout, swap_slots, synonyms, mask_fill, back_translate, paraphrase, rebalance, limit, keep_label"),
        (lever(augment=["swap", {"kind": "mixup", "alpha": 0.2}]), "levers[1].augment[1]: 'mixup' makes no rows, it "
         "mixes vectors while a model trains; set `mixup` in `train`, as in train: {mixup: 0.2}"),
        (lever(augment=["mask_fill"]), "levers[1].augment[0].model: missing; it is required"),
        (lever(augment=["back_translate"]), "levers[1].augment[0].forward: missing; it is required; "
         "levers[1].augment[0].backward: missing; it is required"),
        (lever(augment=["swap", "limit"]), "levers[1].augment[1].max_rows: missing; it is required"),
        (lever(train={"mixup": -1}), "levers[1].train.mixup: expected greater than or equal to 0 (found -1)"),
        (lever(train={"tune": "frozn"}), "levers[1].train.tune.kind: unknown kind 'frozn'; did you mean 'frozen'?"),
        (lever(train={"tune": {"kind": "lora", "rnk": 4}}),
         "levers[1].train.tune.rnk: unknown key; did you mean 'rank'?"),
        (lever(train={"focal": 11}), "levers[1].train.focal: expected less than or equal to 10 (found 11)"),
        (lever(train={"tune": "frozen", "r_drop": 1, "dropout": 0}), "levers[1].train: with `tune: frozen` only the "
         "dropout before the head differs between the two passes of `r_drop`, and `dropout` is 0; raise it, or leave "
         "r_drop out"),
        (lever(train={"tune": "frozen", "checkpointing": True}), "levers[1].train: with `tune: frozen` no activations "
         "are kept that `checkpointing` could spare; leave it out"),
        (lever(train={"tune": "gradual", "distributed": {"strategy": "fsdp"}}), "levers[1].train: fsdp shards a model "
         "all of whose weights learn, and with `tune: gradual` some do not; set distributed.strategy: ddp"),
        (lever(train={"adapt": {}, "distributed": {"strategy": "fsdp"}}), "levers[1].train: fsdp shards fine-tuning "
         "alone, and `adapt` and `contrastive` train a whole model before it; set distributed.strategy: ddp, or leave "
         "them out"),
        (lever(train={"start": "champion", "distil": {"student": [0]}}), "levers[1].train: `start: champion` and "
         "`distil.student` both say where training starts; leave one out"),
        (lever(augment=["keep_label"]), "levers[1].augment: 'keep_label' filters what the methods before it made; "
         "put it after them, as in [swap, keep_label]"),
        (lever(augment=["paraphrase"]), "levers[1].augment[0].url: missing; it is required; "
         "levers[1].augment[0].model: missing; it is required"),
        (lever(augment=[{"kind": "paraphrase", "url": "https://key@host/v1", "model": "m"}]),
         "levers[1].augment[0].url: expected text like '^https?://[^\\s/?#@]+(/[^\\s?#]*)?$' "
         "(found 'https://key@host/v1')"),
        (changed("data.source.kind", "parquet"), "data.source.kind: unknown kind 'parquet'; known are file, hub, sql"),
        (changed("data.source", {"path": "x.csv"}), "data.source.kind: missing; known are file, hub, sql"),
        (changed("name", GONE), "name: missing; it is required"),
        (changed("data", GONE), "data: missing; it is required"),
        (changed("data.source", GONE), "data.source: missing; it is required"),
        (changed("data.source", {"kind": "hub"}), "data.source.dataset: missing; it is required"),
        (changed("levers", [{"train": {}}]), "levers[0].name: missing; it is required"),
        (changed("name", "two words"), "name: expected text like '^[A-Za-z0-9][A-Za-z0-9_-]*$' (found 'two words')"),
        (changed("name", 3), "name: expected a valid string (found 3)"),
        (changed("gate.margin", 0.9), "gate.margin: expected less than 0.5 (found 0.9)"),
        (changed("gate.margin", float("nan")), "gate.margin: expected less than 0.5 (found nan)"),
        (changed("gate.margin", "big"),
         "gate.margin: expected a valid number, unable to parse string as a number (found 'big')"),
        (changed("gate.promotion", "never"), "gate.promotion: expected 'auto' or 'review' (found 'never')"),
        (changed("task", "regression"), "task: expected 'classification' (found 'regression')"),
        (changed("gate", None), "gate: expected keys with values, found nothing"),
        (changed("gate", "strict"), "gate: expected keys with values, found 'strict'"),
        (changed("data.source", "a.csv"), "data.source: expected keys with values, found 'a.csv'"),
        (changed("data.slices", "channel"), "data.slices: expected a list such as [a, b], found 'channel'"),
        (changed("levers", {"name": "x", "train": {}}),
         "levers: expected a list such as [a, b], found keys name, train"),
        (changed("levers", None), "levers: expected a list such as [a, b], found nothing"),
        (lever(clean=[3]), "levers[1].clean[0]: expected keys with values, found 3"),
        (changed("data.source", {"kind": "file"}), "data.source: give exactly one of `path` and `splits`"),
        (changed("data.source.splits", {"trian": "a.csv"}),
         "data.source.splits.trian: expected 'train', 'valid', 'select' or 'golden' (found 'trian')"),
        (changed("gate", {1: 2}), "gate: the key 1 is no text; put it in quotes or remove it"),
        (changed("gate", {True: 2}), "gate: the key True is no text; put it in quotes or remove it"),
        (changed("recipe.train.epochs", 2.5),
         "recipe.train.epochs: expected a valid integer, got a number with a fractional part (found 2.5)"),
    ],
)  # fmt: skip
def test_a_mistake_names_field_and_mend(refusal, content, message):
    assert refusal(content) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lever(),
         "levers[1]: lever 'second' must set exactly one of clean, augment, base, train, search, compress, "
         "compress_search; it sets none of them"),
        (lever(train={}, compress=[]),
         "levers[1]: lever 'second' must set exactly one of clean, augment, base, train, search, compress, "
         "compress_search; it sets train and compress"),
        (changed("levers", [{"name": "a", "train": {}}, {"name": "a", "compress": []}]),
         "levers: the name 'a' stands twice; give each lever a name of its own"),
    ],
)  # fmt: skip
def test_levers_change_one_stage_each_and_have_names_of_their_own(refusal, content, message):
    assert refusal(content) == message


@pytest.mark.parametrize("place", ["recipe.compress", "levers[1].compress"])
@pytest.mark.parametrize(
    ("passes", "message"),
    [
        (["int8"], "the pass 'int8' needs an ONNX model; put 'onnx' before it, as in [onnx, int8]"),
        (["int8", "onnx"], "the pass 'int8' needs an ONNX model; put 'onnx' before it, as in [onnx, int8]"),
        (["onnx", "onnx"], "the pass 'onnx' stands twice; keep one of them"),
        (["onnx", "int8", "int8"], "the pass 'int8' stands twice; keep one of them"),
        (["onnx", "int8", {"kind": "int8", "reduce_range": True}], "the pass 'int8' stands twice; keep one of them"),
    ],
)
def test_passes_that_no_model_can_go_through_are_refused(refusal, place, passes, message):
    content = changed(place, passes) if place.startswith("recipe") else lever(compress=passes)
    assert refusal(content) == f"{place}: {message}"


@pytest.mark.parametrize("passes", [[], ["onnx"], ["onnx", "int8"], ["onnx", {"kind": "int8", "reduce_range": True}]])
def test_passes_in_order_are_taken(read, passes):
    assert len(read(lever(compress=passes)).levers[1].compress) == len(passes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"minutes": 0}, "minutes: expected greater than 0 (found 0)"),
        ({"minutes": float("inf")}, "minutes: expected a finite number (found inf)"),
        ({"passes": ["cascade"], "runtimes": []}, "runtimes: no runtime is named, so that nothing could be served"),
        ({"passes": ["quantise"]}, "passes[0]: expected"),
        ({"passes": ["onnx"]}, "passes[0]: expected"),
        ({"passes": "int8"}, "passes: expected a list such as [a, b], found 'int8'"),
        ({"runtimes": ["torch"]}, "runtimes[0]: expected 'onnx', 'openvino' or 'tensorrt' (found 'torch')"),
        ({"passes": ["recover"]}, "passes: 'recover' trains what another pass left, and none of prune, shrink, "
                                  "factorise, window, distil is among them; add one, or take it out"),
        ({"passes": ["cascade", "cascade"]}, "passes: 'cascade' stands twice; keep one of them"),
        ({"trials": 3}, "trials: unknown key"),
    ],
)  # fmt: skip
def test_a_search_over_passes_names_field_and_mend(refusal, given, message):
    assert refusal(lever(compress_search=given)).startswith(f"levers[1].compress_search.{message}")


def test_a_search_over_passes_needs_nothing_said(read):
    assert read(lever(compress_search={})).levers[1].compress_search.minutes == 15


@pytest.mark.parametrize(("limit", "needed"), [("latency_p99_ms", 1000), ("latency_p95_ms", 200)])
def test_a_limit_that_the_samples_could_never_tell_is_refused(refusal, read, limit, needed):
    content = yaml.safe_load(changed("gate.limits", {limit: 2}))
    content["benchmark"] = {"samples": needed - 1}
    assert refusal(yaml.safe_dump(content)) == (
        f"gate: its limit on a latency's percentile needs {needed} batch-1 predictions, and "
        f"benchmark.samples is {needed - 1}; raise that to {needed}"
    )
    content["benchmark"] = {"samples": needed}
    assert getattr(read(yaml.safe_dump(content)).gate.limits, limit) == 2


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"memory_mb": 0}, "memory_mb: expected greater than 0 (found 0)"),
        ({"size": 5}, "size: unknown key; did you mean 'size_mb'?"),
        ({"cold_start_s": "soon"}, "cold_start_s: expected a valid number"),
    ],
)
def test_a_limit_names_field_and_mend(refusal, limits, message):
    assert refusal(changed("gate.limits", limits)).startswith(f"gate.limits.{message}")


NOTHING_LEFT = "and leave nothing for train; lower them until they sum to less than 1"
HALVES = {"valid": 0.5, "select": 0.25, "golden": 0.25}


@pytest.mark.parametrize(
    ("source", "split", "message"),
    [
        ({"kind": "file", "path": "a.csv"}, HALVES, "data.split: the shares of valid, select, golden sum to 1"),
        ({"kind": "file", "path": "a.csv"}, {"golden": 0.9},
         "data.split: the shares of valid, select, golden sum to 1.15"),
        ({"kind": "sql", "url": "sqlite://", "query": "select 1"}, HALVES,
         "data.split: the shares of valid, select, golden sum to 1"),
        ({"kind": "hub", "dataset": "d"}, HALVES, "data.split: the shares of valid, select, golden sum to 1"),
        ({"kind": "file", "splits": {"train": "a.csv", "golden": "b.csv"}}, {"valid": 0.5, "select": 0.5},
         "data.split: the shares of valid, select sum to 1"),
    ],
)  # fmt: skip
def test_shares_that_leave_nothing_for_train_are_refused(refusal, source, split, message):
    assert refusal(changed("data", {"source": source, "split": split})) == f"{message} {NOTHING_LEFT}"


def test_shares_of_feedback_leave_something_for_train(refusal):
    assert refusal(changed("data.feedback", HALVES)) == (
        f"data.feedback: the shares of valid, select, golden sum to 1 {NOTHING_LEFT}"
    )


def test_shares_of_sets_that_the_source_names_do_not_count(read):
    files = {"train": "a.csv", "golden": "b.csv", "select": "c.csv"}
    read(changed("data", {"source": {"kind": "file", "splits": files}, "split": {**HALVES, "golden": 0.9}}))


def test_a_mistake_in_the_source_is_the_one_that_is_told(refusal):
    assert refusal(changed("data", {"source": {"kind": "file"}, "split": HALVES})) == (
        "data.source: give exactly one of `path` and `splits`"
    )


def test_three_mistakes_are_named_and_the_rest_counted(refusal):
    content = copy.deepcopy(EXAMPLE)
    content["gate"] = {"margn": 1, "alpha": 2, "min_gain": 3, "promotion": 4, "cost_margin": 5}
    message = refusal(yaml.safe_dump(content))
    assert message.count(";") >= 2
    assert message.endswith(" (and 2 more)")


def test_a_long_value_is_shortened(refusal):
    message = refusal(changed("gate.promotion", "x" * 5000))
    assert "(5000 characters)" in message
    assert len(message) < 200


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("name: x\ndata: [1, 2\nlevers:\n", "line 3, column 7: expected ',' or ']'"),
        ("name: x\ndata:\n\tsource: 1\n", "line 3, column 1: found character '\\t'"),
        ("name: a: b\n", "line 1, column 8: mapping values are not allowed here"),
        ("name: a\nname: b\n", "line 2: name stands twice"),
        ("name: a\ndata:\n  text: a\n  text: b\n", "line 4: text stands twice"),
        ("name: a\n---\nname: b\n", "line 2, column 1"),
        ("name: *other\n", "undefined alias"),
        ("name: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("name: a\0b\n", "unacceptable character #x0000"),
        ("name: 2024-13-45\n", "month must be in 1..12"),
        ("name: " + "1" * 5000, "digits"),
        ("[" * 100_000, "recursion"),
        ("", "found nothing"),
        ("# only a comment\n", "found nothing"),
        ("- a\n- b\n", "found a list"),
        ("just text", "found a str"),
        ("name: café".encode("latin-1"), "give a YAML file in UTF-8"),
        ("name: x".encode("utf-16"), "give a YAML file in UTF-8"),
        ("&a\nname: x\ndata: *a\n", "data.source: missing"),
    ],
)
def test_what_is_no_yaml_of_ours_is_one_line(refusal, content, named):
    assert named in refusal(content)


def test_a_byte_order_mark_is_no_mistake(read):
    assert read(b"\xef\xbb\xbf" + TEMPLATE.read_bytes()).name == "support-intents"


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(SpecError, match=r"no\.yaml: no such file; write one with `ratchet init DIR`"):
        read_spec(tmp_path / "no.yaml")
    with pytest.raises(SpecError, match=r"cannot be read \(Is a directory\)"):
        read_spec(tmp_path)


def test_the_schema_is_json_and_knows_every_section_and_kind():
    schema = json.loads(json.dumps(json_schema(), allow_nan=False))
    assert set(schema["properties"]) == set(Spec.__dataclass_fields__)
    assert schema["required"] == ["name", "data"]
    assert schema["additionalProperties"] is False
    text = json.dumps(schema)
    assert all(kind in text for kind in ("near_duplicates", "int8", "typos", "file", "hub", "sql"))


def test_the_spec_survives_json(read):
    adapter = TypeAdapter(Spec)
    spec = read(TEMPLATE.read_bytes())
    assert adapter.validate_json(adapter.dump_json(spec, exclude_none=True)) == spec
