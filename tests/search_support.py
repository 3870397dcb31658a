"""Trials that are a formula instead of a training, so that tests of the search take no time; they train nothing."""

import math
import os
import time
from pathlib import Path

from tasks.artifacts import seal
from tasks.errors import ModelError
from tasks.given import Given
from tasks.progress import report_epoch
from tasks.records import Candidate, Snapshot
from tasks.specs import Recipe
from tasks.store import Store, cache_key
from tasks.train.methods import FineTune


def worth(method: FineTune, shift: float = 0.0) -> float:
    """Return a score in [0, 1], best at a learning rate of 3e-3 (times e to the shift), dropout 0.2 and cosine."""
    rate = math.log(method.learning_rate / 3e-3) - shift
    schedule = {"cosine": 0.0, "linear": 0.03, "constant": 0.1}[method.schedule]
    return 0.95 * math.exp(-(rate**2) / 8 - 6 * (method.dropout - 0.2 - shift / 10) ** 2 - schedule)


def note(folder: Path, name: str) -> None:
    """Leave a mark that something happened, which a later process can count."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}-{os.getpid()}-{time.monotonic_ns()}").touch()


def quick_fit(store: Store, recipe: Recipe, snapshot: Snapshot, given: Given) -> Candidate:
    """Return a stand-in of a model whose score is `worth`; each epoch comes nearer to it.

    `max_length` 4 fails like a training that runs out of memory, `seed` 666 ends the whole process, `accumulate` above
    1 sleeps so many tenths of a second.
    """
    method, marks = recipe.train, Path(store.root).parent / "marks"

    def make(folder: Path) -> Candidate:
        note(marks, "fit")
        if method.max_length == 4:
            raise ModelError("out of memory at batch size 1; take a smaller base or a shorter train.max_length")
        if method.seed == 666:
            os._exit(9)
        score = worth(method)
        for epoch in range(1, method.epochs + 1):
            time.sleep((method.accumulate - 1) / 10)
            report_epoch(epoch, {"valid_score": score * (1 - 0.5 ** (epoch + 2))})
        folder.mkdir(exist_ok=True)
        (folder / "weights").write_text(f"{score}")
        notes = {"valid_score": score, "valid_loss": 1 - score, "multiply_adds_per_token": 100.0 * method.batch_size}
        return seal(folder, runtime="torch", labels=["a", "b"], notes=notes)

    return store.build("fit", cache_key("fit", snapshot, method), Candidate, make)
