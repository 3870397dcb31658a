"""`make bench-compress`: a search over compression passes on banking77, and what it found against int8 and Olive's.

A project is run as a user runs it: the baseline, then an iteration whose one lever is a search for passes, judged by
the gate on the official test set. Then the baseline in PyTorch fp32, the models that the search found (chosen by
`select`, never by test) and Olive's int8 answer the whole test set in turn. Prints what it measures; the last line is
one JSON object.
"""

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

import tasks.build
from flows.outcome import Outcome
from flows.project import Project
from flows.spec import read_spec
from tasks.compress.methods import CompressPass, Onnx
from tasks.compress.searching.report import CompressReport, Point, passes_in_words
from tasks.measure.runtime import load
from tasks.measure.speed.fresh_process import measure_fresh_process
from tasks.records import Candidate, from_json
from tests.bench.compress_peer import peers
from tests.bench.compress_speed import Answered, answered_here, measure_models
from tests.bench.figures import show
from tests.bench.train_text import DATA, Rows, read_rows, say

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "bench-out" / "compress"
SHAPING = ("shrink", "factorise", "prune", "distil")
STARTS = 5  # cold starts, of which the median counts
TARGETS = {  # what each figure should reach, as the sign says
    "int8_ratio": (">=", 5), "compact_ratio": (">=", 12), "compact_size_ratio": (">=", 8), "cascade_ratio": (">=", 60),
    "cascade_retention": (">=", 0.99), "ratio_vs_peer": (">=", 10), "serve_memory_mb": ("<=", 250),
    "cold_start_seconds": ("<=", 1), "int8_retention": (">=", 0.99), "compact_retention": (">=", 0.99),
    "cascade_p99_ratio": ("<=", 1), "peer_accuracy_gap": (">=", 0), "search_minutes": ("<=", 15),
}  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    if not DATA.is_dir():
        sys.exit(f"{DATA} is absent: the benchmark needs the banking77 CSV files there")
    spec = _write_project()
    baseline, turn = (_run(spec, name) for name in ("baseline", "iteration"))
    report = next(trial.compression for trial in turn.trials if trial.compression)
    models = _models(spec, baseline, report)
    test = read_rows("test")
    figures = {"search_minutes": report.minutes}
    for threads in (1, 2):
        answered = measure_models(models, test, threads)
        figures |= _figures(answered, models, "" if threads == 1 else "_2_threads")
    figures |= _serving(models["cascade"], test)
    show(figures, TARGETS)
    say(json.dumps({name: round(value, 4) for name, value in figures.items()}))


def _write_project() -> Path:
    shutil.rmtree(WORK / "project", ignore_errors=True)
    (WORK / "project").mkdir(parents=True)
    content = yaml.safe_load((ROOT / "examples" / "banking77-compress.yaml").read_text("utf-8"))
    content["data"]["source"]["splits"] = {"train": str(DATA / "train.csv"), "golden": str(DATA / "test.csv")}
    spec = WORK / "project" / "ratchet.yaml"
    spec.write_text(yaml.safe_dump(content), "utf-8")
    return spec


