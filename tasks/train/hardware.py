"""What a training can run on here: GPUs, cores, number formats. Measures no speed and chooses nothing."""

import torch

from tasks.measure.machine import describe_machine
from tasks.train.engine.precision import AMPERE

SHORT_FORMATS = {"avx512_bf16", "amx_bf16"}  # instructions by which CPUs do


def describe_hardware() -> str:
    """Return in words the GPUs, their memory and formats; without any, the cores and what they are quick in."""
    if not torch.cuda.is_available():
        machine = describe_machine()
        short = "with bf16" if SHORT_FORMATS.intersection(machine.instructions) else "without bf16"
        return f"no GPU; {machine.cores} CPU cores {short}; several processes by gloo"
    gpus = [_gpu(number) for number in range(torch.cuda.device_count())]
    counted = [f"{gpus.count(gpu)} x {gpu}" for gpu in dict.fromkeys(gpus)]
    return f"{', '.join(counted)}; several processes by nccl"


def _gpu(number: int) -> str:
    found = torch.cuda.get_device_properties(number)
    capability = (found.major, found.minor)
    formats = "fp16, bf16 and tf32" if capability >= AMPERE else "fp16, no bf16 or tf32"
    return f"{found.name} ({found.total_memory / 2**30:.0f} GiB, {formats})"
