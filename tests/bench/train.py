"""`make bench-train`: training speed, few examples, a small student and a warm search, on banking77.

Prints what it measures; the last line is one JSON object. No figure comes from anywhere but this run.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from flows.terminal import quiet
from tests.bench.figures import show
from tests.bench.train_text import DATA, read_rows, say

TARGETS = {  # what each figure should reach, as the sign says
    "training_speedup": (">=", 1.5),
    "accuracy_gap": ("<=", 0.2),
    "fewshot_gain": (">=", 3),
    "student_retention": (">=", 0.975),
    "warm_trials_ratio": ("<=", 0.5),
}


def main() -> None:
    """Run the benchmark."""
    if not DATA.is_dir():
        sys.exit(f"{DATA} is absent: the benchmark needs the banking77 CSV files there")
    quiet(verbose=False)  # before Prefect is imported, which reads what it sets
    from tests.bench.train_fewshot import measure_fewshot
    from tests.bench.train_search import measure_search
    from tests.bench.train_speed import measure_speed
    from tests.bench.train_student import measure_student

    started = time.monotonic()
    train, test = read_rows("train"), read_rows("test")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("training speed")
        figures, teacher = measure_speed(train, test, folder / "speed")
        show(figures, TARGETS)
        say("a student of a third of the layers")
        figures |= show(measure_student(teacher, train, test, folder / "student"), TARGETS)
        say("10 examples a class, 15 minutes of search")
        figures |= show(measure_fewshot(train, test, folder / "fewshot"), TARGETS)
        say("a cold search and one that knows an earlier iteration's")
        figures |= show(measure_search(train, folder / "search"), TARGETS)
    figures["seconds"] = time.monotonic() - started
    say(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
