"""Running a model artifact: the `Predictor` protocol and its ONNX Runtime implementation.

An artifact is a folder with a `manifest.json` that names its runtime, its labels and the SHA-256 of every file. What is
measured is this folder run by this module, so what serves is what was judged. Imports neither torch nor MLflow, and
never unpickles anything.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

BATCH_SIZE = 32


class ArtifactInvalid(Exception):
    """The artifact's folder is missing, incomplete or does not match its manifest."""


@dataclass(frozen=True)
class Predictions:
    """What a predictor answers: one output and one confidence for each text, in the order of the texts."""

    outputs: list[str]
    scores: np.ndarray  # [texts] float32, confidence in [0, 1]
    probabilities: np.ndarray | None = None  # [texts, labels] float32, for a classifier


class Predictor(Protocol):
    """Texts in, outputs out: what every runtime offers."""

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Return one output per text; an empty list of texts gives empty predictions."""
        ...


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the artifact's manifest after checking every file against its SHA-256.

    Raises:
        ArtifactInvalid: the manifest is missing or unreadable, or a file is missing or differs.
    """
    path = Path(folder) / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
        files = dict(manifest["files"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactInvalid(f"{path}: expected a model artifact's manifest; {error!r}") from error
    for name, expected in files.items():
        file = Path(folder) / name
        if not file.is_file() or file_sha256(file) != expected:
            raise ArtifactInvalid(f"{file}: missing or changed since it was built; build or download the model again")
    return manifest


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_predictor(folder: Path, threads: int | None = None) -> "OnnxPredictor":
    """Return a ready predictor for an artifact whose runtime needs no torch.

    Raises:
        ArtifactInvalid: the folder is no intact artifact, or its runtime is not one that this room can run.
    """
    manifest = read_manifest(folder)
    if "onnx" not in manifest:
        raise ArtifactInvalid(f"{folder}: runtime {manifest.get('runtime')!r} has no ONNX form; serve one that has")
    return OnnxPredictor(folder, manifest, threads)


def open_session(folder: Path, manifest: dict[str, Any], threads: int | None = None, trace_prefix: str = "") -> Any:
    """Return the ONNX Runtime session that serves an artifact; with a `trace_prefix` it writes a trace of every run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads must not steal the CPU
    if threads is not None:
        options.intra_op_num_threads = threads
    if trace_prefix:
        options.enable_profiling = True
        options.profile_file_prefix = trace_prefix
    return onnxruntime.InferenceSession(
        str(Path(folder) / manifest["onnx"]), options, providers=["CPUExecutionProvider"]
    )


class OnnxPredictor:
    """A text classifier in ONNX Runtime on the CPU: tokenizer, session and label list."""

    def __init__(self, folder: Path, manifest: dict[str, Any], threads: int | None = None) -> None:
        self._labels: list[str] = manifest["labels"]
        self._tokenize = tokenizer_function(folder, manifest["max_length"])
        self._session = open_session(folder, manifest, threads)
        self._inputs = [node.name for node in self._session.get_inputs()]

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Return the most probable label of each text with its probability."""
        return predict_classes(texts, self._labels, self._tokenize, self._logits)

    def _logits(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        feed = {name: batch[name] for name in self._inputs}
        logits: np.ndarray = self._session.run(["logits"], feed)[0]
        return logits  # [batch, labels]


Tokenize = Callable[[Sequence[str]], dict[str, np.ndarray]]


def tokenizer_function(folder: Path, max_length: int) -> Tokenize:
    """Return a function from texts to padded int64 arrays `input_ids`, `attention_mask`, `token_type_ids`."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.enable_truncation(max_length)
    if tokenizer.padding is None:
        tokenizer.enable_padding()
    else:
        tokenizer.enable_padding(**{**tokenizer.padding, "length": None})  # pad to the longest, never to a fixed length

    def tokenize(texts: Sequence[str]) -> dict[str, np.ndarray]:
        encodings = tokenizer.encode_batch(list(texts))
        return {
            "input_ids": np.array([e.ids for e in encodings], dtype=np.int64),  # [batch, tokens]
            "attention_mask": np.array([e.attention_mask for e in encodings], dtype=np.int64),
            "token_type_ids": np.array([e.type_ids for e in encodings], dtype=np.int64),
        }

    return tokenize


def predict_classes(
    texts: Sequence[str],
    labels: list[str],
    tokenize: Tokenize,
    logits_of: Callable[[dict[str, np.ndarray]], np.ndarray],
) -> Predictions:
    """Return classes for texts of mixed length: batches of similar length, answers in the order of the texts."""
    texts = [encodable(text) for text in texts]
    probabilities = np.zeros((len(texts), len(labels)), dtype=np.float32)  # [texts, labels]
    for rows in _batches_by_length(texts):
        probabilities[rows] = softmax(logits_of(tokenize([texts[row] for row in rows])))
    best = probabilities.argmax(axis=1) if len(texts) else np.zeros(0, dtype=int)
    scores = probabilities[np.arange(len(texts)), best]
    return Predictions([labels[index] for index in best], scores, probabilities)


def encodable(text: str) -> str:
    """Return the text with lone surrogates replaced, which no tokenizer can encode."""
    return text.encode("utf-8", "replace").decode("utf-8")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return row-wise probabilities; `[batch, labels]` in and out."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def _batches_by_length(texts: Sequence[str]) -> Iterator[list[int]]:
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    for start in range(0, len(order), BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]
