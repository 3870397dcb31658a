"""Running a training with the Hugging Face `Trainer`: its arguments, its loss, its watchers. Chooses no model."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import DataCollatorWithPadding, EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from tasks.errors import ModelError
from tasks.progress import report_progress
from tasks.train.methods import FineTune
from tasks.train.objectives import Objective
from tasks.train.precision import use_bf16
from tasks.train.processes import let_cpu_shard, process_options, shared_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Encoded = list[dict[str, Any]]


def train(
    model: torch.nn.Module,
    tokenizer: "PreTrainedTokenizerBase",
    objective: Objective,
    method: FineTune,
    rows: Encoded,
    valid: Encoded,
    work: Path,
) -> dict[str, float]:
    """Train the model in place and return what is noted of it: losses, epochs, seconds.

    Raises:
        ModelError: the loss is not a finite number.
    """
    with shared_folder(work) as checkpoints:
        trainer = _ObjectiveTrainer(
            objective,
            model=model,
            args=_arguments(method, model, len(rows), bool(valid), checkpoints),
            train_dataset=rows,
            eval_dataset=valid or None,
            data_collator=DataCollatorWithPadding(tokenizer),
            callbacks=[_Watcher(), *([EarlyStoppingCallback(method.patience)] if valid else [])],
        )
        trainer.remove_callback(PrinterCallback)
        result = trainer.train()
    return {
        "train_rows": len(rows),
        "train_loss": float(result.training_loss),
        "train_seconds": float(result.metrics["train_runtime"]),
        "epochs_run": float(trainer.state.epoch or 0),
        "valid_loss": float(trainer.state.best_metric or math.nan),
    }


class _ObjectiveTrainer(Trainer):  # type: ignore[misc]
    """The `Trainer` with our loss: the library's own way to give it one that runs the model itself."""

    def __init__(self, objective: Objective, **options: Any) -> None:
        super().__init__(**options)
        self._objective = objective

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = self._objective(model, inputs)
        return (loss, outputs) if return_outputs else loss


def _arguments(method: FineTune, model: torch.nn.Module, rows: int, has_valid: bool, folder: str) -> TrainingArguments:
    steps = method.epochs * math.ceil(rows / method.batch_size)
    together = process_options(method, model)
    arguments = TrainingArguments(
        output_dir=folder,
        num_train_epochs=method.epochs,
        learning_rate=method.learning_rate,
        per_device_train_batch_size=method.batch_size,
        per_device_eval_batch_size=4 * method.batch_size,
        weight_decay=method.weight_decay,
        warmup_steps=round(method.warmup_share * steps),
        bf16=use_bf16(method.precision),
        use_cpu=not torch.cuda.is_available(),
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch" if has_valid else "no",
        save_strategy="epoch" if has_valid else "no",
        save_total_limit=1,
        save_only_model="fsdp" not in together,
        load_best_model_at_end=has_valid,
        metric_for_best_model="loss",
        label_names=["labels"],
        remove_unused_columns=False,
        logging_steps=10,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
        report_to=[],
        seed=method.seed,
        **together,
    )
    let_cpu_shard(arguments)
    return arguments


class _Watcher(TrainerCallback):  # type: ignore[misc]
    """Reports progress and stops at a loss that is not a number."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        report_progress("fit", state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(float(loss)):
            raise ModelError(f"the training loss is {loss} at step {state.global_step}: lower train.learning_rate")
