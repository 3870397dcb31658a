"""The registry on a real MLflow with SQLite."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.artifact import read_manifest
from tasks.records import Quality, Scorecard, Snapshot, Verdict
from tasks.registry import Registry, VersionRecord
from tasks.specs import Recipe
from tests.serving_support import make_cascade, make_model_cascade, make_onnx, make_openvino

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


def test_a_cascade_of_models_is_registered_loaded_and_fetched(tmp_path):
    """Loaded by MLflow it answers; where it is gone from this machine, the whole of it comes back, not a part."""
    import mlflow

    models = make_onnx(tmp_path / "onnx"), make_openvino(tmp_path / "openvino")
    staged = make_model_cascade(tmp_path / "staged", *models, threshold=0.9)
    cascade = make_cascade(tmp_path / "cascade", staged, {"alpha": [9, 0, 0]})
    scores = tmp_path / "scores.parquet"
    pq.write_table(pa.table({"text": ["alpha"], "target": ["a"], "output": ["a"]}), scores)
    card = Scorecard(cascade.digest, Quality("accuracy", "golden", 1, "", 1.0, 0.9, 1.0, {}, str(scores), ""))
    record = VersionRecord(cascade, Recipe(), Snapshot("", "", {}, ()), card, Verdict("promote", "for a test"))
    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", "cascades", str(tmp_path / "artifacts"))
    version = registry.register(registry.start_run("a run"), record, cascade, "", {})
    model = mlflow.pyfunc.load_model(f"models:/cascades/{version.number}")
    assert [answer["output"] for answer in model.predict(["alpha", "beta", "gamma"])] == ["a", "b", "c"]
    needed = mlflow.pyfunc.get_model_dependencies(f"models:/cascades/{version.number}")
    packages = {line.partition("==")[0] for line in Path(needed).read_text("utf-8").split()}
    assert packages == {"mlflow", "numpy", "onnxruntime", "openvino", "tokenizers"}  # MLflow's own loader adds itself
    shutil.rmtree(cascade.uri)
    fetched = registry.read_record(version).candidate
    assert read_manifest(Path(fetched.uri))["runtime"] == "cascade"
