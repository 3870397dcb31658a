"""What the parts of `make bench-train` share: banking77's rows, a test accuracy, and saying what was measured."""

import csv
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tasks.measure.runtime import load
from tasks.records import Candidate

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "banking77"
Rows = list[tuple[str, str]]  # text, label


def read_rows(name: str) -> Rows:
    """Return the texts and labels of banking77's `train` or `test`."""
    with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def draw_per_label(rows: Rows, count: int, seed: int) -> tuple[Rows, Rows]:
    """Return `count` rows of each label, drawn from the seed, and the others."""
    by_label: dict[str, list[int]] = defaultdict(list)
    for number, (_, label) in enumerate(rows):
        by_label[label].append(number)
    rng = random.Random(seed)
    drawn = {number for label in sorted(by_label) for number in rng.sample(by_label[label], count)}
    return [rows[number] for number in sorted(drawn)], [row for at, row in enumerate(rows) if at not in drawn]


def labels_of(rows: Rows) -> tuple[str, ...]:
    """Return the labels of the rows, sorted."""
    return tuple(sorted({label for _, label in rows}))


def accuracy(model: Candidate, rows: Rows) -> float:
    """Return the share of the rows whose label the model tells."""
    outputs = load(model).predict([text for text, _ in rows]).outputs
    return share_right(outputs, rows)


def share_right(outputs: Sequence[str], rows: Rows) -> float:
    """Return the share of the outputs that are the rows' labels."""
    return sum(output == label for output, (_, label) in zip(outputs, rows, strict=True)) / len(rows)


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
