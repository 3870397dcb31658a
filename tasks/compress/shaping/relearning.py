"""What `distil` and `recover` share: a training of the training room, on the answers of the model they begin with.

Has no training loop of its own; how answers weigh, and what is kept of a killed training, is in `tasks.train`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.compress.material import Material
from tasks.compress.methods import DistilInto, Recover
from tasks.data.augmentation.remix import remix
from tasks.errors import ModelError
from tasks.progress import reported_as
from tasks.records import Candidate
from tasks.train.bases.base import Base
from tasks.train.finetune import finetune
from tasks.train.lesson import Lesson
from tasks.train.methods import Distil, FineTune

Student = tuple[int, ...] | Base


def learn_answers(
    method: DistilInto | Recover, student: Student, pooling: str, max_length: int, source: Candidate, folder: Path,
    material: Material,
) -> Candidate:  # fmt: skip
    """Return the student, trained on labels and the origin's answers, as a torch artifact in `folder`.

    Args:
        method: how it learns.
        student: layers of the source, all of it where empty, or a base.
        pooling: of the student.
        max_length: tokens that the student reads at most.
        source: the torch model that the passes so far made of the origin.
        folder: where the artifact is written.
        material: the origin and what there is to learn from.

    Raises:
        ModelError: the student cannot be opened, or training diverged; the message names the pass's field.
    """
    made = remix([text for text, _ in material.train], method.augment, method.seed)
    lesson = Lesson(material.train, material.valid, material.labels, teachers=(material.origin,), source=source,
                    unlabelled=(*material.unlabelled, *made), work=material.work, answers=material.answers,
                    tokens=material.tokens)  # fmt: skip
    start: Base = source.uri if isinstance(student, tuple) else student
    with _fields_of(method.kind), reported_as("fit", method.kind):
        return finetune(start, _as_finetuning(method, student, pooling, max_length), lesson, folder)


def _as_finetuning(method: DistilInto | Recover, student: Student, pooling: str, max_length: int) -> FineTune:
    return FineTune(
        epochs=method.epochs,
        learning_rate=method.learning_rate,
        batch_size=method.batch_size,
        max_length=max_length,
        pooling=pooling,  # type: ignore[arg-type]
        distil=Distil(student=student, temperature=method.temperature, mix=method.mix),
        seed=method.seed,
    )


@contextmanager
def _fields_of(kind: str) -> Iterator[None]:
    """Let an error of the training room name the fields of the pass, which are the user's."""
    try:
        yield
    except ModelError as error:
        raise ModelError(name_fields(str(error), kind)) from error


def name_fields(message: str, kind: str) -> str:
    """Return a message of the training room with the fields of the pass of that kind in place of a recipe's."""
    told = re.sub(r"^train\.distil\.student: .*?; (?=recipe\.base: )", "", message)
    told = told.replace("recipe.base", f"compress.{kind}.student").replace("train.distil", f"compress.{kind}")
    return re.sub(r"\btrain\.(?=learning_rate|batch_size)", f"compress.{kind}.", told)
