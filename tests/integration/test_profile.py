"""`ratchet profile` on artifacts of a tiny base (PyTorch, ONNX, int8), the command with a real MLflow registry."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.iterate import profile as profile_of_contender
from flows.outcome import Contender
from flows.project import Project, only_one, open_project
from serving.loading import load_predictor
from serving.runtimes.openvino_runtime import import_openvino
from tasks.artifacts import OF_THE_MODEL, open_artifact, seal
from tasks.compress.exporting.onnx_export import export_onnx
from tasks.compress.methods import Int8Dynamic, Onnx
from tasks.compress.quantising.dynamic import quantise_dynamic
from tasks.data.rows import COLUMNS, make_rows
from tasks.data.snapshot import write_table
from tasks.measure.profiling.profile import is_profiled, profile
from tasks.measure.profiling.trace import RUN
from tasks.records import Candidate, Quality, Scorecard, Snapshot, Verdict
from tasks.registry import CHAMPION, VersionRecord
from tasks.specs import Recipe
from tests.compress_support import material_of
from tests.e2e.commands import Answer, ratchet_here
from tests.loop_support import LATER, make_project, messages
from tests.serving_support import make_cascade, make_model_cascade, make_onnx

pytestmark = pytest.mark.filterwarnings("default")

LABELS = ["account", "delivery", "praise", "refund"]
TEXTS = [row["text"] for row in messages(60, seed=3, later=True)]
PRODUCTS = {"torch": {"linear"}, "onnx": {"MatMul", "Gemm"}, "int8": {"DynamicQuantizeMatMul", "MatMulIntegerToFloat"},
            "openvino": {"FullyConnected"}}  # fmt: skip


@pytest.fixture(scope="module")
def candidates(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Candidate]:
    """One tiny model in each runtime."""
    from tasks.train.bases.loading import load_base
    from tasks.train.model import save_artifact

    root = tmp_path_factory.mktemp("candidates")
    model, tokenizer = load_base(str(tiny_base), len(LABELS), "mean", 0.0)
    source = save_artifact(root / "torch", model, tokenizer, pooling="mean", notes={}, labels=LABELS, max_length=32)
    exported = export_onnx(Onnx(), source, root / "onnx", material_of(source))
    words = {"please": [0, 0, 0, 9], "the": [0, 1, 0, 0]}
    openvino = _in_openvino(exported, root / "openvino")
    return {
        "torch": source,
        "onnx": exported,
        "openvino": openvino,
        "cascade": make_cascade(root / "cascade", openvino, words, bias=[0, 0, 0, 0], threshold=0.9),
        "int8": quantise_dynamic(Int8Dynamic(), exported, root / "int8", material_of(source)),
    }


def _in_openvino(exported: Candidate, folder: Path) -> Candidate:
    _, manifest = open_artifact(exported)
    openvino = import_openvino()
    folder.mkdir()
    openvino.save_model(openvino.Core().read_model(f"{exported.uri}/model.onnx"), str(folder / "model.xml"), False)
    shutil.copy(f"{exported.uri}/tokenizer.json", folder)
    return seal(folder, runtime="openvino", openvino="model.xml", notes={}, **{n: manifest[n] for n in OF_THE_MODEL})


@pytest.mark.parametrize("form", ["torch", "onnx", "int8", "openvino"])
def test_each_runtime_is_profiled_and_its_trace_holds_no_text(
    form: str, candidates: dict[str, Candidate], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    threads = torch.get_num_threads()
    found = profile(candidates[form], TEXTS, tmp_path / "trace.json", batch_size=4, seconds=0.2, threads=1)
    assert torch.get_num_threads() == threads
    assert (found.runtime, found.threads, found.batch_size) == (candidates[form].runtime, 1, 4)
    assert found.parts.tokenize + found.parts.model + found.parts.python == pytest.approx(1)
    assert found.products is not None
    assert found.products.precision == ("int8" if form == "int8" else "float32")
    assert 0 < found.products.share <= 1
    assert 0 < found.products.gflop_per_s < 2 * found.products.roofs.gflop_per_s
    assert {operator.name for operator in found.operators} & PRODUCTS[form]
    written = (tmp_path / "trace.json").read_text("utf-8")
    assert [word for word in (*LATER, "please", str(tmp_path)) if word in written] == []
    events = json.loads(written)["traceEvents"]
    assert sum(event["name"] == RUN for event in events) == sum(event["name"] == "model" for event in events)
    assert capfd.readouterr() == ("", "")


def test_of_a_cascade_the_model_behind_its_first_stage_is_profiled(
    candidates: dict[str, Candidate], tmp_path: Path
) -> None:
    found = profile(candidates["cascade"], ["please"] * 30 + TEXTS[:10], tmp_path / "t.json", seconds=0.2, threads=1)
    sure = load_predictor(Path(candidates["cascade"].uri)).stages_of(["please"] * 30 + TEXTS[:10]).count(0)  # type: ignore[attr-defined]
    assert sure >= 30
    assert (found.runtime, found.candidate) == ("cascade", candidates["cascade"].digest)
    assert found.sentence.startswith(f"The first stage answers {100 * sure / 40:.0f} % of the texts, in ")
    assert {operator.name for operator in found.operators} & PRODUCTS["openvino"]
    assert found.seconds_per_text > 0


def test_of_a_cascade_whose_first_stage_is_a_model_too(candidates: dict[str, Candidate], tmp_path: Path) -> None:
    both = make_model_cascade(tmp_path / "both", candidates["openvino"], candidates["int8"], threshold=0.3)
    found = profile(both, TEXTS, tmp_path / "t.json", seconds=0.2, threads=1)
    sure = load_predictor(Path(both.uri)).stages_of(TEXTS).count(0)  # type: ignore[attr-defined]
    assert found.sentence.startswith(f"The first stage answers {100 * sure / len(TEXTS):.0f} % of the texts, in ")
    assert {operator.name for operator in found.operators} & PRODUCTS["openvino"]


def test_torch_counts_the_products_that_the_tiny_base_makes(candidates: dict[str, Candidate], tmp_path: Path) -> None:
    """Of one layer of 32 dimensions: queries, keys, values, output, two of the feed-forward; then the head."""
    text = "please the my now about it hello again"
    found = profile(candidates["torch"], [text], tmp_path / "t.json", seconds=0.1, threads=1)
    linear = next(operator for operator in found.operators if operator.name == "linear")
    attention = next(operator for operator in found.operators if operator.name == "scaled_dot_product_attention")
    assert (linear.calls, attention.calls) == (7, 1)
    tokens, width = 8, 32
    flops = 6 * 2 * tokens * width**2 + 2 * width * len(LABELS) + 2 * 2 * tokens**2 * width
    seconds = (7 * linear.mean_us + attention.mean_us) / 1e6
    assert found.products is not None
    assert found.products.gflop_per_s == pytest.approx(flops / seconds / 1e9)


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(candidates: dict[str, Candidate], tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose registry holds the int8 model as version 1 and the PyTorch one as version 2, the champion."""
    project = open_project(make_project(tmp_path_factory.mktemp("project"), tiny_base))
    path = project.state / "snapshot.parquet"
    splits = {"train": TEXTS[:2], "select": TEXTS[2:40], "golden": TEXTS[40:]}
    rows = [(f"{split}-{number}", text, LABELS[0], split, "x") for split, texts in splits.items()
            for number, text in enumerate(texts)]  # fmt: skip
    digest = write_table(make_rows(dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))), path)
    snapshot = Snapshot(str(path), digest, {split: len(texts) for split, texts in splits.items()}, tuple(LABELS))
    scores = project.state / "scores.parquet"
    pq.write_table(pa.table({"text": TEXTS[:2], "target": LABELS[:1] * 2, "output": LABELS[:1] * 2}), scores)
    quality = Quality("accuracy", "golden", 2, "", 0.5, 0.4, 0.6, {}, str(scores), "")
    for form in ("int8", "torch"):
        run = project.registry.start_run(form)
        card = Scorecard(candidates[form].digest, quality)
        record = VersionRecord(candidates[form], Recipe(), snapshot, card, Verdict("promote", "for a test"))
        project.registry.register(run, record, candidates["int8"], "", {})
        project.registry.finish_run(run)
    project.registry.set_alias(CHAMPION, "2")
    return project


