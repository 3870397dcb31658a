"""The n-gram stage against its definition, and a cascade: who answers what, nested stages, files that do not fit."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.artifact import MANIFEST, ArtifactInvalid, read_manifest
from serving.classes import softmax
from serving.loading import load_predictor
from serving.predictors import Predictions
from serving.runtimes.cascade import CascadePredictor
from serving.runtimes.ngrams import KEPT_UNKNOWN, NgramStage, character_grams, find_tokens
from tasks.artifacts import open_artifact, seal, serving_requirements
from tasks.errors import ArtifactError
from tests.serving_support import LABELS, make_cascade, make_model_cascade, make_onnx, make_openvino, write_first

WORDS = {"pay": [2, 0, 0.5], "card": [0, 3, 0], "?": [0.25, 0, 0]}
PAIRS = {"^ pay": [1, 0, 0], "pay card": [0, 0, 4], "card $": [0, 1, 0]}
GRAMS = {"<pa": [1, 0, 0], "ay>": [0, 0, 1], "pays": [0, 2, 0]}
BIAS = [0.1, 0.0, -0.1]


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first") / "first"
    write_first(folder, WORDS, PAIRS, GRAMS, BIAS)
    return NgramStage(folder, 3)


def expected_of(text):
    """The definition, feature by feature; every known feature has mass 1."""
    tokens = find_tokens(text.lower())
    rows = [WORDS[token] for token in tokens if token in WORDS]
    rows += [GRAMS[gram] for token in tokens if token not in WORDS for gram in character_grams(token, 3, 5)
             if gram in GRAMS]  # fmt: skip
    marked = ["^", *tokens, "$"]
    rows += [PAIRS[f"{a} {b}"] for a, b in pairwise(marked) if f"{a} {b}" in PAIRS]
    logits = np.sum(rows, axis=0) / np.sqrt(len(rows)) if rows else np.zeros(3)
    return softmax((logits + BIAS)[None])[0], bool(rows)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(["pay", "Card", "?", "pays", "spay", "payday", "other", "\ud800", "é", "a-b"]), max_size=9)
)
def test_the_stage_is_its_definition(stage, words):
    text = " ".join(words)
    expected, known = expected_of(text)
    best, confidence, probabilities = stage.judge(text)
    assert probabilities == pytest.approx(expected, abs=1e-5)
    assert probabilities.dtype == np.float32
    assert confidence == pytest.approx(expected.max() if known else 0.0, abs=1e-5)
    assert expected[best] == pytest.approx(expected.max(), abs=1e-5)
    assert stage.answer(text) == (best, confidence)


@pytest.mark.parametrize("text", ["", " ", "unknown", "\ud800", "\x00", "x" * 10_000, "zz " * 3000])
def test_a_text_of_which_nothing_is_known_has_no_confidence(stage, text):
    assert stage.answer(text) == (0, 0.0)
    assert stage.judge(text)[2] == pytest.approx(softmax(np.array([BIAS]))[0], abs=1e-6)


def test_many_texts_are_answered_as_each_alone(stage):
    texts = ["pay card", "", "pays?", "spay pay", "CARD"]
    best, confidences, probabilities = stage.answers(texts)
    alone = [stage.judge(text) for text in texts]
    assert best.tolist() == [each[0] for each in alone]
    assert confidences.tolist() == [each[1] for each in alone]
    assert (probabilities == np.array([each[2] for each in alone])).all()
    assert [array.shape for array in stage.answers([])] == [(0,), (0,), (0, 3)]


def test_what_is_remembered_of_unknown_words_is_bounded_and_changes_no_answer(stage):
    before = stage.answer("pays again")
    for number in range(2 * KEPT_UNKNOWN + 10):
        stage.answer(f"pays{number}")
    assert len(stage._unknown) <= KEPT_UNKNOWN
    assert stage.answer("pays again") == before
    stage.answer("pays" * 5000)
    assert max(map(len, stage._unknown)) < 100


def test_half_precision_is_read(tmp_path):
    write_first(tmp_path / "first", WORDS, PAIRS, GRAMS, BIAS, np.float16)
    best, confidence = NgramStage(tmp_path / "first", 3).answer("pay card")
    expected, _ = expected_of("pay card")
    assert (best, confidence) == (expected.argmax(), pytest.approx(expected.max(), abs=1e-3))


# -- a cascade ---------------------------------------------------------------------------------------------------------


class Counting:
    """A predictor behind a first stage that remembers what it was asked."""

    def __init__(self):
        self.calls = []

    def predict(self, texts):
        self.calls.append(list(texts))
        return Predictions(["c"] * len(texts), np.full(len(texts), 0.5, np.float32),
                           np.tile(np.array([[0.2, 0.3, 0.5]], np.float32), (len(texts), 1)))  # fmt: skip


@pytest.fixture
def cascade(tmp_path):
    return make_cascade(tmp_path / "cascade", make_onnx(tmp_path / "model"), {"sure": [0, 9, 0], "half": [0, 1, 1]})


def test_what_the_first_stage_is_not_sure_of_goes_behind_it_in_one_call(cascade):
    rest = Counting()
    folder, manifest = open_artifact(cascade)
    predictor = CascadePredictor(folder, manifest, rest, NgramStage(folder / "first", len(LABELS)))
    texts = ["sure", "half", "", "sure sure", "none"]
    answered = predictor.predict(texts)
    assert answered.outputs == ["b", "c", "c", "b", "c"]
    assert rest.calls == [["half", "", "none"]]
    assert answered.scores.tolist() == answered.probabilities.max(axis=1).tolist()
    assert answered.probabilities.sum(axis=1) == pytest.approx(np.ones(5))
    assert predictor.stages_of(texts) == [0, 1, 1, 0, 1]
    predictor.predict(["sure"] * 3)
    assert len(rest.calls) == 1  # nothing was left
    assert predictor.predict([]).outputs == []


def test_a_confidence_at_the_threshold_is_sure(tmp_path):
    model = make_onnx(tmp_path / "model")
    confidence = load_predictor(make_cascade(tmp_path / "a", model, {"half": [0, 1, 0]}).uri).first.answer("half")[1]
    for name, threshold, stage in (("at", confidence, 0), ("above", np.nextafter(confidence, 1), 1)):
        made = make_cascade(tmp_path / name, model, {"half": [0, 1, 0]}, threshold=float(threshold))
        predictor = load_predictor(made.uri)
        assert predictor.stages_of(["half"]) == [stage]
        for texts in (["half"], ["half"] * 2):  # a batch draws the same line
            assert predictor.predict(texts).outputs[0] == ("b" if stage == 0 else "a")


def test_three_stages_say_which_answered(tmp_path, cascade):
    predictor = load_predictor(make_cascade(tmp_path / "three", cascade, {"first": [9, 0, 0]}).uri, threads=1)
    texts = ["gamma", "sure", "first", "none", "sure"]
    assert predictor.stages_of(texts) == [2, 1, 0, 2, 1]
    assert predictor.predict(texts).outputs == ["c", "b", "a", "a", "b"]


def test_what_a_cascade_needs_is_what_its_last_stage_needs(tmp_path, cascade):
    assert serving_requirements(cascade) == ["onnxruntime", "tokenizers", "numpy"]
    behind = make_openvino(tmp_path / "openvino")
    assert serving_requirements(behind) == ["openvino", "tokenizers", "numpy"]
    nested = make_cascade(tmp_path / "nested", make_cascade(tmp_path / "inner", behind, {}), {})
    assert serving_requirements(nested) == ["openvino", "tokenizers", "numpy"]
    torch = seal(tmp_path / "nested" / "first", runtime="torch", notes={})
    with pytest.raises(ArtifactError, match="runtime 'torch' is not served"):
        serving_requirements(torch)


@pytest.fixture
def middle(tmp_path):
    """A model before one of another runtime, which would answer the other way round."""
    rest = make_onnx(tmp_path / "rest")
    return make_model_cascade(tmp_path / "middle", rest, make_openvino(tmp_path / "small"), threshold=0.95)


def test_a_model_first_answers_what_it_is_sure_of_as_it_would_alone(middle, tmp_path):
    texts = ["alpha", "alpha alpha", "gamma gamma beta", "", "beta beta beta", "unknown"]
    first, rest = (load_predictor(middle.uri + f"/{part}", 1) for part in ("first", "rest"))
    predictor = load_predictor(middle.uri, 1)
    small, large = first.predict(texts), rest.predict(texts)
    sure = small.scores >= 0.95
    assert sure.any() and not sure.all()
    answered = predictor.predict(texts)
    assert answered.outputs == np.where(sure, small.outputs, large.outputs).tolist()
    np.testing.assert_allclose(answered.scores, np.where(sure, small.scores, large.scores), atol=1e-6)
    np.testing.assert_allclose(
        answered.probabilities, np.where(sure[:, None], small.probabilities, large.probabilities), atol=1e-6
    )
    assert predictor.stages_of(texts) == [0 if known else 1 for known in sure]
    for row, text in enumerate(texts):
        alone = predictor.predict([text])
        assert alone.outputs == [answered.outputs[row]]
        np.testing.assert_allclose(alone.probabilities[0], answered.probabilities[row], atol=1e-6)
    assert predictor.predict([]).outputs == [] == predictor.stages_of([])


def test_n_grams_before_a_model_before_a_model_are_three_stages(middle, tmp_path):
    predictor = load_predictor(make_cascade(tmp_path / "three", middle, {"alpha": [0, 9, 0]}).uri, threads=1)
    texts = ["gamma", "beta beta", "alpha", "beta beta alpha"]
    assert predictor.stages_of(texts) == [2, 1, 0, 0]
    assert predictor.predict(texts).outputs == ["c", "b", "b", "b"]


def test_what_a_cascade_needs_is_what_its_models_need(middle, tmp_path):
    assert serving_requirements(middle) == ["onnxruntime", "openvino", "tokenizers", "numpy"]
    gpu = make_onnx(tmp_path / "gpu")
    manifest = {
        name: value for name, value in open_artifact(gpu)[1].items() if name not in ("files", "notes", "format")
    }
    on_gpu = seal(tmp_path / "gpu", notes={}, **{**manifest, "runtime": "tensorrt"})
    both = make_model_cascade(tmp_path / "both", on_gpu, make_onnx(tmp_path / "cpu"), threshold=0.9)
    assert serving_requirements(both) == ["onnxruntime-gpu", "tokenizers", "numpy"]


def test_a_model_first_that_does_not_match_is_refused(middle, tmp_path):
    small = tmp_path / "middle" / "first"
    (small / "model.xml").write_bytes(b"another")
    resealed(tmp_path / "middle")
    with pytest.raises(ArtifactInvalid, match=r"first/model\.xml: not what the cascade was built with"):
        load_predictor(middle.uri)
    other = make_onnx(tmp_path / "other", labels=["a", "c", "b"])
    strange = make_model_cascade(tmp_path / "strange", make_onnx(tmp_path / "whole"), other, threshold=0.9)
    with pytest.raises(ArtifactInvalid, match="its labels are not those of the cascade"):
        load_predictor(strange.uri)


# -- files that do not fit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["first/words.npy", "first/words.json", "rest/model.onnx", "rest/manifest.json"])
def test_a_changed_file_of_any_stage_is_refused(cascade, tmp_path, name):
    file = tmp_path / "cascade" / name
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(ArtifactInvalid, match=f"{name}: missing or changed"):
        load_predictor(cascade.uri)


def resealed(folder):
    """Seal a cascade's folder again, as it now is."""
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["files"], manifest["notes"], manifest["format"]
    seal(folder, notes={}, **manifest)


