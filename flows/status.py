"""What the command answers about a project, as plain data: its state, its history, its reviews."""

from typing import Any

from feedback import ledger
from flows.budget import budget
from flows.effects import plan_iteration
from flows.outcome import Outcome, read_outcomes
from flows.project import Project, only_one
from flows.promotion import apply_reviews, finish_promotions, review, waiting_reviews
from tasks.errors import ReviewError


def project_status(project: Project) -> dict[str, Any]:
    """Return champion, aliases, waiting reviews, the last iteration and what production sent."""
    counts = project.database.counts()
    outcomes = read_outcomes(project)
    return {
        "project": project.spec.name,
        "aliases": project.registry.aliases(),
        "golden_budget": budget(project),
        "rested": plan_iteration(project, project.spec.levers).rested,
        "waiting_for_review": [version.number for version in waiting_reviews(project)],
        "last_iteration": _brief(outcomes[-1]) if outcomes else None,
        "predictions": counts.predictions,
        "feedback": counts.feedback,
        "last_event_at": counts.last_received_at.isoformat() if counts.last_received_at else None,
        "tracking_uri": project.tracking_uri,
        "database": project.database_url.rsplit("@")[-1],
        "state": str(project.state),
    }


def project_history(project: Project) -> dict[str, Any]:
    """Return every iteration in brief and every entry of the promotion ledger, oldest first."""
    entries = ledger.history(project.database, project.spec.name)
    return {
        "iterations": [_brief(outcome) for outcome in read_outcomes(project)],
        "ledger": [
            {
                "at": entry.at.isoformat(timespec="seconds"),
                "phase": entry.phase,
                "action": entry.move.action,
                "alias": entry.move.alias,
                "from": entry.move.from_version,
                "to": entry.move.to_version,
                "actor": entry.move.actor,
                "evidence_sha256": entry.move.evidence_sha256,
                "reason": entry.move.reason,
            }
            for entry in entries
        ],
    }


def decide_review(project: Project, number: str, approve: bool, reject: bool, actor: str) -> dict[str, Any]:
    """Return what waits and what was applied, after deciding on the version where one is named.

    Raises:
        ReviewError: not exactly one decision for the version, or it does not wait for one.
    """
    if number and approve == reject:
        raise ReviewError(f"version {number}: say either --approve or --reject")
    if not number and (approve or reject):
        raise ReviewError("say which version to decide on: ratchet review VERSION --approve")
    with only_one(project):
        finish_promotions(project)
        if number:
            review(project, number, "approved" if approve else "rejected", actor)
        applied = [{"version": done.version, "decision": done.decision} for done in apply_reviews(project)]
    return {
        "applied": applied,
        "waiting": [
            {"version": version.number, "judged_against": version.tags.get("judged_against")}
            for version in waiting_reviews(project)
        ],
        "aliases": project.registry.aliases(),
    }


def _brief(outcome: Outcome) -> dict[str, Any]:
    return {
        "iteration": outcome.iteration,
        "result": outcome.result,
        "reason": outcome.verdict.reason,
        "changed": list(outcome.changed),
        "version": outcome.version,
        "trigger": outcome.trigger,
        "started_at": outcome.started_at,
        "quality": {role: card.quality.mean for role, card in outcome.cards.items()},
        "levers": {trial.lever: "kept" if trial.kept else "dropped" for trial in outcome.trials},
        "seconds": outcome.seconds.get("total"),
        "report": outcome.report_uri,
    }
