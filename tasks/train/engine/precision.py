"""In which number format a training multiplies, by what the hardware does well. Trains nothing."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from tasks.errors import ModelError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

AMPERE = (8, 0)  # the compute capability from which on GPUs multiply bfloat16 and TensorFloat-32 in hardware


@dataclass(frozen=True)
class Precision:
    """A number format and why it was chosen."""

    name: str  # bf16, fp16, tf32 or fp32
    reason: str


def choose_precision(asked: str) -> Precision:
    """Return the format that is asked for, or with `auto` the one that this GPU or CPU multiplies fastest in.

    Raises:
        ModelError: this hardware cannot train in the format that is asked for.
    """
    import torch

    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    if asked == "auto":
        return _fastest(capability)
    if asked == "fp16" and capability is None:
        raise ModelError("train.precision: fp16 trains on a CUDA GPU only, and there is none; use auto, bf16 or fp32")
    if asked == "tf32" and (capability is None or capability < AMPERE):
        found = "there is none" if capability is None else f"this one has {'.'.join(map(str, capability))}"
        raise ModelError(
            f"train.precision: tf32 needs a CUDA GPU of compute capability 8.0 or more, and {found}; use auto or fp32"
        )
    return Precision(asked, "as asked")


def use_bf16(asked: str) -> bool:
    """Return whether the format that is asked for, or the fastest one with `auto`, is bfloat16."""
    return choose_precision(asked).name == "bf16"


@cache
def _fastest(capability: tuple[int, int] | None) -> Precision:
    """Return the format for the device; measured once, so that all trainings of a process decide alike."""
    import torch

    if capability is not None:
        named = f"compute capability {'.'.join(map(str, capability))}"
        if capability >= AMPERE:
            return Precision("bf16", f"{named} multiplies bfloat16 in hardware")
        if capability >= (7, 0):
            return Precision("fp16", f"{named} multiplies float16 in hardware, bfloat16 not")
        return Precision("fp32", f"{named} multiplies no shorter format in hardware")
    slow, fast = (_matmul_seconds(dtype) for dtype in (torch.float32, torch.bfloat16))
    measured = f"measured: float32 {1000 * slow:.1f} ms, bfloat16 {1000 * fast:.1f} ms"
    return Precision("bf16" if fast < 0.7 * slow else "fp32", measured)


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


@contextmanager
def tf32_products(wanted: bool) -> Iterator[None]:
    """Let float32 products of the block run in TensorFloat-32 where it is wanted, and as before after it."""
    import torch

    before = torch.get_float32_matmul_precision()
    if wanted:
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
