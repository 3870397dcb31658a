"""Publishing an outcome: the HTML report, the same and its figures in MLflow, and artifacts in the Prefect UI."""

from dataclasses import replace
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext

from flows.diary import Diary, card_metrics
from flows.drawings import draw, draw_quality_effects, draw_time_effects
from flows.effects import effects_of, plan_iteration
from flows.figures import standalone
from flows.outcome import Outcome, read_outcomes
from flows.page import write_report
from flows.project import Project
from flows.recipes import recipe_changes
from flows.reports import comparison, describe_slices, describe_version, test_rows
from tasks.data.snapshot import read_table
from tasks.records import to_json
from tasks.suspects import suspects_csv

MAX_REMOVED = 100_000  # rows in the CSV; the Parquet file in the store has them all


def publish(project: Project, diary: Diary, outcome: Outcome) -> Outcome:
    """Return the outcome with its report written, logged to MLflow and linked in Prefect."""
    path = project.report_path(outcome.iteration)
    outcome = replace(outcome, report_uri=str(path))
    history = [*read_outcomes(project), outcome]
    rested = plan_iteration(project, project.spec.levers).rested
    write_report(outcome, history, path, rested, recipe_changes(project, outcome))
    figures = {f"figures/{name}.svg": text for name, text in figure_files(outcome, history).items()}
    if outcome.suspects and outcome.suspects.rows:
        figures["ratchet/golden_suspects.csv"] = suspects_csv(outcome.suspects)
    metrics = {
        f"{role}.{name}": value for role, card in outcome.cards.items() for name, value in card_metrics(card).items()
    }
    project.registry.log_run(
        diary.run_id,
        params={"result": outcome.result, "reason": outcome.verdict.reason, "changed": ", ".join(outcome.changed)},
        metrics=metrics,
        texts={
            "report.html": path.read_text("utf-8"),
            "ratchet/outcome.json": to_json(outcome),
            **figures,
            **removed_rows(outcome),
        },
    )
    if FlowRunContext.get() is not None:
        _show_in_prefect(project, outcome)
    return outcome


def removed_rows(outcome: Outcome) -> dict[str, str]:
    """Return the rows that cleaning removed as a CSV file, by its path in the run; no text stands in it."""
    if not outcome.removed_uri:
        return {}
    import pyarrow as pa
    import pyarrow.csv

    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(read_table(Path(outcome.removed_uri)).slice(0, MAX_REMOVED), sink)
    return {"data/removed.csv": sink.getvalue().to_pybytes().decode()}


def figure_files(outcome: Outcome, history: list[Outcome]) -> dict[str, str]:
    """Return the iteration's figures and one of every lever by name, each an SVG file of its own."""
    effects = effects_of(history)
    figures = draw(outcome, history)
    for lever in dict.fromkeys(effect.lever for effect in effects):
        trials = [effect for effect in effects if effect.lever == lever]
        figures[f"lever-{lever}"] = draw_quality_effects(trials)
        figures[f"lever-{lever}-time"] = draw_time_effects(trials)
    return {name: standalone(figure) for name, figure in figures.items() if figure}


def _show_in_prefect(project: Project, outcome: Outcome) -> None:
    key = project.spec.name.lower().replace("_", "-")
    create_markdown_artifact(describe_version(outcome, {}), key=f"{key}-verdict", description=outcome.verdict.reason)
    rows = [
        {"model": r.role, "accuracy": r.quality, "throughput": r.throughput, "latency": r.latency, "size": r.size}
        for r in comparison(outcome)
    ]
    if rows:
        create_table_artifact(rows, key=f"{key}-comparison", description="golden rows, interleaved timing")
    if outcome.verdict.tests:
        names = ("test", "estimate", "interval", "bound", "outcome")
        tests = [dict(zip(names, row, strict=True)) for row in test_rows(outcome.verdict.tests)]
        create_table_artifact(tests, key=f"{key}-tests", description="what the gate tested")
    slices = describe_slices(outcome)
    if slices:
        create_markdown_artifact(slices, key=f"{key}-slices", description="slices of golden, judged ones first")
    create_link_artifact(Path(outcome.report_uri).as_uri(), key=f"{key}-report", link_text="HTML report")
    if outcome.checks:
        create_link_artifact(Path(outcome.checks.docs).as_uri(), key=f"{key}-data-docs", link_text="Data Docs")
