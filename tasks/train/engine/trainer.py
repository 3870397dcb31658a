"""Running a training with the Hugging Face `Trainer`: its arguments, going on after a kill or out of memory.

Chooses no model and no rows.
"""

import gc
import json
import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import PartialState
from safetensors.torch import load_model, save_model
from torch.utils.data import SequentialSampler
from transformers import DataCollatorWithPadding, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from tasks.errors import ModelError
from tasks.train import parameters
from tasks.train.engine import checkpoints
from tasks.train.engine.average import Average
from tasks.train.engine.checkpoints import Course
from tasks.train.engine.loop import Numbered, ObjectiveTrainer
from tasks.train.engine.memory import compute_again, fit_parts, more_parts, out_of_memory
from tasks.train.engine.precision import choose_precision, tf32_products
from tasks.train.engine.sampler import LengthGrouped
from tasks.train.engine.tokens import Rows, token_counts
from tasks.train.engine.watchers import BestEpoch, EpochOrder, LossWatch, Reporter, Saver
from tasks.train.methods import FineTune
from tasks.train.objectives import Loss
from tasks.train.processes.group import agreed, let_cpu_shard, process_options, restore_weights

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

START, RUN = "start.safetensors", "run.json"
LOGGING_STEPS = 10
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
LOADERS = 2  # processes that make batches ready while a GPU works


@dataclass(frozen=True)
class _Run:
    """How this machine runs the training: what a run that goes on must not decide anew."""

    precision: str
    parts: int  # of a process's share of a batch


@dataclass(frozen=True)
class Phase:
    """What sets a training before fine-tuning apart from it; it reads its rows in the order in which they are given."""

    name: str  # of its section, its folder, its progress and its metrics
    collate: Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]]  # keeps their column `rows`


@dataclass(frozen=True)
class _Job:
    """What is trained on what."""

    model: torch.nn.Module
    tokenizer: "PreTrainedTokenizerBase"
    objective: Loss
    method: FineTune
    rows: Rows
    valid: Rows
    row_name: Callable[[int], str]
    callbacks: Sequence[TrainerCallback]
    phase: Phase | None
    folder: Path
    resumes: bool  # whether the folder outlives the process

    @property
    def section(self) -> str:
        """Of the spec, that says how it is trained."""
        return f"train.{self.phase.name}" if self.phase else "train"


def train(
    model: torch.nn.Module,
    tokenizer: "PreTrainedTokenizerBase",
    objective: Loss,
    method: FineTune,
    rows: Rows,
    valid: Rows,
    work: Path | None = None,
    row_name: Callable[[int], str] = str,
    callbacks: Sequence[TrainerCallback] = (),
    phase: Phase | None = None,
) -> dict[str, float]:
    """Train the model in place and return what is noted of it: losses, scores, epochs, seconds.

    It ends with the weights of the best epoch on `valid`, the last ones where that is empty. A training that was
    killed goes on from its last checkpoint in `work`, and ends as it would have.

    Args:
        rows: the encoded train rows.
        valid: the encoded rows that tell which epoch is best, or none.
        work: where checkpoints are kept; None: nowhere.
        row_name: how a message names a train row.
        callbacks: further ones of the `Trainer`.
        phase: which one it is before fine-tuning; None: this is fine-tuning.

    Raises:
        ModelError: the loss is not a finite number, the precision is not to be had, or memory does not suffice.
    """
    with _folder(work, phase.name if phase else "train") as folder:
        job = _Job(model, tokenizer, objective, method, rows, valid, row_name, callbacks, phase, folder, bool(work))
        run = agreed(lambda: _decide(job))
        with tf32_products(run.precision == "tf32"):
            while True:
                try:
                    return _attempt(job, run)
                except RuntimeError as error:
                    if not out_of_memory(error):
                        raise
                    run = replace(run, parts=more_parts(_share(job), run.parts, error))
                _free()


def _free() -> None:
    """Free what a failed attempt held: its traceback is gone by here."""
    gc.collect()
    torch.cuda.empty_cache()


@contextmanager
def _folder(work: Path | None, name: str) -> Iterator[Path]:
    if work is None:
        with tempfile.TemporaryDirectory(prefix="training-") as made:
            yield Path(made)
    else:
        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def _share(job: _Job) -> int:
    """Return how many texts of a batch this process takes.

    Raises:
        ModelError: the batch cannot be shared evenly.
    """
    processes, batch = int(PartialState().num_processes), job.method.batch_size
    if batch % processes:
        raise ModelError(f"{job.section}.batch_size: {batch} cannot be shared by {processes} processes; give a "
                         f"multiple of {processes}")  # fmt: skip
    return batch // processes