@pytest.mark.parametrize("harm", ["missing", "another", "no manifest"])
def test_a_cascade_whose_rest_does_not_match_its_own_manifest_is_refused(cascade, tmp_path, harm):
    rest = tmp_path / "cascade" / "rest"
    if harm == "missing":
        (rest / MANIFEST).unlink()
    elif harm == "another":
        (rest / "model.onnx").write_bytes(b"another")
    else:
        (rest / MANIFEST).write_text("[]")
    resealed(tmp_path / "cascade")
    with pytest.raises(ArtifactInvalid, match=r"behind its first stage|not what the cascade was built with|expected a"):
        read_manifest(tmp_path / "cascade")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("words.json", b"{"), ("words.json", b"[]"), ("words.json", b'{"lower": true}'), ("words.npy", b""),
        ("words.npy", b"\x93NUMPY"), ("bias.npy", np.zeros(2)), ("words.npy", np.zeros((1, 3))),
        ("words.npy", np.full((2, 3), np.nan)), ("grams_mass.npy", np.ones(4)), ("pairs.npy", np.array([{}])),
    ],
)  # fmt: skip
def test_a_first_stage_that_does_not_fit_is_one_line(cascade, tmp_path, name, content):
    path = tmp_path / "cascade" / "first" / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    resealed(tmp_path / "cascade")
    with pytest.raises(ArtifactInvalid, match="first") as refused:
        load_predictor(cascade.uri)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("threshold", [None, "high", True, float("nan"), -0.1, 2])
def test_a_threshold_that_is_none_is_refused(tmp_path, threshold):
    made = make_cascade(tmp_path / "cascade", make_onnx(tmp_path / "model"), {}, threshold=threshold)
    with pytest.raises(ArtifactInvalid, match="expected a threshold between 0 and 1"):
        load_predictor(made.uri)


def test_labels_stay_those_of_the_model(cascade):
    assert open_artifact(cascade)[1]["labels"] == LABELS
