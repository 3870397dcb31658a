"""New training rows made from old ones, each with its provenance; evaluation rows are never copied or nearly repeated.

The methods here rewrite one text each; which rows they take and how is decided by hashing the seed and the row's id, so
that a rerun makes the same rows and further rows change nothing about the old ones. Methods that read several texts
or a model have files of their own. Whether a method pays is the gate's question.
"""

import hashlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import singledispatch
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.data.cleaning.scrub import scrub_text
from tasks.data.rows import make_rows, shorten, training_mask
from tasks.data.similarity import find_similar, text_key

if TYPE_CHECKING:
    import pyarrow as pa

    from serving.predictors import Predictions
    from tasks.records import StepReport

log = logging.getLogger(__name__)

Share = Annotated[float, Field(gt=0, le=1)]
MaxRows = Annotated[int, Field(ge=1)] | None  # that a method may add; None: no limit

Row = dict[str, str]

MAX_EXAMPLES = 10
EMPTY = "the text is empty"  # reasons why a proposed row is left out
REPEATED = "the text is there already"
PROTECTED = "nearly repeats an evaluation row"
SPENT = "the budget of rows is spent"
FILTERS = ("keep_label", "limit")  # kinds that make nothing

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
    max_rows: MaxRows = None


@dataclass(frozen=True, config={"extra": "forbid"})
class Swap:
    """A copy of a `share` (0 to 1) of the training rows with `swaps` (0 to 20) pairs of neighbouring words exchanged.

    Each word is then left out with probability `dropout` (0 to 1).
    """

    kind: Literal["swap"] = "swap"
    share: Share = 0.3
    swaps: Annotated[int, Field(ge=0, le=20)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    max_rows: MaxRows = None


@dataclass(frozen=True, config={"extra": "forbid"})
class Dropout:
    """A copy of a `share` (0 to 1) of the training rows with each word left out with probability `rate` (0 to 1).

    One word at least stays.
    """

    kind: Literal["dropout"] = "dropout"
    share: Share = 0.3
    rate: Annotated[float, Field(gt=0, lt=1)] = 0.15
    max_rows: MaxRows = None


class Teacher(NamedTuple):
    """A model that says which label it gives a text."""

    name: str  # its digest
    labels: Sequence[str]  # that it was taught
    predict: "Callable[[Sequence[str]], Predictions]"


class Given(NamedTuple):
    """What a method may read; a row is a dictionary of its columns."""

    originals: Sequence[Row]  # the training rows as they came
    parents: Sequence[Row]  # those, and the copies by which rows of rare classes count more often
    made: Sequence[Row]  # by the methods before, the copies included
    seed: str  # another one for each method and place in the list
    teacher: Teacher | None = None  # the best model there is, where there is one


class Made(NamedTuple):
    """What a method proposes. Provenance, repeats and the guard of evaluation rows are the business of `augment`."""

    pairs: Sequence[tuple[Row, str]] = ()  # a parent, and a text that should have its target
    left_out: Mapping[str, int] = MappingProxyType({})  # chosen rows that got no text, by reason
    dropped: Mapping[str, str] = MappingProxyType({})  # ids of rows made before that must go, and why
    copies: bool = False  # the texts repeat their parents on purpose; later methods take these rows as parents too
    notes: Mapping[str, str] = MappingProxyType({})  # what the report says beside the parameters


def augment(
    table: "pa.Table", methods: Sequence[Any], seed: int, protected: Sequence[str] = (), teacher: Teacher | None = None
) -> "tuple[pa.Table, list[StepReport]]":
    """Return the table with the rows that the methods made appended, and what each method did.

    A made row has its parent's columns (its group, time and line among them) but for `id` (the parent's and a suffix),
    `text`, `split` "train" and `source` ("augment:" and the method). But for the copies of `rebalance`, none repeats a
    text that is there already; none is equal or nearly equal (`tasks.data.similarity`) to a text in `protected`, the
    texts of the evaluation rows.

    Raises:
        DataError: a method cannot do its work, such as one whose endpoint gives no answers.
        ModelError: the model that a method names cannot be used.
    """
    import pyarrow as pa

    originals: list[Row] = table.filter(training_mask(table)).to_pylist()
    taken = {text_key(row["text"]) for row in originals}
    made: list[Row] = []
    copies: list[Row] = []
    reports = []
    for position, method in enumerate(methods):
        given = Given(originals, [*originals, *copies], made, f"{seed}:{position}:{method.kind}", teacher)
        proposal = propose(method, given)
        new, left_out = _admit(proposal, method, position, taken, protected)
        before, made = len(originals) + len(made), [*(row for row in made if row["id"] not in proposal.dropped), *new]
        copies = [*(row for row in copies if row["id"] not in proposal.dropped), *(new if proposal.copies else ())]
        examples = _examples(given, proposal, new)
        reports.append(_report(method, before, len(originals) + len(made), left_out, examples, proposal.notes))
        if not new and method.kind not in FILTERS:
            log.warning("augment %s made no rows (%s); the others go on", method.kind, dict(left_out) or "none chosen")
    columns = {name: [row[name] for row in made] for name in table.column_names}
    return pa.concat_tables([table, make_rows(columns)]), reports


def chance(given: Given, row: Row) -> random.Random:
    """Return random numbers that depend on nothing but the seed, the method's place and the row's id: to rewrite by."""
    return random.Random(f"{given.seed}:{row['id']}")


def draw(given: Given, row: Row) -> float:
    """Return one number in [0, 1) that depends on the same, by which rows are chosen and ranked."""
    digest = hashlib.blake2b(f"{given.seed}:{row['id']}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def choose(method: Any, given: Given) -> list[Row]:
    """Return a `share` of the parents in the order of their hashes: a spent budget leaves out rows of all classes."""
    draws = ((draw(given, row), row["id"], row) for row in given.parents)
    return [row for _, _, row in sorted((draw for draw in draws if draw[0] < method.share), key=lambda draw: draw[:2])]


def choose_within(method: Any, given: Given, per_text: int = 1) -> list[Row]:
    """Return what `choose` does but for rows without text, and no more than `max_rows` is enough for."""
    chosen = [row for row in choose(method, given) if row["text"].strip()]
    return chosen if method.max_rows is None else chosen[: -(-method.max_rows // per_text)]


@singledispatch
def propose(method: Any, given: Given) -> Made:
    """Return what a method makes of the rows. A method that reads more than one text registers its function here."""
    return Made([(row, rewrite(method, row["text"], chance(given, row))) for row in choose(method, given)])


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


@rewrite.register(Dropout)
def _thin(method: Dropout, text: str, rng: random.Random) -> str:
    words = text.split()
    left = [word for word in words if rng.random() >= method.rate]
    return " ".join(left or words[:1])


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


def _admit(
    proposal: Made, method: Any, position: int, taken: set[str], protected: Sequence[str]
) -> tuple[list[Row], Counter[str]]:
    """Return the rows to add, and how many were left out for which reason; the texts' keys are added to `taken`."""
    left_out = Counter(proposal.left_out)
    numbers: Counter[str] = Counter()
    rows: list[Row] = []
    fresh: set[str] = set()
    for parent, text in proposal.pairs:
        number = numbers[parent["id"]]
        numbers[parent["id"]] += 1
        key = text_key(text)
        if not key or (not proposal.copies and (key in taken or key in fresh)):
            left_out[REPEATED if key else EMPTY] += 1
            continue
        fresh.add(key)
        name = f"{parent['id']}+{method.kind}{position}{f'.{number}' if number else ''}"
        rows.append({**parent, "id": name, "text": text, "split": "train", "source": f"augment:{method.kind}"})
    near = {here for here, _ in find_similar([row["text"] for row in rows], protected)} if rows and protected else set()
    allowed = [row for at, row in enumerate(rows) if at not in near]
    admitted = allowed[: getattr(method, "max_rows", None)]
    left_out += Counter({PROTECTED: len(near), SPENT: len(allowed) - len(admitted)})
    taken.update(text_key(row["text"]) for row in admitted)
    return admitted, left_out


def _examples(given: Given, proposal: Made, new: Sequence[Row]) -> Iterator[str]:
    """Yield what was made and what was dropped, for the report; personal data is replaced."""
    texts = {row["id"]: row["text"] for row in given.parents} if new else {}
    for row in new:
        yield f"{_show(texts[row['id'].rsplit('+', 1)[0]])} -> {_show(row['text'])}"
    for row in given.made:
        if row["id"] in proposal.dropped:
            yield f"{_show(row['text'])}: {proposal.dropped[row['id']]}"


def _show(text: str) -> str:
    return repr(shorten(scrub_text(text)))


def _report(
    method: Any,
    rows_in: int,
    rows_out: int,
    left_out: Mapping[str, int],
    examples: Iterator[str],
    notes: Mapping[str, str],
) -> "StepReport":
    from tasks.records import StepReport  # tasks.records reads tasks.specs, which reads this module

    log.info("augment %s: %d rows in, %d out, left out: %s", method.kind, rows_in, rows_out, dict(left_out) or "none")
    parameters = {name: value for name, value in asdict(method).items() if name != "kind"} | dict(notes)
    return StepReport(
        method.kind, rows_in, rows_out, 0, tuple(islice(examples, MAX_EXAMPLES)), dict(sorted(left_out.items())),
        parameters,
    )  # fmt: skip
