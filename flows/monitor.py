"""The monitor: the champion's reference window against the latest production window, a report, and an event on drift.

The statistics are in `monitoring`; what answers the event (an automation that runs `iterate`) is in `deploy/`.
"""

import json
import logging
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from pydantic import TypeAdapter

from feedback.records import PredictionRow
from flows.events import emit_drift
from flows.project import Project, open_project
from monitoring.drift import DriftReport, drift_alert, measure_drift
from tasks.data.cleaning.scrub import scrub_text
from tasks.errors import ReviewError
from tasks.registry import CHAMPION, Version

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

LAST = "last-watch.json"  # in the project's state: what an iteration that drift asked for tells in its report


@dataclass(frozen=True)
class Watch:
    """What the monitor saw."""

    champion_version: str
    report: DriftReport


@flow(name="monitor", log_prints=False)
def monitor(spec: str = "ratchet.yaml") -> str:
    """Compare production with the champion's reference; returns a `Watch` as JSON.

    Raises:
        ReviewError: there is no champion yet.
    """
    project = open_project(spec)
    watch = look(project)
    key = project.spec.name.lower().replace("_", "-")
    create_markdown_artifact(_as_markdown(watch), key=f"{key}-drift", description=watch.report.reason)
    if watch.report.report_uri:
        create_link_artifact(
            Path(watch.report.report_uri).as_uri(), key=f"{key}-drift-report", link_text="Drift report"
        )
    _keep(project, watch)
    if watch.report.drifted:
        emit_drift(project.spec.name, str(project.spec_path), drift_alert(watch.report))
    return json.dumps(asdict(watch))


def look(project: Project) -> Watch:
    """Return the drift of the latest production window against the champion's reference."""
    champion = project.registry.by_alias(CHAMPION)
    if champion is None:
        raise ReviewError(f"{project.spec.name}: no champion to watch yet; `ratchet run` makes the first one")
    spec = project.spec.monitor
    rows = project.database.window(last_n=spec.window, model_version=champion.number)
    path = project.state / "reports" / f"drift-version-{champion.number}.html"
    report = drift(_reference(project, champion), _production(rows, project.spec.data.slices), project, path)
    log.info("monitor: %s", report.reason)
    return Watch(champion.number, report)


def last_watch(project: Project) -> Watch | None:
    """Return what the monitor saw last; None where it never looked."""
    path = project.state / LAST
    return TypeAdapter(Watch).validate_json(path.read_text("utf-8")) if path.is_file() else None


def _keep(project: Project, watch: Watch) -> None:
    partial = (project.state / LAST).with_suffix(".partial")
    partial.write_text(json.dumps(asdict(watch)), "utf-8")
    partial.rename(project.state / LAST)


def _drift(reference: "pd.DataFrame", current: "pd.DataFrame", project: Project, path: Path) -> DriftReport:
    return measure_drift(reference, current, project.spec.monitor, path)


drift = task(name="drift")(_drift)


def _reference(project: Project, champion: Version) -> "pd.DataFrame":
    import pandas as pd

    with tempfile.TemporaryDirectory() as folder:
        frame = pd.read_parquet(project.registry.read_reference(champion, Path(folder)))
    columns = ["text", "output", "confidence", *project.spec.data.slices]
    return frame[columns].assign(text=frame["text"].map(scrub_text))


def _production(rows: list[PredictionRow], slices: tuple[str, ...]) -> "pd.DataFrame":
    import pandas as pd

    content = {
        "text": [scrub_text(row.text) for row in rows],
        "output": [row.output for row in rows],
        "confidence": [row.confidence for row in rows],
        **{name: [row.slices.get(name, "") for row in rows] for name in slices},
    }
    return pd.DataFrame(content)


def _as_markdown(watch: Watch) -> str:
    lines = [
        f"**{watch.report.reason}**",
        "",
        "| check | method | value | threshold | drifted |",
        "|---|---|---|---|---|",
    ]
    for check in watch.report.checks:
        lines.append(f"| {check.name} | {check.method} | {check.value:.3f} | {check.threshold:.3f} | {check.drifted} |")
    return "\n".join(lines)
