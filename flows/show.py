"""Drawing answers on the terminal with Rich: tables, one closing table. Computes nothing."""

import json
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from flows.outcome import Outcome

console = Console()


def show_outcome(outcome_json: str) -> None:
    """Print what an iteration tried, measured and decided."""
    from flows.outcome import COLOURS, Outcome
    from flows.reports import comparison
    from tasks.records import from_json

    outcome = from_json(Outcome, outcome_json)
    colour = COLOURS[outcome.result]
    console.print(f"[bold]Iteration {outcome.iteration}[/bold]: [{colour}]{outcome.result}[/{colour}]")
    console.print(outcome.verdict.reason, style=colour)
    for line in check_lines(outcome):
        console.print(f"  {line}", style="yellow", markup=False)
    for trial in outcome.trials:
        word = "[green]kept[/green]" if trial.kept else "[red]dropped[/red]"
        console.print(f"  lever {trial.lever}: {word}; {trial.verdict.reason}")
    rows = [[r.role, r.quality, r.throughput, r.latency, r.memory, r.size] for r in comparison(outcome)]
    if rows:
        _table(
            "golden rows, timed interleaved",
            ["model", "accuracy (95 %)", "batch-1", "p50 / p95 / p99", "memory", "size"],
            rows,
        )
    if outcome.result == "review":
        console.print(f"Version {outcome.version} waits: ratchet review {outcome.version} --approve (or --reject)")
    console.print(f"report: {outcome.report_uri}", soft_wrap=True)


def check_lines(outcome: "Outcome") -> list[str]:
    """Return what the data and harvested feedback broke of their suite, a line each."""
    from tasks.data.checking.validate import describe

    lines = [f"data: {describe(failure)}" for failure in (outcome.checks.failures if outcome.checks else ())]
    feedback = outcome.feedback_check
    if feedback is None:
        return lines
    lines += [f"feedback: {count} rows held back by {name}" for name, count in feedback.held_back.items()]
    lines += [f"feedback: {describe(failure)}" for failure in feedback.report.failures]
    return lines if feedback.report.passed else [*lines, "feedback: all of it was left out of this iteration"]


def show_demo(story: dict[str, Any]) -> None:
    """Print the closing table of the demo and where to look."""
    columns = {
        "turn": "turn",
        "changed": "changed",
        "quality": "accuracy (95 %)",
        "throughput": "batch-1",
        "size": "size",
        "result": "verdict",
    }
    rows = [[str(turn[name]) for name in columns] for turn in story["turns"]]
    _table(
        "The loop, turn by turn (golden rows; batch-1 throughput and size to the baseline)",
        list(columns.values()),
        rows,
    )
    for turn in story["turns"]:
        console.print(f"{turn['turn']}: {turn['reason']}", highlight=False)
    for line in story["production"]:
        console.print(f"-- {line}", highlight=False)
    console.print(f"\nTook {story['seconds']:.0f} s. Where to look:")
    for name, place in story["look"].items():
        console.print(f"  {name}: {place}", soft_wrap=True, highlight=False)


def show_status(content: dict[str, Any]) -> None:
    """Print a project's state."""
    aliases = ", ".join(f"{name} = version {number}" for name, number in sorted(content["aliases"].items()))
    console.print(f"[bold]{content['project']}[/bold]: {aliases or 'no model yet; `ratchet run` makes the baseline'}")
    last = content["last_iteration"]
    if last:
        console.print(f"last iteration {last['iteration']}: {last['result']}; {last['reason']}")
    spent = content["golden_budget"]
    console.print(
        f"golden set: looks taken {spent['looks']}; {spent['left']:.4f} of alpha {spent['alpha']:g} is left, "
        f"and the next look is judged at level {spent['next_level']:.4f}"
    )
    if spent["advice"]:
        console.print(spent["advice"], style="yellow")
    for name, reason in content["rested"].items():
        console.print(f"lever {name}: {reason}")
    if content["waiting_for_review"]:
        console.print(f"waiting for review: {', '.join(content['waiting_for_review'])}", style="yellow")
    console.print(f"production: {content['predictions']} predictions, {content['feedback']} feedback")
    console.print(f"MLflow {content['tracking_uri']}\ndatabase {content['database']}", soft_wrap=True, highlight=False)


def show_history(content: dict[str, Any]) -> None:
    """Print the iterations and the ledger."""
    iterations = [
        [str(i["iteration"]), i["started_at"], i["trigger"], i["result"], ", ".join(i["changed"]) or "-", i["reason"]]
        for i in content["iterations"]
    ]
    _table("iterations", ["#", "started", "trigger", "result", "kept", "reason"], iterations)
    ledger = [
        [
            e["at"],
            e["phase"],
            e["action"],
            e["alias"],
            f"{e['from'] or '-'} -> {e['to']}",
            e["actor"],
            e["evidence_sha256"][:12],
        ]
        for e in content["ledger"]
    ]
    _table("promotion ledger", ["at", "phase", "action", "alias", "version", "who", "evidence"], ledger)


