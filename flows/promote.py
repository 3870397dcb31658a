"""The promote flow: reviews decided in the registry, applied. The work is in `flows.promotion`."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.project import ProjectBusy, only_one, open_project
from flows.promotion import Applied, apply_reviews, finish_promotions


@flow(name="promote", log_prints=False)
def promote(spec: str = "ratchet.yaml") -> "list[Applied] | State[Any]":
    """Finish what a crash left, then apply every review that was decided in the registry; returns what was applied.

    While an iteration runs, nothing is applied and the run ends as skipped: it comes often, and its turn comes again.
    """
    project = open_project(spec)
    try:
        with only_one(project):
            finish_promotions(project)
            return apply_reviews(project)
    except ProjectBusy as busy:
        return Completed(name="Skipped", message=str(busy), data=[])
