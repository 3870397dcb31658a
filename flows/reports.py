"""What people read of an outcome as text: comparison tables and the registry's description.

Texts of rows are scrubbed of PII before they are shown. Measures and decides nothing; the HTML is `flows.page`'s.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.budget import advice
from flows.outcome import Outcome
from tasks.data.cleaning.scrub import scrub_text
from tasks.data.rows import values
from tasks.measure.gate.comparisons import ALARM, RATIOS
from tasks.measure.gate.limits import LIMIT
from tasks.measure.quality.scores import read_scores
from tasks.records import Interval, Scorecard, Test, Verdict
from tasks.registry import BASELINE, CHAMPION
from tasks.search.report import SearchReport

ROLES = (BASELINE, CHAMPION, "candidate")
REGRESSIONS = 10
SLICES_IN_BRIEF = 12
DESCRIPTION_LIMIT = 5000  # characters of a version's description in MLflow's database
MORE = "\n\nWhat did not fit here is in the report."
LOWER_IS_BETTER = ("ece", "brier", "cost")  # their values are no shares, so they are not shown as per cent
SLICE_TEST = re.compile(r"slice (.+) is (?:no|not shown) worse than the champion's", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """One model's line in a comparison."""

    role: str
    quality: str
    low: float
    mean: float
    high: float
    throughput: str
    throughput_ratio: float | None
    latency: str
    memory: str
    size: str
    size_ratio: float | None


@dataclass(frozen=True)
class SliceRow:
    """One slice in a comparison."""

    name: str
    rows: int
    means: dict[str, float]  # by role, in [0, 1]
    test: Test | None  # the gate's; None where the slice is reported and not judged

    @property
    def family(self) -> str:
        """Return what kind of slice it is: a column's name, label, length, language, found, robust."""
        return self.name.split("=")[0]

    @property
    def change(self) -> float | None:
        """Return candidate - champion in points; None where one of them lacks the slice."""
        if self.test:
            return 100 * self.test.estimate
        both = "candidate" in self.means and CHAMPION in self.means
        return 100 * (self.means["candidate"] - self.means[CHAMPION]) if both else None


def comparison(outcome: Outcome) -> list[Row]:
    """Return one row per model measured on golden, costs also as ratios to the baseline."""
    base = outcome.cards.get(BASELINE)
    return [_row(role, outcome.cards[role], base) for role in ROLES if role in outcome.cards]


def _row(role: str, card: Scorecard, base: Scorecard | None) -> Row:
    quality, speed = card.quality, card.speed
    shown = share(Interval(quality.mean, quality.low, quality.high))
    if speed is None:
        return Row(role, shown, quality.low, quality.mean, quality.high, "-", None, "-", "-", "-", None)
    other = base.speed if base else None
    faster = speed.throughput_b1_per_s / other.throughput_b1_per_s if other else None
    smaller = speed.size_bytes / other.size_bytes if other else None
    latencies = (speed.latency_p50_ms, speed.latency_p95_ms, speed.latency_p99_ms)
    return Row(
        role, shown, quality.low, quality.mean, quality.high,
        f"{speed.throughput_b1_per_s:.0f}/s" + (f" ({faster:.2f}x)" if faster else ""), faster,
        " / ".join("-" if latency is None else f"{latency:.1f}" for latency in latencies) + " ms",
        f"{speed.peak_memory_bytes / 1e6:.0f} MB",
        f"{speed.size_bytes / 1e6:.1f} MB" + (f" ({smaller:.2f}x)" if smaller else ""), smaller,
    )  # fmt: skip


