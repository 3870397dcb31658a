"""`ratchet golden`: the commands about the sealed golden set, imported by the `ratchet` command."""

from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import answer, quiet

golden = typer.Typer(help="Say how worn the sealed golden set is, and refresh it.")

SpecPath = Annotated[Path, typer.Argument(help="The spec, or the folder that holds ratchet.yaml.", show_default=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON on standard output.")]
Here = Path("ratchet.yaml")


@golden.command()
def status(spec: SpecPath = Here, as_json: AsJson = False) -> None:
    """Say how worn the golden set is: looks taken, alpha left, rows and where they came from, its seals."""
    quiet(False)
    from flows.project import open_project

    project = open_project(spec)
    from flows.golden_show import show_golden
    from flows.refresh import golden_status

    content = golden_status(project)
    answer(content, as_json, lambda: show_golden(content))


@golden.command()
def refresh(
    spec: SpecPath = Here,
    accept: Annotated[bool, typer.Option("--accept", help="Take edited and missing rows as they are now.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let in the feedback that was drawn for the golden set, and seal it; `--accept` takes other changes too."""
    quiet(False)
    from flows.project import open_project

    project = open_project(spec)
    from flows.golden_show import show_refresh
    from flows.refresh import refresh_golden

    content = refresh_golden(project, accept)
    answer(content, as_json, lambda: show_refresh(content))