def asked(capfd: pytest.CaptureFixture[str], project: Project, *arguments: str) -> Answer:
    return ratchet_here(capfd, "profile", *arguments, "--spec", project.spec_path, "--seconds", "0.2")


def test_the_champion_is_profiled_where_no_version_is_named(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = asked(capfd, project, "--json")
    assert answer.code == 0, answer.err
    content = json.loads(answer.out)
    assert (content["version"], content["runtime"], content["batch_size"]) == ("2", "torch", 1)
    assert content["threads"] == 1  # of the spec's benchmark
    assert content["trace_uri"] == str(project.state / "profiles" / "version-2.json")
    assert json.loads(Path(content["trace_uri"]).read_text("utf-8"))["traceEvents"]


def test_the_terminal_shows_parts_operators_the_bound_and_the_trace(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = asked(capfd, project, "1", "--batch-size", "8")
    assert (answer.code, answer.err) == (0, "")
    lines = " ".join(answer.out.split())
    trace = project.state / "profiles" / "version-1.json"
    for told in ("version 1 (onnx)", "batch size 8", "tokenize", "python", "DynamicQuantizeMatMul", "GFLOP/s", "int8",
                 f"trace: {trace} (open it at https://ui.perfetto.dev)"):  # fmt: skip
        assert told in lines, answer.out
    assert any(word in lines for word in ("bounds it", "bound it"))


def test_a_version_that_is_not_there_is_one_line(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    asked(capfd, project, "7").mistake(2, "tiny: no version 7; known: 1, 2")
    asked(capfd, project, "challenger").mistake(2, "no version challenger")


def test_nothing_is_profiled_beside_an_iteration(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    with only_one(project):
        asked(capfd, project, "1").mistake(1, "another iteration is running")


def test_a_runtime_that_is_not_profiled_stops_no_iteration(tmp_path):
    """TensorRT's, behind a cascade too: what it took to judge such a model is not lost for want of a profile."""
    tensorrt = make_onnx(tmp_path / "tensorrt", runtime="tensorrt")
    behind = make_cascade(tmp_path / "cascade", tensorrt, {"alpha": [9, 0, 0]})
    for candidate in (tensorrt, behind):
        assert not is_profiled(candidate)
        assert profile_of_contender(None, Contender(None, candidate), None) is None
    assert is_profiled(make_cascade(tmp_path / "served", make_onnx(tmp_path / "onnx"), {"alpha": [9, 0, 0]}))
