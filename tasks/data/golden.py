"""The sealed golden set: what identifies its rows, how two sets differ, and the chain of seals that tells its history.

A row is its id and hashes of its content, so that a seal can be kept for ever without a text in it; the order of rows
says nothing. Where seals are kept, and whether a change is accepted, is not decided here.
"""

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tasks.data.rows import FEEDBACK, values
from tasks.errors import ArtifactError
from tasks.measure.gate.budget import row_hash

if TYPE_CHECKING:
    import pyarrow as pa

FEEDBACK_PREFIX = "feedback-"  # how their ids begin; the prediction's follows


class GoldenRow(NamedTuple):  # in JSON a list: seals hold many
    """What identifies one golden row."""

    id: str
    text: str  # 64 bits of the SHA-256 of the text, in hexadecimal
    content: str  # and of text and target
    from_feedback: bool  # harvested, not read from the source


GoldenSet = Mapping[str, GoldenRow]  # by id


@dataclass(frozen=True)
class GoldenChange:
    """How a golden set differs from the one before; a row that only got another id is none of these."""

    added: tuple[GoldenRow, ...] = ()
    removed: tuple[GoldenRow, ...] = ()
    edited: tuple[tuple[GoldenRow, GoldenRow], ...] = ()  # before, after: another text or target


@dataclass(frozen=True)
class GoldenSeal:
    """One entry of a golden set's history; the sets are told by replaying what each entry added and removed."""

    sequence: int  # from 1
    digest: str  # of all rows
    parent: str  # the digest before; empty for the first
    how: str  # created; feedback, source, votes (feedback that users took back), joined by +; accepted; rules
    rows: int
    added: tuple[GoldenRow, ...]  # new ones, and edited ones as they are now
    removed: tuple[str, ...]  # ids of rows that went, and of edited ones
    seed: int  # of the draw from feedback
    drawn: int  # feedback rows drawn for golden, also those that wait
    rules: str = ""  # digest of what feedback had to fulfil


@dataclass(frozen=True)
class Sealed:
    """What a snapshot must keep to: ids that are golden for good, and whether feedback newly drawn for it joins."""

    ids: tuple[str, ...] = ()  # sorted
    admit: bool = True


def identify(table: "pa.Table") -> dict[str, GoldenRow]:
    """Return the rows of a table by their ids, in the order of these."""
    found = {}
    columns = (values(table, name) for name in ("id", "text", "target", "source"))
    for name, text, target, source in zip(*columns, strict=True):
        harvested = source == FEEDBACK and name.startswith(FEEDBACK_PREFIX)
        found[name] = GoldenRow(name, row_hash(text), row_hash(golden_content(text, target)), harvested)
    return dict(sorted(found.items()))


def golden_content(text: str, target: str) -> str:
    """Return what of a golden row a look at it reads, as one string."""
    return f"{target}\n{text}"


def digest_set(rows: Iterable[GoldenRow]) -> str:
    """Return the SHA-256 over the rows' ids, texts and targets, whatever their order."""
    content = sorted((row.id, row.text, row.content) for row in rows)
    return hashlib.sha256(json.dumps(content).encode("utf-8", "surrogatepass")).hexdigest()


def compare_sets(before: GoldenSet, after: GoldenSet) -> GoldenChange:
    """Return what was added, removed and edited: one id with other content, or one text with another target."""
    edited = [(row, after[row.id]) for row in before.values() if row.id in after and after[row.id] != row]
    gone = [row for row in before.values() if row.id not in after]
    come = [row for row in after.values() if row.id not in before]
    gone, come, _ = _pair(gone, come, "content")  # other ids
    gone, come, relabelled = _pair(gone, come, "text")
    return GoldenChange(tuple(come), tuple(gone), (*edited, *relabelled))


def _pair(
    gone: Sequence[GoldenRow], come: Sequence[GoldenRow], field: str
) -> tuple[list[GoldenRow], list[GoldenRow], list[tuple[GoldenRow, GoldenRow]]]:
    """Return the rows that have no partner with the same field on the other side, and the pairs."""
    waiting: dict[str, list[GoldenRow]] = defaultdict(list)
    for row in reversed(come):
        waiting[getattr(row, field)].append(row)
    left, pairs = [], []
    for row in gone:
        partners = waiting[getattr(row, field)]
        if partners:
            pairs.append((row, partners.pop()))
        else:
            left.append(row)
    paired = {after.id for _, after in pairs}
    return left, [row for row in come if row.id not in paired], pairs


def next_seal(
    seals: Sequence[GoldenSeal], after: GoldenSet, how: str, *, seed: int, drawn: int, rules: str
) -> GoldenSeal:
    """Return the entry that follows the seals and after which the set is `after`."""
    before = replay(seals)
    added = tuple(row for row in after.values() if before.get(row.id) != row)
    removed = tuple(name for name, row in before.items() if after.get(name) != row)
    parent = seals[-1].digest if seals else ""
    return GoldenSeal(len(seals) + 1, digest_set(after.values()), parent, how, len(after), added, removed,
                      seed, drawn, rules)  # fmt: skip


def replay(seals: Sequence[GoldenSeal]) -> dict[str, GoldenRow]:
    """Return the set that the seals lead to.

    Raises:
        ArtifactError: an entry does not follow from those before it.
    """
    rows: dict[str, GoldenRow] = {}
    parent = ""
    for place, seal in enumerate(seals, start=1):
        for name in seal.removed:
            rows.pop(name, None)
        rows.update({row.id: row for row in seal.added})
        if (seal.sequence, seal.parent, seal.rows) != (place, parent, len(rows)):
            raise ArtifactError(
                f"golden seal {place}: expected {seal.rows} rows after {seal.parent[:12] or 'nothing'}, found "
                f"{len(rows)} after {parent[:12] or 'nothing'}: an entry is missing or changed; restore the database"
            )
        parent = seal.digest
    if seals and digest_set(rows.values()) != parent:
        raise ArtifactError(
            f"golden seal {len(seals)}: its rows do not have its digest {parent[:12]}: restore the database"
        )
    return dict(sorted(rows.items()))


def composition(rows: GoldenSet) -> dict[str, int]:
    """Return how many rows came from the source and how many from feedback."""
    counts = Counter(FEEDBACK if row.from_feedback else "source" for row in rows.values())
    return {"source": counts["source"], FEEDBACK: counts[FEEDBACK]}


def rows_to_restore(rows: int, share_new: float, refresh: float) -> int | None:
    """Return how many more new rows make `refresh` the share of new ones; None where no number does.

    Solves (s n + x) / (n + x) >= f for the least x, where s of the n rows are new already.
    """
    short = (refresh - share_new) * rows
    if short <= 0:
        return 0
    return None if refresh >= 1 else math.ceil(short / (1 - refresh) - 1e-9)