def _run(spec: Path, name: str) -> Outcome:
    started = time.monotonic()
    command = [str(Path(sys.executable).parent / "ratchet"), "run", str(spec), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    outcome = from_json(Outcome, done.stdout)
    say(f"{name}: {outcome.result} in {time.monotonic() - started:.0f} s; {outcome.verdict.reason}")
    for trial in outcome.trials:
        say(f"  lever {trial.lever}: {'kept' if trial.kept else 'dropped'}; {trial.verdict.reason}")
        for point in trial.compression.points if trial.compression else ():
            say(f"    {_line(point)}")
    return outcome


def _line(point: Point) -> str:
    if point.score is None or point.speedup is None:
        return f"{point.state}: {passes_in_words(point.passes)}; {point.message}"
    return (f"{100 * point.score:.2f} % of {point.rows}, {point.speedup:.1f}x, {point.size_bytes / 1e6:.1f} MB: "
            f"{passes_in_words(point.passes)}")  # fmt: skip


def _models(spec: Path, baseline: Outcome, report: CompressReport) -> dict[str, Candidate]:
    """Return the models to compare: what the search measured is in the store, so that none is built again."""
    project = Project(read_spec(spec), spec)

    def built(passes: Sequence[CompressPass]) -> Candidate:
        recipe = replace(project.spec.recipe, compress=tuple(passes))
        return tasks.build.build(tasks.build, project.store, recipe, baseline.snapshot)

    margin = project.spec.gate.margin
    chosen = {
        "int8": _fastest(report, margin, lambda kinds: not set(kinds) & {*SHAPING, "cascade"} and _is_int8(kinds)),
        "compact": _fastest(report, margin, lambda kinds: "cascade" not in kinds and bool(set(kinds) & set(SHAPING))),
        "cascade": next((point for point in report.points if point.number == report.chosen), None),
    }
    models = {"baseline": built(())}
    for name, point in chosen.items():
        if point is None:
            sys.exit(f"the search found no model for {name!r} that keeps the margin on select: {report.sentence}")
        say(f"{name}: {passes_in_words(point.passes)}")
        models[name] = built(point.passes)
    return models | peers(built((Onnx(),)), WORK / "peer")


def _is_int8(kinds: Sequence[str]) -> bool:
    return bool(set(kinds) & {"int8", "int8_static", "openvino"})


def _fastest(report: CompressReport, margin: float, wanted) -> Point | None:
    """Return the fastest point of the wanted kinds whose loss on select is within the margin."""
    found = [point for point in report.points if point.speedup is not None and point.passes
             and point.loss is not None and point.loss <= margin
             and wanted([method.kind for method in point.passes])]  # fmt: skip
    return max(found, key=lambda point: point.speedup or 0.0, default=None)


def _figures(answered: dict[str, Answered], models: dict[str, Candidate], suffix: str) -> dict[str, float]:
    """Return the figures of one number of threads; the peer is the faster of Olive's recipes."""
    base, cascade = answered["baseline"], answered["cascade"]
    peer = min((each for name, each in answered.items() if name.startswith("olive")),
               key=lambda each: each.mean_ms)  # fmt: skip
    say(f"  on the whole test set{suffix.replace('_', ' ')}")
    for name, each in answered.items():
        say(f"  {name:16}{100 * each.accuracy:6.2f} %{each.mean_ms:9.4f} ms a text (p99 {each.p99_ms:.3f})"
            f"{each.batch_ms:9.4f} in batches{models[name].size_bytes / 1e6:8.1f} MB")  # fmt: skip
    found = {
        "int8_ratio": base.mean_ms / answered["int8"].mean_ms,
        "compact_ratio": base.mean_ms / answered["compact"].mean_ms,
        "cascade_ratio": base.mean_ms / cascade.mean_ms,
        "ratio_vs_peer": peer.mean_ms / cascade.mean_ms,
        "cascade_p99_ratio": cascade.p99_ms / answered["int8"].p99_ms,
        "cascade_batch_ratio": base.batch_ms / cascade.batch_ms,
    }
    if not suffix:
        found |= {
            f"{name}_retention": answered[name].accuracy / base.accuracy for name in ("int8", "compact", "cascade")
        }
        found |= {
            "compact_size_ratio": models["baseline"].size_bytes / models["compact"].size_bytes,
            "peer_accuracy_gap": 100 * (cascade.accuracy - peer.accuracy),
            "baseline_accuracy": base.accuracy,
        }
    return {name + suffix: value for name, value in found.items()}


def _serving(cascade: Candidate, test: Rows) -> dict[str, float]:
    """Return what a process that only serves the cascade takes, and the shares that its stages answer."""
    fresh = [measure_fresh_process(cascade) for _ in range(STARTS)]
    shares = answered_here(load(cascade, 1), [text for text, _ in test])
    say(f"  shares of the test set that the stages answer: {', '.join(f'{share:.3f}' for share in shares)}")
    return {
        "serve_memory_mb": max(each.peak_memory_bytes for each in fresh) / 1e6,
        "cold_start_seconds": statistics.median(each.cold_start_s for each in fresh),
        "answered_by_first_stage": shares[0],
    }


if __name__ == "__main__":
    main()
