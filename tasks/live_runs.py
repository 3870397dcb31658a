"""MLflow runs that are written while a training runs: what it measures, and what the machine does meanwhile.

What is measured goes into MLflow about once a second from a thread of its own, so that no step waits for a database.
Where MLflow cannot be reached, that is said once and the training goes on. Starts no training.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Literal

from tasks.errors import RegistryError
from tasks.progress import Stopped, metrics_to
from tasks.registry import BATCH, Registry, reaching

if TYPE_CHECKING:
    from mlflow.entities import Metric

log = logging.getLogger(__name__)

WRITE_EVERY_S = 1.0
SYSTEM_EVERY_S = 5.0


@contextmanager
def live_run(registry: Registry, name: str, parent: str) -> Iterator[None]:
    """Give the block a nested run that takes the metrics reported in it, and those of the machine, as they come.

    The run ends as the block does: finished, failed by an error, or killed, by a search that stops a trial too.
    """
    try:
        run_id = registry.start_run(name, parent)
    except RegistryError as error:
        log.warning("%s is not shown live: %s", name, error)
        yield
        return
    writer = _Writer(registry, run_id)
    status: Literal["FINISHED", "FAILED", "KILLED"] = "KILLED"
    try:
        with _system_metrics(registry, run_id), metrics_to(writer.take):
            yield
        status = "FINISHED"
    except Stopped:
        raise
    except Exception:
        status = "FAILED"
        raise
    finally:
        writer.close(status)


class _Writer:
    """Keeps what is measured until the next write; the thread of one run."""

    def __init__(self, registry: Registry, run_id: str) -> None:
        self._registry, self._run_id = registry, run_id
        self._waiting: SimpleQueue[Metric] = SimpleQueue()
        self._over, self._lost = Event(), False
        self._thread = Thread(target=self._write_on, name=f"live-run-{run_id}", daemon=True)
        self._thread.start()

    def take(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keep what was measured at a step; returns at once."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        for name, value in metrics.items():
            self._waiting.put(Metric(name, float(value), now, step))

    def close(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Write what is left and end the run."""
        self._over.set()
        self._thread.join()
        self._attempt(partial(self._registry.finish_run, self._run_id, status))

    def _write_on(self) -> None:
        while not self._over.wait(WRITE_EVERY_S):
            self._write()
        self._write()

    def _write(self) -> None:
        """Write what waits."""
        points, client = list(_drain(self._waiting)), self._registry.client
        for start in range(0, len(points), BATCH):
            self._attempt(partial(client.log_batch, self._run_id, metrics=points[start : start + BATCH]))

    def _attempt(self, write: Callable[[], object]) -> None:
        """Write; where MLflow cannot be reached, say so the first time and go on without what was to be written."""
        try:
            with reaching(self._registry.tracking_uri):
                write()
        except RegistryError as error:
            if not self._lost:
                log.warning("metrics are not shown live: %s", error)
            self._lost = True


def _drain(queue: "SimpleQueue[Metric]") -> "Iterator[Metric]":
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


@contextmanager
def _system_metrics(registry: Registry, run_id: str) -> Iterator[None]:
    """Let MLflow note CPU, memory, disk, network and GPU of this machine in the run while the block runs."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, sampling_interval=SYSTEM_EVERY_S, tracking_uri=registry.tracking_uri)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
