"""Fine-tuning: from a base, a method and rows to a torch artifact. Searches nothing.

Heavy libraries are imported where they are used, so that the stages can be read without torch.
"""

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import ModelError
from tasks.records import Candidate
from tasks.train.bases import Base, Pretrained, base_name, resolve_base
from tasks.train.lesson import Lesson
from tasks.train.methods import FineTune

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tasks.train.model import EncoderClassifier

log = logging.getLogger(__name__)


def finetune(base: Base, method: FineTune, lesson: Lesson, folder: Path) -> Candidate:
    """Return the fine-tuned model as a torch artifact in `folder`.

    Raises:
        ModelError: the base cannot be loaded, a teacher has other labels, or the loss is not a finite number.
    """
    from transformers import set_seed

    from tasks.train.loading import longest_input
    from tasks.train.model import save_artifact
    from tasks.train.objectives import make_objective
    from tasks.train.tokens import encode
    from tasks.train.trainer import train

    set_seed(method.seed)
    model, tokenizer = open_start(base, method, lesson)
    method = replace(method, max_length=min(method.max_length, longest_input(model, tokenizer)))
    index = {label: number for number, label in enumerate(lesson.labels)}
    log.info("fit %s: %d train rows, %d valid rows, %d labels", base, len(lesson.train), len(lesson.valid), len(index))
    rows, valid = (
        encode([text for text, _ in part], tokenizer, method.max_length, labels=[index[label] for _, label in part])
        for part in (lesson.train, lesson.valid)
    )
    notes = prepare(model, tokenizer, base, method, lesson, rows)
    if method.distil:
        from tasks.train.distil import distilled_rows

        texts, labels, answers = distilled_rows(method, lesson, index)
        rows = encode(texts, tokenizer, method.max_length, labels=labels, teacher_logits=answers)
    notes |= train(model, tokenizer, make_objective(method), method, rows, valid, folder.parent)
    notes = {name: value for name, value in notes.items() if math.isfinite(value)}
    log.info("fit done: %s", notes)
    return save_artifact(folder, model, tokenizer, labels=list(lesson.labels), max_length=method.max_length,
                         pooling=model.pooling, notes=notes)  # fmt: skip


def open_start(base: Base, method: FineTune, lesson: Lesson) -> "tuple[EncoderClassifier, PreTrainedTokenizerBase]":
    """Return the model that training starts with, and its tokenizer.

    The student of a distillation, where the method names one; else the champion's model or the base, as it says.

    Raises:
        ModelError: the base cannot be loaded, or there is no champion to start from.
    """
    from tasks.train.distil import open_copy
    from tasks.train.loading import load_base
    from tasks.train.reopen import open_trained

    student = method.distil.student if method.distil else ()
    if student and isinstance(student, tuple):
        return open_copy(lesson.teachers[0], student, lesson.labels, method.dropout)
    if not isinstance(student, tuple):
        return load_base(student, len(lesson.labels), method.pooling, method.dropout)
    if method.start == "champion":
        if lesson.parent is None:
            raise ModelError("train.start: there is no champion yet; the first recipe must start from its base")
        return open_trained(lesson.parent, lesson.labels, method.dropout)
    return load_base(base, len(lesson.labels), method.pooling, method.dropout)


def prepare(
    model: "EncoderClassifier",
    tokenizer: "PreTrainedTokenizerBase",
    base: Base,
    method: FineTune,
    lesson: Lesson,
    rows: list[dict[str, Any]],
) -> dict[str, float]:
    """Train the model in place as the method says before fine-tuning: on texts alone, then on pairs of train rows.

    Returns what is noted of it. A phase that a killed training had finished is read from the lesson's work folder.
    """
    from tasks.train.adapt import adapt
    from tasks.train.contrastive import contrast
    from tasks.train.phases import once

    notes, seed, precision = dict[str, float](), method.seed, method.precision
    if (adapting := method.adapt) is not None:
        checkpoint = resolve_base(base_name(base)) if isinstance(base, str | Pretrained) else ""
        texts = [text for text, _ in lesson.train]
        notes |= once("adapt", model, lesson.work, seed, lambda: adapt(
            model, tokenizer, adapting, lesson.unlabelled, texts, max_length=method.max_length, precision=precision,
            seed=seed, checkpoint=checkpoint))  # fmt: skip
    if (contrasting := method.contrastive) is not None:
        notes |= once("contrastive", model, lesson.work, seed, lambda: contrast(
            model, tokenizer, contrasting, rows, precision=precision, seed=seed))  # fmt: skip
    return notes
