"""Training in several processes: a job is written, `accelerate launch` starts workers on it, their news is passed on.

Trains nothing itself; what the workers do is in `tasks.train.processes.worker`.
"""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.errors import ModelError, RatchetError
from tasks.progress import report_epoch, report_metrics, report_progress
from tasks.records import Candidate
from tasks.train.bases.base import Base
from tasks.train.lesson import Lesson
from tasks.train.methods import Distributed, FineTune
from tasks.train.processes.job import (
    ENVIRONMENT,
    EVENTS,
    JOB,
    Job,
    read_error,
    read_job,
    read_log,
    read_result,
    write_job,
)

log = logging.getLogger(__name__)

POLL_S = 0.1
SIGN_OF_LIFE_S = 1.0  # after which a job's file is touched again, so that other machines see that it still runs
GRACE_S = 10.0  # that processes have to end by themselves


def finetune_in_processes(base: Base, method: FineTune, lesson: Lesson, folder: Path) -> Candidate:
    """Return what `finetune` makes, trained by the processes that `method.distributed` asks for.

    Raises:
        ModelError: the batch cannot be split evenly, the processes cannot be started, or one of them failed.
        RatchetError: what one of them raised.
    """
    spread = check(method)
    with _job_folder(lesson, folder) as place:
        shared = replace(lesson, work=lesson.work or place)  # the processes leave each other weights there
        write_job(place, Job(base, method, shared, folder))
        log.info("fit in %d processes (%s) on %d machine(s)", spread.processes, spread.strategy, spread.machines)
        _run(place, spread, 0)
        made = read_result(place)
        if made is None:
            raise read_error(place, "the processes ended without a result", _output(place, 0))
    return made


def join(folder: Path, machine: int, go_on: Callable[[], bool] = lambda: True) -> None:
    """Work as one of the further machines on every training under the folder that asks for several, while it may.

    The folder is on a disk that all machines share, at the same path. A job that the first machine started and left
    by dying is not joined: its file is not touched any more.

    Args:
        folder: where the first machine keeps its checkpoints.
        machine: the number of this one, from 1.
        go_on: asked about every second.
    """
    seen: dict[Path, float] = {}
    while go_on():
        for file in [Path(place) / JOB for place, _, names in os.walk(folder) if JOB in names]:
            with suppress(FileNotFoundError):  # the job ended in this moment
                touched = file.stat().st_mtime
                if touched > seen.setdefault(file, touched):
                    seen[file] = float("inf")
                    _join(file.parent, machine)
        time.sleep(SIGN_OF_LIFE_S)


def _join(place: Path, machine: int) -> None:
    spread = read_job(place).method.distributed
    if spread is None or machine >= spread.machines:
        return
    log.info("machine %d joins %s", machine, place)
    try:
        _run(place, spread, machine)
    except RatchetError as error:  # the first machine says what is to be done about it
        log.warning("machine %d: %s", machine, error)
    log.info("machine %d is done with %s", machine, place)


def check(method: FineTune) -> Distributed:
    """Return how a method's training is spread.

    Raises:
        ModelError: the batch or the processes cannot be split evenly, or no machine is said to be the first.
    """
    spread = method.distributed
    if spread is None:
        raise ModelError("train.distributed: expected processes, strategy and machines; the method says none")
    _check_batch("train", method.batch_size, spread.processes, method.accumulate)
    for name, phase in (("adapt", method.adapt), ("contrastive", method.contrastive)):
        if phase is not None:
            _check_batch(f"train.{name}", phase.batch_size, spread.processes)
    if spread.processes % spread.machines:
        raise ModelError(
            f"train.distributed: {spread.processes} processes cannot be split evenly among {spread.machines} machines; "
            f"give a multiple of {spread.machines}"
        )
    if method.ema and spread.strategy == "fsdp":
        raise ModelError("train.ema: expected 0 with train.distributed.strategy fsdp, whose weights lie in shards that "
                         f"are not averaged; got {method.ema}. Use the strategy ddp, or no average")  # fmt: skip
    if spread.machines > 1 and not re.fullmatch(r".+:\d+", spread.main_address):
        raise ModelError(
            f"train.distributed.main_address: expected host:port of the first machine, got {spread.main_address!r}"
        )
    return spread


