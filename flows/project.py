"""A project: its spec, its folder, and the store, database and registry that belong to it.

Everything a project keeps lies in `.ratchet/` beside its spec unless the spec or the environment says otherwise.
Opening one makes folders and sets the environment for the libraries; importing this module does neither.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from flows.models import place_models
from flows.spec import DEFAULT_FILE, Spec, read_spec
from tasks.errors import RatchetError, StorageError
from tasks.registry import Registry
from tasks.store import Store, available_bytes

if TYPE_CHECKING:
    from feedback.store import Store as Database

QUIET = {  # nothing phones home
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime's; OpenVINO's has no variable, so `import_openvino` shuts it
    "GX_ANALYTICS_ENABLED": "false",
    "DASK_LOGGING__DISTRIBUTED": "error",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "60",
}


ENOUGH_BYTES = 300_000_000


class ProjectBusy(RatchetError):
    """Another iteration of the same project is running."""


@dataclass(frozen=True)
class Project:
    """A spec and where its project lives."""

    spec: Spec
    spec_path: Path

    @property
    def root(self) -> Path:
        """The folder of the spec; relative paths in the spec start here."""
        return self.spec_path.parent

    @property
    def state(self) -> Path:
        """The folder of everything Ratchet keeps for the project."""
        return self.root / ".ratchet"

    @property
    def store(self) -> Store:
        """The content-addressed store."""
        return Store(str(self.state / "store"))

    @property
    def database_url(self) -> str:
        """Where predictions, feedback and the ledger are kept."""
        own = f"sqlite:///{self.state / 'ratchet.db'}"
        return os.environ.get("RATCHET_DATABASE_URL") or self.spec.feedback.database_url or own

    @property
    def studies_url(self) -> str:
        """Where the studies of searches are kept."""
        return studies_url(self.database_url)

    @property
    def tracking_uri(self) -> str:
        """Which MLflow holds the runs and versions."""
        own = f"sqlite:///{self.state / 'mlflow.db'}"
        return self.spec.registry.tracking_uri or os.environ.get("RATCHET_TRACKING_URI") or own

    @cached_property
    def registry(self) -> Registry:
        """The project's registry."""
        local = self.tracking_uri.startswith("sqlite")
        return Registry(self.tracking_uri, self.spec.name, str(self.state / "mlartifacts") if local else "")

    @cached_property
    def database(self) -> "Database":
        """The project's database, migrated."""
        from feedback.store import open_store

        return open_store(self.database_url)

    def report_path(self, iteration: int) -> Path:
        """Where the HTML report of an iteration lies."""
        return self.state / "reports" / f"iteration-{iteration:04d}.html"


def studies_url(database_url: str) -> str:
    """Return where the studies of a database's project are kept: what makes tables there has a version table that is
    named like ours, so on PostgreSQL they have a schema of their own, on SQLite a file `studies.db` beside ours.
    """
    from sqlalchemy import make_url

    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        folder = Path(url.database or "").parent
        return url.set(database=str(folder / "studies.db")).render_as_string(hide_password=False)
    return url.update_query_dict({"options": "-csearch_path=ratchet_studies"}).render_as_string(hide_password=False)


def open_project(spec_path: str | Path = DEFAULT_FILE) -> Project:
    """Return the project of a spec file (or of the folder that holds `ratchet.yaml`), its folders made.

    Raises:
        SpecError: the spec is missing or does not validate.
        StorageError: the project's folder cannot be written.
    """
    path = Path(spec_path).expanduser().resolve()
    if path.is_dir():
        path = path / DEFAULT_FILE
    project = Project(place_models(path.parent, read_spec(path)), path)
    try:
        for name in ("store", "reports", "iterations", "prefect"):
            (project.state / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{project.state}: cannot be written ({error.strerror}); mend its rights or space"
        ) from error
    set_environment(project.state)
    return project


def set_environment(state: Path) -> None:
    """Turn telemetry off and give Prefect a home of the project's own; what the user has set wins."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if "PREFECT_API_URL" not in os.environ:
        os.environ.setdefault("PREFECT_HOME", str(state / "prefect"))
    os.environ.setdefault("PREFECT_LOCAL_STORAGE_PATH", str(state / "store" / "results"))


def check_space(project: Project) -> None:
    """Refuse to start an iteration that the disk cannot hold.

    Raises:
        StorageError: too little is free.
    """
    free = available_bytes(project.state)
    if free < ENOUGH_BYTES:
        raise StorageError(
            f"{project.state}: only {free / 1e6:.0f} MB free, an iteration needs {ENOUGH_BYTES / 1e6:.0f}; "
            "free some space there and run again"
        )


@contextmanager
def only_one(project: Project) -> Iterator[None]:
    """Hold the project's lock: the system frees it when the process dies.

    Raises:
        ProjectBusy: another process holds it.
    """
    path = project.state / "iterate.lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise ProjectBusy(f"{path}: another iteration is running (process {holder}); wait for it to end") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
