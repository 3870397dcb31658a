"""What the figures are measured on: CPU, instruction sets, cores, libraries."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tasks.records import Machine

RELEVANT_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd")
RELEVANT_LIBRARIES = ("torch", "transformers", "onnxruntime", "openvino", "tokenizers", "numpy")


def describe_machine(threads: int | None = None) -> Machine:
    """Return the description of this machine; `threads` defaults to its cores that this process may use."""
    cpu, flags = _cpu()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        cpu=cpu,
        instructions=tuple(name for name in RELEVANT_INSTRUCTIONS if name in flags),
        cores=cores,
        threads=threads or cores,
        libraries={name: _version(name) for name in RELEVANT_LIBRARIES},
    )


def _cpu() -> tuple[str, set[str]]:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), set()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return facts.get("model name", platform.machine()), set(facts.get("flags", facts.get("Features", "")).split())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
