"""Fine-tuning an encoder for sequence classification with the Hugging Face `Trainer`. Searches nothing.

Heavy libraries are imported where they are used, so that the parameters can be read without torch.
"""

import hashlib
import logging
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from serving.predictors import file_sha256
from tasks.errors import ModelError
from tasks.progress import report_progress
from tasks.records import Candidate
from tasks.train.base import resolve_base

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments

log = logging.getLogger(__name__)


@dataclass(frozen=True, config={"extra": "forbid"})
class FineTune:
    """Hyperparameters of full fine-tuning: AdamW, linear decay after warm-up, best epoch on `valid` kept."""

    epochs: Annotated[int, Field(ge=1, le=100)] = 3
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.01
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mixup: Annotated[float, Field(ge=0, le=10)] = 0.0  # alpha: pairs of texts mixed, their pooled vectors; 0: none
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1  # before the head
    patience: Annotated[int, Field(ge=1)] = 2  # epochs without a better loss on `valid` before it stops
    max_length: Annotated[int, Field(ge=4, le=8192)] = 128  # tokens
    pooling: Literal["mean", "first"] = "mean"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    seed: int = 13


Rows = Sequence[tuple[str, str]]  # text, label


def finetune(base: str, method: FineTune, train: Rows, valid: Rows, labels: Sequence[str], folder: Path) -> Candidate:
    """Return the fine-tuned model as a torch artifact in `folder`.

    Raises:
        ModelError: the base cannot be loaded, or the loss is not a finite number.
    """
    from transformers import set_seed

    from tasks.train.model import load_base, longest_input, save_artifact

    set_seed(method.seed)
    model, tokenizer = load_base(base, len(labels), method.pooling, method.dropout)
    model.label_smoothing, model.mixup = method.label_smoothing, method.mixup
    method = replace(method, max_length=min(method.max_length, longest_input(model, tokenizer)))
    index = {label: number for number, label in enumerate(labels)}
    log.info("fit %s: %d train rows, %d valid rows, %d labels", base, len(train), len(valid), len(labels))
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="checkpoints-") as checkpoints:
        trainer = _trainer(model, tokenizer, method, _encode(train, tokenizer, method, index),
                           _encode(valid, tokenizer, method, index), checkpoints)  # fmt: skip
        result = trainer.train()
    notes = {
        "train_rows": len(train),
        "train_loss": float(result.training_loss),
        "train_seconds": float(result.metrics["train_runtime"]),
        "epochs_run": float(trainer.state.epoch or 0),
        "valid_loss": float(trainer.state.best_metric or math.nan),
    }
    notes = {name: value for name, value in notes.items() if math.isfinite(value)}
    log.info("fit done: %s", notes)
    return save_artifact(folder, model, tokenizer, labels=list(labels), max_length=method.max_length,
                         pooling=method.pooling, notes=notes)  # fmt: skip


def _encode(
    rows: Rows, tokenizer: "PreTrainedTokenizerBase", method: FineTune, index: dict[str, int]
) -> list[dict[str, Any]]:
    if not rows:
        return []
    encoded = tokenizer([text for text, _ in rows], truncation=True, max_length=method.max_length)
    return [
        {**{name: values[row] for name, values in encoded.items()}, "labels": index[label]}
        for row, (_, label) in enumerate(rows)
    ]


def _trainer(
    model: "torch.nn.Module",
    tokenizer: "PreTrainedTokenizerBase",
    method: FineTune,
    train: list[dict[str, Any]],
    valid: list[dict[str, Any]],
    folder: str,
) -> "Trainer":
    from transformers import DataCollatorWithPadding, EarlyStoppingCallback, Trainer
    from transformers.trainer_callback import PrinterCallback

    trainer = Trainer(
        model=model,
        args=_arguments(method, len(train), bool(valid), folder),
        train_dataset=train,
        eval_dataset=valid or None,
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[_watcher()] + ([EarlyStoppingCallback(method.patience)] if valid else []),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(method: FineTune, rows: int, has_valid: bool, folder: str) -> "TrainingArguments":
    import torch
    from transformers import TrainingArguments

    steps = method.epochs * math.ceil(rows / method.batch_size)
    return TrainingArguments(
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
        save_only_model=True,
        load_best_model_at_end=has_valid,
        metric_for_best_model="loss",
        logging_steps=10,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
        report_to=[],
        seed=method.seed,
    )


def use_bf16(precision: str) -> bool:
    """Return whether to train in bfloat16: as asked, or where this GPU or CPU multiplies clearly faster in it."""
    import torch

    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    slow, fast = (_matmul_seconds(dtype) for dtype in (torch.float32, torch.bfloat16))
    log.info("precision: %s, measured (float32 %.1f ms, bfloat16 %.1f ms)", "bf16" if fast < 0.7 * slow else "fp32",
             1000 * slow, 1000 * fast)  # fmt: skip
    return fast < 0.7 * slow


def _matmul_seconds(dtype: "torch.dtype") -> float:
    """Return the best of five times of a product as large as a training step's; instruction flags alone do not tell."""
    import torch

    left, right = torch.ones(512, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        for _ in range(5):
            left @ right
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def _watcher() -> Any:
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):  # type: ignore[misc]
        """Reports progress and stops at a loss that is not a number."""

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            report_progress("fit", state.global_step, state.max_steps)

        def on_log(
            self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
        ) -> None:
            loss = (logs or {}).get("loss")
            if loss is not None and not math.isfinite(float(loss)):
                raise ModelError(f"the training loss is {loss} at step {state.global_step}: lower train.learning_rate")

    return Watcher()


def base_identity(base: str) -> str:
    """Return what stands for a base in a cache key: a hub id as it is, a local folder by the content of its files."""
    folder = Path(resolve_base(base))
    if not folder.is_dir():
        return base
    digest = hashlib.sha256()
    for path in sorted(
        path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors", ".txt", ".model")
    ):
        digest.update(f"{path.relative_to(folder)}={file_sha256(path)}".encode())
    return digest.hexdigest()
