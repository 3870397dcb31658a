"""Row scores of an artifact on an evaluation set: what is stored of every row, and what the gate reads back."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tasks.measurements
from serving.predictors import Predictions
from tasks.artifacts import seal
from tasks.data.rows import make_rows
from tasks.data.snapshot import make_snapshot_table, write_table
from tasks.errors import ArtifactError, DataError
from tasks.measure.gate.evidence import find_flaw
from tasks.measure.quality import scores as module
from tasks.measure.quality.metrics import row_brier
from tasks.measure.quality.scores import check_costs, with_scores
from tasks.records import Scorecard, Snapshot
from tasks.specs import GateSpec, QualitySpec
from tasks.store import Store

LABELS = ["card", "loan"]
SPEC = QualitySpec(costs={"loan": {"card": 4.0}}, robust_rows=20)


class ByWord:
    """Says "loan" where the text has that word in lower case, else "card"; the surer the longer the text."""

    def predict(self, texts):
        answers = ["loan" if "loan" in text else "card" for text in texts]
        sure = np.array([min(0.95, 0.5 + len(text) / 100) for text in texts], dtype=np.float32)
        chosen = np.array([LABELS.index(answer) for answer in answers], dtype=int)
        probabilities = np.stack([np.where(chosen == label, sure, 1 - sure) for label in range(2)], axis=1)
        return Predictions(answers, sure, probabilities.astype(np.float32))


@pytest.fixture
def snapshot(tmp_path):
    """60 golden rows: 24 about cards, 24 about loans, of which each sixth has no right word, 12 out of scope."""
    texts, targets = [], []
    for number in range(60):
        target = ["card", "loan", "card", "loan", "other"][number % 5]
        word = {"card": "card", "loan": "loan" if number % 6 else "credit", "other": "weather"}[target]
        texts.append(f"I have a question about my {word} and the number {number}" + " please" * (number % 3))
        targets.append(target)
    rest = ["train", "train", "valid", "valid", "select", "select"]
    table = make_rows({
        "id": [f"g{n}" for n in range(60)] + [f"r{n}" for n in range(6)],
        "text": texts + [f"text {n}" for n in range(6)],
        "target": targets + ["card", "loan"] * 3,
        "split": ["golden"] * 60 + rest,
        "source": ["x"] * 66,
    })  # fmt: skip
    table = table.append_column("channel", pa.array(["chat", "mail", "chat"] * 22, pa.string()))
    path = tmp_path / "snapshot.parquet"
    digest = write_table(make_snapshot_table([table], labelled=True, out_of_scope="other"), path)
    return Snapshot(str(path), digest, {"golden": 60}, ("card", "loan"), ("channel",), out_of_scope="other")


@pytest.fixture
def candidate(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("by word")
    return seal(folder, runtime="onnx", labels=LABELS, notes={})


@pytest.fixture
def measure(tmp_path, snapshot, candidate, monkeypatch):
    monkeypatch.setattr(module, "load", lambda candidate: ByWord())
    store = Store(str(tmp_path / "store"))
    return lambda split="golden", spec=SPEC: tasks.measurements.score(store, candidate, snapshot, split, spec)


def test_every_row_is_scored_and_every_metric_measured(measure, snapshot):
    quality = measure()
    table = pq.read_table(quality.scores_uri)
    targets, outputs = table["target"].to_pylist(), table["output"].to_pylist()
    right = [target == output for target, output in zip(targets, outputs, strict=True)]
    assert quality.mean == sum(right) / 60
    assert 0.7 < quality.mean < 0.8
    assert table["score"].to_pylist() == [float(value) for value in right]
    assert set(quality.metrics) == {
        "accuracy", "macro_f1", "cost", "ece", "brier", "oos_auroc", "f1[card]", "f1[loan]", "f1[other]",
    }  # fmt: skip
    costs = [0.0 if ok else 1.0 if (t, o) == ("loan", "card") else 0.25
             for t, o, ok in zip(targets, outputs, right, strict=True)]  # fmt: skip
    assert quality.metrics["cost"].value == pytest.approx(np.mean(costs))
    found = ByWord().predict(table["text"].to_pylist())
    assert table["brier"].to_pylist() == pytest.approx(row_brier(found.probabilities, LABELS, targets))


def test_slices_of_every_family_are_named_and_scored(measure):
    quality = measure()
    names = set(quality.slices)
    assert {"channel=chat", "channel=mail", "label=card", "label=loan", "label=other"} <= names
    assert {"robust=typos", "robust=casing", "robust=paraphrase"} <= names
    assert any(name.startswith("length=") for name in names)
    assert quality.slices["channel=chat"].rows == 40
    assert quality.slices["label=other"].mean == 0.0
    assert quality.slices["robust=casing"].rows == 20
    assert quality.slices["robust=casing"].mean < quality.mean  # it knows lower case alone


def test_what_is_read_back_is_what_was_measured(measure):
    quality = measure()
    measured = with_scores(Scorecard("c", quality), "other")
    assert measured.scores.mean() == quality.mean
    assert {name: (int(mask.sum()), measured.scores[mask].mean()) for name, mask in measured.slices.items()} == {
        name: (found.rows, pytest.approx(found.mean))
        for name, found in quality.slices.items()
        if not name.startswith("robust=")
    }
    assert set(measured.families.values()) == {"column", "label", "length"}
    assert measured.families["channel=chat"] == "column"
    assert {kind: scores.mean() for kind, scores in measured.robust.items()} == {
        kind: pytest.approx(quality.slices[f"robust={kind}"].mean) for kind in ("typos", "casing", "paraphrase")
    }
    assert measured.answers.out_of_scope == "other"
    assert np.array_equal(measured.answers.targets == measured.answers.outputs, measured.scores == 1)


def test_rows_of_select_and_golden_are_perturbed_and_only_where_asked(measure):
    assert measure("select").robust_uri and measure("golden").robust_uri
    assert measure("valid").robust_uri == ""
    assert measure(spec=replace(SPEC, robustness=())).robust_uri == ""
    one = measure(spec=replace(SPEC, robustness=("typos",)))
    assert [name for name in one.slices if name.startswith("robust=")] == ["robust=typos"]


def test_models_measured_in_different_ways_do_not_compare(measure):
    one, other = measure(), measure(spec=replace(SPEC, costs={}))
    again = measure(spec=replace(SPEC))
    assert one.measured_by == again.measured_by != other.measured_by
    sides = [with_scores(Scorecard(name, quality), "other") for name, quality in (("a", one), ("b", other))]
    flaw = find_flaw(*sides, None, ["quality"], GateSpec())
    assert flaw == "champion and candidate were scored by different versions of code or spec; score both again"


@pytest.mark.parametrize("uri", ["scores_uri", "robust_uri"])
def test_changed_scores_are_refused(measure, uri):
    quality = measure()
    with open(getattr(quality, uri), "ab") as file:
        file.write(b"x")
    with pytest.raises(ArtifactError, match="missing or changed; delete"):
        with_scores(Scorecard("c", quality), "other")


@pytest.mark.parametrize("costs", [{"laon": {"card": 2.0}}, {"card": {"laon": 2.0}}])
def test_costs_of_an_unknown_label_are_refused(snapshot, costs):
    check_costs(SPEC, snapshot)
    check_costs(QualitySpec(costs={"other": {"card": 2.0}}), snapshot)
    with pytest.raises(DataError, match=r"no label 'laon'; did you mean 'loan'\?"):
        check_costs(QualitySpec(costs=costs), snapshot)


def test_rows_out_of_scope_need_their_label_declared(snapshot):
    table = make_rows({
        "id": list("abcdefgh"), "text": list("abcdefgh"), "target": ["x", "y", "x", "y", "x", "x", "other", "x"],
        "split": ["train", "train", "valid", "valid", "select", "select", "golden", "golden"], "source": ["s"] * 8,
    })  # fmt: skip
    with pytest.raises(DataError, match="golden has 1 labels that train does not"):
        make_snapshot_table([table], labelled=True)
    assert make_snapshot_table([table], labelled=True, out_of_scope="other").num_rows == 8
