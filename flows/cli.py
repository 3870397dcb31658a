"""The `ratchet` command. Each command imports what it needs when it runs, so that `--help` answers at once."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.golden_cli import golden
from flows.join_cli import join
from flows.terminal import answer, fail, quiet

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Keep a language model in production getting better and cheaper, and never let it slip back.",
)

app.add_typer(golden, name="golden")

SpecPath = Annotated[Path, typer.Argument(help="The spec, or the folder that holds ratchet.yaml.", show_default=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON on standard output.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show what every library logs.")]
Here = Path("ratchet.yaml")


def main() -> None:
    """Run the command; a mistake of the user's is one line and exit code 2, any other known error one line and 1.

    Ctrl-C is exit code 130, without a traceback.
    """
    try:
        sys.exit(app(args=sys.argv[1:] or ["--help"], prog_name="ratchet", standalone_mode=False))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        fail(error)


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="The folder to make.")], as_json: AsJson = False) -> None:
    """Write a commented example project that runs as it is."""
    from flows.starter import write_project

    written = write_project(folder)
    told = "\n".join(f"wrote {path}" for path in written)
    answer(
        {"written": [str(path) for path in written]},
        as_json,
        lambda: typer.echo(f"{told}\nnext: ratchet run {folder}"),
    )


@app.command()
def run(
    spec: SpecPath = Here,
    trigger: Annotated[str, typer.Option(help="What asked for it: run, schedule, drift.")] = "run",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Run one iteration: build, measure, judge and, where the gate says so, promote."""
    quiet(verbose)
    from flows.project import check_space, open_project

    project = open_project(spec)
    check_space(project)  # before Prefect opens its own database there
    from flows.bars import progress_bars
    from flows.show import show_outcome
    from flows.startup import start_up

    with progress_bars(hidden=as_json):
        start_up(project)
        from flows.iterate import iterate

        outcome_json = iterate(str(project.spec_path), trigger)
    answer(json.loads(outcome_json), as_json, lambda: show_outcome(outcome_json))


app.command()(join)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to play it; emptied first.")] = Path("ratchet-demo"),
    seed: Annotated[int, typer.Option(help="Seed of the example's messages.")] = 7,
    as_json: AsJson = False, verbose: Verbose = False,
) -> None:  # fmt: skip
    """Play the whole loop on an embedded example: baseline, better and cheaper, drift, won back."""
    quiet(verbose)
    from flows.bars import progress_bars
    from flows.demo import play
    from flows.show import show_demo

    with progress_bars(hidden=as_json) as tell:
        story = play(folder, seed, tell)
    answer(story, as_json, lambda: show_demo(story))


@app.command()
def status(spec: SpecPath = Here, as_json: AsJson = False) -> None:
    """Say who is champion, what waits for review, and what production sent."""
    quiet(False)
    from flows.project import open_project

    project = open_project(spec)  # a mistake in the spec answers before the libraries load; so in every command
    from flows.show import show_status
    from flows.status import project_status

    content = project_status(project)
    answer(content, as_json, lambda: show_status(content))


