"""In which number format a training multiplies, by what the hardware does well. Trains nothing."""

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


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
