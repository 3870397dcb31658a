"""The full iteration on banking77 as a user runs it: baseline, one iteration, and a rerun with nothing changed.

Prints what it does; the last line is one JSON object. The share of orchestration is what of the two runs' wall time,
from process start to exit, went into anything but training, compression and measuring.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "banking77"
WORK = ROOT / "bench-out"
WORK_STAGES = ("fit", "compress", "score", "benchmark", "profile")


def main() -> None:
    """Run the benchmark."""
    if not DATA.is_dir():
        sys.exit(f"{DATA} is absent: the benchmark needs the banking77 CSV files there")
    spec = _write_project()
    runs = [_run(spec, name) for name in ("baseline", "iteration", "rerun")]
    (baseline, baseline_s), (turn, turn_s), (again, again_s) = runs
    sys.stdout.write(json.dumps(_summary(baseline, turn, again, baseline_s + turn_s, again_s)) + "\n")


def _write_project() -> Path:
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    content = yaml.safe_load((ROOT / "examples" / "banking77.yaml").read_text("utf-8"))
    content["data"]["source"]["splits"] = {"train": str(DATA / "train.csv"), "golden": str(DATA / "test.csv")}
    spec = WORK / "ratchet.yaml"
    spec.write_text(yaml.safe_dump(content), "utf-8")
    return spec


def _run(spec: Path, name: str) -> tuple[dict[str, Any], float]:
    started = time.monotonic()
    command = [str(Path(sys.executable).parent / "ratchet"), "run", str(spec), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.monotonic() - started
    outcome: dict[str, Any] = json.loads(done.stdout)
    sys.stdout.write(f"{name}: {outcome['result']} in {seconds:.0f} s; {outcome['verdict']['reason']}\n")
    for trial in outcome["trials"]:
        kept = "kept" if trial["kept"] else "dropped"
        sys.stdout.write(f"  lever {trial['lever']}: {kept}; {trial['verdict']['reason']}\n")
    sys.stdout.flush()
    return outcome, seconds


def _summary(
    baseline: dict[str, Any], turn: dict[str, Any], again: dict[str, Any], wall_s: float, rerun_s: float
) -> dict[str, Any]:
    seconds: dict[str, float] = {}
    for outcome in (baseline, turn):
        for stage, value in outcome["seconds"].items():
            seconds[stage] = round(seconds.get(stage, 0) + value, 2)
    worked = sum(seconds.get(stage, 0) for stage in WORK_STAGES)
    cards = turn["cards"] or baseline["cards"]
    promoted = turn["result"] == "promoted"
    champion = cards["candidate" if promoted else "champion"]
    reference = cards["baseline"]
    speeds = [reference["speed"], champion["speed"]]
    return {
        "baseline_accuracy": reference["quality"]["mean"],
        "champion_accuracy": champion["quality"]["mean"],
        "accuracy_retained": champion["quality"]["mean"] / reference["quality"]["mean"],
        "throughput_ratio": speeds[1]["throughput_b1_per_s"] / speeds[0]["throughput_b1_per_s"],
        "batch_throughput_ratio": speeds[1]["throughput_batch_per_s"] / speeds[0]["throughput_batch_per_s"],
        "size_ratio": speeds[1]["size_bytes"] / speeds[0]["size_bytes"],
        "memory_ratio": speeds[1]["peak_memory_bytes"] / speeds[0]["peak_memory_bytes"],
        "orchestration_share": 1 - worked / wall_s,
        "rerun_seconds": rerun_s,
        "rerun_result": again["result"],
        "wall_seconds": wall_s,
        "stage_seconds": seconds,
        "result": turn["result"],
        "reason": turn["verdict"]["reason"],
        "golden_rows": reference["quality"]["rows"],
        "threads": speeds[0]["machine"]["threads"],
        "cpu": speeds[0]["machine"]["cpu"],
    }


if __name__ == "__main__":
    main()
