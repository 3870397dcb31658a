"""The sealed golden set of a project: what a turn's golden rows are held to, and how they may change.

The first turn seals them. From then on rows may be added, and feedback that its users took back may go; any other loss
or edit is refused until someone accepts it. The comparison is in `tasks.data.golden`, the history in the database.
"""

import hashlib
import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from feedback import seals as entries
from flows.project import Project, ProjectBusy
from tasks.data.cleaning.scrub import scrub_text
from tasks.data.golden import (
    GoldenChange,
    GoldenRow,
    GoldenSeal,
    GoldenSet,
    Sealed,
    compare_sets,
    digest_set,
    identify,
    next_seal,
    replay,
)
from tasks.data.rows import shorten
from tasks.data.snapshot import read_table
from tasks.errors import GoldenError
from tasks.measure.quality.scores import read_split
from tasks.records import Snapshot, Table, from_json, to_json

EXAMPLES = 3


@dataclass(frozen=True)
class Standing:
    """The seals of a project so far, oldest first, when each was written, and the rows that are sealed now."""

    seals: tuple[GoldenSeal, ...]
    times: tuple[datetime, ...]
    rows: GoldenSet

    @property
    def feedback(self) -> frozenset[str]:
        """The ids of the sealed rows that came from feedback."""
        return frozenset(name for name, row in self.rows.items() if row.from_feedback)


def read_standing(project: Project) -> Standing:
    """Return how the project's golden set stands.

    Raises:
        ArtifactError: the history was tampered with.
    """
    found = entries.read(project.database, project.spec.name)
    seals = tuple(from_json(GoldenSeal, entry.content) for entry in found)
    return Standing(seals, tuple(entry.at for entry in found if entry.at), replay(seals))


def holds(project: Project, standing: Standing, *, admit: bool = False, move: bool = False) -> Sealed:
    """Return what the next snapshot must keep to.

    `admit` lets in what waits, whatever the spec says; `move` lets a golden set that is drawn by time move to the
    newest rows. Rows of a golden set that the source names need no holding: they are where they are.
    """
    data = project.spec.data
    fixed = "golden" in data.source.splits or (move and data.split.by == "time")
    ids = standing.feedback if fixed else standing.rows
    return Sealed(tuple(sorted(ids)), admit or data.feedback.refresh == "each_turn")


def keep_sealed(
    project: Project, snapshot: Snapshot, sources: Sequence[Table], standing: Standing, *, accept: bool = False
) -> GoldenChange:
    """Return how the snapshot's golden rows differ from the sealed ones, after sealing them as they are now.

    Nothing is written where nothing changed.

    Raises:
        GoldenError: sealed rows are gone or edited, and it is not said to `accept` that.
        ProjectBusy: another process sealed at the same moment.
    """
    after = identify(read_split(snapshot, "golden"))
    change = compare_sets(standing.rows, after)
    rules = _rules_digest(project)
    lost = _unexcused(change, _withdrawn(sources, standing, rules)) if standing.seals else GoldenChange()
    if (lost.removed or lost.edited) and not accept:
        raise GoldenError(_describe(lost, standing))
    last = standing.seals[-1] if standing.seals else None
    if last is None or (last.digest, last.rules) != (digest_set(after.values()), rules):
        how = _how(change, lost, standing, after)
        drawn = snapshot.waiting + sum(row.from_feedback for row in after.values())
        seed = project.spec.data.split.seed
        _write(project, next_seal(standing.seals, after, how, seed=seed, drawn=drawn, rules=rules))
    return change


def _rules_digest(project: Project) -> str:
    rules = json.dumps(asdict(project.spec.feedback.harvest), sort_keys=True)
    return hashlib.sha256(rules.encode()).hexdigest()[:16]


def _withdrawn(sources: Sequence[Table], standing: Standing, rules: str) -> frozenset[str]:
    """Return the sealed feedback whose votes changed: harvest, by the same rules, gives it otherwise or no longer."""
    if len(sources) < 2 or standing.seals[-1].rules != rules:
        return frozenset()
    given = identify(read_table(Path(sources[1].uri), sources[1].digest))
    return frozenset(name for name in standing.feedback if given.get(name) != standing.rows[name])


def _unexcused(change: GoldenChange, withdrawn: AbstractSet[str]) -> GoldenChange:
    return GoldenChange(
        removed=tuple(row for row in change.removed if row.id not in withdrawn),
        edited=tuple(pair for pair in change.edited if pair[0].id not in withdrawn),
    )


def _how(change: GoldenChange, lost: GoldenChange, standing: Standing, after: GoldenSet) -> str:
    """Return how the set came about, in words of `GoldenSeal.how`."""
    if not standing.seals:
        return "created"
    if after == standing.rows:
        return "rules"
    told = {
        "accepted": lost.removed or lost.edited,
        "feedback": any(row.from_feedback for row in change.added),
        "source": any(not row.from_feedback for row in change.added),
        "votes": len(change.removed) + len(change.edited) > len(lost.removed) + len(lost.edited),
    }
    return "+".join(name for name, holds in told.items() if holds) or "source"  # rows that got other ids


def _describe(lost: GoldenChange, standing: Standing) -> str:
    """Return which sealed rows are gone or edited and what to do, in one line."""
    edited = [before for before, _ in lost.edited]
    told = [
        f"{len(rows)} {what} (e.g. row {_name(rows)})"
        for rows, what in ((lost.removed, "gone"), (edited, "edited"))
        if rows
    ]
    return (
        f"golden: of the {len(standing.rows)} rows that are sealed (seal {len(standing.seals)}), {' and '.join(told)}: "
        "nothing was trained; restore them, or accept the set as it is now with `ratchet golden refresh --accept`"
    )


def _name(rows: Sequence[GoldenRow]) -> str:
    return ", ".join(shorten(scrub_text(row.id), 40) for row in rows[:EXAMPLES])


def _write(project: Project, seal: GoldenSeal) -> None:
    entry = entries.SealEntry(
        seal.sequence, seal.digest, seal.parent, seal.how, seal.rows, len(seal.added), len(seal.removed), to_json(seal)
    )
    if not entries.append(project.database, project.spec.name, entry):
        raise ProjectBusy(f"golden seal {seal.sequence} was written by another process just now; run again")
