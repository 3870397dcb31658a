"""How long work tells whoever watches how far it is, and how long it took. Draws nothing itself."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TypeVar

Held = TypeVar("Held")
Listener = Callable[[str, int, int], None]  # what is being done, steps done, steps in all
MetricsListener = Callable[[int, Mapping[str, float]], None]  # step, metrics by name
EpochListener = Callable[[float, Mapping[str, float]], None]  # epochs done, metrics by name

_listener: ContextVar[Listener | None] = ContextVar("progress_listener", default=None)
_metrics_listener: ContextVar[MetricsListener | None] = ContextVar("metrics_listener", default=None)
_epoch_listener: ContextVar[EpochListener | None] = ContextVar("epoch_listener", default=None)


@contextmanager
def _held(variable: ContextVar[Held], value: Held) -> Iterator[None]:
    """Let the variable have the value while the block runs."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


class Stopped(Exception):
    """A listener ended the training that it listened to, for good: it will not go on from its checkpoint."""


def report_progress(what: str, done: int, total: int) -> None:
    """Tell the listener of this context, where there is one."""
    listener = _listener.get()
    if listener is not None:
        listener(what, done, total)


def progress_to(listener: Listener) -> AbstractContextManager[None]:
    """Send the progress of the block to the listener."""
    return _held(_listener, listener)


def reported_as(what: str, instead: str) -> AbstractContextManager[None]:
    """Let the listener hear of the work `what` by another name in the block: which pass trains, not that it trains."""
    listener = _listener.get()
    if listener is None:
        return nullcontext()
    heard = listener
    return progress_to(lambda name, done, total: heard(instead if name == what else name, done, total))


def report_metrics(step: int, metrics: Mapping[str, float]) -> None:
    """Tell this context's listener, where there is one, what a training measured at a step."""
    listener = _metrics_listener.get()
    if listener is not None:
        listener(step, metrics)


def metrics_to(listener: MetricsListener) -> AbstractContextManager[None]:
    """Send what trainings of the block measure to the listener."""
    return _held(_metrics_listener, listener)


def report_epoch(epoch: float, metrics: Mapping[str, float]) -> None:
    """Tell this context's listener, where there is one, what a training came to on `valid` after an epoch."""
    listener = _epoch_listener.get()
    if listener is not None:
        listener(epoch, metrics)


def epochs_to(listener: EpochListener) -> AbstractContextManager[None]:
    """Send what trainings of the block come to after each epoch to the listener."""
    return _held(_epoch_listener, listener)


Opener = Callable[[str], AbstractContextManager[None]]  # what a training is for -> what lasts as long as it

_opener: ContextVar[Opener | None] = ContextVar("training_opener", default=None)
_purpose: ContextVar[str] = ContextVar("training_purpose", default="")


def trainings_to(opener: Opener) -> AbstractContextManager[None]:
    """Open what the opener gives around each training of the block that really runs."""
    return _held(_opener, opener)


def purpose(what: str) -> AbstractContextManager[None]:
    """Say what the trainings of the block are for: the lever that is tried, the baseline."""
    return _held(_purpose, what)


@contextmanager
def training() -> Iterator[None]:
    """Mark the block as one training: whoever asked for trainings has something open around it."""
    opener = _opener.get()
    with nullcontext() if opener is None else opener(_purpose.get()):
        yield


_seconds: ContextVar[dict[str, float] | None] = ContextVar("stage_seconds", default=None)


@contextmanager
def timed(stage: str) -> Iterator[None]:
    """Add the seconds of the block to the stage's, where this context collects them."""
    collected = _seconds.get()
    started = time.perf_counter()
    try:
        yield
    finally:
        if collected is not None:
            collected[stage] = collected.get(stage, 0.0) + time.perf_counter() - started


@contextmanager
def collect_seconds() -> Iterator[dict[str, float]]:
    """Yield a table, filled while the block runs, of the seconds that each stage worked (cache hits take none)."""
    collected: dict[str, float] = {}
    with _held(_seconds, collected):
        yield collected
