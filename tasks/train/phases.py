"""A training before fine-tuning, such as domain adaptation: run with the Hugging Face `Trainer`, its result kept.

Chooses no rows and no loss. A phase that is done is not done again when a killed training goes on; one that was killed
starts anew.
"""

import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from tasks.errors import ModelError
from tasks.progress import report_progress
from tasks.train.precision import use_bf16

log = logging.getLogger(__name__)

Loss = Callable[[nn.Module, dict[str, Tensor]], Tensor]
Notes = dict[str, float]


def once(name: str, model: nn.Module, work: Path | None, seed: int, train: Callable[[], Notes]) -> Notes:
    """Return the notes of a phase that changes the model in place: trained now, or read from `work` where it was done.

    The random state is the seed's before and after, so that what follows is the same either way.
    """
    path = work and work / f"{name}.safetensors"
    if path and path.is_file():
        load_model(model, path)
        with safe_open(path, "pt") as file:
            notes: Notes = json.loads(file.metadata()["notes"])
        log.info("%s was done before: read from %s", name, path)
    else:
        set_seed(seed)
        started = time.monotonic()
        notes = train()
        notes |= {f"{name}_seconds": round(time.monotonic() - started, 3)} if notes else {}
        if path:
            _keep(model, path, notes)
    set_seed(seed)
    return notes


def _keep(model: nn.Module, path: Path, notes: Notes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")  # of several processes each writes its own
    save_model(model, str(partial), {"notes": json.dumps(notes)})
    partial.rename(path)


def run_phase(
    name: str,
    model: nn.Module,
    rows: Sequence[dict[str, Any]],
    collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]],
    *,
    loss: Loss,
    epochs: float,
    learning_rate: float,
    batch_size: int,
    precision: str,
    seed: int,
    sampling: str = "random",
) -> None:
    """Train the model in place on the rows: AdamW, a tenth of the steps warm-up, then linear decay.

    Raises:
        ModelError: the loss is not a finite number.
    """
    steps = max(1, round(epochs * len(rows) / batch_size))
    with tempfile.TemporaryDirectory(prefix="ratchet-") as folder:
        arguments = TrainingArguments(
            output_dir=folder, num_train_epochs=epochs, learning_rate=learning_rate,
            per_device_train_batch_size=batch_size, weight_decay=0.01, warmup_steps=round(0.1 * steps),
            bf16=use_bf16(precision), use_cpu=not torch.cuda.is_available(), train_sampling_strategy=sampling,
            save_strategy="no", eval_strategy="no", remove_unused_columns=False, label_names=["labels"],
            logging_steps=10, dataloader_pin_memory=torch.cuda.is_available(), disable_tqdm=True, report_to=[],
            seed=seed,
        )  # fmt: skip
        trainer = _PhaseTrainer(loss, model=model, args=arguments, train_dataset=rows, data_collator=collate,
                                callbacks=[_Watcher(name)])  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()


class _PhaseTrainer(Trainer):  # type: ignore[misc]
    """The `Trainer` with the phase's loss."""

    def __init__(self, loss: Loss, **options: Any) -> None:
        super().__init__(**options)
        self._loss = loss
        self.model_accepts_loss_kwargs = False  # it is a mean over the batch

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss = self._loss(model, inputs)
        return (loss, {}) if return_outputs else loss


class _Watcher(TrainerCallback):  # type: ignore[misc]
    """Reports progress and stops at a loss that is not a number."""

    def __init__(self, phase: str) -> None:
        self._phase = phase

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        report_progress(self._phase, state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not abs(float(loss)) < float("inf"):
            raise ModelError(
                f"train.{self._phase}: the loss is {loss} at step {state.global_step}: lower its learning_rate"
            )
