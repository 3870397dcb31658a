"""Distillation: a student learns from its teachers' answers beside the labels (Hinton et al. 2015).

Here the teachers answer and the student is opened; how much their answers weigh is in `tasks.train.objectives`, and
teachers are trained by the fits before. Several teachers are one by the mean of their softened probabilities.
"""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from serving.classes import encodable, tokenizer_function
from tasks.artifacts import open_artifact
from tasks.errors import ModelError
from tasks.progress import report_progress
from tasks.records import Candidate
from tasks.store import code_digest
from tasks.train.bases.families import keep_layers
from tasks.train.engine.precision import use_bf16
from tasks.train.engine.tokens import Rows, encode
from tasks.train.lesson import Lesson
from tasks.train.methods import FineTune
from tasks.train.model import EncoderClassifier
from tasks.train.objectives import NO_LABEL
from tasks.train.reopen import label_places, open_trained

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

BATCH_SIZE = 64


def open_copy(
    whole: Candidate, layers: Sequence[int], labels: tuple[str, ...], dropout: float
) -> "tuple[EncoderClassifier, PreTrainedTokenizerBase]":
    """Return a student that is a trained model with only the given of its layers, head included, and its tokenizer.

    Raises:
        ModelError: the model lacks a layer or has other labels.
    """
    model, tokenizer = open_trained(whole, labels, dropout)
    try:
        encoder = keep_layers(model.encoder, layers)
    except ModelError as error:
        raise ModelError(f"train.distil.student: the model that it is made of is no match; {error}") from error
    model.encoder, model.config = encoder, encoder.config
    log.info("distil: the student has the layers %s", list(layers))
    return model, tokenizer


def with_answers(method: FineTune, lesson: Lesson, tokenizer: "PreTrainedTokenizerBase") -> Rows:
    """Return the encoded rows that a student learns from, each with the teachers' answers as `teacher_logits`.

    The train rows come first, then the unlabelled texts that are none of theirs, where the method wants them, with the
    label -100. The answers are kept in the lesson's folder for them, or else in its work folder, so that neither a
    killed training nor another one asks again.

    Raises:
        ModelError: a teacher has other labels.
    """
    assert method.distil is not None
    index = {label: number for number, label in enumerate(lesson.labels)}
    taught = [text for text, _ in lesson.train]
    wanted = lesson.unlabelled if method.distil.unlabelled else ()
    further = _others(wanted, taught)
    labels = [*(index[label] for _, label in lesson.train), *[NO_LABEL] * len(further)]
    asked = (method.distil.temperature, method.precision, lesson.answers or lesson.work)
    parts = [kept_logits(lesson.teachers, texts, lesson.labels, *asked) for texts in (taught, further) if texts]
    log.info("distil: %d teachers answered on %d train rows and %d unlabelled texts", len(lesson.teachers),
             len(taught), len(further))  # fmt: skip
    answers = np.concatenate(parts).tolist()  # [texts, labels]
    rows: Rows = encode([*taught, *further], tokenizer, method.max_length, labels=labels, teacher_logits=answers)
    return rows


def _others(texts: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the texts that are none of those known, once each."""
    there = set(known)
    return [text for text in dict.fromkeys(texts) if text not in there]


def kept_logits(
    teachers: Sequence[Candidate], texts: Sequence[str], labels: tuple[str, ...], temperature: float,
    precision: str = "fp32", folder: Path | None = None,
) -> np.ndarray:  # fmt: skip
    """Return what `teacher_logits` does, read from `folder` where these teachers answered these texts before.

    What one teacher says does not depend on the temperature, but for a constant in each row. Processes may ask at once.

    Raises:
        ModelError: a teacher has other labels than `labels`, in whatever order.
    """
    if folder is None:
        return teacher_logits(teachers, texts, labels, temperature, precision)
    asked, heat = [each.digest for each in teachers], temperature if len(teachers) > 1 else None
    path = folder / f"{_digest(asked, labels, heat, precision, list(texts))}.safetensors"
    answers = _read(path, (len(texts), len(labels)))
    if answers is None:
        answers = teacher_logits(teachers, texts, labels, temperature, precision)
        _keep(path, answers)
    return answers


def _digest(*parts: Any) -> str:
    """Return the digest of plain data and of the code that answers."""
    content = json.dumps([code_digest("answers"), *parts], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _read(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Return the kept answers of that shape; None where there are none, or none that can be read."""
    if not path.is_file():
        return None
    try:
        answers = load_file(path)["logits"]
        if answers.shape == shape:
            return answers
        reason = f"its shape is {answers.shape}, not {shape}"
    except (OSError, KeyError, SafetensorError) as error:
        reason = str(error)
    log.warning("answers in %s cannot be read and are asked for anew (%s)", path, reason)
    return None


def _keep(path: Path, answers: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")  # of several processes each writes its own
    save_file({"logits": answers}, partial)
    partial.rename(path)


def teacher_logits(
    teachers: Sequence[Candidate], texts: Sequence[str], labels: tuple[str, ...], temperature: float,
    precision: str = "fp32",
) -> np.ndarray:  # fmt: skip
    """Return what the teachers say of each text together, [texts, labels] float32, in the order of `labels`.

    It is T * log(mean of softmax(logits / T)): softened by the same temperature T it gives the mean of the teachers'
    softened probabilities, and of one teacher it is the logits but for a constant in each row.

    Raises:
        ModelError: a teacher has other labels than `labels`, in whatever order.
    """
    logs = [_log_probabilities(teacher, texts, labels, temperature, precision) for teacher in teachers]
    mean = torch.logsumexp(torch.stack(logs), dim=0) - float(np.log(len(logs)))  # [texts, labels]
    answers: np.ndarray = (temperature * mean).numpy()
    return answers


@torch.inference_mode()
def _log_probabilities(
    teacher: Candidate, texts: Sequence[str], labels: tuple[str, ...], temperature: float, precision: str
) -> Tensor:
    """Return one teacher's softened log-probabilities, [texts, labels]; it tokenises for itself."""
    folder, manifest = open_artifact(teacher)
    label_places(manifest["labels"], labels)  # before anything heavy
    model, _ = open_trained(teacher, labels)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()
    tokenize = tokenizer_function(folder, manifest["max_length"])
    found = torch.empty(len(texts), len(labels))
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    with torch.autocast(device, torch.bfloat16) if use_bf16(precision) else nullcontext():
        for start in range(0, len(order), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            batch = tokenize([encodable(texts[row]) for row in rows])
            logits = model(**{name: torch.from_numpy(batch[name]).to(device) for name in manifest["inputs"]})["logits"]
            found[rows] = (logits.float() / temperature).log_softmax(1).cpu()
            report_progress("answers", start + len(rows), len(order))
    return found