def _decide(job: _Job) -> _Run:
    """Return how the training is run: as it was before it was killed, else by what is asked for and this hardware."""
    path = job.folder / RUN
    (job.folder / START).unlink(missing_ok=True)  # of a process before: this one's model is as it was
    try:
        return _Run(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        log.debug("%s: a training from the start", job.folder)
    except (ValueError, TypeError) as error:
        log.warning("%s cannot be read and is made anew (%s)", path, error)
    chosen = choose_precision(job.method.precision)
    log.info("precision: %s (%s)", chosen.name, chosen.reason)
    return _Run(chosen.name, fit_parts(_share(job), job.method.accumulate))


def _attempt(job: _Job, run: _Run) -> dict[str, float]:
    """Return the notes of a training that goes on from the last checkpoint, or from the start where there is none."""
    checkpoint = agreed(lambda: _open_folder(job, run))
    if checkpoint is None and (job.folder / START).is_file():
        load_model(job.model, job.folder / START)
    course = checkpoints.read_course(checkpoint)
    if checkpoint is not None and course.best_epoch:
        checkpoints.link_file(checkpoint / checkpoints.BEST, job.folder / checkpoints.BEST)
    trainer, saver, average = _trainer(job, run, course)
    try:
        if not (job.valid and course.waited >= job.method.patience):  # else it was killed after its end
            trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    finally:
        trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)
    saver.take_time()
    PartialState().wait_for_everyone()  # until the first one has kept the best weights
    if course.best_epoch:
        restore_weights(job.model, job.folder / checkpoints.BEST)
    elif average is not None:
        average.swap()
    return _notes(job, course)


def _open_folder(job: _Job, run: _Run) -> Path | None:
    """Return the checkpoint to go on from; keep what a later attempt needs to start alike."""
    checkpoints.write_json(job.folder / RUN, asdict(run))
    if not (job.folder / START).is_file():
        partial = job.folder / f"{START}.partial"
        save_model(job.model, str(partial))
        partial.rename(job.folder / START)
    return checkpoints.last_checkpoint(job.folder)


def _trainer(job: _Job, run: _Run, course: Course) -> tuple[ObjectiveTrainer, Saver, Average | None]:
    method, batch = job.method, _share(job) // run.parts
    if method.checkpointing:
        compute_again(job.model)
    args = _arguments(job, run, batch)
    args._n_gpu = min(args.n_gpu, 1)  # one process trains on one GPU: several are for `train.distributed`
    job.model.to(args.device)
    average = Average(job.model, method.ema) if method.ema else None
    grouped = None if job.phase else LengthGrouped(token_counts(job.rows), method.batch_size, method.seed)
    watch = LossWatch(course, job.row_name, average, job.section)
    saver = Saver(course, watch, average, job.folder, job.resumes)
    best = [BestEpoch(course, method.patience, job.folder)] if job.valid else []
    trainer = ObjectiveTrainer(
        job.objective, method, grouped or SequentialSampler(job.rows), watch, average,
        model=job.model,
        args=args,
        train_dataset=Numbered(job.rows),
        eval_dataset=Numbered(job.valid) if job.valid else None,
        data_collator=job.phase.collate if job.phase else _padding(job),
        callbacks=[
            *([EpochOrder(grouped)] if grouped else []), watch, *parameters.callbacks(method.tune), *job.callbacks,
            *best, saver, Reporter(job.phase.name if job.phase else ""),
        ],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer, saver, average


def _padding(job: _Job) -> DataCollatorWithPadding:
    return DataCollatorWithPadding(job.tokenizer, pad_to_multiple_of=8 if _on_cuda() else None)


def _on_cuda() -> bool:
    return torch.cuda.is_available()


def _arguments(job: _Job, run: _Run, batch: int) -> TrainingArguments:
    method, cuda = job.method, _on_cuda()
    arguments = TrainingArguments(
        output_dir=str(job.folder),
        num_train_epochs=method.epochs,
        learning_rate=method.learning_rate,
        lr_scheduler_type=SCHEDULES[method.schedule],
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=4 * batch,
        gradient_accumulation_steps=run.parts,
        weight_decay=method.weight_decay,
        warmup_steps=round(method.warmup_share * method.epochs * _steps(job)),
        bf16=run.precision == "bf16",
        fp16=run.precision == "fp16",
        use_cpu=not cuda,
        eval_strategy="epoch" if job.valid else "no",
        save_strategy="no",  # the Saver says when
        save_total_limit=2,
        label_names=["labels"],
        remove_unused_columns=False,
        logging_steps=LOGGING_STEPS,
        logging_nan_inf_filter=False,  # the LossWatch stops there, and looks without holding the GPU up
        dataloader_num_workers=LOADERS if cuda else 0,
        dataloader_persistent_workers=cuda,
        dataloader_pin_memory=cuda,
        disable_tqdm=True,
        report_to=[],
        seed=method.seed,
        **process_options(method, job.model),
    )
    let_cpu_shard(arguments)
    return arguments


def _steps(job: _Job) -> int:
    """Return the steps of an epoch."""
    return math.ceil(len(job.rows) / job.method.batch_size)


def _notes(job: _Job, course: Course) -> dict[str, float]:
    notes = {
        "train_rows": float(len(job.rows)),
        "train_loss": course.loss_sum / max(course.steps, 1),
        "train_seconds": course.seconds,
        "epochs_run": course.steps / _steps(job),
    }
    notes["texts_per_s"] = notes["epochs_run"] * len(job.rows) / course.seconds
    if course.best_epoch:
        notes |= {"valid_loss": course.best_loss, "valid_score": course.best_score, "best_epoch": course.best_epoch}
    return notes