def _check_batch(section: str, size: int, processes: int, each: int = 1) -> None:
    parts = processes * each
    if size % parts:
        near = sorted({max(parts, size // parts * parts), (size // parts + 1) * parts})
        raise ModelError(
            f"{section}.batch_size: {size} cannot be split evenly among {processes} processes times {each} part(s); "
            f"give {' or '.join(map(str, near))}, or another train.distributed"
        )


@contextmanager
def _job_folder(lesson: Lesson, folder: Path) -> Iterator[Path]:
    """Make the folder of a job, where other machines look for it too, for as long as the block runs."""
    beside = lesson.work or folder.parent
    beside.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="job-", dir=beside))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run(place: Path, spread: Distributed, machine: int) -> None:
    """Start this machine's processes and wait for them; they end with this block, however it ends.

    Raises:
        RatchetError: what one of them raised, or a ModelError that says how they ended.
    """
    with _output(place, machine).open("w", encoding="utf-8") as output:
        started = subprocess.Popen(launch_command(place, spread, machine), stdin=subprocess.PIPE, stdout=output,
                                   stderr=output, env=_environment(place), start_new_session=True)  # fmt: skip
    try:
        if machine == 0:
            _follow(place, started)
        else:
            started.wait()
    finally:
        _end(started)
    if started.returncode:
        output_path = _output(place, machine)
        raise read_error(place, _ended(output_path, started.returncode), output_path)


def _follow(place: Path, started: "subprocess.Popen[bytes]") -> None:
    """Pass on what the first process tells, and give a sign of life now and then, until the processes end."""
    (place / EVENTS).touch()
    with (place / EVENTS).open(encoding="utf-8") as file:
        ended, rest, touched = False, "", time.monotonic()
        while not ended:
            ended = started.poll() is not None  # what it told before that is still read
            *lines, rest = (rest + file.read()).split("\n")
            for line in lines:
                _pass_on(*json.loads(line))
            if time.monotonic() - touched > SIGN_OF_LIFE_S:
                touched = time.monotonic()
                os.utime(place / JOB)
            time.sleep(0 if ended else POLL_S)


def _pass_on(kind: str, *parts: Any) -> None:
    """Tell the listeners of this process what a worker told."""
    if kind == "progress":
        report_progress(*parts)
    elif kind == "metrics":
        report_metrics(*parts)
    elif kind == "epoch":
        report_epoch(*parts)
    elif kind == "log":
        logging.getLogger(parts[0]).log(parts[1], "%s", parts[2])


def _output(place: Path, machine: int) -> Path:
    """Return the file of what a machine's processes write on the terminal."""
    return place / f"log-{machine}.txt"


def launch_command(place: Path, spread: Distributed, machine: int) -> list[str]:
    """Return the command that starts this machine's processes; options leave nothing to a file in the home folder."""
    own = spread.processes // spread.machines
    threads = int(os.environ.get("OMP_NUM_THREADS", "0")) or max(1, len(os.sched_getaffinity(0)) // own)
    host, _, port = spread.main_address.rpartition(":")
    first = ["--main_process_ip", host, "--main_process_port", port, "--same_network"]
    return [
        *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"),  # its word for several processes
        *("--num_processes", str(spread.processes), "--num_machines", str(spread.machines)),
        *("--machine_rank", str(machine)),
        *(first if spread.machines > 1 else ["--main_process_port", "0"]),  # 0: one that is free
        *("--num_cpu_threads_per_process", str(threads), "--mixed_precision", "no", "--dynamo_backend", "no"),
        *("--gpu_ids", "all", "--module", "tasks.train.processes.worker", str(place)),
    ]


def _environment(place: Path) -> dict[str, str]:
    root = str(Path(__file__).parents[3])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, ENVIRONMENT: str(place), "PYTHONPATH": path}


def _end(started: "subprocess.Popen[bytes]") -> None:
    """End the processes: the closed pipe tells the workers, wherever they are in their work."""
    assert started.stdin is not None
    started.stdin.close()
    try:
        started.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        started.kill()
        started.wait()


def _ended(output: Path, code: int) -> str:
    """Return in words how the processes ended."""
    signals = re.findall(r"Signal \d+ \((SIG\w+)\) received by PID (\d+)", read_log(output))
    killed = next((found for found in signals if found[0] != "SIGTERM"), None)
    if killed:
        return f"process {killed[1]} was killed by signal {killed[0]}, as happens where memory runs out"
    return f"the processes ended with exit code {code}"
