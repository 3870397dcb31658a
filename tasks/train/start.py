"""Where a training starts: the base, the champion as it is, or the student of a distillation. Trains nothing."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, PreTrainedTokenizerBase

from tasks.artifacts import open_artifact
from tasks.errors import ModelError
from tasks.records import Candidate
from tasks.train.bases.base import Base
from tasks.train.bases.loading import load_base
from tasks.train.distil import open_copy
from tasks.train.lesson import Lesson
from tasks.train.methods import FineTune
from tasks.train.model import EncoderClassifier
from tasks.train.reopen import open_trained

log = logging.getLogger(__name__)

ARCHITECTURE = ("model_type", "num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
MEND = "set train.start: base, or make the recipe's base and pooling those of the champion"


def open_start(base: Base, method: FineTune, lesson: Lesson) -> tuple[EncoderClassifier, PreTrainedTokenizerBase]:
    """Return the model that training starts from, and its tokenizer.

    What compression goes on with learns without dropout: it has less to spare, and its targets are answers, which on
    banking77 a student of one layer came nearer to so (mean divergence 0.155 instead of 0.168).

    Raises:
        ModelError: as `_open_start` says.
    """
    model, tokenizer = _open_start(base, method, lesson)
    if lesson.source is not None:
        for part in model.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
    return model, tokenizer


def _open_start(base: Base, method: FineTune, lesson: Lesson) -> tuple[EncoderClassifier, PreTrainedTokenizerBase]:
    """Return the model that training starts from, as it is, and its tokenizer.

    The student of a distillation, where the method names one: layers of the lesson's source or else of the first
    teacher, or a base; else the lesson's source as it is, the recipe's base, or the champion.

    Raises:
        ModelError: the base does not load, the champion is not a model of that base's form, or the teacher lacks a
            layer or has other labels.
    """
    student = method.distil.student if method.distil else ()
    if not isinstance(student, tuple):
        return load_base(student, len(lesson.labels), method.pooling, method.dropout)
    if lesson.source is not None and not student:
        return open_trained(lesson.source, lesson.labels, method.dropout)
    if student:
        return open_copy(lesson.source or lesson.teachers[0], student, lesson.labels, method.dropout)
    model, tokenizer = load_base(base, len(lesson.labels), method.pooling, method.dropout)
    if method.start == "base":
        return model, tokenizer
    if lesson.parent is None:
        log.info("start: there is no champion yet, so training starts from the base %s", base)
    else:
        carry_over(model, tokenizer, lesson.parent, lesson.labels)
    return model, tokenizer


def carry_over(
    model: EncoderClassifier, tokenizer: PreTrainedTokenizerBase, parent: Candidate, labels: tuple[str, ...]
) -> None:
    """Give the model its parent's weights: the encoder's, and of the head those of each label that both have.

    A label that the parent does not know keeps its fresh weights; one that only the parent knows is dropped.

    Raises:
        ModelError: the parent has another architecture, pooling or tokenizer, or no readable safetensors.
        ArtifactError: the parent's artifact is missing or changed.
    """
    folder, manifest = open_artifact(parent)
    if manifest["runtime"] != "torch":
        raise ModelError(f"train.start: expected a torch model as champion, found {manifest['runtime']!r}; {MEND}")
    _compare(model, folder, manifest)
    if _tokens(tokenizer.backend_tokenizer.to_str()) != _tokens((folder / "tokenizer.json").read_text("utf-8")):
        raise ModelError(f"train.start: the champion's tokenizer is not that of the base; {MEND}")
    weights = read_weights(folder / "model.safetensors")
    _check_shapes(model, weights)
    encoder = {name.removeprefix("encoder."): weights[name] for name in weights if name.startswith("encoder.")}
    model.encoder.load_state_dict(encoder)
    known = {label: row for row, label in enumerate(manifest["labels"])}
    with torch.no_grad():
        for row, label in enumerate(labels):
            if label in known:
                model.head.weight[row] = weights["head.weight"][known[label]]
                model.head.bias[row] = weights["head.bias"][known[label]]
    shared = len(known.keys() & set(labels))
    log.info("start: the champion %s; %d labels carried over, %d new, %d dropped", parent.digest[:12], shared,
             len(labels) - shared, len(known) - shared)  # fmt: skip


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        ModelError: it is missing or no safetensors; nothing else is ever opened.
    """
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{path}: expected weights as safetensors, the only format that is read ({error}); save the model again"
        ) from error
    return tensors


def _compare(model: EncoderClassifier, folder: Path, manifest: dict[str, Any]) -> None:
    if manifest["pooling"] != model.pooling:
        raise ModelError(
            f"train.start: the champion pools by {manifest['pooling']!r} and train.pooling is {model.pooling!r}; {MEND}"
        )
    parent = AutoConfig.from_pretrained(folder)
    for name in ARCHITECTURE:
        theirs, ours = getattr(parent, name, None), getattr(model.encoder.config, name, None)
        if theirs != ours:
            raise ModelError(
                f"train.start: the champion's architecture is not the base's ({name} {theirs!r}, not {ours!r}); {MEND}"
            )


def _check_shapes(model: EncoderClassifier, weights: dict[str, torch.Tensor]) -> None:
    """Refuse what the configs do not tell: other tensors, or tensors of another shape."""
    ours, theirs = (
        {name: tuple(tensor.shape) for name, tensor in tensors.items() if name.startswith("encoder.")}
        for tensors in (model.state_dict(), weights)
    )
    different = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if different or not {"head.weight", "head.bias"} <= weights.keys():
        name = next(iter(different), "head.weight")
        raise ModelError(
            f"train.start: the champion's architecture is not the base's ({name} has shape {theirs.get(name)}, "
            f"not {ours.get(name)}); {MEND}"
        )


def _tokens(text: str) -> dict[str, Any]:
    """Return what a tokenizer's JSON says beside how it cuts and pads, which each use sets anew."""
    content: dict[str, Any] = json.loads(text)
    return {name: value for name, value in content.items() if name not in ("truncation", "padding")}