@app.command()
def history(
    spec: SpecPath = Here,
    lever: Annotated[str, typer.Option(help="Show what every trial of this lever was worth instead.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the iterations and the promotion ledger, or the effects of one lever."""
    quiet(False)
    from flows.project import open_project

    project = open_project(spec)
    from flows.effects import lever_effects
    from flows.show import show_effects, show_history
    from flows.status import project_history

    if lever:
        effects = lever_effects(project, lever)
        return answer(effects, as_json, lambda: show_effects(effects))
    content = project_history(project)
    answer(content, as_json, lambda: show_history(content))


@app.command()
def suite(
    spec: SpecPath = Here,
    write: Annotated[bool, typer.Option("--write", help="Write it to checks.yaml beside the spec.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the suite that guards the next iteration's data as YAML, or write it to be edited."""
    quiet(False)
    from flows.project import open_project

    project = open_project(spec)
    from flows.suite import checks_path, project_suite, show_suite, suite_content, write_suite

    found = write_suite(project) if write else project_suite(project)
    written = checks_path(project) if write else None
    answer(suite_content(found, written), as_json,
            lambda: typer.echo(f"wrote {written}" if written else show_suite(found), nl=bool(written)))  # fmt: skip


@app.command()
def gate(
    candidate: Annotated[str, typer.Argument(help="A version or alias.")],
    reference: Annotated[str, typer.Argument(help="The version or alias to compare it with.")] = "champion",
    spec: Annotated[Path, typer.Option(help="The spec, or its folder.")] = Here,
    claim: Annotated[list[str] | None, typer.Option(help="quality, cost, or both; both if left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge two versions on the candidate's golden rows; exit code 0 promote, 1 reject, 3 inconclusive.

    It is a look at the golden set, paid from the promotion budget, and promotes nothing.
    """
    quiet(False)
    from flows.project import open_project

    project = open_project(spec)
    from flows.compare import compare
    from flows.show import show_verdict

    content = compare(project, candidate, reference, tuple(claim or ("quality", "cost")))
    answer(content, as_json, lambda: show_verdict(content))
    raise typer.Exit({"promote": 0, "reject": 1}.get(content["decision"], 3))


@app.command()
def profile(
    version: Annotated[str, typer.Argument(help="A version or alias.")] = "champion",
    spec: Annotated[Path, typer.Option(help="The spec, or its folder.")] = Here,
    batch_size: Annotated[int, typer.Option(min=1, max=4096, help="Texts in each call.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="About how long to watch.")] = 3.0,
    as_json: AsJson = False,
) -> None:
    """Show where the time of a version goes: its parts, its top operators, what bounds it, and a trace."""
    quiet(False)
    from flows.project import open_project

    project = open_project(spec)
    from flows.profile import profile_version
    from flows.show import show_profile

    content = profile_version(project, version, batch_size, seconds)
    answer(content, as_json, lambda: show_profile(content))


@app.command()
def review(
    version: Annotated[str, typer.Argument(help="The version to decide on; without it, list what waits.")] = "",
    spec: Annotated[Path, typer.Option(help="The spec, or its folder.")] = Here,
    approve: Annotated[bool, typer.Option("--approve", help="Promote the version.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Leave the champion as it is.")] = False,
    reviewer: Annotated[str, typer.Option("--as", help="Who decides; the user's login name if left out.")] = "",
    as_json: AsJson = False,
) -> None:
    """Decide on a version that waits for a review, and apply every decision made here or in MLflow."""
    quiet(False)
    from flows.project import open_project

    project = open_project(spec)
    from flows.show import show_review
    from flows.status import decide_review

    content = decide_review(project, version, approve, reject, reviewer)
    answer(content, as_json, lambda: show_review(content))


@app.command()
def rollback(
    spec: SpecPath = Here,
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")] = "asked for on the command line",
    as_json: AsJson = False,
) -> None:
    """Make the champion before the present one champion again."""
    quiet(False)
    from flows.project import only_one, open_project

    project = open_project(spec)
    from flows.promotion import finish_promotions
    from flows.promotion import rollback as roll_back

    with only_one(project):
        finish_promotions(project)
        move = roll_back(project, reason)
    answer({"from": move.from_version, "to": move.to_version, "reason": reason}, as_json,
            lambda: typer.echo(f"champion is version {move.to_version} again (was {move.from_version})"))  # fmt: skip


@app.command()
def monitor(spec: SpecPath = Here, as_json: AsJson = False, verbose: Verbose = False) -> None:
    """Compare the latest production window with the champion's reference; on drift, emit the event."""
    quiet(verbose)
    from flows.project import open_project

    project = open_project(spec)
    from flows.show import show_watch
    from flows.startup import start_up

    start_up(project)
    from flows.monitor import monitor as watch

    content = json.loads(watch(str(project.spec_path)))
    answer(content, as_json, lambda: show_watch(content))


@app.command()
def up(
    spec: SpecPath = Here,
    prefect_port: Annotated[int, typer.Option(min=1, max=65535)] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    webhook_port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
    check: Annotated[bool, typer.Option("--check", help="Stop as soon as everything answers.")] = False,
) -> None:
    """Start Prefect, MLflow, the webhook and a worker with the schedules on loopback; Ctrl-C stops them all."""
    quiet(False)
    from flows.project import open_project

    project = open_project(spec)
    from flows.up import Ports, serve

    serve(project, Ports(prefect_port, mlflow_port, webhook_port), once=check)


@app.command()
def doctor(spec: SpecPath = Here, as_json: AsJson = False) -> None:
    """Check this machine and, where there is a spec, the project; exit code 1 when something is missing."""
    quiet(False)
    from flows.doctor import examine
    from flows.show import show_findings

    findings = examine(spec)
    answer(findings, as_json, lambda: show_findings(findings))
    if not all(finding["ok"] for finding in findings):
        raise typer.Exit(1)


@app.command()
def schema(as_json: AsJson = False) -> None:
    """Print the spec's JSON Schema, for editors."""
    from flows.spec import json_schema

    sys.stdout.write(json.dumps(json_schema(), indent=1) + "\n")


if __name__ == "__main__":
    main()
