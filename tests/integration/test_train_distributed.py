"""Training in several processes on CPUs (gloo): the same losses and weights as one process, and clear ends."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from tasks.errors import ModelError
from tasks.progress import epochs_to, metrics_to, progress_to
from tasks.records import Candidate
from tasks.train.finetune import finetune
from tasks.train.lesson import Lesson
from tasks.train.methods import Adapt, Contrastive, Distil, Distributed, FineTune, Lora
from tasks.train.processes import distributed
from tasks.train.processes.distributed import check, finetune_in_processes, join
from tasks.train.processes.job import Job, read_job, write_job
from tests.loop_support import make_tiny_base, messages
from tests.texts_support import make_masking_base

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

METHOD = FineTune(epochs=2, learning_rate=0.01, batch_size=8, dropout=0.0, precision="fp32")
ROOT = Path(__file__).parents[2]
DO_JOB = """
import sys
from pathlib import Path
from tasks.train.finetune import finetune
from tasks.train.processes.job import read_job
job = read_job(Path(sys.argv[1]))
finetune(job.base, job.method, job.lesson, job.folder)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny base without dropout, whose draws differ from process to process."""
    return without_dropout(make_tiny_base(tmp_path_factory.mktemp("base")))


def without_dropout(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.fixture
def lesson(tmp_path: Path) -> Lesson:
    train, valid = (
        [(row["text"], row["label"]) for row in messages(count, seed)] for count, seed in ((80, 1), (32, 2))
    )
    return Lesson(train, valid, tuple(sorted({label for _, label in train})), work=tmp_path / "work")


Curve = list[tuple[int, dict[str, float]]]


@pytest.fixture(scope="module")
def alone(base: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Candidate, Curve]:
    """What one process makes, and what it measured on the way."""
    train, valid = (
        [(row["text"], row["label"]) for row in messages(count, seed)] for count, seed in ((80, 1), (32, 2))
    )
    root = tmp_path_factory.mktemp("alone")
    lesson, curve = Lesson(train, valid, tuple(sorted({label for _, label in train}))), Curve()
    with metrics_to(lambda step, found: curve.append((step, dict(found)))):
        return finetune(base, METHOD, lesson, root / "model"), curve


def assert_equal(made: Candidate, alone: Candidate) -> None:
    for name in ("train_loss", "valid_loss"):
        assert made.notes[name] == pytest.approx(alone.notes[name], abs=1e-5), name
    mine, its = (load_file(Path(each.uri) / "model.safetensors") for each in (made, alone))
    assert set(mine) == set(its)
    for name, weights in its.items():
        np.testing.assert_allclose(mine[name], weights, atol=2e-3, err_msg=name)  # Adam at a rate of 0.01


def pids(work: Path) -> list[int]:
    """The processes of the job under a folder that said that they started."""
    lines = [line for file in work.glob("job-*/events.jsonl") for line in file.read_text().splitlines()]
    return [event[2] for event in map(json.loads, lines) if event[0] == "started"]


def wait_for(found: object, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not found():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_machines_train_as_one_process_does(
    base: str, lesson: Lesson, alone: tuple[Candidate, Curve], tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    method = replace(METHOD, distributed=Distributed(machines=2, main_address=address))
    assert lesson.work is not None
    over = threading.Event()
    other = threading.Thread(target=join, args=(lesson.work, 1, lambda: not over.is_set()))
    other.start()
    steps, curve, epochs = [], Curve(), list[float]()
    try:
        with (
            progress_to(lambda *step: steps.append(step)),
            metrics_to(lambda step, found: curve.append((step, dict(found)))),
            epochs_to(lambda epoch, _: epochs.append(epoch)),
        ):
            made = finetune(base, method, lesson, tmp_path / "model")
    finally:
        over.set()
        other.join(60)
    assert not other.is_alive()
    assert_equal(made, alone[0])
    assert [step for step, _ in curve] == [step for step, _ in alone[1]] != []
    for (_, mine), (_, its) in zip(curve, alone[1], strict=True):
        assert mine == pytest.approx(its, rel=1e-3, abs=1e-5)
    assert epochs == [1, 2]
    assert steps == [("fit", step, 20) for step in range(1, 21)]
    assert list(lesson.work.glob("job-*")) == []


def test_sharded_training_is_as_one_process_is(
    base: str, lesson: Lesson, alone: tuple[Candidate, Curve], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tasks")
    made = finetune(base, replace(METHOD, distributed=Distributed(strategy="fsdp")), lesson, tmp_path / "model")
    assert_equal(made, alone[0])
    assert "gathered the shards of" in caplog.text


def test_phases_share_their_batches_and_come_to_what_one_process_does(lesson: Lesson, tmp_path: Path) -> None:
    base = without_dropout(make_masking_base(tmp_path / "base"))
    adapt = Adapt(learning_rate=0.002, batch_size=8)  # 72 texts
    contrastive = Contrastive(loss="supcon", below=20, epochs=2, learning_rate=0.002, batch_size=8)  # 80 pairs
    method = replace(METHOD, epochs=1, adapt=adapt, contrastive=contrastive)
    made, curves = [], list[Curve]()
    for spread in (None, Distributed()):
        steps, curve, epochs = [], Curve(), list[float]()
        with (
            progress_to(lambda *step, steps=steps: steps.append(step)),
            metrics_to(lambda step, found, curve=curve: curve.append((step, dict(found)))),
            epochs_to(lambda epoch, _, epochs=epochs: epochs.append(epoch)),
        ):
            task = replace(lesson, work=tmp_path / f"work-{len(made)}")
            made.append(finetune(base, replace(method, distributed=spread), task, tmp_path / f"model-{len(made)}"))
        assert [step for step in steps if step[0] == "adapt"] == [("adapt", at + 1, 9) for at in range(9)]
        assert [step[1] for step in steps if step[0] == "contrastive"] == list(range(1, 11))
        assert epochs == [1]  # of fine-tuning: a search stops by it
        curves.append([(step, found) for step, found in curve if "contrastive_loss" in found])
    assert made[1].notes["valid_loss"] == pytest.approx(made[0].notes["valid_loss"], rel=0.01)
    for name in ("adapt_texts", "adapt_loss_before", "adapt_loss_after", "contrastive_texts"):
        assert made[1].notes[name] == pytest.approx(made[0].notes[name], rel=1e-5), name
    assert len(curves[0]) == len(curves[1]) == 1
    assert curves[1][0][1]["contrastive_loss"] == pytest.approx(curves[0][0][1]["contrastive_loss"], rel=1e-3)
    for phase in ("adapt", "contrastive"):
        mine, its = (load_file(tmp_path / f"work-{at}" / f"{phase}.safetensors") for at in range(2))
        for name, weights in its.items():  # the regression stops where it is near enough
            close = 0.05 if (phase, name[:4]) == ("contrastive", "head") else 1e-5
            np.testing.assert_allclose(mine[name], weights, atol=close, err_msg=f"{phase} {name}")


def test_an_error_of_a_worker_is_the_one_that_a_single_process_raises(lesson: Lesson, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError) as single:
        finetune(str(tmp_path / "empty"), METHOD, lesson, tmp_path / "model")
    with pytest.raises(ModelError) as several:
        finetune(str(tmp_path / "empty"), replace(METHOD, distributed=Distributed()), lesson, tmp_path / "model")
    assert str(several.value) == str(single.value)
    assert "is empty; a base is a folder" in str(several.value)


def test_a_killed_worker_is_told_and_leaves_no_process(base: str, lesson: Lesson, tmp_path: Path) -> None:
    assert lesson.work is not None
    work, seen = lesson.work, list[int]()

    def kill_one() -> None:
        wait_for(lambda: len(pids(work)) == 2)
        seen.extend(pids(work))
        os.kill(seen[1], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(ModelError, match=r"was killed by signal SIGKILL.*log.*train\.batch_size"):
        finetune(base, replace(METHOD, distributed=Distributed()), lesson, tmp_path / "model")
    killer.join()
    wait_for(lambda: not any(map(psutil.pid_exists, seen)), 10)
    assert not (tmp_path / "model").exists()
    assert list(work.glob("job-*")) == []


def test_the_workers_of_a_killed_process_end(base: str, lesson: Lesson, tmp_path: Path) -> None:
    assert lesson.work is not None
    work = lesson.work
    write_job(tmp_path, Job(base, replace(METHOD, distributed=Distributed()), lesson, tmp_path / "model"))
    parent = subprocess.Popen([sys.executable, "-c", DO_JOB, str(tmp_path)], cwd=ROOT)
    wait_for(lambda: len(pids(work)) == 2)
    family = [*psutil.Process(parent.pid).children(recursive=True)]
    assert {process.pid for process in family} >= set(pids(work))
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(process.is_running() for process in family), 20)


def test_workers_find_the_rooms_from_any_folder(tmp_path: Path) -> None:
    root = Path(distributed._environment(tmp_path)["PYTHONPATH"].split(os.pathsep)[0])
    assert (root / "tasks" / "train" / "processes" / "worker.py").is_file()


def test_a_job_passes_between_processes_as_it_is(lesson: Lesson, tmp_path: Path) -> None:
    method = replace(METHOD, tune=Lora(rank=4), distil=Distil(student=(0, 2)), distributed=Distributed())
    teacher = Candidate("somewhere", "abc", "torch", 7, {"train_loss": 0.5})
    job = Job("minilm", method, replace(lesson, ids=("a",), teachers=(teacher,), unlabelled=("é",)), tmp_path / "model")
    write_job(tmp_path, job)
    read = read_job(tmp_path)
    assert replace(read, lesson=job.lesson) == job
    assert [tuple(row) for row in read.lesson.train] == list(lesson.train)
    assert replace(read.lesson, train=lesson.train, valid=lesson.valid) == job.lesson


@pytest.mark.parametrize(
    ("method", "says"),
    [
        (replace(METHOD, batch_size=9, distributed=Distributed()), "9 cannot be split evenly .* give 8 or 10"),
        (replace(METHOD, accumulate=3, distributed=Distributed()), "2 processes times 3 .* give 6 or 12"),
        (replace(METHOD, batch_size=1, distributed=Distributed()), "give 2, or"),
        (replace(METHOD, adapt=Adapt(batch_size=7), distributed=Distributed()), r"train\.adapt\.batch_size: .* 6 or 8"),
        (replace(METHOD, distributed=Distributed(processes=2, machines=3)), "multiple of 3"),
        (replace(METHOD, distributed=Distributed(processes=2, machines=2)), r"expected host:port .* got ''"),
    ],
)
def test_what_cannot_be_split_says_which_numbers_fit(method: FineTune, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        check(method)


def test_nothing_starts_for_a_batch_that_cannot_be_split(base: str, lesson: Lesson, tmp_path: Path) -> None:
    method = replace(METHOD, batch_size=9, distributed=Distributed())
    with pytest.raises(ModelError, match="cannot be split evenly"):
        finetune_in_processes(base, method, lesson, tmp_path / "model")
    assert lesson.work is not None
    assert not lesson.work.exists()