def share(score: Interval) -> str:
    """Return a score in [0, 1] as per cent with its interval."""
    return f"{100 * score.value:.1f} % ({100 * score.low:.1f} to {100 * score.high:.1f})"


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def describe_version(outcome: Outcome, links: Mapping[str, str]) -> str:
    """Return the Markdown that a reviewer decides from: verdict, comparison, metrics, slices, tests, links."""
    table = markdown_table(
        ["model", "accuracy (95 %)", "batch-1 throughput", "p50 / p95 / p99", "memory", "size"],
        [[r.role, r.quality, r.throughput, r.latency, r.memory, r.size] for r in comparison(outcome)],
    )
    parts = [f"**{outcome.verdict.reason}**", f"Changed: {', '.join(outcome.changed) or 'the first model'}", table]
    metrics = metric_rows(outcome)
    if len(metrics) > 1:
        better = ["candidate better by (paired)"] if outcome.paired else []
        parts.append("Metrics (95 %)\n\n" + markdown_table(["metric", *roles_in(outcome), *better], metrics))
    parts += [part for part in (describe_slices(outcome, SLICES_IN_BRIEF),) if part]
    if outcome.verdict.tests:
        headers = ["test", "estimate", "interval", "bound", "outcome"]
        parts.append("Tests\n\n" + markdown_table(headers, test_rows(outcome.verdict.tests)))
    parts += [budget_line(outcome.verdict)] if outcome.verdict.look else []
    parts += [f"{name}: `{link}`" for name, link in links.items() if link]
    return _fit(parts)


def _fit(parts: list[str]) -> str:
    """Return the parts as one text that MLflow's database takes, the longest left out where they do not fit."""
    kept = list(parts)
    while len(kept) > 1 and len("\n\n".join(kept)) > DESCRIPTION_LIMIT - len(MORE):
        kept.remove(max(kept, key=len))
    return "\n\n".join(kept if len(kept) == len(parts) else [*kept, MORE.strip()])


def describe_slices(outcome: Outcome, most: int | None = None) -> str:
    """Return the slices as Markdown, judged ones first; empty where there are none.

    With `most`, no more than so many: those that had to be proved or raised an alarm, then the others.
    """
    rows = [slice_cells(outcome, row) for row in sorted(slices(outcome), key=_is_quiet)[:most]]
    if not rows:
        return ""
    headers = ["slice", "rows", *roles_in(outcome), "change to champion", "gate"]
    return "Slices\n\n" + markdown_table(headers, rows)


def roles_in(outcome: Outcome) -> list[str]:
    """Return the roles that were measured on golden: baseline, champion, candidate."""
    return [role for role in ROLES if role in outcome.cards]


def metric_rows(outcome: Outcome, per_label: bool = False) -> list[list[str]]:
    """Return per metric its name, every model's value and, where there is one, by how much the candidate is better.

    All with 95 % intervals, the last of them paired: above 0 is better, whichever way the metric goes. The metric that
    the gate judges by comes first. F1 of single labels is left out, or with `per_label` all there is.
    """
    cards = [outcome.cards[role] for role in roles_in(outcome)]
    if not cards:
        return []
    scores = [_metrics(card) for card in cards]
    names = [name for name in dict.fromkeys(name for found in scores for name in found) if ("[" in name) == per_label]
    rows = [[_metric_name(name), *(_metric(name, found.get(name)) for found in scores)] for name in names]
    if not outcome.paired:
        return rows
    return [[*row, _gain(name, outcome.paired.get(name))] for row, name in zip(rows, names, strict=True)]


def _metrics(card: Scorecard) -> dict[str, Interval]:
    quality = card.quality
    return {**{quality.metric: Interval(quality.mean, quality.low, quality.high)}, **quality.metrics}


def _metric_name(name: str) -> str:
    return f"{name} (lower is better)" if name in LOWER_IS_BETTER else name


def _metric(name: str, score: Interval | None) -> str:
    if score is None:
        return "-"
    if name in LOWER_IS_BETTER:
        return f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"
    return share(score)


def _gain(name: str, gain: Interval | None) -> str:
    if gain is None:
        return "-"
    scale, form = (1.0, "{:+.3f}") if name in LOWER_IS_BETTER else (100.0, "{:+.1f}")
    value, low, high = (form.format(scale * bound) for bound in (gain.value, gain.low, gain.high))
    return f"{value} ({low} to {high})"


