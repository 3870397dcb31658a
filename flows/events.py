"""The events that Ratchet emits to Prefect, by name. Reporting may fail soft: a lost event is logged, not raised."""

import logging
from typing import Any

DRIFT_DETECTED = "ratchet.drift.detected"

log = logging.getLogger(__name__)


def emit_drift(project: str, spec_path: str, payload: dict[str, Any]) -> None:
    """Tell Prefect that a project's production has drifted; an automation answers by running `iterate`."""
    from prefect.events import emit_event

    resource = {"prefect.resource.id": f"ratchet.project.{project}", "ratchet.spec": spec_path}
    event = emit_event(event=DRIFT_DETECTED, resource=resource, payload={"spec": spec_path, **payload})
    if event is None:
        log.warning("the drift of %s could not be sent to Prefect; run `ratchet run` by hand", project)
