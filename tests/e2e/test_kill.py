"""`kill -9` in training and at every point of a promotion, two iterations at once: a plain rerun mends what is left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from feedback import ledger
from flows.outcome import Outcome, read_outcomes
from flows.project import Project, only_one, open_project
from flows.promotion import rollback
from tasks.records import from_json
from tests.e2e.commands import child_command, child_environment, ratchet_here
from tests.loop_support import make_project

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.filterwarnings("default")]

WAIT_S = 120
LONG = {"epochs": 30, "learning_rate": 0.01, "patience": 100, "precision": "fp32"}  # some seconds of training

CHILD = '''
"""One iteration that kills itself at a point of the promotion."""
import os, signal, sys
import flows.iterate
from tasks.registry import Registry

spec, point = sys.argv[1:]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def set_alias(registry, alias, number, real=Registry.set_alias):
    if alias == "champion" and point == "intended":
        die()
    real(registry, alias, number)
    if alias == "champion" and point == "alias set":
        die()

def register(*args, real=Registry.register, **options):
    made = real(*args, **options)
    if point == "registered":
        die()
    return made

def write_outcome(*args):
    die()

Registry.set_alias = set_alias
Registry.register = register
if point == "outcome":
    flows.iterate.write_outcome = write_outcome
flows.iterate.iterate(spec, "run")
'''


def turn(spec: Path) -> Outcome:
    from flows.iterate import iterate

    return from_json(Outcome, iterate(str(spec), "run"))


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, prefect_api: str) -> Path:
    """A project with its baseline, whose next iteration trains for some seconds and is promoted."""
    path = make_project(tmp_path_factory.mktemp("kill"), tiny_base, levers=[{"name": "retrain", "train": LONG}])
    assert turn(path).result == "baseline"
    return path


@pytest.fixture
def project(spec: Path) -> Project:
    return open_project(spec)


@pytest.fixture
def child(spec: Path) -> Iterator["subprocess.Popen[str]"]:
    """`ratchet run` in a process group of its own."""
    started = subprocess.Popen(child_command("run", spec, "--json"), env=child_environment(), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip
    yield started
    if started.poll() is None:
        os.killpg(started.pid, signal.SIGKILL)
    started.communicate()


def statuses(project: Project) -> dict[str, str]:
    """Return how each MLflow run of the project ended, by its id."""
    client = project.registry.client
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    return {run.info.run_id: run.info.status for run in runs}


def whole(project: Project) -> dict[str, str]:
    """Return the aliases, after checking that nothing is half done and every artifact has one version."""
    digests = [version.tags["ratchet.candidate"] for version in project.registry.versions()]
    assert len(set(digests)) == len(digests)
    assert ledger.unfinished(project.database, "tiny") == []
    aliases = project.registry.aliases()
    assert ledger.current_version(project.database, "tiny") == aliases["champion"]
    assert "RUNNING" not in statuses(project).values()
    return aliases


def test_killed_in_training_a_plain_rerun_finishes(
    spec: Path, project: Project, child: "subprocess.Popen[str]", capfd: pytest.CaptureFixture[str]
) -> None:
    fits = project.state / "store" / "fit"
    done = {path.parent for path in fits.glob("*/record.json")}
    deadline = time.monotonic() + WAIT_S
    checkpoints = project.state / "store" / "checkpoints"
    while not (
        training := [path for path in set(fits.glob("*/")) - done if list(checkpoints.glob(f"{path.name}/*/*"))]
    ):
        assert child.poll() is None and time.monotonic() < deadline, child.communicate()
        time.sleep(0.02)
    busy = ratchet_here(capfd, "run", spec, "--json").mistake(1, "another iteration is running")
    assert f"(process {child.pid})" in busy
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait(WAIT_S) == -signal.SIGKILL
    assert not (training[0] / "record.json").exists()
    assert project.registry.aliases() == {"baseline": "1", "champion": "1"}
    running = {run for run, status in statuses(project).items() if status == "RUNNING"}
    assert len(running) == 2  # the iteration's, and that of the training

    answer = ratchet_here(capfd, "run", spec, "--json")
    assert (answer.code, json.loads(answer.out)["result"]) == (0, "promoted"), answer
    assert {statuses(project)[run] for run in running} == {"KILLED"}
    assert whole(project) == {"baseline": "1", "champion": "2"}
    assert [outcome.result for outcome in read_outcomes(project)] == ["baseline", "promoted"]
    assert not (checkpoints / training[0].name).exists()


def roll_back_to_first(spec: Path, project: Project) -> None:
    """Make version 1 champion again, so that the next iteration promotes version 2 as it did before."""
    if len(project.registry.versions()) < 2:
        turn(spec)
    while project.registry.aliases()["champion"] != "1":
        rollback(project, "to be promoted again", "a test")


def other_spec(spec: Path) -> Path:
    """Return a spec of the same project that makes a model which is not registered yet."""
    content = yaml.safe_load(spec.read_text("utf-8"))
    content["levers"].append({"name": "compress", "compress": ["onnx", "int8"]})  # on the fit that is stored already
    other = spec.with_name("other.yaml")
    other.write_text(yaml.safe_dump(content), "utf-8")
    return other


@pytest.mark.parametrize(
    ("point", "seen", "unfinished"),
    [("intended", "1", True), ("alias set", "2", True), ("outcome", "2", False), ("registered", "1", False)],
)
def test_killed_in_a_promotion_a_plain_rerun_finishes(
    point: str, seen: str, unfinished: bool, spec: Path, project: Project, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    roll_back_to_first(spec, project)
    number = "3" if point == "registered" else "2"
    spec = other_spec(spec) if point == "registered" else spec
    script = tmp_path / "child.py"
    script.write_text(CHILD, "utf-8")
    done = subprocess.run([sys.executable, str(script), str(spec), point], env=child_environment(), capture_output=True,
                          text=True, timeout=WAIT_S, cwd=Path(__file__).parents[2])  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert project.registry.aliases() == {"baseline": "1", "champion": seen}
    moves = [(move.alias, move.to_version) for move in ledger.unfinished(project.database, "tiny")]
    assert moves == ([("champion", "2")] if unfinished else [])

    answer = ratchet_here(capfd, "run", spec, "--json")
    assert answer.code == 0, answer
    assert whole(project) == {"baseline": "1", "champion": number}
    assert [version.number for version in project.registry.versions()][-1] == number
    status = ratchet_here(capfd, "status", spec, "--json")
    assert (status.code, json.loads(status.out)["aliases"]["champion"]) == (0, number)


def test_of_two_iterations_at_once_the_second_is_refused(
    spec: Path, project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    from flows.promote import promote

    before = project.registry.aliases()
    with only_one(project):
        for command in ("run", "rollback"):
            told = ratchet_here(capfd, command, spec, "--json").mistake(1, "iteration is running", "wait for it")
            assert f"(process {os.getpid()})" in told
        assert ratchet_here(capfd, "status", spec, "--json").code == 0  # reading needs no lock
        skipped = promote(str(spec), return_state=True)  # the schedule's: nobody waits for it, so it is no failure
    assert (skipped.name, skipped.is_completed()) == ("Skipped", True)
    assert "another iteration is running" in skipped.message
    assert project.registry.aliases() == before
