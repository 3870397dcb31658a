"""The promote flow: reviews decided in the registry, applied. The work is in `flows.promotion`."""

from prefect import flow

from flows.project import only_one, open_project
from flows.promotion import Applied, apply_reviews, finish_promotions


@flow(name="promote", log_prints=False)
def promote(spec: str = "ratchet.yaml") -> list[Applied]:
    """Finish what a crash left, then apply every review that was decided in the registry; returns what was applied."""
    project = open_project(spec)
    with only_one(project):
        finish_promotions(project)
        return apply_reviews(project)