def show_effects(effects: list[dict[str, Any]]) -> None:
    """Print what each trial of a lever was worth."""
    rows = [
        [
            str(e["iteration"]),
            "kept" if e["kept"] else "dropped",
            _bounds(e["quality"], 100, "{:+.1f}"),
            _bounds(e["time_ratio"], 1, "{:.2f}"),
            f"{e['size_ratio']:.2f}" if e["size_ratio"] else "-",
            f"{e['seconds']:.0f} s" if e["seconds"] is not None else "-",
        ]
        for e in effects
    ]
    _table("on select, against the best so far", ["#", "", "quality (points)", "time", "size", "took"], rows)
    for effect in effects:
        changes = f"{'; '.join(effect['changes'])}. " if effect["changes"] else ""
        console.print(f"{effect['iteration']}: {changes}{effect['reason']}", highlight=False)
        if effect["search"]:
            _show_search(effect["search"], effect["iteration"])
        if effect["compression"]:
            _show_compression(effect["compression"], effect["iteration"])


def _show_search(content: dict[str, Any], iteration: int) -> None:
    from flows.reports import trial_rows
    from tasks.records import from_json
    from tasks.search.report import SearchReport

    search = from_json(SearchReport, json.dumps(content))
    headers = ["trial", "values", "from", "score", "", "epochs", "took"]
    _table(f"{iteration}: {search.sentence}", headers, trial_rows(search))


def _show_compression(content: dict[str, Any], iteration: int) -> None:
    from flows.compression import HEADERS, point_rows
    from tasks.compress.searching.report import CompressReport
    from tasks.records import from_json

    report = from_json(CompressReport, json.dumps(content))
    _table(f"{iteration}: {report.sentence}", list(HEADERS), point_rows(report))


def _bounds(effect: dict[str, float] | None, scale: float, form: str) -> str:
    if effect is None:
        return "-"
    value, low, high = (form.format(scale * effect[end]) for end in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def show_verdict(content: dict[str, Any]) -> None:
    """Print a verdict and the tests it stands on."""
    console.print(content["reason"], style={"promote": "green", "reject": "red"}.get(content["decision"], "yellow"))
    from flows.reports import test_rows
    from tasks.records import Test

    rows = test_rows([Test(**test) for test in content["tests"]])
    if rows:
        _table("what the gate tested (quality in points)", ["test", "estimate", "interval", "bound", "outcome"], rows)
    console.print(content["budget"])


def show_profile(content: dict[str, Any]) -> None:
    """Print where a version's time goes, what bounds it and how to open its trace."""
    parts, products, seconds = content["parts"], content["products"], content["seconds_per_text"]
    rows = [
        [name, f"{100 * share:.1f} %", f"{1000 * share * seconds:.3f}"]
        for name, share in (("tokenize", parts["tokenize"]), ("model", parts["model"]), ("python", parts["python"]))
    ]
    console.print(
        f"version {content['version']} ({content['runtime']}): {1 / seconds:.0f} texts/s; batch size "
        f"{content['batch_size']}, threads {content['threads']}, texts {content['texts']}"
    )
    _table("parts of a call", ["part", "share", "ms per text"], rows)
    operators = [
        [o["name"], f"{100 * o['share']:.1f} %", f"{o['calls']:.0f}", f"{o['mean_us']:.0f}"]
        for o in content["operators"]
    ]
    _table("operators", ["operator", "of the model's time", "runs per call", "us each"], operators)
    if products:
        roofs = products["roofs"]
        console.print(
            f"matrix products ({products['precision']}): {products['gflop_per_s']:.0f} GFLOP/s and "
            f"{products['gb_per_s']:.1f} GB/s; this machine reached {roofs['gflop_per_s']:.0f} and "
            f"{roofs['gb_per_s']:.1f}"
        )
    console.print(content["sentence"], style="bold", highlight=False)
    console.print(
        f"trace: {content['trace_uri']} (open it at https://ui.perfetto.dev)", soft_wrap=True, highlight=False
    )


def show_review(content: dict[str, Any]) -> None:
    """Print what was applied and what still waits."""
    for done in content["applied"]:
        console.print(f"version {done['version']}: {done['decision']}")
    for waiting in content["waiting"]:
        number = waiting["version"]
        console.print(f"version {number} waits (judged against version {waiting['judged_against']}): "
                      f"ratchet review {number} --approve (or --reject)")  # fmt: skip
    if not content["waiting"] and not content["applied"]:
        console.print("nothing waits for a review")


def show_watch(content: dict[str, Any]) -> None:
    """Print what the monitor saw."""
    report = content["report"]
    console.print(report["reason"], style="yellow" if report["drifted"] else "green")
    rows = [
        [c["name"], c["method"], f"{c['value']:.3f}", f"{c['threshold']:.3f}", "drifted" if c["drifted"] else "-"]
        for c in report["checks"]
    ]
    if rows:
        _table(f"{report['reference_rows']} reference rows, {report['current_rows']} in production",
               ["check", "method", "value", "threshold", ""], rows)  # fmt: skip
    if report["report_uri"]:
        console.print(f"report: {report['report_uri']}", soft_wrap=True)


def show_findings(findings: list[dict[str, Any]]) -> None:
    """Print the doctor's findings."""
    for finding in findings:
        mark = "[green]ok[/green]  " if finding["ok"] else "[red]miss[/red]"
        console.print(f"{mark} {finding['check']}: {finding['found']}", soft_wrap=True, highlight=False)
        if finding["mend"]:
            console.print(f"     {finding['mend']}", style="yellow", soft_wrap=True)


def _table(title: str, headers: list[str], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
