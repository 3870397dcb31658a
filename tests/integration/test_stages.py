"""The stages as Prefect tasks: cached by content, and only while the store holds what the cached record names."""

import shutil
import time
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import FlowRunContext

from tasks import stages
from tasks.data.cleaning.clean import DropEmpty
from tasks.data.cleaning.normalise import Normalise
from tasks.data.reading.sources import FileSource
from tasks.records import Snapshot, Table
from tasks.specs import DataSpec
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
