"""What a training does before fine-tuning: domain adaptation, then contrastive training. Has no losses of its own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.train.adapt import adapt
from tasks.train.bases.base import Base, Pretrained, base_name, resolve_base
from tasks.train.contrastive import contrast
from tasks.train.lesson import Lesson
from tasks.train.methods import FineTune
from tasks.train.model import EncoderClassifier
from tasks.train.phases import Notes, once

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def pretrain(
    model: EncoderClassifier,
    tokenizer: "PreTrainedTokenizerBase",
    base: Base,
    method: FineTune,
    lesson: Lesson,
    rows: Sequence[dict[str, Any]],
) -> Notes:
    """Train the model in place, on texts alone and then on pairs of the encoded train rows, as far as the method says.

    Returns what is noted of it. What a killed training had finished is read from the lesson's work folder.

    Raises:
        ModelError: the base cannot be adapted, or a loss is not a finite number.
    """
    notes = Notes()
    if (adapting := method.adapt) is not None:
        checkpoint = resolve_base(base_name(base)) if isinstance(base, str | Pretrained) else ""
        notes |= once("adapt", model, lesson.work, method.seed, lambda: adapt(
            model, tokenizer, adapting, method, lesson, checkpoint))  # fmt: skip
    if (contrasting := method.contrastive) is not None:
        notes |= once("contrastive", model, lesson.work, method.seed, lambda: contrast(
            model, tokenizer, contrasting, method, lesson, rows))  # fmt: skip
    return notes
