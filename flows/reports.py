"""What people read: comparison tables, the registry's description and the self-contained HTML report of an iteration.

Texts of rows are scrubbed of PII before they are shown. Measures and decides nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.outcome import COLOURS, Outcome
from tasks.data.rows import values
from tasks.data.scrub import scrub_text
from tasks.measure.quality import read_scores
from tasks.records import Scorecard, Verdict
from tasks.registry import BASELINE, CHAMPION

ROLES = (BASELINE, CHAMPION, "candidate")
REGRESSIONS = 10


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


def comparison(outcome: Outcome) -> list[Row]:
    """Return one row per model measured on golden, costs also as ratios to the baseline."""
    base = outcome.cards.get(BASELINE)
    return [_row(role, outcome.cards[role], base) for role in ROLES if role in outcome.cards]


def _row(role: str, card: Scorecard, base: Scorecard | None) -> Row:
    quality, speed = card.quality, card.speed
    shown = f"{100 * quality.mean:.1f} % ({100 * quality.low:.1f} to {100 * quality.high:.1f})"
    if speed is None:
        return Row(role, shown, quality.low, quality.mean, quality.high, "-", None, "-", "-", "-", None)
    other = base.speed if base else None
    faster = speed.throughput_b1_per_s / other.throughput_b1_per_s if other else None
    smaller = speed.size_bytes / other.size_bytes if other else None
    p99 = f"{speed.latency_p99_ms:.1f}" if speed.latency_p99_ms is not None else "-"
    return Row(
        role, shown, quality.low, quality.mean, quality.high,
        f"{speed.throughput_b1_per_s:.0f}/s" + (f" ({faster:.2f}x)" if faster else ""), faster,
        f"{speed.latency_p50_ms:.1f} / {speed.latency_p95_ms:.1f} / {p99} ms",
        f"{speed.peak_memory_bytes / 1e6:.0f} MB",
        f"{speed.size_bytes / 1e6:.1f} MB" + (f" ({smaller:.2f}x)" if smaller else ""), smaller,
    )  # fmt: skip


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def describe_version(outcome: Outcome, links: Mapping[str, str]) -> str:
    """Return the Markdown that a reviewer decides from: verdict, comparison, slices, tests, links."""
    table = markdown_table(
        ["model", "accuracy (95 %)", "batch-1 throughput", "p50 / p95 / p99", "memory", "size"],
        [[r.role, r.quality, r.throughput, r.latency, r.memory, r.size] for r in comparison(outcome)],
    )
    parts = [f"**{outcome.verdict.reason}**", f"Changed: {', '.join(outcome.changed) or 'the first model'}", table]
    slices = slice_rows(outcome)
    if slices:
        parts += ["Slices", markdown_table(["slice", "rows", *ROLES, "change to champion"], slices)]
    if outcome.verdict.tests:
        parts += ["Tests", markdown_table(["test", "estimate", "interval", "bound", "outcome"], test_rows(outcome))]
    parts += [budget_line(outcome.verdict)] if outcome.verdict.look else []
    parts += [f"{name}: `{link}`" for name, link in links.items() if link]
    return "\n\n".join(parts)


def slice_rows(outcome: Outcome) -> list[list[str]]:
    """Return per slice: rows, mean of each model, change of the candidate against the champion in points."""
    present = [role for role in ROLES if role in outcome.cards]
    if "candidate" not in present:
        return []
    rows = []
    for name, shown in outcome.cards["candidate"].quality.slices.items():
        means = [outcome.cards[role].quality.slices[name].mean for role in present]
        change = 100 * (means[present.index("candidate")] - means[present.index(CHAMPION)])
        rows.append([name, str(shown.rows), *(f"{100 * mean:.1f} %" for mean in means), f"{change:+.1f}"])
    return rows


def test_rows(outcome: Outcome) -> list[list[str]]:
    """Return the gate's tests as text: points for quality, ratios for cost."""
    rows = []
    for test in outcome.verdict.tests:
        scale, form = (1.0, "{:.3f}") if test.name.startswith("cost") else (100.0, "{:+.2f}")
        estimate, low, high, bound = (
            form.format(scale * value) for value in (test.estimate, test.low, test.high, test.bound)
        )
        rows.append([test.name, estimate, f"{low} to {high}", bound, test.outcome])
    return rows


def budget_line(verdict: Verdict) -> str:
    """Return what the verdict's look at golden cost and what is left for later ones; empty where it was no look."""
    if not verdict.look:
        return ""
    return (
        f"Look {verdict.look} at this golden set, judged at level {verdict.alpha:.4f}; "
        f"{verdict.budget_left:.4f} of alpha is left for later looks."
    )


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


def write_report(outcome: Outcome, history: Sequence[Outcome], path: Path) -> None:
    """Write the self-contained HTML report of an iteration."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True)
    rows = comparison(outcome)
    html = environment.get_template("report.html").render(
        outcome=outcome,
        colour=COLOURS[outcome.result],
        rows=rows,
        chart=interval_chart(rows),
        slices=slice_rows(outcome),
        tests=test_rows(outcome),
        budget=budget_line(outcome.verdict),
        regressions=regressions(outcome),
        history=[past for past in history if past.cards],
        machine=next((card.speed.machine for card in outcome.cards.values() if card.speed), None),
    )
    partial = path.with_suffix(".partial")
    partial.write_text(html, "utf-8")
    partial.rename(path)


def interval_chart(rows: Sequence[Row]) -> dict[str, Any]:
    """Return positions in percent of the chart's width for each model's interval, and the axis' ends."""
    if not rows:
        return {}
    low, high = min(row.low for row in rows), max(row.high for row in rows)
    start, end = max(0.0, low - 0.02), min(1.0, high + 0.02)

    def place(value: float) -> float:
        return 100 * (value - start) / (end - start)

    bars = [
        {"role": r.role, "low": place(r.low), "mean": place(r.mean), "high": place(r.high), "text": r.quality}
        for r in rows
    ]
    return {"bars": bars, "start": start, "end": end}
