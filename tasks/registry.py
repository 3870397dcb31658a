"""The MLflow side of Ratchet: runs, versions, aliases, review tags. Only it and `tasks.live_runs` know MLflow.

Decides on no promotion and keeps no ledger. Raises `RegistryError` where MLflow cannot be reached or refuses.
"""

import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from serving.artifact import MANIFEST
from serving.classes import first_line
from tasks.artifacts import serving_requirements
from tasks.errors import RegistryError, ReviewError
from tasks.given import Given
from tasks.records import Candidate, Scorecard, Snapshot, Verdict, from_json, to_json
from tasks.reference import write_reference
from tasks.specs import Recipe
from tasks.store import storage_named

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)

BASELINE, CHALLENGER, CHAMPION = "baseline", "challenger", "champion"
REVIEW = "review"
ReviewState = Literal["pending", "approved", "rejected"]
RECORD_FILE = "ratchet/version.json"
BATCH = 1000  # metrics that MLflow takes at once
REFERENCE_FOLDER = "reference"  # the row scores on golden, which drift is measured against


@dataclass(frozen=True)
class VersionRecord:
    """What Ratchet must know of a version to judge against it and to make it again."""

    candidate: Candidate
    recipe: Recipe
    snapshot: Snapshot
    card: Scorecard
    verdict: Verdict
    given: Given = field(default_factory=Given)


@dataclass(frozen=True)
class Version:
    """One registered version."""

    number: str
    run_id: str
    tags: dict[str, str]


