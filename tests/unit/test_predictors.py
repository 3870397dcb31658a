"""What every served runtime answers on a tiny classifier: order, odd texts, threads; and artifacts tampered with."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from serving.artifact import MANIFEST, ArtifactInvalid, file_sha256, read_manifest
from serving.classes import BATCH_SIZE, encodable, predict_classes, soften, softmax, tokenizer_function
from serving.loading import load_predictor, open_predictor
from tasks.artifacts import open_artifact, seal
from tasks.errors import ArtifactError
from tests.serving_support import LABELS, OF_THE_BAG, make_cascade, make_onnx, make_openvino

FIRST = {"alpha": [9, 0, 0]}  # all that the first stage of the cascade is sure of


@pytest.fixture
def artifact(tmp_path):
    return make_onnx(tmp_path / "model")


@pytest.fixture(scope="module")
def predictors(tmp_path_factory):
    """One predictor in each runtime, and a cascade before a cascade."""
    root = tmp_path_factory.mktemp("artifacts")
    made = {"onnx": make_onnx(root / "onnx"), "openvino": make_openvino(root / "openvino")}
    made["cascade"] = make_cascade(root / "cascade", made["openvino"], FIRST)
    made["three stages"] = make_cascade(root / "three", made["cascade"], {"gamma": [0, 0, 9]})
    return {name: load_predictor(each.uri, threads=1) for name, each in made.items()}


@pytest.fixture(params=["onnx", "openvino", "cascade", "three stages"])
def predictor(request, predictors):
    return predictors[request.param]


def test_each_text_gets_its_label_in_the_order_of_the_texts(predictor):
    """More texts than a batch, of mixed lengths, so that sorting by length must be undone."""
    rng = np.random.default_rng(4)
    words = rng.choice(["alpha", "beta", "gamma"], 3 * BATCH_SIZE + 5)
    texts = [" ".join([word] * int(count)) for word, count in zip(words, rng.integers(1, 12, len(words)), strict=True)]
    predictions = predictor.predict(texts)
    expected = {"alpha": "a", "beta": "b", "gamma": "c"}
    assert predictions.outputs == [expected[word] for word in words]
    assert predictions.probabilities.shape == (len(texts), 3)
    assert predictions.scores == pytest.approx(predictions.probabilities.max(axis=1))
    alone = [predictor.predict([text]).scores[0] for text in texts[:10]]
    assert predictions.scores[:10] == pytest.approx(alone, abs=1e-6)  # neither neighbours nor padding count


def test_probabilities_are_the_softmax_of_the_logits(predictor):
    expected = np.exp([0.0, 4.0, 0.0]) / np.exp([0.0, 4.0, 0.0]).sum()
    for texts in (["beta other beta more"], ["beta other beta more", "beta"]):
        answered = predictor.predict(texts)
        assert answered.probabilities[0] == pytest.approx(expected, abs=1e-6)
        assert answered.scores[0] == answered.probabilities[0].max()


@pytest.mark.parametrize("count", [2, 4, 5, 40])
def test_texts_together_are_answered_as_each_alone(predictor, count):
    texts = ["beta", "", "alpha x alpha", "gamma " * 30, "none", "Alpha beta beta beta"] * 7
    together = predictor.predict(texts[:count])
    alone = [predictor.predict([text]) for text in texts[:count]]
    assert together.outputs == [each.outputs[0] for each in alone]
    assert together.probabilities == pytest.approx(np.concatenate([each.probabilities for each in alone]), abs=1e-6)
    assert {array.dtype for array in (together.scores, together.probabilities, alone[0].scores)} == {np.dtype("f4")}


def test_threads_that_share_a_predictor_get_their_own_answers(predictor):
    words = {"alpha": "a", "beta": "b", "gamma": "c"}
    calls = [[" ".join([word] * (1 + number % 35))] * (1 + number % 7) for number in range(100) for word in words]
    with ThreadPoolExecutor(8) as pool:
        answered = list(pool.map(predictor.predict, calls))
    assert [each.outputs for each in answered] == [[words[call[0].split()[0]]] * len(call) for call in calls]


def test_no_texts_give_no_predictions(predictor):
    predictions = predictor.predict([])
    assert (predictions.outputs, predictions.scores.shape, predictions.probabilities.shape) == ([], (0,), (0, 3))


@pytest.mark.parametrize(
    "text",
    ["", " ", "\ud800", "alpha \udfff alpha", "\x00", "al\x00pha", "alpha " * 2000, "x" * 10_000, "\U0001f600" * 500],
    ids=["empty", "blank", "surrogate", "surrogates within", "NUL", "NUL within", "10k words", "10k letters", "emoji"],
)
def test_odd_texts_are_answered_like_any_other(predictor, text):
    predictions = predictor.predict(["beta", text, "gamma"])
    assert (predictions.outputs[0], predictions.outputs[2]) == ("b", "c")
    assert predictions.outputs[1] in LABELS
    assert np.isfinite(predictions.probabilities).all()


@pytest.mark.parametrize("predictor", ["onnx", "openvino"], indirect=True)
def test_a_long_text_is_cut_at_the_longest_the_model_takes(predictor):
    long = predictor.predict(["beta " * 40 + "gamma " * 500 + "other"])
    assert long.outputs == ["b"]


def test_a_batch_is_padded_to_its_longest_text_and_no_further(artifact):
    tokenize = tokenizer_function(artifact.uri, max_length=16)
    batch = tokenize(["alpha", "alpha beta gamma"])
    assert batch["input_ids"].tolist() == [[2, 0, 0], [2, 3, 4]]
    assert batch["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]
    assert tokenize(["alpha " * 40])["input_ids"].shape == (1, 16)


def test_lone_surrogates_are_replaced_and_all_else_kept():
    assert encodable("a\ud800b") == "a?b"
    assert encodable("käse \U0001f600 \x00") == "käse \U0001f600 \x00"


def test_soften_is_the_softmax_of_one_text():
    logits = np.array([[1e4, 3.0, 1e4 + 1, -1e4]], np.float32)
    expected = softmax(logits)
    assert soften(logits[0]) == (2, pytest.approx(expected.max()))
    assert logits == pytest.approx(expected)


def test_softmax_of_large_logits_is_finite():
    assert softmax(np.array([[1e4, 0.0], [-1e4, -1e4]])) == pytest.approx(np.array([[1.0, 0.0], [0.5, 0.5]]))


def test_batches_are_of_similar_length():
    sizes = []

    def tokenize(texts):
        sizes.append([len(text) for text in texts])
        return {"rows": np.zeros((len(texts), 1))}

    texts = ["x" * length for length in (*range(50, 0, -1), *range(1, 51))]
    predict_classes(texts, LABELS, tokenize, lambda batch: np.zeros((len(batch["rows"]), 3)))
    assert [len(batch) for batch in sizes] == [32, 32, 32, 4]
    assert all(max(before) <= min(after) for before, after in pairwise(sizes))


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
@pytest.mark.parametrize("harm", ["change", "remove"])
def test_a_file_that_was_tampered_with_is_refused(artifact, tmp_path, name, harm):
    file = tmp_path / "model" / name
    if harm == "remove":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(ArtifactInvalid, match=f"{name}: missing or changed"):
        load_predictor(artifact.uri)
    with pytest.raises(ArtifactError, match=name):
        open_artifact(artifact)


@pytest.mark.parametrize(
    "content", [None, "", "{", "\ud800".encode("utf-8", "surrogatepass"), "[]", "{}", '{"files": 3}']
)
def test_a_manifest_that_is_missing_or_no_manifest_is_refused(tmp_path, artifact, content):
    path = tmp_path / "model" / MANIFEST
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ArtifactInvalid, match="expected a model artifact's manifest"):
        read_manifest(tmp_path / "model")


def test_a_folder_that_is_missing_is_refused(tmp_path):
    with pytest.raises(ArtifactInvalid, match=r"nowhere/manifest\.json"):
        load_predictor(tmp_path / "nowhere")


@pytest.mark.parametrize(("runtime", "told"), [
    ("torch", "runtime 'torch' is not served; export it to one of cascade, onnx, openvino, tensorrt"),
    (None, "runtime None is not served"),
    ("onnx", "a manifest of runtime 'onnx' names 'onnx'"),
    ("openvino", "a manifest of runtime 'openvino' names 'openvino'"),
    ("tensorrt", "names 'onnx'"),
])  # fmt: skip
def test_a_runtime_that_is_not_served_is_refused(tmp_path, runtime, told):
    (tmp_path / "weights").write_text("w")
    seal(tmp_path, runtime=runtime, labels=LABELS, notes={})
    with pytest.raises(ArtifactInvalid, match=told):
        load_predictor(tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "model.xml", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x08\x12\x03abc" * 50], ids=["empty", "text", "bytes"])
def test_a_corrupted_file_whose_hash_matches_is_one_line(tmp_path, name, content):
    made = make_openvino(tmp_path / "model") if name == "model.xml" else make_onnx(tmp_path / "model")
    (tmp_path / "model" / name).write_bytes(content)
    manifest = json.loads((tmp_path / "model" / MANIFEST).read_text())
    del manifest["files"], manifest["notes"], manifest["format"]
    seal(tmp_path / "model", notes={}, **manifest)
    with pytest.raises(ArtifactInvalid, match=name) as refused:
        load_predictor(made.uri)
    assert "\n" not in str(refused.value)


def test_weights_that_are_cut_short_are_one_line(tmp_path):
    made = make_openvino(tmp_path / "model")
    (tmp_path / "model" / "model.bin").write_bytes(b"")
    manifest = json.loads((tmp_path / "model" / MANIFEST).read_text())
    with pytest.raises(ArtifactInvalid, match=r"model\.xml: OpenVINO cannot open it") as refused:
        open_predictor(made.uri, manifest)
    assert "\n" not in str(refused.value)


def test_a_whole_artifact_in_another_ones_place_is_refused(tmp_path, artifact):
    manifest = json.loads((tmp_path / "model" / MANIFEST).read_text())
    (tmp_path / "model" / MANIFEST).write_text(json.dumps({**manifest, "labels": ["x", "y", "z"]}))
    load_predictor(artifact.uri)  # in itself it is whole
    with pytest.raises(ArtifactError, match="not the artifact"):
        open_artifact(artifact)


def test_the_seal_names_every_file_and_its_size(tmp_path, artifact):
    folder = tmp_path / "model"
    assert open_artifact(artifact)[1]["files"] == {
        name: file_sha256(folder / name) for name in ("model.onnx", "tokenizer.json")
    }
    assert artifact.digest == file_sha256(folder / MANIFEST)
    assert artifact.size_bytes == sum((folder / name).stat().st_size for name in ("model.onnx", "tokenizer.json"))


def test_an_artifact_that_is_sealed_again_is_the_same(tmp_path):
    first = make_onnx(tmp_path / "onnx")
    _, manifest = open_artifact(first)
    again = seal(tmp_path / "onnx", notes={}, **{name: manifest[name] for name in ("runtime", "onnx", *OF_THE_BAG)})
    assert again == first
    assert first.size_bytes == sum((tmp_path / "onnx" / name).stat().st_size for name in manifest["files"])
