"""The stages as Prefect tasks: cached by content, and only while the store holds what the cached record names."""

import shutil
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import FlowRunContext

from feedback.harvest import HarvestSpec
from feedback.records import FeedbackRow, PredictionRow
from flows.gather import gather
from flows.project import Project
from tasks import stages
from tasks.data.checking.suite import derive_suite
from tasks.data.cleaning.clean import DropEmpty
from tasks.data.cleaning.normalise import Normalise
from tasks.data.reading.sources import FileSource
from tasks.data.snapshot import read_table
from tasks.records import Snapshot, Table
from tasks.specs import DataSpec, FeedbackSplit
from tasks.store import Store
from tests.loop_support import messages, write_csv

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.filterwarnings("default")]


@pytest.fixture
def spec(tmp_path: Path) -> DataSpec:
    path = write_csv(tmp_path / "rows.csv", messages(300, seed=1))
    return DataSpec(source=FileSource(path=str(path)), leakage="drop")


def prepare(store: Store, spec: DataSpec) -> tuple[Snapshot, Table, dict[str, str]]:
    """Return what the data stages make, and the state in which Prefect says that each ended."""

    @flow(name="prepare")
    def run() -> tuple[Snapshot, Table, str]:
        rows = stages.collect(store, "/", spec)
        snapshot = stages.snapshot(store, [rows], spec)
        cleaned = stages.clean_rows(store, snapshot, (Normalise(), DropEmpty()))
        context = FlowRunContext.get()
        assert context is not None and context.flow_run is not None
        return snapshot, cleaned, str(context.flow_run.id)

    snapshot, cleaned, flow_run = run()
    return snapshot, cleaned, ended(flow_run)


def ended(flow_run: str) -> dict[str, str]:
    """Return the names of the flow run's task states, by task; the server learns of them a little later."""
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
    with get_client(sync_client=True) as client:
        for _ in range(100):
            runs = [run for run in client.read_task_runs(flow_run_filter=wanted) if run.state and run.state.is_final()]
            if len(runs) >= 3:
                return {run.name.rsplit("-", 1)[0]: run.state.name for run in runs if run.state}
            time.sleep(0.1)
    raise AssertionError(f"Prefect knows only {runs}")


def test_a_rerun_shows_every_stage_as_cached_but_the_look_at_the_source(tmp_path: Path, spec: DataSpec) -> None:
    store = Store(str(tmp_path / "store"))
    *made, states = prepare(store, spec)
    assert set(states.values()) == {"Completed"}
    *again, states = prepare(store, spec)
    assert again == made
    assert states == {"collect": "Completed", "snapshot": "Cached", "clean": "Cached"}


def test_what_was_deleted_from_the_store_is_made_again(tmp_path: Path, spec: DataSpec) -> None:
    store = Store(str(tmp_path / "store"))
    snapshot, cleaned, _ = prepare(store, spec)
    shutil.rmtree(Path(cleaned.uri).parent)
    assert prepare(store, spec)[:2] == (snapshot, cleaned)
    assert Path(cleaned.uri).is_file()
    shutil.rmtree(store.root)
    assert prepare(store, spec)[:2] == (snapshot, cleaned)
    assert Path(snapshot.uri).is_file() and Path(cleaned.uri).is_file()


def test_another_store_is_filled_although_prefect_knows_the_stage(tmp_path: Path, spec: DataSpec) -> None:
    here, _, _ = prepare(Store(str(tmp_path / "here")), spec)
    there, _, _ = prepare(Store(str(tmp_path / "there")), spec)
    assert (here.digest, Path(there.uri).is_file()) == (there.digest, True)
    assert here.uri != there.uri


def test_feedback_joins_the_source_with_its_time_and_unit(tmp_path: Path) -> None:
    rows = [
        {**row, "at": f"2026-01-{1 + n % 28:02d}", "user": f"u{n % 9}"} for n, row in enumerate(messages(300, seed=1))
    ]
    source = FileSource(path=str(write_csv(tmp_path / "rows.csv", rows)))
    data = DataSpec(source=source, time="at", group="user", leakage="drop", feedback=FeedbackSplit(min_rows=1))
    moment = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    judged = [
        (f"f{n}", FeedbackRow(f"p{n}", "app", moment, target=rows[n]["label"]),
         PredictionRow(f"p{n}", "1", f"A new message, number {n} of them", "x", 0.5, moment, unit))
        for n, unit in enumerate(["u1", None])
    ]  # fmt: skip
    project = SimpleNamespace(
        root=tmp_path,
        store=Store(str(tmp_path / "store")),
        spec=SimpleNamespace(data=data, feedback=SimpleNamespace(harvest=HarvestSpec(), scrub=True)),
        database=SimpleNamespace(judged=lambda since: judged),
    )

    @flow(name="gather")
    def run() -> Snapshot:
        made: Snapshot = stages.snapshot(
            project.store, gather(stages, cast(Project, project), derive_suite(None, ()))[0], data
        )
        return made

    table = read_table(Path(run().uri))
    assert table.column_names == ["id", "text", "target", "split", "source", "line", "time", "group"]
    found = {row["id"]: (row["line"], row["time"], row["group"]) for row in table.to_pylist()}
    assert found["feedback-p0"] == ("", "2026-03-01T10:00:00+00:00", "u1")
    assert found["feedback-p1"] == ("", "2026-03-01T10:00:00+00:00", "")
    assert {line for line, _, _ in found.values()} <= {"", *map(str, range(2, 302))}
    assert sorted({time for _, time, _ in found.values()})[0] == "2026-01-01T00:00:00+00:00"
