"""The loop end to end on a tiny model: Prefect, MLflow, Great Expectations, Evidently and the database are real."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from feedback.records import FeedbackRow, PredictionRow, delivery
from flows.outcome import Outcome, read_outcomes
from flows.project import Project, open_project
from flows.refresh import golden_status
from flows.status import project_status
from tasks.measure.runtime import load
from tasks.records import from_json
from tests.e2e.commands import ratchet_here
from tests.loop_support import make_project, messages, write_csv

TEXTS = ["money back please", "parcel late"]

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.filterwarnings("default")]


def turn(spec: Path, trigger: str = "run") -> Outcome:
    from flows.iterate import iterate

    return from_json(Outcome, iterate(str(spec), trigger))


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, shared_store: Path, prefect_api: str) -> Path:
    """A project after its baseline and one iteration."""
    path = make_project(tmp_path_factory.mktemp("project"), tiny_base, shared_store)
    turn(path)
    turn(path)
    return path


@pytest.fixture(scope="module")
def project(spec: Path) -> Project:
    return open_project(spec)


def test_the_first_turn_makes_the_baseline_and_the_second_is_promoted(project: Project) -> None:
    first, second = read_outcomes(project)[:2]
    assert first.result == "baseline"
    assert second.result == "promoted", second.verdict.reason
    assert set(second.changed) == {"retrain", "compress"}
    assert second.cards["candidate"].quality.mean > second.cards["baseline"].quality.mean
    assert second.paired["accuracy"].value > second.paired["accuracy"].low > 0
    assert {"robust=typos", "channel=chat", "label=refund"} <= set(second.cards["candidate"].quality.slices)
    assert second.profile is not None
    assert Path(second.profile.trace_uri).is_file()
    speed = second.cards["champion"].speed
    assert speed is not None
    assert len(speed.grid) == 9
    assert speed.cold_start_s is not None
    assert project.registry.aliases()["baseline"] == "1"


def test_every_model_is_measured_on_the_same_rows_together(project: Project) -> None:
    cards = read_outcomes(project)[1].cards
    assert len({card.quality.rows_digest for card in cards.values()}) == 1
    assert len({card.speed.session for card in cards.values() if card.speed}) == 1


def test_a_rerun_with_nothing_changed_trains_nothing(spec: Path) -> None:
    outcome = turn(spec)
    assert outcome.result == "unchanged"
    assert "Nothing changed since iteration" in outcome.verdict.reason
    assert "fit" not in outcome.seconds


@pytest.mark.parametrize("alias", ["baseline", "champion"])
def test_a_version_loads_with_plain_mlflow_and_without_torch(alias: str, project: Project) -> None:
    code = f"""
import sys
sys.modules["torch"] = None
import json, mlflow
mlflow.set_tracking_uri({project.tracking_uri!r})
model = mlflow.pyfunc.load_model("models:/tiny@{alias}")
print(json.dumps(model.predict({TEXTS!r})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project.root)
    answers = json.loads(done.stdout.splitlines()[-1])
    version = project.registry.by_alias(alias)
    assert version is not None
    judged = load(project.registry.read_record(version).candidate).predict(TEXTS)
    assert [answer["output"] for answer in answers] == judged.outputs
    assert [answer["confidence"] for answer in answers] == pytest.approx(judged.scores, abs=1e-3)


def test_the_reviewer_finds_what_decides_in_the_registry(project: Project) -> None:
    client = project.registry.client
    version = client.get_model_version("tiny", "2")
    for expected in (
        "Look 1 at this golden set",
        "Promote:",
        "baseline",
        "champion",
        "candidate",
        "channel=chat",
        "report:",
        "data docs:",
    ):
        assert expected in version.description
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    nested = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) >= 2
    assert {"retrain on select", "compress on select", "candidate on golden"} <= {run.info.run_name for run in nested}
    assert all(run.inputs.dataset_inputs for run in parents)


