"""The progress bars: what they say on a terminal, and that they are silent elsewhere."""

import io
import re
import time

import pytest
from rich.console import Console

from flows.bars import progress_bars
from tasks.progress import report_progress


def screen(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=110, color_system=None, legacy_windows=False)


def lines(console: Console) -> list[str]:
    """What was written, line by line, without the codes that move the cursor."""
    assert isinstance(console.file, io.StringIO)
    return [
        line.rstrip() for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue()))
    ]


def test_a_bar_says_steps_done_steps_in_all_and_time_left():
    console, now = screen(terminal=True), [0.0]
    with progress_bars(False, console, lambda: now[0]) as tell:
        report_progress("levers: clean", 0, 3)
        report_progress("fit", 0, 40)
        now[0] = 10.0
        report_progress("fit", 10, 40)
        now[0] = 65.0
        report_progress("levers: retrain", 1, 3)
        tell("a headline")  # draws anew
    fit = [line for line in lines(console) if "10/40" in line]
    assert fit[-1].split()[1] == "fit"
    assert fit[-1].endswith("10/40 0:01:05 0:03:15 left")
    assert any("levers: retrain" in line and "1/3" in line for line in lines(console))
    assert "a headline" in lines(console)


def test_what_is_done_goes_and_work_of_which_nothing_is_known_says_no_time():
    console = screen(terminal=True)
    with progress_bars(False, console) as tell:
        report_progress("fit", 1, 2)
        tell("before")
        report_progress("fit", 2, 2)
        time.sleep(0.3)  # three times as long as until it draws anew
        tell("after")
    drawn = lines(console)
    assert any("fit" in line for line in drawn[: drawn.index("after")])
    assert not any("fit" in line for line in drawn[drawn.index("after") :])
    assert not any("left" in line for line in drawn if "iteration" in line)


@pytest.mark.parametrize(("hidden", "terminal"), [(False, False), (True, True), (True, False)])
def test_nothing_is_drawn_on_a_pipe_or_for_json(hidden: bool, terminal: bool):
    console = screen(terminal)
    with progress_bars(hidden, console):
        report_progress("fit", 1, 40)
    assert lines(console) == [""]
