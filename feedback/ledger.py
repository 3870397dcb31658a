"""The promotion ledger: who moved which alias from which version to which, when, and on what evidence.

Append-only: the database refuses to change an entry. A move is recorded as intended before the registry is touched and
as applied or abandoned after, so a crash between the two shows as unfinished. Knows nothing of the registry itself.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, cast

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from feedback.errors import LedgerRefused
from feedback.models import Promotion
from feedback.store import Store

Phase = Literal["intended", "applied", "abandoned"]
Action = Literal["promote", "rollback", "baseline"]


def new_attempt() -> str:
    """Return an id for one attempt to move an alias."""
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Move:
    """One attempt to move an alias of a model to a version."""

    model: str
    action: Action
    to_version: str
    from_version: str | None  # None where the alias did not stand yet
    actor: str
    evidence_sha256: str
    reason: str
    alias: str = "champion"
    attempt_id: str = field(default_factory=new_attempt)


@dataclass(frozen=True)
class Entry:
    """One line of the ledger: a phase of a move."""

    id: int
    at: datetime
    phase: Phase
    move: Move


def record(store: Store, move: Move, phase: Phase, now: datetime | None = None) -> Entry:
    """Return the ledger's entry for this phase of the move, written now; the same one when it was written before.

    Raises:
        LedgerRefused: the attempt was not intended first, ended another way, or is known with other content.
        StoreUnavailable: the database failed; nothing was written.
    """
    try:
        with store.writing() as session:
            return _record(session, move, phase, now or datetime.now(UTC))
    except IntegrityError:  # another process wrote this attempt meanwhile: what it wrote decides
        with store.writing() as session:
            return _record(session, move, phase, now or datetime.now(UTC))


def _record(session: Session, move: Move, phase: Phase, now: datetime) -> Entry:
    written = _entries(session.scalars(select(Promotion).where(Promotion.attempt_id == move.attempt_id)).all())
    for entry in written:
        if entry.move != move:
            raise LedgerRefused(f"attempt {move.attempt_id} is recorded with other content: {entry.move}")
        if entry.phase == phase:
            return entry
    phases = {entry.phase for entry in written}
    if phase != "intended" and phases != {"intended"}:
        found = " and ".join(sorted(phases)) or "nothing"
        raise LedgerRefused(f"attempt {move.attempt_id} cannot be {phase}: expected it intended only, found {found}")
    row = Promotion(at=now, phase=phase, **vars(move))
    session.add(row)
    session.flush()
    return _entry(row)


def history(store: Store, model: str, alias: str | None = None) -> list[Entry]:
    """Return the model's entries, oldest first; of every alias unless one is named."""
    query = select(Promotion).where(Promotion.model == model).order_by(Promotion.id)
    if alias is not None:
        query = query.where(Promotion.alias == alias)
    with store.reading() as session:
        return _entries(session.scalars(query).all())


def unfinished(store: Store, model: str) -> list[Move]:
    """Return the moves that were intended and neither applied nor abandoned, oldest first: what a crash left."""
    entries = history(store, model)
    ended = {entry.move.attempt_id for entry in entries if entry.phase != "intended"}
    return [entry.move for entry in entries if entry.phase == "intended" and entry.move.attempt_id not in ended]


def current_version(store: Store, model: str, alias: str = "champion") -> str | None:
    """Return the version the alias was last moved to, or None where it never was."""
    stack = _stack(history(store, model, alias))
    return stack[-1] if stack else None


def previous_version(store: Store, model: str, alias: str = "champion") -> str | None:
    """Return the version to roll back to, or None where there is none.

    What was rolled back is gone for good: after 1, 2, 3 and a rollback to 2, the previous one is 1.
    """
    stack = _stack(history(store, model, alias))
    return stack[-2] if len(stack) > 1 else None


def _stack(entries: Sequence[Entry]) -> list[str]:
    """Return the versions that stand, each on top of the one it replaced."""
    stack: list[str] = []
    for entry in entries:
        if entry.phase != "applied":
            continue
        version = entry.move.to_version
        if entry.move.action == "rollback" and version in stack:
            while stack[-1] != version:
                stack.pop()
        elif not stack or stack[-1] != version:
            stack.append(version)
    return stack


def _entries(rows: Sequence[Promotion]) -> list[Entry]:
    return [_entry(row) for row in rows]


def _entry(row: Promotion) -> Entry:
    move = Move(
        model=row.model,
        action=cast(Action, row.action),
        to_version=row.to_version,
        from_version=row.from_version,
        actor=row.actor,
        evidence_sha256=row.evidence_sha256,
        reason=row.reason,
        alias=row.alias,
        attempt_id=row.attempt_id,
    )
    return Entry(row.id, row.at, cast(Phase, row.phase), move)
