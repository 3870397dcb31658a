"""Checks of this machine and project that `ratchet doctor` lists, each with what to do where it fails."""

import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flows.project import Project, open_project
from flows.spec import DEFAULT_FILE
from tasks.errors import RatchetError
from tasks.measure.machine import describe_machine
from tasks.store import available_bytes

LIGHT = ("sqlalchemy", "fastapi", "onnxruntime", "tokenizers", "standardwebhooks")
HEAVY = ("torch", "transformers", "prefect", "mlflow", "evidently", "great-expectations", "datasets")
ENOUGH_BYTES = 2_000_000_000


def examine(spec: Path) -> list[dict[str, Any]]:
    """Return one finding per check: `check`, `ok`, `found`, and `mend` where it is not ok."""
    findings = [_python(), *(_package(name, "") for name in LIGHT), *(_package(name, "[pipeline]") for name in HEAVY)]
    machine = describe_machine()
    findings.append(_finding("cpu", True, f"{machine.cpu}, {machine.cores} cores, {' '.join(machine.instructions)}"))
    findings.append(_training())
    findings.append(_disk(spec.resolve()))
    path = spec / DEFAULT_FILE if spec.is_dir() else spec
    return findings + (_project(path) if path.exists() else [])


def _finding(check: str, ok: bool, found: str, mend: str = "") -> dict[str, Any]:
    return {"check": check, "ok": ok, "found": found, "mend": "" if ok else mend}


def _python() -> dict[str, Any]:
    found = ".".join(map(str, sys.version_info[:3]))
    return _finding("python", sys.version_info >= (3, 11), found, "install Python 3.11 or newer")


def _package(name: str, extra: str) -> dict[str, Any]:
    try:
        return _finding(name, True, version(name))
    except PackageNotFoundError:
        return _finding(name, False, "not installed", f"pip install -c constraints.txt '.{extra}'")


def _training() -> dict[str, Any]:
    """Return what a training on this machine runs on, and in which number formats it can multiply."""
    if find_spec("torch") is None:
        return _finding("training", False, "torch is not installed", "pip install -c constraints.txt '.[pipeline]'")
    from tasks.train.hardware import describe_hardware

    return _finding("training", True, describe_hardware())


def _disk(path: Path) -> dict[str, Any]:
    free = available_bytes(path)
    return _finding(
        "disk", free > ENOUGH_BYTES, f"{free / 1e9:.1f} GB free", "free at least 2 GB: models and runs need it"
    )


def _project(path: Path) -> list[dict[str, Any]]:
    try:
        project = open_project(path)
    except RatchetError as error:
        return [_finding("spec", False, str(error), "mend the spec as said")]
    return [_finding("spec", True, str(path)), _database(project), _registry(project)]


def _database(project: Project) -> dict[str, Any]:
    from feedback.errors import FeedbackError

    try:
        project.database.check()
    except FeedbackError as error:
        return _finding("database", False, str(error), "start it, or mend feedback.database_url")
    return _finding("database", True, project.database_url.rsplit("@")[-1])


def _registry(project: Project) -> dict[str, Any]:
    if find_spec("mlflow") is None:
        return _finding("registry", False, "mlflow is not installed", "pip install -c constraints.txt '.[pipeline]'")
    try:
        aliases = project.registry.aliases()
    except RatchetError as error:
        return _finding("registry", False, str(error), "start it, or mend registry.tracking_uri")
    return _finding("registry", True, f"{project.tracking_uri}, aliases {aliases or 'none yet'}")
