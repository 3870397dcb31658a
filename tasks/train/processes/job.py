"""A training as files that other processes read: what to train, how far it is, what became of it. Starts nothing."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tasks import errors
from tasks.errors import ModelError, RatchetError
from tasks.records import Candidate, from_json, to_json
from tasks.train.bases.base import Base
from tasks.train.lesson import Lesson
from tasks.train.methods import FineTune

JOB, EVENTS, RESULT = "job.json", "events.jsonl", "result.json"
ENVIRONMENT = "RATCHET_TRAINING_JOB"  # names the job's folder to the processes that work on it


@dataclass(frozen=True)
class Job:
    """One call of `finetune`; JSON throughout, so that nothing is unpickled in another process."""

    base: Base
    method: FineTune
    lesson: Lesson
    folder: Path  # where the artifact goes


def write_job(folder: Path, job: Job) -> None:
    """Write a job into its folder, whole or not at all: whoever waits for it reads it the moment it is there."""
    partial = folder / f"{JOB}.partial"
    partial.write_bytes(TypeAdapter(Job).dump_json(job))
    partial.rename(folder / JOB)


def read_job(folder: Path) -> Job:
    """Return the job of a folder.

    Raises:
        pydantic.ValidationError: the file is no such job.
    """
    return TypeAdapter(Job).validate_json((folder / JOB).read_bytes())


def is_worker() -> bool:
    """Return whether this process is one of several that train one model."""
    return ENVIRONMENT in os.environ


class Teller:
    """Appends events to a job's folder, a JSON object on each line."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / EVENTS).open("a", encoding="utf-8", buffering=1)

    def __call__(self, kind: str, *parts: Any) -> None:
        """Write one event; numbers that are not finite pass as JSON's NaN and Infinity, which Python reads."""
        self._file.write(json.dumps([kind, *parts]) + "\n")


def write_error(folder: Path, rank: int, error: Exception) -> None:
    """Leave what a process failed of for the one that waits for it."""
    message = str(error) or type(error).__name__
    told = {"kind": type(error).__name__, "message": message, "known": isinstance(error, RatchetError)}
    (folder / f"error-{rank}.json").write_text(json.dumps(told), "utf-8")


def write_result(folder: Path, made: Candidate) -> None:
    """Leave what training made."""
    (folder / RESULT).write_text(to_json(made), "utf-8")


def read_result(folder: Path) -> Candidate | None:
    """Return what training made; None where it left nothing."""
    path = folder / RESULT
    return from_json(Candidate, path.read_text("utf-8")) if path.is_file() else None


def read_error(folder: Path, ended: str, output: Path) -> RatchetError:
    """Return the error that a job's processes failed of: one that Ratchet raises as it was, any other with the log.

    Args:
        folder: the job's.
        ended: how the processes ended, in words.
        output: what they wrote on the terminal.
    """
    told = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("error-*.json"))]
    for error in told:
        if error["known"]:
            return _known(error)
    reason = f"; {told[0]['kind']}: {told[0]['message']}" if told and "signal" not in ended.lower() else ""
    return ModelError(
        f"train.distributed: {ended}{reason[:500]}. The end of its log: {log_end(output)}. "
        "Mend that, lower train.batch_size where memory ran out, or leave train.distributed out"
    )


def _known(told: Mapping[str, Any]) -> RatchetError:
    kind = getattr(errors, told["kind"], RatchetError)
    made: RatchetError = kind(told["message"])
    return made


def read_log(path: Path) -> str:
    """Return what a log says; nothing where the job, and the log with it, is gone."""
    return path.read_text("utf-8", errors="replace") if path.is_file() else ""


def log_end(path: Path, lines: int = 5) -> str:
    """Return the last lines of a log that say something, before the launcher's own account of a failure."""
    text = read_log(path)
    own = re.split(r"^[EW]\d{4} .*torch/distributed/elastic", text, maxsplit=1, flags=re.M)[0]
    kept = [line.strip() for line in own.splitlines() if line.strip(" =-\n")]
    return " / ".join(kept[-lines:])[-1000:] or "empty"
