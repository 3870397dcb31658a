"""The command `ratchet join`: this machine trains along with the one on which `ratchet run` runs. Judges nothing."""

from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import quiet


def join(
    machine: Annotated[int, typer.Argument(min=1, help="The number of this machine; `ratchet run` is on machine 0.")],
    spec: Annotated[Path, typer.Option(help="The spec, or its folder, on a disk that the machines share.")] = Path(
        "ratchet.yaml"
    ),
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what every library logs.")] = False,
) -> None:
    """Train along as a further machine of `train.distributed`, whenever `ratchet run` asks for it; Ctrl-C stops it."""
    quiet(verbose)
    from flows.project import open_project

    project = open_project(spec)
    from tasks.train.processes.distributed import join as train_along

    train_along(Path(project.store.root) / "checkpoints", machine)
