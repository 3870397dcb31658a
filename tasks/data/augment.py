"""New training rows made from old ones, each with its provenance; evaluation rows are neither read nor copied.

A method rewrites one text; which rows it takes and how is decided by hashing the seed and the row's id, so that a rerun
makes the same rows and further rows change nothing about the old ones. Whether it pays is the gate's question.
"""

import logging
import random
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import singledispatch
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.rows import keep, make_rows, shorten, training_mask
from tasks.data.scrub import scrub_text
from tasks.data.similarity import text_key

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.records import StepReport

log = logging.getLogger(__name__)

Share = Annotated[float, Field(gt=0, le=1)]

MAX_EXAMPLES = 10

_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {
    letter: row[max(0, at - 1) : at] + row[at + 1 : at + 2] for row in _KEYBOARD for at, letter in enumerate(row)
}


@dataclass(frozen=True, config={"extra": "forbid"})
class Typos:
    """A misspelt copy of a `share` (0 to 1) of the training rows, with `per_text` (1 to 20) slips of the keyboard."""

    kind: Literal["typos"] = "typos"
    share: Share = 0.3
    per_text: Annotated[int, Field(ge=1, le=20)] = 1


@dataclass(frozen=True, config={"extra": "forbid"})
class Swap:
    """A copy of a `share` (0 to 1) of the training rows with `swaps` (0 to 20) pairs of neighbouring words exchanged.

    Each word is then left out with probability `dropout` (0 to 1).
    """

    kind: Literal["swap"] = "swap"
    share: Share = 0.3
    swaps: Annotated[int, Field(ge=0, le=20)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


def augment(
    table: "pa.Table", methods: Sequence[Any], seed: int, forbidden: AbstractSet[str] = frozenset()
) -> "tuple[pa.Table, list[StepReport]]":
    """Return the table with the rows that each method made appended, and what each method did.

    A made row has its parent's columns but for `id` (the parent's and a suffix), `text`, `split` "train" and `source`
    ("augment:" and the method). None repeats a text that is there already or whose `text_key` is in `forbidden`.
    """
    import pyarrow as pa

    parents = keep(table, training_mask(table)).to_pylist()
    taken = set(forbidden) | {text_key(row["text"]) for row in parents}
    made: list[dict[str, str]] = []
    reports = []
    for position, method in enumerate(methods):
        rows, report = _make(method, position, parents, seed, taken, len(parents) + len(made))
        made += rows
        reports.append(report)
        log.info("augment %s: %d rows from %d", report.step, len(rows), len(parents))
    new = make_rows({name: [row[name] for row in made] for name in table.column_names})
    return pa.concat_tables([table, new]), reports


@singledispatch
def rewrite(method: Any, text: str, rng: random.Random) -> str:
    """Return a text that should have the same target. A new method registers its function here."""
    raise TypeError(f"no augmentation is registered for {type(method).__name__}")


@rewrite.register(Typos)
def _mistype(method: Typos, text: str, rng: random.Random) -> str:
    words = text.split()
    for _ in range(method.per_text):
        places = [at for at, word in enumerate(words) if word[0] != "<" and sum(map(str.isalpha, word)) > 2]
        if not places:
            return text
        at = rng.choice(places)
        words[at] = _slip(words[at], rng)
    return " ".join(words)


@rewrite.register(Swap)
def _shuffle(method: Swap, text: str, rng: random.Random) -> str:
    words = text.split()
    for _ in range(method.swaps if len(words) > 1 else 0):
        at = rng.randrange(len(words) - 1)
        words[at], words[at + 1] = words[at + 1], words[at]
    left = [word for word in words if rng.random() >= method.dropout]
    return " ".join(left or words)


def _slip(word: str, rng: random.Random) -> str:
    """Return the word with one slip: two letters exchanged, one left out, doubled, or its neighbour on the keyboard."""
    at = rng.choice([index for index, letter in enumerate(word) if letter.isalpha()])
    before, letter, after = word[:at], word[at], word[at + 1 :]
    near = _NEIGHBOURS.get(letter.lower(), "")
    made = [before + after, before + letter + letter + after]
    if near:
        made.append(before + rng.choice(near) + after)
    if after:
        made.append(before + after[0] + letter + after[1:])
    return rng.choice(made)


def _make(
    method: Any, position: int, parents: Sequence[dict[str, str]], seed: int, taken: set[str], rows_in: int
) -> "tuple[list[dict[str, str]], StepReport]":
    from tasks.records import StepReport  # tasks.records reads tasks.specs, which reads this module

    rows: list[dict[str, str]] = []
    examples: list[str] = []
    for parent in parents:
        rng = random.Random(f"{seed}:{position}:{method.kind}:{parent['id']}")
        if rng.random() >= method.share:
            continue
        text = rewrite(method, parent["text"], rng)
        if (key := text_key(text)) in taken or not key:
            continue
        taken.add(key)
        made = {"id": f"{parent['id']}+{method.kind}{position}", "text": text, "split": "train"}
        rows.append({**parent, **made, "source": f"augment:{method.kind}"})
        if len(examples) < MAX_EXAMPLES:
            examples.append(f"{shorten(scrub_text(parent['text']))!r} -> {shorten(scrub_text(text))!r}")
    return rows, StepReport(method.kind, rows_in, rows_in + len(rows), 0, tuple(examples))
