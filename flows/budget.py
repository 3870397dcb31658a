"""The promotion budget of a project: its looks at golden, on record in the database. The rule is in `tasks`."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from feedback import looks
from flows.project import Project
from tasks.data.golden import golden_content
from tasks.data.rows import values
from tasks.measure.gate.budget import left_after, level_of, next_look
from tasks.measure.gate.decide import decide, refuse
from tasks.measure.gate.evidence import Claim, Measured
from tasks.measure.quality.scores import read_split
from tasks.records import GoldenLook, Snapshot, Verdict, from_json, to_json

WORN = 0.01  # the share of alpha below which a look can hardly show anything: from the ninth look on


def decide_on_golden(
    project: Project,
    snapshot: Snapshot,
    candidate: Measured,
    champion: Measured,
    baseline: Measured | None,
    claims: Sequence[Claim],
) -> Verdict:
    """Return the gate's verdict at the level that this look may spend; the look is on record before it is judged.

    What cannot be judged at all costs no look.
    """
    refused = refuse(candidate, champion, baseline, claims, project.spec.gate)
    if refused is not None:
        return refused
    look = take_look(project, snapshot, candidate.card.candidate, champion.card.candidate, claims)
    verdict = decide(candidate, champion, baseline, claims, replace(project.spec.gate, alpha=look.level))
    return replace(verdict, look=look.number, budget_left=left_after(look.number, look.alpha))


def take_look(
    project: Project, snapshot: Snapshot, candidate: str, champion: str, claims: Sequence[Claim]
) -> GoldenLook:
    """Return the look that comparing the two artifacts on golden takes, now on record."""
    golden = read_split(snapshot, "golden")
    pairs = zip(values(golden, "text"), values(golden, "target"), strict=True)
    rows = [golden_content(text, target) for text, target in pairs]
    gate = project.spec.gate
    look = next_look(taken(project), rows, candidate, champion, claims, gate.alpha, gate.refresh)
    key = hashlib.sha256(" ".join([look.golden, candidate, champion, *look.claims]).encode()).hexdigest()
    looks.record(project.database, project.spec.name, key, to_json(look))
    return look


def taken(project: Project) -> list[GoldenLook]:
    """Return the looks taken at the project's golden sets, oldest first."""
    return [from_json(GoldenLook, content) for content in looks.read(project.database, project.spec.name)]


def budget(project: Project) -> dict[str, Any]:
    """Return what is left of alpha for the present golden set, as plain data."""
    history = taken(project)
    number, alpha = (history[-1].number if history else 0), project.spec.gate.alpha
    return {
        "looks": number,
        "alpha": alpha,
        "left": left_after(number, alpha),
        "next_level": level_of(number + 1, alpha),
        "advice": advice(number),
    }


def advice(number: int) -> str:
    """Return what to do about a golden set after so many looks; empty while the next one may still spend enough."""
    if level_of(number + 1, 0.5) / 0.5 >= WORN:  # of any alpha
        return ""
    return (
        f"This golden set is worn out: the next look may spend less than {100 * WORN:g} % of alpha, so that only large "
        "gains can be shown. Refresh it: let feedback add rows (`ratchet golden refresh`) or name new ones in "
        "data.source."
    )
