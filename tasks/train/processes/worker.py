"""One of the processes that train one model together, started with a job's folder by `accelerate launch`.

The first of them tells how far it is and writes the artifact. All of them end with whoever started them.
"""

import logging
import os
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from tasks.progress import epochs_to, metrics_to, progress_to
from tasks.train.processes.job import Job, Teller, read_job, write_error, write_result

log = logging.getLogger(__name__)


def main() -> None:
    """Work on the job of the folder that the command names; exit code 1 where it fails."""
    folder, rank = Path(sys.argv[1]), int(os.environ.get("RANK", "0"))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tell = Teller(folder)
    tell("started", rank, os.getpid())
    try:
        _work(folder, rank, read_job(folder), tell)
    except Exception as error:
        log.exception("process %d failed", rank)
        write_error(folder, rank, error)
        sys.stderr.flush()
        os._exit(1)  # the others may wait for this one for ever, and it for them


def _end_with_parent() -> None:
    """End this process when the other end of its standard input is closed, as it is when that process dies."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)


def _work(folder: Path, rank: int, job: Job, tell: Teller) -> None:
    import torch
    from accelerate import PartialState

    from tasks.train.finetune import finetune

    PartialState(cpu=not torch.cuda.is_available())  # opens the group: gloo on CPUs, nccl on CUDA
    with ExitStack() as listening:
        if rank == 0:
            listening.enter_context(progress_to(lambda *step: tell("progress", *step)))
            listening.enter_context(metrics_to(lambda step, metrics: tell("metrics", step, dict(metrics))))
            listening.enter_context(epochs_to(lambda epoch, metrics: tell("epoch", epoch, dict(metrics))))
            root = logging.getLogger("tasks")
            root.setLevel(logging.INFO)
            root.addHandler(_Forward(tell))
        made = finetune(job.base, job.method, job.lesson, job.folder)
    if rank == 0:
        write_result(folder, made)
    _leave_together()


def _leave_together() -> None:
    """Wait for the other processes, then close the group."""
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


class _Forward(logging.Handler):
    """Passes what is logged on to the process that waits."""

    def __init__(self, tell: Teller) -> None:
        super().__init__(logging.INFO)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one record."""
        self._tell("log", record.name, record.levelno, record.getMessage())


if __name__ == "__main__":
    main()
