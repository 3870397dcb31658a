"""The self-contained HTML report of an iteration: no script, nothing loaded from elsewhere.

Sections with nothing to show are left out; texts of users are scrubbed of PII and escaped. It measures and decides
nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from flows.chronicle import comparable_models, reigns
from flows.compression import HEADERS, point_rows
from flows.costs import grid_rows, open_loop_rows, speed_rows
from flows.drawings import draw
from flows.effects import Effect, effects_of, tries_of
from flows.figures import STYLE
from flows.outcome import COLOURS, Outcome
from flows.reports import (
    SliceRow,
    budget_line,
    comparison,
    metric_rows,
    regressions,
    roles_in,
    slices,
    test_rows,
    trial_rows,
)
from tasks.data.cleaning.scrub import scrub_text
from tasks.data.rows import shorten
from tasks.levers import gain_per_minute
from tasks.records import Interval, StepReport

EXAMPLES = 10  # of what a cleaning step did


@dataclass(frozen=True)
class LeverRow:
    """What is known of one lever after all its trials."""

    name: str
    stage: str
    trials: int
    kept: int
    quality: str  # of the last trial
    time: str
    size: str
    seconds: str
    gain: str  # expected per minute: what the search goes by
    rested: str


def write_report(
    outcome: Outcome,
    history: Sequence[Outcome],
    path: Path,
    rested: Mapping[str, str] | None = None,
    recipe_changes: Sequence[tuple[str, str, str]] = (),
) -> None:
    """Write the report of an iteration.

    Args:
        history: all outcomes, oldest first, this one last.
        rested: why levers were left out, by name.
        recipe_changes: field, champion's value and candidate's value of what differs in how they are made.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    html = environment.get_template("report.html").render(
        **_what_was_decided(outcome), **_what_was_measured(outcome),
        **_what_went_before(outcome, history, rested or {}),
        figure_style=STYLE, figures=draw(outcome, history),
        recipe_changes=recipe_changes, profile=outcome.profile,
    )  # fmt: skip
    partial = path.with_suffix(".partial")
    partial.write_text(html, "utf-8")
    partial.rename(path)


def _what_was_decided(outcome: Outcome) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "colour": COLOURS[outcome.result],
        "tests": test_rows(outcome.verdict.tests),
        "budget": budget_line(outcome.verdict),
    }


def _what_was_measured(outcome: Outcome) -> dict[str, Any]:
    cards = outcome.cards.values()
    return {
        "rows": comparison(outcome),
        "roles": roles_in(outcome),
        "metrics": metric_rows(outcome),
        "label_metrics": metric_rows(outcome, per_label=True),
        "families": slice_families(outcome),
        "regressions": regressions(outcome),
        "speeds": speed_rows(outcome),
        "grid": grid_rows(outcome),
        "open_loop": open_loop_rows(outcome),
        "cleaning": [(step, _examples(step), _left(step, outcome), _parameters(step)) for step in outcome.cleaning],
        "machine": next((card.speed.machine for card in cards if card.speed), None),
        "quality": next((card.quality for card in cards), None),
    }


def _what_went_before(outcome: Outcome, history: Sequence[Outcome], rested: Mapping[str, str]) -> dict[str, Any]:
    models, left_out = comparable_models(history)
    return {
        "models": models,
        "left_out": left_out,
        "reigns": reigns(history),
        "levers": lever_rows(effects_of(history), rested),
        "gains": [_bounds(effect.quality, 100, "{:+.1f}") for effect in effects_of([outcome])],  # one for each trial
        "rested": rested,
        "compressions": [
            (trial.lever, trial.compression, point_rows(trial.compression))
            for trial in outcome.trials
            if trial.compression
        ],
        "point_headers": HEADERS,
        "searches": [(trial.lever, trial.search, trial_rows(trial.search)) for trial in outcome.trials if trial.search],
    }


def slice_families(outcome: Outcome) -> list[tuple[str, list[SliceRow]]]:
    """Return the slices by family, the family with the worst judged change first; so within each."""
    rows = slices(outcome)
    order = list(dict.fromkeys(row.family for row in rows))
    grouped = groupby(sorted(rows, key=lambda row: order.index(row.family)), key=lambda row: row.family)
    return [(family, list(members)) for family, members in grouped]


def lever_rows(effects: Sequence[Effect], rested: Mapping[str, str]) -> list[LeverRow]:
    """Return every lever ever tried with what its last trial was worth, in the order they were first tried."""
    names = list(dict.fromkeys(effect.lever for effect in effects))
    return [_lever_row([effect for effect in effects if effect.lever == name], rested.get(name, "")) for name in names]


def _lever_row(trials: Sequence[Effect], rested: str) -> LeverRow:
    last = trials[-1]
    gain, unit = gain_per_minute(tries_of(trials)), " log time" if "cost" in last.claims else " points"
    shown = 100 * gain if unit == " points" else gain
    return LeverRow(
        last.lever, last.stage, len(trials), sum(trial.kept for trial in trials),
        _bounds(last.quality, 100, "{:+.1f}"), _bounds(last.time_ratio, 1, "{:.2f}"),
        f"{last.size_ratio:.2f}" if last.size_ratio else "-",
        f"{last.seconds:.0f} s" if last.seconds is not None else "-",
        f"{shown:.2g}{unit}" if gain else "-", rested,
    )  # fmt: skip


def _bounds(interval: Interval | None, scale: float, form: str) -> str:
    if interval is None:
        return "-"
    value, low, high = (form.format(scale * each) for each in (interval.value, interval.low, interval.high))
    return f"{value} ({low} to {high})"


def _examples(step: StepReport) -> list[str]:
    return [scrub_text(example) for example in step.examples[:EXAMPLES]]


def _left(step: StepReport, outcome: Outcome) -> float:
    """Return the rows after a step as per cent of those that came, at most 100."""
    return round(min(100.0, 100 * step.rows_out / max(1, outcome.cleaning[0].rows_in)), 1)


def _parameters(step: StepReport) -> str:
    """Return a step's parameters that are set, as a person reads them."""
    shown = {name: value for name, value in step.parameters.items() if value not in (None, "", (), [])}
    parts = (f"{name} {value[:12] if _is_digest(value) else value}" for name, value in shown.items())
    return shorten(scrub_text(", ".join(parts)), 200)


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None
