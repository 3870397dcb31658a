"""Class rebalancing: training rows of rare classes repeated, so that they weigh more.

Methods that are listed after it take the repeated rows as parents too, and so vary rare classes more often. It makes no
new text by itself, removes nothing of the common classes, and knows nothing of how a loss could be weighted instead.
"""

from collections import Counter, defaultdict
from itertools import cycle, islice
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.augmentation.augment import Given, Made, MaxRows, Row, Share, draw, propose


@dataclass(frozen=True, config={"extra": "forbid"})
class Rebalance:
    """Repeat rows of each class with fewer than a `share` (0 to 1) of the biggest class's rows, up to that many.

    No row is repeated more than `per_row` (1 to 100) times, so a class of few rows may stay below.
    """

    kind: Literal["rebalance"] = "rebalance"
    share: Share = 0.5
    per_row: Annotated[int, Field(ge=1, le=100)] = 3
    max_rows: MaxRows = None


@propose.register(Rebalance)
def _repeat(method: Rebalance, given: Given) -> Made:
    counts = Counter(row["target"] for row in (*given.originals, *given.made))
    wanted = int(method.share * max(counts.values(), default=0))
    classes: dict[str, list[Row]] = defaultdict(list)
    for row in given.parents:
        if counts[row["target"]] < wanted and row["text"].strip():
            classes[row["target"]].append(row)
    numbered: list[tuple[int, str, Row]] = []
    for target, rows in sorted(classes.items()):
        ranked = sorted(rows, key=lambda row: (draw(given, row), row["id"]))
        budget = min(wanted - counts[target], method.per_row * len(rows))
        numbered += [(number, target, row) for number, row in enumerate(islice(cycle(ranked), budget))]
    numbered.sort(key=lambda entry: entry[:2])  # class by class in turn, so that a spent budget is spent on all of them
    return Made([(row, row["text"]) for _, _, row in numbered], copies=True)