def slices(outcome: Outcome) -> list[SliceRow]:
    """Return the slices of the model that the outcome is about: judged ones first, the worst change first."""
    present = roles_in(outcome)
    if not present:
        return []
    tests = {found[1]: test for test in outcome.verdict.tests if (found := SLICE_TEST.fullmatch(test.name))}
    rows = [
        _slice(outcome, name, score.rows, tests.get(name))
        for name, score in outcome.cards[present[-1]].quality.slices.items()
    ]
    return sorted(rows, key=lambda row: (row.test is None, 0.0 if row.change is None else row.change))


def _slice(outcome: Outcome, name: str, rows: int, test: Test | None) -> SliceRow:
    known = {role: outcome.cards[role].quality.slices.get(name) for role in roles_in(outcome)}
    means = {role: score.mean for role, score in known.items() if score is not None}
    return SliceRow(name, rows, means, test)


def _is_quiet(row: SliceRow) -> bool:
    return row.test is None or (row.test.outcome == "pass" and row.test.name.endswith(ALARM))


def slice_cells(outcome: Outcome, row: SliceRow) -> list[str]:
    """Return a slice's name, rows, mean of each model, change of candidate against champion in points, outcome."""
    return [
        row.name,
        str(row.rows),
        *(f"{100 * row.means[role]:.1f} %" if role in row.means else "-" for role in roles_in(outcome)),
        "-" if row.change is None else f"{row.change:+.1f}",
        row.test.outcome if row.test else "not judged",
    ]


def test_rows(tests: Sequence[Test]) -> list[list[str]]:
    """Return the gate's tests as text: points for quality, ratios for cost; alarms that kept quiet are one row."""
    quiet = [test for test in tests if test.outcome == "pass" and test.name.endswith(ALARM)]
    rows = []
    for test in tests:
        if test in quiet:
            continue
        limited = test.name.endswith(LIMIT)
        scale, form = (1.0, "{:.4g}" if limited else "{:.3f}") if limited or test.name in RATIOS else (100.0, "{:+.2f}")
        estimate, low, high, bound = (
            form.format(scale * value) for value in (test.estimate, test.low, test.high, test.bound)
        )
        rows.append([test.name, estimate, f"{low} to {high}", bound, test.outcome])
    if quiet:
        rows.append([f"slices, {len(quiet)} of them: each {ALARM}", "", "", "", "pass"])
    return rows


def trial_rows(search: SearchReport) -> list[list[str]]:
    """Return a search's trials in the order they began: number, values, origin, score, state, epochs, seconds."""
    return [
        [
            str(trial.number),
            ", ".join(f"{name} {value}" for name, value in trial.values.items()),
            trial.origin,
            "-" if trial.score is None else f"{100 * trial.score:.2f} %",
            ("best" if trial.number == search.best else trial.state) + (f": {trial.message}" if trial.message else ""),
            f"{trial.epochs:g}",
            f"{trial.seconds:.0f} s",
        ]
        for trial in search.trials
    ]


def budget_line(verdict: Verdict) -> str:
    """Return what the verdict's look at golden cost and what is left for later ones; empty where it was no look."""
    if not verdict.look:
        return ""
    return (
        f"Look {verdict.look} at this golden set, judged at level {verdict.alpha:.4f}; "
        f"{verdict.budget_left:.4f} of alpha is left for later looks. {advice(verdict.look)}"
    ).rstrip()


def regressions(outcome: Outcome) -> list[dict[str, str]]:
    """Return golden rows that the champion had right and the candidate has wrong, texts scrubbed, surest first."""
    if "candidate" not in outcome.cards:
        return []
    champion, candidate = (read_scores(outcome.cards[role].quality) for role in (CHAMPION, "candidate"))
    found = []
    before, after = champion["score"].to_pylist(), candidate["score"].to_pylist()
    confidences = candidate["confidence"].to_pylist()
    texts, targets, outputs = (values(candidate, name) for name in ("text", "target", "output"))
    worse = sorted((row for row in range(len(after)) if after[row] < before[row]), key=lambda row: -confidences[row])
    for row in worse[:REGRESSIONS]:
        found.append({"text": scrub_text(texts[row]), "expected": targets[row], "answered": outputs[row]})
    return found
