"""What one decision costs: its seconds, and the peak memory of a process that makes nothing else."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROWS, SLICES, LABELS, SEED = 100_000, 50, 77, 20_261


def gate_cost() -> dict[str, float]:
    """Return `gate_seconds` and `gate_peak_mb` of a decision in a fresh process."""
    command = [sys.executable, "-m", "tests.bench.gate_cost"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _decide_once() -> dict[str, float]:
    from tasks.measure.gate.decide import decide
    from tasks.measure.gate.evidence import Measured
    from tasks.specs import GateSpec
    from tests.unit.measured import answers, measured

    rng = np.random.default_rng(SEED)
    targets = rng.integers(LABELS, size=ROWS)
    masks = {f"slice {number}": rng.random(ROWS) < 0.1 for number in range(SLICES)}
    models: list[Measured] = []
    for name in ("candidate", "champion"):
        outputs = np.where(rng.random(ROWS) < 0.9, targets, rng.integers(LABELS, size=ROWS))
        scores = (outputs == targets).astype(float)
        made = answers(scores, targets.astype(str).astype(object), outputs.astype(str).astype(object))
        models.append(measured(scores, name, 1.0, masks, answered=made))
    started = time.perf_counter()
    verdict = decide(models[0], models[1], None, ("quality",), GateSpec(resamples=10_000))
    seconds = time.perf_counter() - started
    assert len(verdict.tests) >= SLICES + 3, verdict.reason
    peak = next(line for line in Path("/proc/self/status").read_text("utf-8").splitlines() if line.startswith("VmHWM:"))
    return {"gate_seconds": seconds, "gate_peak_mb": int(peak.split()[1]) / 1024}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_decide_once()) + "\n")
