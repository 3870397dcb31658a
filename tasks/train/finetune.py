"""Fine-tuning: from a base, a method and rows to a torch artifact. Searches nothing.

Heavy libraries are imported where they are used, so that the stages can be read without torch.
"""

import logging
import math
from dataclasses import replace
from pathlib import Path

from tasks.records import Candidate
from tasks.train.bases import Base
from tasks.train.lesson import Lesson
from tasks.train.methods import FineTune

log = logging.getLogger(__name__)


def finetune(base: Base, method: FineTune, lesson: Lesson, folder: Path) -> Candidate:
    """Return the fine-tuned model as a torch artifact in `folder`.

    Raises:
        ModelError: the base cannot be loaded, the champion does not fit it, a teacher has other labels, or the loss is
            not a finite number.
    """
    from transformers import set_seed

    from tasks.train.distil import with_answers
    from tasks.train.loading import longest_input
    from tasks.train.model import save_artifact
    from tasks.train.objectives import make_objective
    from tasks.train.parameters import merge, prepare
    from tasks.train.pretraining import pretrain
    from tasks.train.start import open_start
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
    notes = pretrain(model, tokenizer, base, method, lesson, rows)
    if method.distil is not None:
        rows = with_answers(method, lesson, tokenizer)
    targets = [index[label] for _, label in lesson.train]
    objective = make_objective(method, targets, len(index), tokenizer.model_input_names)
    learner, train_rows, valid_rows = prepare(model, tokenizer, method.tune, rows, valid)
    notes |= train(learner, tokenizer, objective, method, train_rows, valid_rows, folder.parent)
    merge(model)
    notes = {name: value for name, value in notes.items() if math.isfinite(value)}
    log.info("fit done: %s", notes)
    return save_artifact(folder, model, tokenizer, labels=list(lesson.labels), max_length=method.max_length,
                         pooling=model.pooling, notes=notes)  # fmt: skip
