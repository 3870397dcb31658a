"""The Hugging Face `Trainer` with our loss, order of rows, averaged weights and checkpoints. Decides no arguments."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch.utils.data import Dataset, Sampler
from transformers import EvalPrediction, Trainer
from transformers.utils import SAFE_WEIGHTS_NAME

from tasks.train.engine.average import Average
from tasks.train.engine.checkpoints import AVERAGE
from tasks.train.engine.memory import fewer_texts, out_of_memory
from tasks.train.engine.sampler import longest_first
from tasks.train.engine.tokens import Rows, token_counts
from tasks.train.engine.watchers import LossWatch
from tasks.train.methods import FineTune
from tasks.train.objectives import Loss
from tasks.train.parameters import parameter_groups


class Numbered(Dataset[dict[str, Any]]):
    """Encoded rows with their numbers as the column `rows`, by which a message can name them."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def token_counts(self) -> list[int]:
        """Return how many tokens each row has."""
        return token_counts(self._rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {**self._rows[row], "rows": row}

    def __getitems__(self, rows: list[int]) -> list[dict[str, Any]]:
        at_once = getattr(self._rows, "__getitems__", None)
        found = at_once(rows) if at_once else [self._rows[row] for row in rows]
        return [{**values, "rows": row} for row, values in zip(rows, found, strict=True)]


class ObjectiveTrainer(Trainer):  # type: ignore[misc]
    """The `Trainer` with what it lets be overridden: loss, rates, the order of rows, and what a checkpoint holds."""

    optimizer: Any

    def __init__(
        self,
        objective: Loss,
        method: FineTune,
        order: Sampler[int],
        watch: LossWatch,
        average: Average | None,
        **options: Any,
    ) -> None:
        super().__init__(compute_metrics=share_right, preprocess_logits_for_metrics=most_probable, **options)
        self.model_accepts_loss_kwargs = False  # the objective gives the mean over the rows it is called with
        self._method = method
        self._objective, self._order, self._watch, self._average = objective, order, watch, average
        self._step_rows = 0

    def create_optimizer(self, model: Any = None) -> Any:
        if self.optimizer is None:
            model = self.model if model is None else model
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, model)
            decayed = frozenset(self.get_decay_parameter_names(model))
            self.optimizer = kind(parameter_groups(model, self._method, decayed), **options)
        return self.optimizer

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        rows = inputs.pop("rows", None)
        loss, outputs = self._objective(model, inputs)
        if model.training:
            parts = self.current_gradient_accumulation_steps
            share = 1 / parts if rows is None else len(rows) / self._step_rows
            self._watch.see(self.state.global_step + 1, loss.detach(), share, rows)
            loss = loss * (share * parts)  # the parts of a batch weigh as many as their rows
        return (loss, outputs) if return_outputs else loss

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._step_rows = sum(len(batch["rows"]) for batch in batches if "rows" in batch)
        return batches, items

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self._order

    def _get_eval_sampler(self, eval_dataset: Any) -> Sequence[int]:
        return longest_first(eval_dataset.token_counts())

    def evaluate(self, *args: Any, **options: Any) -> dict[str, float]:
        """Return the metrics of the averaged weights, where there is an average, in batches that fit into memory."""
        while True:
            try:
                with self._average.in_place() if self._average else nullcontext():
                    return dict(super().evaluate(*args, **options))
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                self.args.per_device_eval_batch_size = fewer_texts(self.args.per_device_eval_batch_size, error)
            self._eval_dataloaders: dict[str, Any] = {}  # kept from the batches before
            torch.cuda.empty_cache()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if state_dict is not None:  # gathered from several processes
            super()._save(output_dir, state_dict)
        elif self.args.should_save:
            Path(str(output_dir)).mkdir(parents=True, exist_ok=True)
            save_model(self.model, str(Path(str(output_dir)) / SAFE_WEIGHTS_NAME))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            load_model(self.model, Path(resume_from_checkpoint) / SAFE_WEIGHTS_NAME)
        if self._average is not None:
            self._average.load(Path(resume_from_checkpoint) / AVERAGE)


def most_probable(logits: Any, labels: torch.Tensor) -> torch.Tensor:
    """Return the place of the largest logit, [...], of logits [..., labels]; the first of several outputs are those."""
    found: torch.Tensor = (logits[0] if isinstance(logits, tuple) else logits).argmax(-1)
    return found


def share_right(answers: EvalPrediction) -> dict[str, float]:
    """Return as `score` the mean of right answers over what has a label."""
    known = answers.label_ids != -100
    return {"score": float(np.mean(answers.predictions[known] == answers.label_ids[known]))}
