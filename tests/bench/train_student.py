"""How much of a teacher's accuracy a student with a third of its layers keeps, which learns from its answers."""

import time
from pathlib import Path

from tasks.records import Candidate
from tasks.train.finetune import finetune
from tasks.train.lesson import Lesson
from tasks.train.methods import Distil, FineTune
from tests.bench.train_text import Rows, accuracy, labels_of, say

LAYERS = (0, 5)  # of the teacher's six
STUDENT = FineTune(epochs=6, learning_rate=5e-4, batch_size=32, max_length=64,
                   distil=Distil(student=LAYERS, temperature=2, mix=0.9))  # fmt: skip
ALONE = FineTune(epochs=6, learning_rate=5e-4, batch_size=32, max_length=64)


def measure_student(teacher: Candidate, train: Rows, test: Rows, folder: Path) -> dict[str, float]:
    """Return the share of the teacher's accuracy on test that its student keeps."""
    folder.mkdir(parents=True)
    lesson = Lesson(train, [], labels_of(train), teachers=(teacher,), tokens=folder / "tokens")
    started = time.perf_counter()
    student = finetune("minilm", STUDENT, lesson, folder / "student")
    seconds = time.perf_counter() - started
    theirs, its = accuracy(teacher, test), accuracy(student, test)
    say(f"  teacher {theirs:.4f} ({teacher.size_bytes / 1e6:.0f} MB), student of {len(LAYERS)} layers {its:.4f} "
        f"({student.size_bytes / 1e6:.0f} MB) in {seconds:.0f} s")  # fmt: skip
    return {"student_retention": its / theirs, "teacher_accuracy": theirs, "student_accuracy": its}
