"""Running the `ratchet` command as a user does: in a process of its own, or here where only its answer matters."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

QUIETENED = ("flows", "tasks", "monitoring", "feedback", "great_expectations", "onnx_ir", "onnxscript")
CHILD_ENVIRONMENT = {"PREFECT_LOGGING_LEVEL": "CRITICAL", "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    code: int
    out: str
    err: str

    def mistake(self, code: int, *told: str) -> str:
        """Return the one line on standard error, after checking the exit code and what the line says."""
        assert self.code == code, self
        assert "Traceback" not in self.err + self.out
        [line] = self.err.splitlines()
        assert line.startswith("ratchet: ")
        missing = [part for part in told if part not in line]
        assert not missing, f"{missing} not in: {line}"
        assert self.out == ""
        return line


def ratchet(*arguments: str | Path) -> Answer:
    """Return what the installed command answers, run in a process of its own."""
    done = subprocess.run(
        child_command(*arguments), capture_output=True, text=True, env=child_environment(), timeout=240
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def child_command(*arguments: str | Path) -> list[str]:
    """Return the argument list of the installed command."""
    return [str(Path(sys.executable).with_name("ratchet")), *map(str, arguments)]


def child_environment() -> dict[str, str]:
    """Return the environment of a child that uses the session's Prefect server (as `PREFECT_API_URL` tells)."""
    from prefect.settings import PREFECT_API_URL

    return {**os.environ, **CHILD_ENVIRONMENT, "PREFECT_API_URL": str(PREFECT_API_URL.value())}


def ratchet_here(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> Answer:
    """Return what the command answers, run in this process: the same code without the seconds of imports."""
    from flows import cli

    capfd.readouterr()
    with pytest.MonkeyPatch.context() as patch, _levels_restored(), pytest.raises(SystemExit) as stopped:
        patch.setattr(sys, "argv", ["ratchet", *map(str, arguments)])
        cli.main()
    out, err = capfd.readouterr()
    return Answer(int(stopped.value.code or 0), out, err)


@contextmanager
def _levels_restored() -> Iterator[None]:
    """Undo what the command does to the log levels of this process."""
    levels = {name: logging.getLogger(name).level for name in QUIETENED}
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
