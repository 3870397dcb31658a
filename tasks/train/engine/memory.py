"""What to do where memory does not suffice: smaller parts of a batch, activations made again. Measures no memory."""

import logging

import torch
from accelerate import PartialState
from transformers import PreTrainedModel

from tasks.errors import ModelError

log = logging.getLogger(__name__)

MEND = "lower train.max_length, set train.checkpointing: true, or choose a smaller recipe.base"


def out_of_memory(error: RuntimeError) -> bool:
    """Return whether the error says that the memory of the GPU or the CPU does not suffice."""
    words = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(
        said in words for said in ("out of memory", "can't allocate memory", "not enough memory")
    )


def _reason(error: RuntimeError) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def fit_parts(batch: int, parts: int) -> int:
    """Return the least number of parts from `parts` on that divides a batch evenly; the batch's size at most."""
    return next((number for number in range(max(parts, 1), batch) if batch % number == 0), batch)


def more_parts(batch: int, parts: int, error: RuntimeError) -> int:
    """Return into how many parts a batch goes after memory ran out with `parts`: at least twice as many.

    Raises:
        ModelError: each part is one text already, or this is one of several processes, which cannot start again alone.
    """
    reason = _reason(error)
    if parts >= batch:
        raise ModelError(f"training runs out of memory with one text at a time ({reason}): {MEND}") from error
    more = fit_parts(batch, 2 * parts)
    if PartialState().num_processes > 1:
        raise ModelError(f"a process of the training runs out of memory with {batch // parts} texts at a time "
                         f"({reason}): set train.accumulate: {more}") from error  # fmt: skip
    log.warning("out of memory with %d texts at a time (%s): going on with %d at a time, %d parts to a batch of %d",
                batch // parts, reason, batch // more, more, batch)  # fmt: skip
    return more


def fewer_texts(texts: int, error: RuntimeError) -> int:
    """Return how many texts are evaluated at a time after memory ran out with `texts`.

    Raises:
        ModelError: it was one text, or this is one of several processes, which cannot start again alone.
    """
    reason = _reason(error)
    if PartialState().num_processes > 1:
        raise ModelError(f"a process runs out of memory evaluating {texts} texts at a time ({reason}): raise "
                         "train.accumulate") from error  # fmt: skip
    if texts <= 1:
        raise ModelError(f"evaluation runs out of memory with one text at a time ({reason}): {MEND}") from error
    log.warning("out of memory evaluating %d texts at a time (%s): going on with %d", texts, reason, texts // 2)
    return texts // 2


def compute_again(model: torch.nn.Module) -> None:
    """Let the layers compute their activations again instead of keeping them (Chen et al. 2016).

    Raises:
        ModelError: the base's family cannot.
    """
    able = [part for part in model.modules() if isinstance(part, PreTrainedModel)][:1]
    if not able or not able[0].supports_gradient_checkpointing:
        raise ModelError("train.checkpointing: this base cannot compute activations again; set it to false")
    able[0].activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
