"""The ONNX predictor on a tiny classifier made here: order, odd texts, and artifacts that were tampered with."""

import json
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer, models, pre_tokenizers

from serving.artifact import ArtifactInvalid, file_sha256, read_manifest
from serving.classes import BATCH_SIZE, encodable, predict_classes, softmax, tokenizer_function
from serving.loading import load_predictor
from tasks.artifacts import MANIFEST, open_artifact, seal
from tasks.errors import ArtifactError

LABELS = ["a", "b", "c"]
WORDS = {"[PAD]": 0, "[UNK]": 1, "alpha": 2, "beta": 3, "gamma": 4}
VOTES = np.array([[0, 0, 0], [0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]], np.float32)  # [words, labels]


def write_model(folder):
    """A bag of words: the sum of each word's votes, padding masked out."""
    nodes = [
        helper.make_node("Gather", ["votes", "input_ids"], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["each", "wide"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["logits"], keepdims=0),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    weights = [
        helper.make_tensor("votes", TensorProto.FLOAT, VOTES.shape, VOTES.flatten()),
        helper.make_tensor("last", TensorProto.INT64, [1], [2]),
        helper.make_tensor("middle", TensorProto.INT64, [1], [1]),
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "bag", inputs, [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")


@pytest.fixture
def artifact(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    write_model(folder)
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_padding(length=64)  # a fixed length, which the predictor must not keep
    tokenizer.save(str(folder / "tokenizer.json"))
    return seal(folder, runtime="onnx", onnx="model.onnx", labels=LABELS, max_length=16, inputs=["input_ids"], notes={})


@pytest.fixture
def predictor(artifact):
    return load_predictor(artifact.uri, threads=1)


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
    expected = np.exp([4.0, 2.0, 0.0]) / np.exp([4.0, 2.0, 0.0]).sum()
    assert predictor.predict(["alpha alpha beta"]).probabilities[0] == pytest.approx(expected, abs=1e-6)


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


def test_a_long_text_is_cut_at_the_longest_the_model_takes(predictor):
    long = predictor.predict(["alpha " * 16 + "gamma " * 500])
    assert long.outputs == ["a"]


def test_a_batch_is_padded_to_its_longest_text_and_no_further(artifact):
    tokenize = tokenizer_function(artifact.uri, max_length=16)
    batch = tokenize(["alpha", "alpha beta gamma"])
    assert batch["input_ids"].tolist() == [[2, 0, 0], [2, 3, 4]]
    assert batch["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]
    assert tokenize(["alpha " * 40])["input_ids"].shape == (1, 16)


def test_lone_surrogates_are_replaced_and_all_else_kept():
    assert encodable("a\ud800b") == "a?b"
    assert encodable("käse \U0001f600 \x00") == "käse \U0001f600 \x00"


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


def test_a_model_without_an_onnx_form_is_refused(tmp_path):
    (tmp_path / "weights").write_text("w")
    seal(tmp_path, runtime="torch", labels=LABELS, notes={})
    with pytest.raises(ArtifactInvalid, match="runtime 'torch' has no ONNX form"):
        load_predictor(tmp_path)


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
