"""Tiny artifacts of every served runtime: a bag of words in ONNX and OpenVINO, and cascades before any of them."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from tokenizers import Tokenizer, models, pre_tokenizers

from tasks.artifacts import OF_THE_MODEL, open_artifact, seal
from tasks.records import Candidate

LABELS = ["a", "b", "c"]
WORDS = {"[PAD]": 0, "[UNK]": 1, "alpha": 2, "beta": 3, "gamma": 4}
VOTES = np.array([[9, 9, 9], [0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]], np.float32)  # [words, labels]
OF_THE_BAG = {"task": "classification", "labels": LABELS, "max_length": 40, "inputs": ["input_ids", "attention_mask"]}

Rows = Mapping[str, Sequence[float]]  # a feature -> its logits [labels]


def make_onnx(folder: Path, **manifest: object) -> Candidate:
    """Return a sealed ONNX artifact: the sum of each word's votes, padding masked out."""
    folder.mkdir(parents=True)
    _write_bag(folder / "model.onnx")
    _write_tokenizer(folder)
    said = {"runtime": "onnx", **OF_THE_BAG, **manifest}
    return seal(folder, onnx="model.onnx", notes={}, **said)


def make_openvino(folder: Path, **manifest: object) -> Candidate:
    """Return the same model as a sealed OpenVINO artifact."""
    from serving.runtimes.openvino_runtime import import_openvino

    openvino = import_openvino()
    folder.mkdir(parents=True)
    _write_bag(folder / "model.onnx")
    openvino.save_model(openvino.Core().read_model(str(folder / "model.onnx")), str(folder / "model.xml"), False)
    (folder / "model.onnx").unlink()
    _write_tokenizer(folder)
    return seal(folder, runtime="openvino", openvino="model.xml", notes={}, **{**OF_THE_BAG, **manifest})


def make_cascade(
    folder: Path,
    rest: Candidate,
    words: Rows,
    *,
    pairs: Rows | None = None,
    grams: Rows | None = None,
    bias: Sequence[float] = (0, 0, 0),
    threshold: float = 0.8,
    dtype: type = np.float32,
) -> Candidate:
    """Return a sealed cascade of a first stage with these rows, each of mass 1, before `rest`."""
    _, manifest = open_artifact(rest)
    shutil.copytree(rest.uri, folder / "rest")
    shutil.copy(folder / "rest" / "tokenizer.json", folder)
    write_first(folder / "first", words, pairs or {}, grams or {}, bias, dtype)
    return seal(folder, runtime="cascade", threshold=threshold, notes={}, **{n: manifest[n] for n in OF_THE_MODEL})


def make_model_cascade(folder: Path, rest: Candidate, first: Candidate, threshold: float) -> Candidate:
    """Return a sealed cascade whose first stage is a model itself."""
    _, manifest = open_artifact(rest)
    shutil.copytree(rest.uri, folder / "rest")
    shutil.copytree(first.uri, folder / "first")
    shutil.copy(folder / "rest" / "tokenizer.json", folder)
    return seal(folder, runtime="cascade", threshold=threshold, notes={}, **{n: manifest[n] for n in OF_THE_MODEL})


def write_first(
    folder: Path, words: Rows, pairs: Rows, grams: Rows, bias: Sequence[float], dtype: type = np.float32
) -> None:
    """Write a first stage as `tasks.compress.cascading` does."""
    folder.mkdir(parents=True)
    tables = {"words": words, "pairs": pairs, "grams": grams}
    names = {"lower": True, "min_n": 3, "max_n": 5, **{name: list(table) for name, table in tables.items()}}
    (folder / "words.json").write_text(json.dumps(names), "utf-8")
    for name, table in tables.items():
        np.save(folder / f"{name}.npy", np.array(list(table.values()), dtype).reshape(len(table), len(bias)))
        np.save(folder / f"{name}_mass.npy", np.ones(len(table), np.float32))
    np.save(folder / "bias.npy", np.array(bias, np.float32))


def _write_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_padding(length=64)  # a fixed length, which the predictor must not keep
    tokenizer.save(str(folder / "tokenizer.json"))


def _write_bag(path: Path) -> None:
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
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
