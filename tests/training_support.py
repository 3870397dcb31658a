"""A tiny training in a process of its own, which may be killed at a step or in the middle of a save."""

import json
import multiprocessing
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.loop_support import messages

ROWS = 150
KILLED = -9


@dataclass(frozen=True)
class Child:
    """What one process does: the training's options, and where it dies."""

    root: str
    base: str
    name: str  # of the artifact
    method: dict[str, Any] = field(default_factory=dict)
    valid: bool = True
    every_seconds: float = 0.0  # between two checkpoints
    die_in: str = "fit"  # what it does when it is killed: that, or a phase before it
    die_at: int = 0  # the step at whose end it is killed; 0: at none
    die_saving: int = 0  # the step whose checkpoint it is killed in the middle of


def run_child(child: Child) -> int:
    """Return the exit code of a fresh process that trains as the child says: minus nine where it was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training_preload"])
    process = context.Process(target=fit, args=(child,))
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def lesson_rows() -> tuple[list[tuple[str, str]], list[tuple[str, str]], tuple[str, ...]]:
    """Return train rows, valid rows and labels of the tiny training."""
    rows = [(row["text"], row["label"]) for row in messages(ROWS + 40, seed=1)]
    return rows[:ROWS], rows[ROWS:], tuple(sorted({label for _, label in rows}))


def fit(child: Child) -> None:
    """Train, and write the notes beside the artifact."""
    import torch

    from tasks.progress import progress_to
    from tasks.train.engine import checkpoints
    from tasks.train.finetune import finetune
    from tasks.train.lesson import Lesson
    from tasks.train.methods import FineTune

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def on_step(what: str, done: int, total: int) -> None:
        with (Path(child.root) / f"steps-{what}").open("a", encoding="utf-8") as file:
            file.write(f"{done}\n")
        if (what, done) == (child.die_in, child.die_at):
            die()

    seal = checkpoints.seal_checkpoint
    deadly = Path(child.root, "work", child.die_in.replace("fit", "train"), f"checkpoint-{child.die_saving}")
    checkpoints.EVERY_SECONDS, checkpoints.EPOCH_SECONDS = child.every_seconds, 0.0
    checkpoints.seal_checkpoint = lambda path: (die if path == deadly else seal)(path)
    torch.set_num_threads(1)
    train, valid, labels = lesson_rows()
    method = FineTune(**{"epochs": 3, "learning_rate": 0.01, "precision": "fp32"} | child.method)
    work, tokens = Path(child.root) / "work", Path(child.root) / "tokens"
    lesson = Lesson(train, valid if child.valid else [], labels, work=work, tokens=tokens)
    with progress_to(on_step):
        made = finetune(child.base, method, lesson, Path(child.root) / child.name)
    (Path(child.root) / f"{child.name}.json").write_text(json.dumps(made.notes), "utf-8")


def steps(root: Path, what: str = "fit") -> list[int]:
    """Return the steps that all processes of a training, or of a phase before it, did, in their order."""
    return [int(line) for line in (root / f"steps-{what}").read_text("utf-8").split()]


def result(root: Path, name: str) -> tuple[bytes, dict[str, float]]:
    """Return the weights of a finished training, and its notes but for what its seconds decide."""
    notes = json.loads((root / f"{name}.json").read_text("utf-8"))
    timed = ("train_seconds", "texts_per_s", "adapt_seconds", "contrastive_seconds")
    return (root / name / "model.safetensors").read_bytes(), {
        key: value for key, value in notes.items() if key not in timed
    }
