"""What the machine spends on a stretch of work: CPU seconds, GPU use, energy. No counter: None, never guessed.

The energy counters are the whole machine's and so are the GPU's: other programs count too. Attributes nothing.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tasks.measure.speed.latency import Clock

log = logging.getLogger(__name__)

POWERCAP = Path("/sys/class/powercap")
Energy = dict[str, tuple[int, int]]  # by CPU package: microjoules counted, and where the counter starts again


@dataclass(frozen=True)
class Reading:
    """The counters at one moment."""

    now_s: float
    cpu_s: float
    energy: Energy | None


@dataclass(frozen=True)
class Usage:
    """What one stretch of work took."""

    wall_s: float
    cpu_s: float  # of all threads of this process
    energy_j: float | None  # of the whole machine's CPU packages
    gpu_share: float | None  # [0, 1], mean over GPUs of the time that a kernel ran


@dataclass(frozen=True)
class Cost:
    """What serving takes of a machine, from the closed loop of batch 1."""

    cpu_utilisation: float | None  # CPU seconds over wall seconds times threads
    gpu_utilisation: float | None
    energy_j_per_1000: float | None  # joules per 1000 texts


def read_counters(clock: Clock) -> Reading:
    """Return the counters as they are now."""
    return Reading(clock.now(), clock.cpu(), read_energy())


def usage_since(before: Reading, clock: Clock) -> Usage:
    """Return what was used since a reading."""
    after = read_counters(clock)
    return Usage(
        wall_s=after.now_s - before.now_s,
        cpu_s=after.cpu_s - before.cpu_s,
        energy_j=energy_between(before.energy, after.energy),
        gpu_share=gpu_share(),
    )


def summarise_usage(usages: Sequence[Usage], texts: int, threads: int) -> Cost:
    """Return what the stretches used in all, as shares and per 1000 texts; a counter missing in one is None."""
    wall = sum(usage.wall_s for usage in usages)
    energy = [usage.energy_j for usage in usages if usage.energy_j is not None]
    gpu = [usage.gpu_share for usage in usages if usage.gpu_share is not None]
    whole = len(usages) > 0
    return Cost(
        cpu_utilisation=sum(usage.cpu_s for usage in usages) / (wall * threads) if wall > 0 else None,
        gpu_utilisation=sum(gpu) / len(gpu) if whole and len(gpu) == len(usages) else None,
        energy_j_per_1000=1000 * sum(energy) / texts if whole and len(energy) == len(usages) and texts else None,
    )


def cost_per_million(price_per_hour: float | None, requests_per_s: float) -> float | None:
    """Return the price of a million requests on a machine that answers so many per second; None without a price."""
    return None if price_per_hour is None else price_per_hour / 3600 / requests_per_s * 1e6


def read_energy(root: Path = POWERCAP) -> Energy | None:
    """Return the energy counters of the CPU packages (Linux powercap, RAPL); None where one cannot be read.

    Parts of a package and the platform's own counter are left out, which would count the same energy twice.
    """
    found: Energy = {}
    try:
        for zone in sorted(root.glob("intel-rapl:*")):
            if (zone / "name").read_text("utf-8").startswith("package"):
                counted = int((zone / "energy_uj").read_text("utf-8"))
                found[zone.name] = (counted, int((zone / "max_energy_range_uj").read_text("utf-8")))
    except (OSError, ValueError):
        return None
    return found or None


def energy_between(before: Energy | None, after: Energy | None) -> float | None:
    """Return the joules counted between two readings, each counter having started again at most once."""
    if before is None or after is None or before.keys() != after.keys():
        return None
    micro = 0
    for zone, (counted, span) in after.items():
        gone = counted - before[zone][0]
        micro += gone if gone >= 0 else gone + span
    return micro / 1e6


def gpu_share() -> float | None:
    """Return the share of the driver's last sampling period (a sixth to one second) that kernels ran, mean over GPUs.

    None where no NVIDIA GPU is seen, or the package nvidia-ml-py, which asks the driver, is absent.
    """
    nvml = _nvml()
    if nvml is None:
        return None
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        shares = [nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100 for handle in handles]
    except nvml.NVMLError as error:
        log.debug("no GPU use: %s", error)
        return None
    return sum(shares) / len(shares) if shares else None


@cache
def _nvml() -> Any:
    """Return the driver's library ready to be asked, None where there is none."""
    try:
        import pynvml  # type: ignore[import-not-found, unused-ignore]  # optional: nvidia-ml-py
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        log.debug("no NVIDIA GPU: %s", error)
        return None
    return pynvml
