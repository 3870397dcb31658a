"""What watches a training: its loss, its best epoch, the time since its last checkpoint, whoever listens.

Each is a callback of the `Trainer`; what of them must outlive the process stands in the course. Trains nothing.
"""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor
from transformers import TrainerCallback

from tasks.errors import ModelError
from tasks.progress import report_epoch, report_metrics, report_progress
from tasks.train.engine import checkpoints
from tasks.train.engine.average import Average
from tasks.train.engine.checkpoints import Course
from tasks.train.engine.sampler import LengthGrouped
from tasks.train.processes.group import is_main, keep_weights, mean_over_processes

log = logging.getLogger(__name__)

RowName = Callable[[int], str]
NAMED = 3  # rows that a message names of a batch
LIVE = ("loss", "learning_rate", "grad_norm")


class EpochOrder(TrainerCallback):  # type: ignore[misc]
    """Tells the order of rows the epoch: what accelerate does too, but not to a sharded loader that goes on midway."""

    def __init__(self, order: LengthGrouped) -> None:
        self._order = order

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._order.set_epoch(int(state.epoch or 0))


class LossWatch(TrainerCallback):  # type: ignore[misc]
    """Sums the loss up and stops where it is not a number, naming the step and the batch's rows; feeds the average.

    On the CPU it looks at each batch; on a GPU, which it would hold up, at each logging step.
    """

    def __init__(
        self, course: Course, row_name: RowName, average: Average | None = None, section: str = "train"
    ) -> None:
        self._course, self._row_name, self._average, self._section = course, row_name, average, section
        self._seen: list[tuple[int, Tensor, float, Tensor | None]] = []  # step, loss, its weight in the step, rows

    def see(self, step: int, loss: Tensor, weight: float, rows: Tensor | None) -> None:
        """Take the loss of one part of a step's batch.

        Raises:
            ModelError: it is not a finite number.
        """
        self._seen.append((step, loss, weight, rows))
        if loss.device.type == "cpu":
            self.look()

    def look(self) -> None:
        """Add up what was seen since the last look.

        Raises:
            ModelError: a loss is not a finite number.
        """
        if not self._seen:
            return
        losses = torch.stack([loss for _, loss, _, _ in self._seen]).tolist()
        seen, self._seen = self._seen, []
        for (step, _, _, rows), loss in zip(seen, losses, strict=True):
            if not math.isfinite(loss):
                raise ModelError(f"the training loss is {loss} at step {step}{self._named(rows)}: lower "
                                 f"{self._section}.learning_rate, or look at these rows")  # fmt: skip
        weights = torch.tensor([weight for _, _, weight, _ in seen], dtype=torch.float64)
        means = mean_over_processes(torch.tensor(losses, dtype=torch.float64))
        self._course.loss_sum += float(weights @ means)

    def _named(self, rows: Tensor | None) -> str:
        if rows is None:
            return ""
        numbers = rows.tolist()
        more = f" (and {len(numbers) - NAMED} more)" if len(numbers) > NAMED else ""
        return f", on rows {', '.join(self._row_name(row) for row in numbers[:NAMED])}{more}"

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._course.steps = state.global_step
        if self._average is not None:
            self._average.update()
        if state.global_step % args.logging_steps == 0:
            self.look()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.look()


class BestEpoch(TrainerCallback):  # type: ignore[misc]
    """Keeps the weights of the epoch with the least loss on `valid`, and stops when none is better for long."""

    def __init__(self, course: Course, patience: int, folder: Path) -> None:
        self._course, self._patience, self._folder = course, patience, folder

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, model: Any = None, **kwargs: Any) -> None:
        epoch, loss, score = round(state.epoch), float(metrics["eval_loss"]), float(metrics["eval_score"])
        if not math.isfinite(loss):
            raise ModelError(f"the loss on valid is {loss} after epoch {epoch}: lower train.learning_rate")
        log.info("epoch %d: valid loss %.4f, valid score %.4f", epoch, loss, score)
        course = self._course
        if loss < course.best_loss:
            course.best_epoch, course.best_loss, course.best_score, course.waited = epoch, loss, score, 0
            self._keep(model, epoch, loss)
        else:
            course.waited += 1
            control.should_training_stop |= course.waited >= self._patience
        if state.is_world_process_zero:
            found = {"valid_loss": loss, "valid_score": score}
            report_metrics(state.global_step, found)
            report_epoch(epoch, found)

    def _keep(self, model: Any, epoch: int, loss: float) -> None:
        partial = self._folder / f"{checkpoints.BEST}.partial"
        keep_weights(model, partial, {"epoch": str(epoch), "valid_loss": repr(loss)})
        if is_main():
            partial.rename(self._folder / checkpoints.BEST)


class Saver(TrainerCallback):  # type: ignore[misc]
    """Asks for a checkpoint by time and at an epoch's end, and makes it whole: course, average, best weights, seal."""

    def __init__(
        self, course: Course, watch: LossWatch, average: Average | None, folder: Path, wanted: bool = True
    ) -> None:
        self._course, self._watch, self._average, self._folder, self._wanted = course, watch, average, folder, wanted
        self._started = self._saved = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if float(state.epoch).is_integer():
            return  # the epoch's end, after its evaluation: a checkpoint from before it would go on without one
        if args.world_size == 1 or state.global_step % args.logging_steps == 0:
            control.should_save |= self._due(checkpoints.EVERY_SECONDS)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_save |= self._due(checkpoints.EPOCH_SECONDS)

    def _due(self, seconds: float) -> bool:
        """Return whether it is time for a checkpoint, which the first of all processes decides."""
        due = [self._wanted and time.monotonic() - self._saved >= seconds]
        if PartialState().num_processes > 1:
            broadcast_object_list(due)
        return due[0]

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._watch.look()
        self.take_time()
        PartialState().wait_for_everyone()  # each process writes its own random state
        if state.is_world_process_zero:
            self._complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        self._saved = time.monotonic()

    def _complete(self, checkpoint: Path) -> None:
        checkpoints.write_course(checkpoint, self._course)
        if self._average is not None:
            self._average.save(checkpoint / checkpoints.AVERAGE)
        if self._course.best_epoch:
            checkpoints.link_file(self._folder / checkpoints.BEST, checkpoint / checkpoints.BEST)
        checkpoints.seal_checkpoint(checkpoint)

    def take_time(self) -> None:
        """Add the time since the start, or since it was last taken, to the course's."""
        now = time.monotonic()
        self._course.seconds += now - self._started
        self._started = now


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Tells whoever listens how far the training is and what was measured, by the name of its phase before the fit."""

    def __init__(self, phase: str = "") -> None:
        self._what, self._prefix = phase or "fit", phase and f"{phase}_"

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            report_progress(self._what, state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        found = {self._prefix + name: float(logs[name]) for name in LIVE if name in logs} if logs else {}
        if found and state.is_world_process_zero:
            report_metrics(state.global_step, found)