def test_each_training_has_a_run_of_its_own_and_one_that_was_stored_has_none(project: Project) -> None:
    client, (first, second) = project.registry.client, read_outcomes(project)[:2]
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    fits = {run.info.run_name: run.info for run in runs if str(run.info.run_name).startswith("fit ")}
    assert ("fit baseline" in fits) == ("fit" in first.seconds)
    assert ("fit retrain" in fits) == ("fit" in second.seconds)
    for info in fits.values():
        assert info.status == "FINISHED"
        steps = [point.step for point in client.get_metric_history(info.run_id, "loss")]
        assert steps == sorted(set(steps)) != []


def test_the_ledger_tells_every_move(project: Project) -> None:
    from feedback import ledger

    entries = ledger.history(project.database, "tiny")
    moves = [(entry.move.alias, entry.move.from_version, entry.move.to_version, entry.phase) for entry in entries]
    assert ("champion", "1", "2", "intended") in moves
    assert ("champion", "1", "2", "applied") in moves
    assert ledger.unfinished(project.database, "tiny") == []


def test_two_versions_are_judged_by_hand_at_the_price_of_a_look(
    spec: Path, project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    before = project_status(project)["golden_budget"]
    again = ratchet_here(capfd, "gate", "2", "baseline", "--spec", spec, "--json")
    assert (again.code, json.loads(again.out)["look"]) == (0, 1), again  # the comparison that promoted it: paid already
    assert project_status(project)["golden_budget"] == before
    worse = ratchet_here(capfd, "gate", "1", "--claim", "quality", "--spec", spec, "--json")
    assert (worse.code, json.loads(worse.out)["decision"]) == (1, "reject"), worse
    assert project_status(project)["golden_budget"]["looks"] == before["looks"] + 1
    assert project.registry.aliases()["champion"] == "2"
    ratchet_here(capfd, "gate", "2", "champion", "--spec", spec, "--json").mistake(2, "are one model")
    ratchet_here(capfd, "gate", "7", "--spec", spec, "--json").mistake(2, "no version 7", "known: ")
    ratchet_here(capfd, "gate", "1", "--claim", "size", "--spec", spec, "--json").mistake(2, "--claim size", "quality")


def test_the_effect_of_a_lever_is_on_record(spec: Path, project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    [effect] = json.loads(ratchet_here(capfd, "history", spec, "--lever", "retrain", "--json").out)
    assert effect["kept"] and effect["quality"]["value"] > effect["quality"]["low"] > 0
    [effect] = json.loads(ratchet_here(capfd, "history", spec, "--lever", "compress", "--json").out)
    assert effect["size_ratio"] < 1 and set(effect["time_ratio"]) == {"value", "low", "high"}
    ratchet_here(capfd, "history", spec, "--lever", "shrink", "--json").mistake(2, "'shrink'", "compress, retrain")


def test_drift_in_production_asks_for_a_turn_that_learns_from_feedback(spec: Path, project: Project) -> None:
    from flows.monitor import monitor

    stream = messages(300, seed=9, later=True)
    champion = project.registry.by_alias("champion")
    assert champion is not None
    answers = load(project.registry.read_record(champion).candidate).predict([row["text"] for row in stream])
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    predictions = [
        PredictionRow(
            row["id"], champion.number, row["text"], output, float(sure), now, f"u{n}", {"channel": row["channel"]}
        )
        for n, (row, output, sure) in enumerate(zip(stream, answers.outputs, answers.scores, strict=True))
    ]
    project.database.add_predictions(delivery("p-1", "predictions", b"p"), predictions)
    feedback = [FeedbackRow(row["id"], "app", now, target=row["label"]) for row in stream]
    project.database.add_feedback(delivery("f-1", "feedback", b"f"), feedback)

    watch = json.loads(monitor(str(spec)))
    assert watch["report"]["drifted"], watch
    assert Path(watch["report"]["report_uri"]).is_file()
    outcome = turn(spec, "drift")
    assert outcome.feedback_rows > 200
    assert outcome.feedback_check is not None and outcome.feedback_check.rows.rows == outcome.feedback_rows
    assert outcome.checks is not None and outcome.checks.passed
    compared = {"required_labels", "max_class_distance", "length", "max_rows"}  # with the last accepted snapshot
    assert compared <= {result.expectation for result in outcome.checks.results}
    assert outcome.drift == watch["report"]["reason"]
    assert outcome.drift in Path(outcome.report_uri).read_text("utf-8")
    assert [trial.lever for trial in outcome.trials] == ["new-data"]
    worn = golden_status(project)
    assert [seal["how"] for seal in worn["history"]] == ["created", "feedback"]
    assert worn["rows"] == outcome.snapshot.rows["golden"] == 400 + worn["composition"]["feedback"]
    assert 0 < worn["share_new"] < project.spec.gate.refresh and worn["waiting"] == 0
    assert outcome.result == "promoted", outcome.verdict.reason
    assert outcome.cards["candidate"].quality.mean > outcome.cards["champion"].quality.mean
    assert outcome.verdict.look == 3  # a few rows of feedback do not make golden a new set
    assert outcome.verdict.alpha < read_outcomes(project)[1].verdict.alpha < project.spec.gate.alpha
    spent = project_status(project)["golden_budget"]
    assert (spent["looks"], spent["left"]) == (3, pytest.approx(outcome.verdict.budget_left))


def test_rollback_restores_the_champion_before(spec: Path, project: Project) -> None:
    from flows.promotion import rollback

    before = project.registry.aliases()["champion"]
    move = rollback(project, "a test", "me")
    assert move.from_version == before
    assert project.registry.aliases()["champion"] == move.to_version != before


def test_in_review_a_version_waits_until_someone_approves(tmp_path: Path, tiny_base: Path, shared_store: Path) -> None:
    from flows.promote import promote

    gate = {"margin": 0.03, "slice_margin": 0.1, "cost_margin": 0.95, "max_noise": 5, "promotion": "review"}
    path = make_project(tmp_path, tiny_base, shared_store, gate=gate)
    turn(path)
    outcome = turn(path)
    project = open_project(path)
    assert outcome.result == "review", outcome.verdict.reason
    assert project.registry.aliases() == {"baseline": "1", "champion": "1", "challenger": "2"}
    assert project.registry.version("2").tags["review"] == "pending"
    assert promote(str(path)) == []
    assert turn(path).result == "unchanged"  # it waits; nothing new is registered
    assert len(project.registry.versions()) == 2
    project.registry.set_tag("2", "review", "approved")  # as the MLflow page does
    [applied] = promote(str(path))
    assert (applied.version, applied.decision) == ("2", "champion")
    assert project.registry.aliases() == {"baseline": "1", "champion": "2"}
    assert promote(str(path)) == []


def test_the_gate_says_no_to_a_model_that_only_select_likes(
    tmp_path: Path, tiny_base: Path, shared_store: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make_project(tmp_path, tiny_base, shared_store)
    turn(path)
    golden = [{**row, "label": {"refund": "delivery", "delivery": "refund"}.get(row["label"], row["label"])}
              for row in messages(400, seed=2)]  # fmt: skip
    poisoned = [
        {**row, "label": "praise" if row["label"] == "account" else row["label"]} for row in messages(500, seed=1)
    ]
    write_csv(tmp_path / "golden.csv", golden)
    write_csv(tmp_path / "train.csv", poisoned + messages(40, seed=3))
    relabelled = sum(row["label"] in ("refund", "delivery") for row in golden)
    told = ratchet_here(capfd, "run", path, "--json").mistake(2, f"{relabelled} edited", "golden refresh --accept")
    assert "nothing was trained" in told
    accepted = json.loads(ratchet_here(capfd, "golden", "refresh", path, "--accept", "--json").out)
    assert (accepted["edited"], accepted["seal"]["how"]) == (relabelled, "accepted")
    outcome = turn(path)
    project = open_project(path)
    assert outcome.result in ("rejected", "inconclusive"), outcome.verdict.reason
    assert project.registry.aliases() == {"baseline": "1", "champion": "1"}
