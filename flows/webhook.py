"""The webhook with personal data scrubbed, for `uvicorn --factory flows.webhook:from_environment`.

Where `feedback` and the scrubbing of `tasks` meet; the light install runs it: no torch, Prefect or MLflow is loaded.
"""

import os
from typing import TYPE_CHECKING

from feedback.app import from_environment as webhook_from_environment
from feedback.app import stop
from tasks.data.cleaning.scrub import scrub_text

if TYPE_CHECKING:
    from fastapi import FastAPI

SETTING = "RATCHET_SCRUB"


def from_environment() -> "FastAPI":
    """Return the webhook as the environment says: `feedback.app`'s settings, and `RATCHET_SCRUB` (`on` or `off`).

    Unless that is `off`, personal data is replaced before anything is stored. Any other value ends the process with one
    line and exit code 2.
    """
    setting = os.environ.get(SETTING, "").strip().lower() or "on"
    if setting not in ("on", "off"):
        stop(f"{SETTING}: expected on or off, found {setting[:20]!r}")
    return webhook_from_environment(scrub_text if setting == "on" else None)
