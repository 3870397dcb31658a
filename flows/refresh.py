"""What `ratchet golden` answers: how worn the golden set is, and letting in the rows that wait. Trains nothing."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.budget import budget, taken
from flows.gather import as_row, gather, harvest_for, plain_stages
from flows.golden import Standing, holds, keep_sealed, read_standing
from flows.outcome import read_outcomes
from flows.project import Project, only_one
from flows.suite import project_suite
from tasks import build, guard
from tasks.data.assemble import draw_feedback, find_placed, find_waiting
from tasks.data.checking.validate import refuse
from tasks.data.golden import GoldenChange, composition, rows_to_restore
from tasks.data.rows import FEEDBACK, keep, make_rows, values
from tasks.data.snapshot import read_table
from tasks.measure.gate.budget import renewal


def refresh_golden(project: Project, accept: bool) -> dict[str, Any]:
    """Return what the golden set gained and lost, as plain data, after letting in what waits and sealing it.

    Raises:
        GoldenError: sealed rows are gone or edited, and it is not said to `accept` that.
        DataError: the source cannot be read or used, or its rows break a check that stops.
    """
    with only_one(project):
        before = read_standing(project)
        suite = project_suite(project)
        sources, _ = gather(plain_stages(), project, suite, before.feedback)
        sealed = holds(project, before, admit=True, move=accept)
        snapshot = build.snapshot(project.store, sources, project.spec.data, sealed)
        refuse(guard.check(project.store, snapshot, suite))  # as before a turn: bad rows are never sealed
        change = keep_sealed(project, snapshot, sources, before, accept=accept)
        after = read_standing(project)
    return {
        **_count(change),
        "rows": len(after.rows),
        "rows_before": len(before.rows),
        "composition": composition(after.rows),
        "sealed_anew": len(after.seals) > len(before.seals),
        "seal": _brief(after)[-1],
        **_renewal(project, after),
    }


def golden_status(project: Project) -> dict[str, Any]:
    """Return how worn the project's golden set is and how it came about, as plain data."""
    standing = read_standing(project)
    now = datetime.now(UTC)
    return {
        "project": project.spec.name,
        "digest": standing.seals[-1].digest if standing.seals else "",
        "rows": len(standing.rows),
        "composition": composition(standing.rows),
        "age_days": (now - standing.times[0]).days if standing.seals else None,
        "unchanged_days": (now - standing.times[-1]).days if standing.seals else None,
        "waiting": count_waiting(project, standing),
        "refresh_mode": project.spec.data.feedback.refresh,
        "budget": budget(project),
        **_renewal(project, standing),
        "history": _brief(standing),
    }


def count_waiting(project: Project, standing: Standing) -> int:
    """Return how many harvested rows are drawn for golden but not in it yet.

    By what the last turn knew of the source (labels, groups): rows that leave a split as leaks are not told apart.
    """
    data = project.spec.data
    if not data.feedback.use:
        return 0
    outcomes = read_outcomes(project)
    known = set(outcomes[-1].snapshot.labels) if outcomes else None
    found = harvest_for(project, known, standing.feedback).rows
    rows = [as_row(row, project.spec.feedback.scrub) for row in found]
    columns = ("id", "text", "target", *(["group"] if data.group else []))
    table = make_rows({name: [row[name] for row in rows] for name in columns} | {"split": [""] * len(rows)})
    placed = _placed(Path(outcomes[-1].snapshot.uri)) if outcomes and data.group else {}
    sealed = frozenset(standing.rows)
    return len(find_waiting([draw_feedback(table, data, placed, sealed)], sealed))


def _placed(snapshot: Path) -> dict[str, str]:
    table = read_table(snapshot)
    return find_placed(keep(table, [source != FEEDBACK for source in values(table, "source")]))


def _renewal(project: Project, standing: Standing) -> dict[str, Any]:
    """Return what share of the set is new against the start of the count, and what that restores."""
    share = renewal(taken(project), [row.content for row in standing.rows.values()])
    refresh = project.spec.gate.refresh
    return {
        "share_new": share,
        "refresh_share": refresh,
        "restores_budget": bool(standing.rows) and share >= refresh,
        "rows_to_restore": rows_to_restore(len(standing.rows), share, refresh),
    }


def _count(change: GoldenChange) -> dict[str, Any]:
    gained = [row.from_feedback for row in change.added]
    return {
        "gained": {FEEDBACK: sum(gained), "source": len(gained) - sum(gained)},
        "removed": len(change.removed),
        "edited": len(change.edited),
    }


def _brief(standing: Standing) -> list[dict[str, Any]]:
    return [
        {
            "sequence": seal.sequence,
            "at": at.isoformat(timespec="seconds"),
            "how": seal.how,
            "rows": seal.rows,
            "added": len(seal.added),
            "removed": len(seal.removed),
            "digest": seal.digest,
            "parent": seal.parent,
            "seed": seal.seed,
            "drawn": seal.drawn,
        }
        for seal, at in zip(standing.seals, standing.times, strict=True)
    ]
