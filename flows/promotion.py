"""Promotion: the champion alias, the ledger around it, reviews and rollback.

A move is written to the ledger as intended, then the alias is set by one write, then the ledger says applied. A process
killed between the two leaves an intended move that `finish_promotions` completes or abandons: readers of the registry
see the old champion or the new one, never neither. Knows no Prefect: the flow is in `flows.promote`.
"""

import getpass
import hashlib
import logging
from dataclasses import dataclass
from typing import Literal

from feedback import ledger
from feedback.ledger import Action, Move
from flows.project import Project
from tasks.errors import ReviewError
from tasks.records import to_json
from tasks.registry import BASELINE, CHALLENGER, CHAMPION, REVIEW, Version, VersionRecord

log = logging.getLogger(__name__)

PROMOTION = "promotion"  # tag: what became of an approved or rejected version
JUDGED_AGAINST = "judged_against"  # tag: the champion that the verdict compared the version with


@dataclass(frozen=True)
class Applied:
    """A review that was decided, and what became of the version."""

    version: str
    decision: str  # champion, rejected, stale


def set_baseline(project: Project, version: Version, record: VersionRecord) -> None:
    """Make the first version both baseline and champion."""
    reason = "the first model: what every later one is measured against"
    for alias in (BASELINE, CHAMPION):
        if project.registry.by_alias(alias) is None:
            _move(project, version, "baseline", alias, "gate", evidence(record), reason)


def offer(project: Project, version: Version, record: VersionRecord) -> Literal["promoted", "review"]:
    """Promote a version that the gate passed, or leave it to a reviewer as the spec says; returns which."""
    if project.spec.gate.promotion == "review":
        project.registry.set_alias(CHALLENGER, version.number)
        return "review"
    _move(project, version, "promote", CHAMPION, "gate", evidence(record), record.verdict.reason)
    return "promoted"


def apply_reviews(project: Project) -> list[Applied]:
    """Apply decided reviews, oldest first; a version judged against another champion than today's is stale."""
    applied = []
    for version in project.registry.versions():
        decision = version.tags.get(REVIEW)
        if decision not in ("approved", "rejected") or PROMOTION in version.tags:
            continue
        outcome = "rejected" if decision == "rejected" else _promote_approved(project, version)
        project.registry.set_tag(version.number, PROMOTION, outcome)
        if project.registry.aliases().get(CHALLENGER) == version.number:
            project.registry.drop_alias(CHALLENGER)
        applied.append(Applied(version.number, outcome))
        log.info("review of version %s: %s", version.number, outcome)
    return applied


def _promote_approved(project: Project, version: Version) -> str:
    champion = project.registry.aliases().get(CHAMPION)
    if champion == version.number:  # the move was made, but a crash came before its tag
        return "champion"
    if version.tags.get(JUDGED_AGAINST) != champion:
        log.warning(
            "version %s was judged against another champion than %s: run an iteration", version.number, champion
        )
        return "stale"
    record = project.registry.read_record(version)
    actor = version.tags.get("reviewer", "mlflow")
    _move(project, version, "promote", CHAMPION, actor, evidence(record), record.verdict.reason)
    return "champion"


def review(project: Project, number: str, decision: str, actor: str = "") -> Version:
    """Return the version after setting its review tag.

    Raises:
        ReviewError: there is no such version, or it does not wait for a review.
    """
    version = project.registry.version(number)
    state = version.tags.get(REVIEW)
    if state is None or PROMOTION in version.tags:
        waiting = [v.number for v in waiting_reviews(project)]
        raise ReviewError(
            f"version {number} does not wait for a review ({REVIEW}={state or 'not set'}); waiting: "
            f"{', '.join(waiting) or 'none'}"
        )
    project.registry.set_tag(number, "reviewer", actor or getpass.getuser())
    project.registry.set_tag(number, REVIEW, decision)
    return project.registry.version(number)


def waiting_reviews(project: Project) -> list[Version]:
    """Return the versions whose review is pending."""
    return [version for version in project.registry.versions() if version.tags.get(REVIEW) == "pending"]


def rollback(project: Project, reason: str, actor: str = "") -> Move:
    """Return the move that made the champion before the present one champion again.

    Raises:
        ReviewError: there is no earlier champion.
    """
    number = ledger.previous_version(project.database, project.spec.name)
    if number is None:
        raise ReviewError(
            f"{project.spec.name}: no earlier champion to roll back to; `ratchet history` shows the ledger"
        )
    version = project.registry.version(number)
    proof = evidence(project.registry.read_record(version))
    return _move(project, version, "rollback", CHAMPION, actor or getpass.getuser(), proof, reason)


def finish_promotions(project: Project) -> list[Move]:
    """Complete or abandon the moves that a crash left half done; returns them.

    A move whose alias already stands, or still stands where the move started from, is completed; any other was
    overtaken.
    """
    moves = ledger.unfinished(project.database, project.spec.name)
    for move in moves:
        standing = project.registry.aliases().get(move.alias)
        if standing in (move.from_version, move.to_version):
            project.registry.set_alias(move.alias, move.to_version)
            ledger.record(project.database, move, "applied")
        else:
            ledger.record(project.database, move, "abandoned")
        log.warning("finished the interrupted move of %s to version %s", move.alias, move.to_version)
    return moves


def evidence(record: VersionRecord) -> str:
    """Return the SHA-256 of what a promotion stands on: artifact, recipe, snapshot, scorecard and verdict."""
    return hashlib.sha256(to_json(record).encode()).hexdigest()


def _move(project: Project, version: Version, action: Action, alias: str, actor: str, proof: str, reason: str) -> Move:
    move = Move(
        model=project.spec.name,
        action=action,
        to_version=version.number,
        from_version=project.registry.aliases().get(alias),
        actor=actor,
        evidence_sha256=proof,
        reason=reason,
        alias=alias,
    )
    ledger.record(project.database, move, "intended")
    project.registry.set_alias(alias, version.number)
    ledger.record(project.database, move, "applied")
    log.info("%s: %s is now version %s (was %s)", action, alias, version.number, move.from_version)
    return move
