"""Progress bars on the terminal with Rich: what is being done, steps done and in all, time gone and time left.

Nothing on a pipe, where no one watches. Measures nothing.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Lock

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from tasks.progress import Listener, progress_to


class _Steps(ProgressColumn):
    """Steps done of those in all, where their number is known."""

    def render(self, task: Task) -> Text:
        """Return `120/300`, or nothing."""
        return Text("" if task.total is None else f"{task.completed:.0f}/{task.total:.0f}", style="progress.download")


class _Left(ProgressColumn):
    """The time that the rest will take at the speed so far, pauses such as evaluations in it."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """Return `0:02:10 left`, or nothing."""
        done = task.completed - task.fields.get("begun", 0)
        if task.total is None or not done or not task.elapsed:
            return Text("")
        left = timedelta(seconds=math.ceil(task.elapsed / done * (task.total - task.completed)))
        return Text(f"{left} left", style="progress.remaining")


@contextmanager
def progress_bars(
    hidden: bool, console: Console | None = None, clock: Callable[[], float] | None = None
) -> Iterator[Callable[[str], None]]:
    """Show a bar for each piece of work while the block runs; yields a function that prints a headline above them.

    Args:
        hidden: shows nothing at all.
        console: where they are shown; standard error if None.
        clock: seconds; the console's if None.
    """
    console = console or Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<24}"),
        BarColumn(),
        _Steps(),
        TimeElapsedColumn(),
        _Left(),
    )
    silent = hidden or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=silent, get_time=clock) as progress:
        progress.add_task("iteration", total=None)

        def tell(headline: str) -> None:
            if not hidden:
                progress.console.print(headline)

        with progress_to(_listener(progress)):
            yield tell


def _listener(progress: Progress) -> Listener:
    """Return what keeps a bar for each piece of work until it is done; `levers: augment` is a step of `levers`.

    Work may tell from several threads.
    """
    known: dict[str, TaskID] = {}
    lock = Lock()

    def listen(what: str, done: int, total: int) -> None:
        name = what.partition(":")[0]
        with lock:
            if name not in known:
                known[name] = progress.add_task(what, begun=done)
            progress.update(known[name], description=what, completed=done, total=total)
            if done >= total:
                progress.remove_task(known.pop(name))

    return listen
