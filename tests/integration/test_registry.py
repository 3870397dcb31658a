"""The registry on a real MLflow with SQLite."""

import pytest

from tasks.registry import Registry

pytestmark = pytest.mark.filterwarnings("default")


def test_a_run_takes_more_metrics_than_one_batch(tmp_path):
    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", "many", str(tmp_path / "artifacts"))
    run_id = registry.start_run("a run")
    metrics = {f"golden_accuracy.label.{number}": number / 2500 for number in range(2500)}
    registry.log_run(run_id, params={"lever": "clean"}, metrics=metrics, texts={"figures/a.svg": "<svg/>"})
    run = registry.client.get_run(run_id)
    assert run.data.metrics == metrics
    assert run.data.params == {"lever": "clean"}
    assert [item.path for item in registry.client.list_artifacts(run_id, "figures")] == ["figures/a.svg"]
