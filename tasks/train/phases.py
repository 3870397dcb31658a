"""A training before fine-tuning, such as domain adaptation: run as fine-tuning is, its result kept.

Chooses no rows and no loss. A phase that is done is not done again when a killed training goes on; one that was killed
goes on from its last checkpoint.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open
from safetensors.torch import load_model, save_model
from torch import nn
from transformers import set_seed

from tasks.train.engine.trainer import Phase, train
from tasks.train.methods import Adapt, Contrastive, FineTune, Full
from tasks.train.objectives import Loss
from tasks.train.processes.group import agreed, is_main

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

Notes = dict[str, float]


def once(name: str, model: nn.Module, work: Path | None, seed: int, train: Callable[[], Notes]) -> Notes:
    """Return the notes of a phase that changes the model in place: trained now, or read from `work` where it was done.

    The random state is the seed's before and after, so that what follows is the same either way.
    """
    path = work and work / f"{name}.safetensors"
    if path and agreed(path.is_file):
        load_model(model, path)
        with safe_open(path, "pt") as file:
            notes: Notes = json.loads(file.metadata()["notes"])
        log.info("%s was done before: read from %s", name, path)
    else:
        set_seed(seed)
        started = time.monotonic()
        notes = train()
        notes |= {f"{name}_seconds": round(time.monotonic() - started, 3)} if notes else {}
        if path and is_main():
            _keep(model, path, notes)
    set_seed(seed)
    return notes


def _keep(model: nn.Module, path: Path, notes: Notes) -> None:
    """Write what a phase came to; its checkpoints are of no use then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_model(model, str(partial), {"notes": json.dumps(notes)})
    partial.rename(path)
    shutil.rmtree(path.with_suffix(""), ignore_errors=True)


def run_phase(
    phase: Phase,
    model: nn.Module,
    tokenizer: "PreTrainedTokenizerBase",
    loss: Loss,
    own: Adapt | Contrastive,
    method: FineTune,
    rows: Sequence[dict[str, Any]],
    work: Path | None,
    row_name: Callable[[int], str],
) -> None:
    """Train the model in place on the rows, once each in their order: AdamW, a tenth of the steps warm-up, then decay.

    Args:
        own: the phase's learning rate and batch size; all else of how it is run is the method's.
        work: where checkpoints are kept; None: nowhere.
        row_name: how a message names a row.

    Raises:
        ModelError: the loss is not a finite number, the precision is not to be had, or memory does not suffice.
    """
    run = replace(method, learning_rate=own.learning_rate, batch_size=own.batch_size, epochs=1, weight_decay=0.01,
                  warmup_share=0.1, schedule="linear", tune=Full(), ema=0.0, adapt=None, contrastive=None)  # fmt: skip
    train(model, tokenizer, loss, run, rows, [], work, row_name, phase=phase)
