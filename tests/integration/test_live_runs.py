"""What a training measures is in a real MLflow while it still runs."""

import logging
import time

import pytest

from tasks import live_runs
from tasks.live_runs import live_run
from tasks.progress import Stopped, progress_to, purpose, report_metrics, training, trainings_to
from tasks.registry import Registry

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    root = tmp_path_factory.mktemp("mlflow")
    return Registry(f"sqlite:///{root / 'mlflow.db'}", "live", str(root / "artifacts"))


def history(registry: Registry, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in registry.client.get_metric_history(run_id, name)]


def nested(registry: Registry, parent: str) -> list[tuple[str, str, str]]:
    """The runs under the parent: id, name, status."""
    found = registry.client.search_runs([registry.client.get_run(parent).info.experiment_id],
                                        f"tags.`mlflow.parentRunId` = '{parent}'")  # fmt: skip
    return [(run.info.run_id, run.info.run_name, run.info.status) for run in found]


def test_metrics_and_the_machines_are_there_while_the_training_runs(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_runs, "WRITE_EVERY_S", 0.1)
    monkeypatch.setattr(live_runs, "SYSTEM_EVERY_S", 0.2)
    parent = registry.start_run("iteration 1")
    with trainings_to(lambda what: live_run(registry, f"fit {what}", parent)), purpose("retrain"), training():
        [(run_id, name, status)] = nested(registry, parent)
        assert (name, status) == ("fit retrain", "RUNNING")
        for step in range(1, 6):
            report_metrics(step, {"loss": 1 / step, "learning_rate": 0.1 * step})
        deadline = time.monotonic() + 20
        while len(history(registry, run_id, "loss")) < 5 or not history(
            registry, run_id, "system/cpu_utilization_percentage"
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert history(registry, run_id, "loss") == [(step, 1 / step) for step in range(1, 6)]
        report_metrics(6, {"valid_loss": float("nan"), "loss": 0.1})  # is written when it ends
    assert history(registry, run_id, "loss")[-1] == (6, 0.1)
    assert [(name, status) for _, name, status in nested(registry, parent)] == [("fit retrain", "FINISHED")]
    report_metrics(7, {"loss": 0.0})
    assert len(history(registry, run_id, "loss")) == 6


def test_measuring_does_not_wait_for_the_database(registry: Registry) -> None:
    parent = registry.start_run("iteration 1")
    with live_run(registry, "fit", parent):
        started = time.perf_counter()
        for step in range(2000):
            report_metrics(step, {"loss": 0.5})
        seconds = time.perf_counter() - started
    [(run_id, _, _)] = nested(registry, parent)
    assert len(history(registry, run_id, "loss")) == 2000
    assert seconds < 0.5  # 2000 writes of about 3 ms would take 6 s


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "FAILED"), (Stopped, "KILLED"), (KeyboardInterrupt, "KILLED")]
)
def test_a_run_ends_as_its_training_does(registry: Registry, error: type[BaseException], status: str) -> None:
    parent = registry.start_run("iteration 1")
    with pytest.raises(error), live_run(registry, "fit", parent):
        report_metrics(1, {"loss": 2.0})
        raise error
    [(run_id, _, found)] = nested(registry, parent)
    assert found == status
    assert history(registry, run_id, "loss") == [(1, 2.0)]


def test_an_mlflow_that_cannot_be_reached_stops_no_training(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = Registry("http://127.0.0.1:9", "live")  # nobody listens there
    trained = []
    with caplog.at_level(logging.WARNING), live_run(registry, "fit baseline", "parent"):
        report_metrics(1, {"loss": 2.0})
        trained.append(1)
    assert trained == [1]
    assert [record.getMessage()[:33] for record in caplog.records if record.name == "tasks.live_runs"] == [
        "fit baseline is not shown live: M"
    ]


def test_an_mlflow_that_goes_away_is_told_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live_runs, "WRITE_EVERY_S", 0.05)
    parent = registry.start_run("iteration 1")
    with caplog.at_level(logging.WARNING), live_run(registry, "fit", parent):
        registry.client.delete_run(nested(registry, parent)[0][0])  # so it takes no metrics any more
        for step in range(5):
            report_metrics(step, {"loss": 2.0})
            time.sleep(0.1)
    told = [record.getMessage() for record in caplog.records if record.name == "tasks.live_runs"]
    assert len(told) == 1
    assert told[0].startswith("metrics are not shown live: MLflow at sqlite")


def test_nothing_is_opened_where_nobody_asked() -> None:
    with progress_to(lambda *_: None), training():
        report_metrics(1, {"loss": 1.0})
