"""Distillation: a student learns from its teachers' answers beside the labels (Hinton et al. 2015).

Here the teachers answer and the student is opened; how much their answers weigh is in `tasks.train.objectives`, and
teachers are trained by the fits before. Several teachers are one by the mean of their softened probabilities.
"""

import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from serving.classes import encodable, tokenizer_function
from tasks.artifacts import open_artifact
from tasks.errors import ModelError
from tasks.records import Candidate
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
    teacher: Candidate, layers: Sequence[int], labels: tuple[str, ...], dropout: float
) -> "tuple[EncoderClassifier, PreTrainedTokenizerBase]":
    """Return a student that is the teacher with only the given of its layers, head included, and its tokenizer.

    Raises:
        ModelError: the teacher lacks a layer or has other labels.
    """
    model, tokenizer = open_trained(teacher, labels, dropout)
    try:
        encoder = keep_layers(model.encoder, layers)
    except ModelError as error:
        raise ModelError(f"train.distil.student: the teacher is no match; {error}") from error
    model.encoder, model.config = encoder, encoder.config
    log.info("distil: the student has the teacher's layers %s", list(layers))
    return model, tokenizer


def with_answers(method: FineTune, lesson: Lesson, tokenizer: "PreTrainedTokenizerBase") -> Rows:
    """Return the encoded rows that a student learns from, each with the teachers' answers as `teacher_logits`.

    The train rows come first, then the unlabelled texts that are none of theirs, where the method wants them, with the
    label -100. The answers are kept in the lesson's work folder, so that a killed training does not ask again.

    Raises:
        ModelError: a teacher has other labels.
    """
    assert method.distil is not None
    index = {label: number for number, label in enumerate(lesson.labels)}
    taught = {text for text, _ in lesson.train}
    wanted = lesson.unlabelled if method.distil.unlabelled else ()
    further = [text for text in dict.fromkeys(wanted) if text not in taught]
    texts = [*(text for text, _ in lesson.train), *further]
    labels = [*(index[label] for _, label in lesson.train), *[NO_LABEL] * len(further)]
    path = lesson.work and lesson.work / "answers.safetensors"
    if path and path.is_file():
        answers = load_file(path)["logits"]
    else:
        answers = teacher_logits(lesson.teachers, texts, lesson.labels, method.distil.temperature, method.precision)
        if path:
            _keep(path, answers)
    log.info("distil: %d teachers answered on %d train rows and %d unlabelled texts", len(lesson.teachers),
             len(lesson.train), len(further))  # fmt: skip
    rows: Rows = encode(texts, tokenizer, method.max_length, labels=labels, teacher_logits=answers.tolist())
    return rows


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
    return found
