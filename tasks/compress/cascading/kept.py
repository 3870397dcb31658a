"""Where a fitted first stage is kept for all cascades of one origin: fitting takes most of a cascade's time.

A stage does not depend on how surely it must agree, nor on the model behind it, so that a search which tries several of
both fits it once. Fits nothing.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.store import code_digest

log = logging.getLogger(__name__)

NOTES = "notes.json"


def keep_stage(
    kept: Path | None, made_of: Any, fit_into: Callable[[Path], dict[str, float]], folder: Path
) -> dict[str, float]:
    """Return the notes of the stage that `fit_into` writes, which then lies in `folder`, fitted now or kept before.

    Args:
        kept: where stages are kept; None: nowhere.
        made_of: plain data that the stage depends on, beside the code.
        fit_into: writes the stage into a folder and returns its notes.
        folder: that the stage is to be in; there is none yet.
    """
    if kept is None:
        return fit_into(folder)
    content = json.dumps([code_digest("compress"), made_of], sort_keys=True)
    place = kept / f"stage-{hashlib.sha256(content.encode()).hexdigest()[:32]}"
    if not (place / NOTES).is_file():
        _fit_aside(place, fit_into)
    shutil.copytree(place, folder, ignore=shutil.ignore_patterns(NOTES))
    notes: dict[str, float] = json.loads((place / NOTES).read_text("utf-8"))
    return notes


def _fit_aside(place: Path, fit_into: Callable[[Path], dict[str, float]]) -> None:
    """Fit into a folder of this process's own and rename it: a reader finds all of a stage or none."""
    partial = place.with_name(f"{place.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)  # what a killed process of the same number left
    partial.mkdir(parents=True)
    notes = fit_into(partial)
    (partial / NOTES).write_text(json.dumps(notes), "utf-8")
    shutil.rmtree(place, ignore_errors=True)  # what lies there without notes is torn
    try:
        partial.rename(place)
    except OSError:
        if not (place / NOTES).is_file():
            raise
        log.info("another process has kept the same first stage")
        shutil.rmtree(partial)
