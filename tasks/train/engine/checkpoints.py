"""Checkpoints of a training: which of them are whole, and which one it goes on from. Trains nothing.

A checkpoint counts when its folder holds `complete.json`, which is written last and names every file's SHA-256.
"""

import json
import logging
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serving.artifact import file_sha256

log = logging.getLogger(__name__)

COMPLETE, COURSE, BEST, AVERAGE = "complete.json", "course.json", "best.safetensors", "average.safetensors"
EVERY_SECONDS = 120.0  # between two checkpoints in the middle of an epoch
EPOCH_SECONDS = 15.0  # what a checkpoint at an epoch's end must save of work, or it is not worth its time


@dataclass
class Course:
    """How a training went up to a step: what beside weights and optimizer it needs to go on from there."""

    best_epoch: int = 0  # 0: none yet
    best_loss: float = float("inf")
    best_score: float = float("nan")
    waited: int = 0  # epochs since the best one
    loss_sum: float = 0.0
    steps: int = 0
    seconds: float = 0.0


def seal_checkpoint(folder: Path) -> None:
    """Mark the checkpoint as whole."""
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}
    write_json(folder / COMPLETE, files)


def checkpoint_fault(folder: Path) -> str:
    """Return why a checkpoint cannot be used; empty where it is whole."""
    try:
        files = json.loads((folder / COMPLETE).read_text("utf-8"))
        for name, digest in files.items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if file_sha256(folder / name) != digest:
                return f"{name} is not what was written"
    except FileNotFoundError:
        return f"it was not finished: {COMPLETE} is missing"
    except (ValueError, AttributeError, OSError) as error:
        return f"{COMPLETE} cannot be read ({error})"
    return ""


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint of the folder, None where there is none; what is not whole is removed."""
    found = sorted(folder.glob("checkpoint-*"), key=_step)
    for number, path in reversed(list(enumerate(found))):
        fault = checkpoint_fault(path)
        if not fault:
            log.info("going on from %s", path)
            return path
        instead = found[number - 1].name if number else "the start"
        log.warning("checkpoint %s cannot be used: %s; going on from %s", path, fault, instead)
        shutil.rmtree(path)
    return None


def _step(path: Path) -> int:
    number = path.name.removeprefix("checkpoint-")
    return int(number) if number.isdigit() else -1


def read_course(checkpoint: Path | None) -> Course:
    """Return how the training went up to the checkpoint; a fresh course where there is none."""
    return Course() if checkpoint is None else Course(**json.loads((checkpoint / COURSE).read_text("utf-8")))


def write_course(checkpoint: Path, course: Course) -> None:
    """Write into the checkpoint how the training went."""
    write_json(checkpoint / COURSE, asdict(course))


def link_file(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, a copy where the file system has no hard links."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_json(path: Path, content: Any) -> None:
    """Write plain data, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1), "utf-8")
    partial.rename(path)
