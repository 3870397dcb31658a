"""Fine-tuning: from a base, a method and rows to a torch artifact. Searches nothing.

Heavy libraries are imported where they are used, so that the stages can be read without torch.
"""

import logging
import math
import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.records import Candidate
from tasks.train.bases.base import Base
from tasks.train.lesson import Lesson
from tasks.train.methods import FineTune
from tasks.train.processes.job import is_worker

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tasks.train.model import EncoderClassifier

log = logging.getLogger(__name__)

LIBRARIES = ("torch", "transformers", "accelerate", "numpy", "tokenizers")
NAMED = 5  # labels in a line of the log


_TRAINING = threading.Lock()


def finetune(base: Base, method: FineTune, lesson: Lesson, folder: Path) -> Candidate:
    """Return the fine-tuned model as a torch artifact in `folder`.

    Raises:
        ModelError: the base cannot be loaded, the champion does not fit it, a teacher has other labels, or the loss is
            not a finite number.
    """
    if method.distributed and method.distributed.processes > 1 and not is_worker():
        from tasks.train.processes.distributed import finetune_in_processes

        return finetune_in_processes(base, method, lesson, folder)
    with _TRAINING:  # one at a time in this process: torch's random state and accelerate's are the process's own
        return _finetune_here(base, method, lesson, folder)


def _finetune_here(base: Base, method: FineTune, lesson: Lesson, folder: Path) -> Candidate:
    from transformers import set_seed

    from tasks.train.bases.loading import longest_input
    from tasks.train.model import save_artifact
    from tasks.train.processes.group import NOT_WRITTEN, is_main
    from tasks.train.start import open_start

    set_seed(method.seed)
    model, tokenizer = open_start(base, method, lesson)
    method = replace(method, max_length=min(method.max_length, longest_input(model, tokenizer)))
    log.info("fit %s: %d train rows, %d valid rows, %d labels", base, len(lesson.train), len(lesson.valid),
             len(lesson.labels))  # fmt: skip
    _say_absent(lesson)
    model, notes = _trained(model, tokenizer, base, method, lesson)
    log.info("fit done: %s", notes)
    if not is_main():
        return NOT_WRITTEN
    return save_artifact(folder, model, tokenizer, labels=list(lesson.labels), max_length=method.max_length,
                         pooling=model.pooling, notes=notes, seed=method.seed, versions=_versions(method))  # fmt: skip


def _trained(
    model: "EncoderClassifier", tokenizer: "PreTrainedTokenizerBase", base: Base, method: FineTune, lesson: Lesson
) -> "tuple[EncoderClassifier, dict[str, float]]":
    """Return the model after training, whole and plain, and what is noted of it."""
    from tasks.train.distil import with_answers
    from tasks.train.engine.tokens import encode
    from tasks.train.engine.trainer import train
    from tasks.train.engine.zeros import zeros_kept
    from tasks.train.objectives import make_objective
    from tasks.train.parameters import merge, prepare
    from tasks.train.pretraining import pretrain
    from tasks.train.processes.group import gather, shell_of

    index = {label: number for number, label in enumerate(lesson.labels)}
    numbers = [[index[label] for _, label in part] for part in (lesson.train, lesson.valid)]
    rows, valid = (
        encode([text for text, _ in part], tokenizer, method.max_length, lesson.tokens, labels=labels)
        for part, labels in zip((lesson.train, lesson.valid), numbers, strict=True)
    )
    notes = pretrain(model, tokenizer, base, method, lesson, rows)
    if method.distil is not None:
        rows = with_answers(method, lesson, tokenizer)
    objective = make_objective(method, numbers[0], len(index), tokenizer.model_input_names)
    learner, train_rows, valid_rows = prepare(model, tokenizer, method.tune, rows, valid)
    shell = shell_of(model)
    with zeros_kept(learner) if lesson.source else nullcontext():
        notes |= train(learner, tokenizer, objective, method, train_rows, valid_rows, lesson.work, lesson.row_name)
    model = gather(model, shell)
    merge(model)
    return model, {name: value for name, value in notes.items() if math.isfinite(value)}


def _say_absent(lesson: Lesson) -> None:
    """Say which classes of train no row of valid has: the best epoch is chosen without them."""
    absent = sorted({label for _, label in lesson.train} - {label for _, label in lesson.valid})
    if lesson.valid and absent:
        shown = ", ".join(absent[:NAMED]) + (f" and {len(absent) - NAMED} more" if len(absent) > NAMED else "")
        log.info("no row of valid has the label %s: the best epoch is chosen without", shown)


def _versions(method: FineTune) -> dict[str, str]:
    """Return the versions of the libraries that decide what a training comes to."""
    from importlib.metadata import version

    return {name: version(name) for name in (*LIBRARIES, *(["peft"] if method.tune.kind == "lora" else []))}