@dataclass(frozen=True)
class Registry:
    """One project's experiment and registered model at a tracking URI."""

    tracking_uri: str
    name: str
    artifact_root: str = ""  # where artifacts go when no server decides

    @cached_property
    def client(self) -> "MlflowClient":
        """The MLflow client of the tracking URI."""
        _configure()
        import mlflow

        with reaching(self.tracking_uri):
            mlflow.set_tracking_uri(self.tracking_uri)
            mlflow.set_registry_uri(self.tracking_uri)
            return mlflow.MlflowClient(self.tracking_uri, self.tracking_uri)

    # -- runs ----------------------------------------------------------------------------------------------------------

    def start_run(self, name: str, parent: str = "", tags: Mapping[str, str] | None = None) -> str:
        """Return the id of a new run in the project's experiment, nested under `parent` where one is given."""
        with reaching(self.tracking_uri):
            all_tags = {"mlflow.runName": name, **({"mlflow.parentRunId": parent} if parent else {}), **(tags or {})}
            run = self.client.create_run(self._experiment(), tags=all_tags)
            return str(run.info.run_id)

    def finish_run(self, run_id: str, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """Close a run."""
        with reaching(self.tracking_uri):
            self.client.set_terminated(run_id, status)

    def close_abandoned(self) -> None:
        """Mark this project's runs that still run as killed: the caller holds the lock, so their process is gone."""
        with reaching(self.tracking_uri):
            for run in self.client.search_runs([self._experiment()], "attributes.status = 'RUNNING'"):
                self.client.set_terminated(run.info.run_id, "KILLED")

    def log_run(
        self,
        run_id: str,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        texts: Mapping[str, str] | None = None,
        folders: Mapping[str, Path] | None = None,
    ) -> None:
        """Add parameters, metrics, text artifacts (path -> text) and folders (path -> folder) to a run."""
        from mlflow.entities import Metric, Param

        fields = [Param(name, str(value)[:6000]) for name, value in (params or {}).items()]
        numbers = [Metric(name, float(value), 0, 0) for name, value in (metrics or {}).items()]
        with reaching(self.tracking_uri):
            self.client.log_batch(run_id, params=fields)
            for start in range(0, len(numbers), BATCH):
                self.client.log_batch(run_id, metrics=numbers[start : start + BATCH])
            for path, text in (texts or {}).items():
                self.client.log_text(run_id, text, path)
            for path, folder in (folders or {}).items():
                self.client.log_artifacts(run_id, str(folder), path)

    def log_snapshot(self, run_id: str, snapshot: Snapshot) -> None:
        """Log the snapshot as the run's dataset input."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=f"{self.name}-snapshot",
            digest=snapshot.digest[:36],
            source_type="local",
            source=json.dumps({"uri": snapshot.uri}),
            profile=json.dumps({"rows": snapshot.rows, "labels": len(snapshot.labels)}),
        )
        with reaching(self.tracking_uri):
            self.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "iteration")])])

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(self.name)
        if found is not None:
            return str(found.experiment_id)
        location = f"{self.artifact_root}/{self.name}" if self.artifact_root else None
        return str(self.client.create_experiment(self.name, artifact_location=location))

    # -- versions ------------------------------------------------------------------------------------------------------

    def register(
        self, run_id: str, record: VersionRecord, serving_form: Candidate, description: str, tags: Mapping[str, str]
    ) -> Version:
        """Return a new version of the model, logged so that `mlflow.pyfunc` loads it without torch.

        `serving_form` is the candidate itself or, for a torch model, its ONNX export. The measured artifact is kept
        beside it.
        """
        import mlflow

        with reaching(self.tracking_uri), mlflow.start_run(run_id=run_id):
            self.client.log_text(run_id, to_json(record), RECORD_FILE)
            with tempfile.TemporaryDirectory() as folder:
                rows = write_reference(Path(record.card.quality.scores_uri), Path(folder))
                self.client.log_artifact(run_id, str(rows), REFERENCE_FOLDER)
            if serving_form.digest != record.candidate.digest:
                self.client.log_artifacts(run_id, record.candidate.uri, "candidate")
            info = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(Path(__file__).with_name("pyfunc_model.py")),
                artifacts={"model": serving_form.uri},
                code_paths=[str(Path(__file__).parents[1] / "serving")],
                pip_requirements=[f"{name}=={installed_version(name)}" for name in serving_requirements(serving_form)],
            )
            if not self.client.search_registered_models(f"name = '{self.name}'"):
                self.client.create_registered_model(self.name)
            created = self.client.create_model_version(
                self.name, info.model_uri, run_id, tags=dict(tags), description=description, model_id=info.model_id
            )
        log.info("registered %s version %s", self.name, created.version)
        return _version(created)

    def by_alias(self, alias: str) -> Version | None:
        """Return the version that an alias names, or None."""
        found = self._model()
        number = None if found is None else found.aliases.get(alias)
        return None if number is None else self.version(str(number))

    def aliases(self) -> dict[str, str]:
        """Return every alias of the model with its version."""
        found = self._model()
        return {} if found is None else {name: str(number) for name, number in found.aliases.items()}

    def version(self, number: str) -> Version:
        """Return one version.

        Raises:
            ReviewError: there is no such version.
        """
        known = self.versions()
        for version in known:
            if version.number == str(number):
                return version
        raise ReviewError(f"{self.name}: no version {number}; known: {', '.join(v.number for v in known) or 'none'}")

    def versions(self) -> list[Version]:
        """Return all versions, oldest first."""
        with reaching(self.tracking_uri):
            found = self.client.search_model_versions(f"name = '{self.name}'")
        return sorted((_version(version) for version in found), key=lambda version: int(version.number))

    def read_record(self, version: Version) -> VersionRecord:
        """Return what was registered with a version, its artifact fetched where it is not on this machine any more."""
        with reaching(self.tracking_uri), tempfile.TemporaryDirectory() as folder:
            path = self.client.download_artifacts(version.run_id, RECORD_FILE, folder)
            record = from_json(VersionRecord, Path(path).read_text("utf-8"))
        if (Path(record.candidate.uri) / MANIFEST).is_file():
            return record
        return replace(record, candidate=replace(record.candidate, uri=self._fetch(version, record.candidate)))

    def read_reference(self, version: Version, folder: Path) -> Path:
        """Return the version's golden texts, outputs and confidences as a Parquet file, fetched into the folder."""
        with reaching(self.tracking_uri):
            fetched = Path(self.client.download_artifacts(version.run_id, REFERENCE_FOLDER, str(folder)))
        return next(fetched.glob("*.parquet"))

    def _fetch(self, version: Version, candidate: Candidate) -> str:
        target = Path(candidate.uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        with reaching(self.tracking_uri), tempfile.TemporaryDirectory(dir=target.parent) as folder:
            if candidate.runtime == "torch":
                found = Path(self.client.download_artifacts(version.run_id, "candidate", folder))
            else:
                from mlflow.artifacts import download_artifacts

                uri = f"models:/{self.name}/{version.number}/artifacts"
                downloaded = download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=self.tracking_uri)
                found = min(Path(downloaded).rglob(MANIFEST), key=lambda path: len(path.parts)).parent
            found.rename(target)
        log.info("fetched version %s from the registry", version.number)
        return str(target)

    def set_alias(self, alias: str, number: str) -> None:
        """Point an alias at a version: one write, so a reader sees the old version or the new one."""
        with reaching(self.tracking_uri):
            self.client.set_registered_model_alias(self.name, alias, number)

    def drop_alias(self, alias: str) -> None:
        """Remove an alias where it is set."""
        with reaching(self.tracking_uri):
            if alias in self.aliases():
                self.client.delete_registered_model_alias(self.name, alias)

    def set_tag(self, number: str, key: str, value: str) -> None:
        """Set a tag of a version."""
        with reaching(self.tracking_uri):
            self.client.set_model_version_tag(self.name, number, key, value)

    def _model(self) -> Any:
        with reaching(self.tracking_uri):
            found = self.client.search_registered_models(f"name = '{self.name}'")
        return found[0] if found else None


def _version(found: "ModelVersion") -> Version:
    return Version(str(found.version), str(found.run_id), dict(found.tags))


def flat_params(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as flat MLflow parameters: `train.epochs`, `clean`, ..."""
    fields = asdict(recipe)
    train = {f"train.{name}": value for name, value in fields.pop("train").items()}
    return {**{name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}, **train}


def _configure() -> None:
    """Keep MLflow quiet and quick to fail; what the user set in the environment wins."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    }.items():
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # it logs tracebacks of what it raises
    logging.getLogger("alembic").setLevel(logging.ERROR)


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Turn what MLflow raises in the block into a `RegistryError` that names the URI."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with storage_named(uri):
            yield
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        said = first_line(error)[:300]
        raise RegistryError(f"MLflow at {uri}: {said}; start it, or mend registry.tracking_uri in the spec") from error
