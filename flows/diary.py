"""What an iteration writes into MLflow while it runs: a parent run, a nested run per candidate, the new version.

Decides nothing and draws nothing.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from flows.outcome import Contender, Outcome
from flows.project import Project
from flows.promotion import JUDGED_AGAINST
from flows.reports import describe_version
from tasks import stages
from tasks.build import build
from tasks.compress.methods import Onnx
from tasks.compress.searching.report import passes_in_words
from tasks.data.checking.validate import ValidationReport
from tasks.live_runs import live_run
from tasks.records import Candidate, LeverTrial, Scorecard, Snapshot, Verdict, to_json
from tasks.registry import CHAMPION, REVIEW, Version, VersionRecord, flat_params

CANDIDATE = "ratchet.candidate"  # tag: the artifact's digest, by which an interrupted registration is found again


@dataclass(frozen=True)
class Diary:
    """The MLflow side of one iteration."""

    project: Project
    iteration: int
    trigger: str
    run_id: str

    @classmethod
    def open(cls, project: Project, iteration: int, trigger: str) -> "Diary":
        """Return the diary of a new iteration; runs that a killed one left open are closed as killed."""
        registry = project.registry
        registry.close_abandoned()
        tags = {"ratchet.iteration": str(iteration), "ratchet.trigger": trigger}
        return cls(project, iteration, trigger, registry.start_run(f"iteration {iteration}", tags=tags))

    def close(self, status: Literal["FINISHED", "FAILED"]) -> None:
        """End the parent run."""
        self.project.registry.finish_run(self.run_id, status)

    def log_snapshot(self, snapshot: Snapshot) -> None:
        """Log the snapshot as the iteration's dataset."""
        self.project.registry.log_snapshot(self.run_id, snapshot)

    def log_checks(self, *reports: ValidationReport | None) -> None:
        """Upload the Data Docs of the snapshot's validation and, second, of the feedback's, where there was one."""
        sites = {name: report for name, report in zip(("data_docs", "feedback_docs"), reports, strict=False) if report}
        folders = {name: Path(report.site) for name, report in sites.items()}
        self.project.registry.log_run(self.run_id, folders=folders)

    def training_run(self, purpose: str) -> AbstractContextManager[None]:
        """Return what gives one training a nested run of its own, into which its metrics go while it runs."""
        return live_run(self.project.registry, f"fit {purpose}".strip(), self.run_id)

    def log_trials(self, trials: Sequence[LeverTrial]) -> None:
        """Log one nested run per lever tried."""
        for trial in trials:
            run_id = self._nested(f"{trial.lever} on select", trial.card, trial.verdict)
            params = {"lever": trial.lever, "stage": trial.stage, "kept": trial.kept}
            reports = {"search": trial.search, "compression": trial.compression}
            texts = {f"ratchet/{name}.json": to_json(report) for name, report in reports.items() if report}
            self.project.registry.log_run(
                run_id, params=params | _found(trial), metrics=_chosen_figures(trial), texts=texts
            )
            self.project.registry.finish_run(run_id)

    def log_candidate(self, contender: Contender, card: Scorecard, verdict: Verdict) -> None:
        """Log the final candidate that the gate did not pass."""
        run_id = self._nested("candidate on golden", card, verdict)
        self.project.registry.log_run(run_id, params=flat_params(contender.recipe))
        self.project.registry.finish_run(run_id)

    def register(self, outcome: Outcome, contender: Contender, card: Scorecard) -> tuple[Version, VersionRecord]:
        """Return the registered version of a candidate that the gate passed, and its record.

        A version that a killed iteration registered of the same artifact against the same champion is used again.
        """
        registry = self.project.registry
        record = VersionRecord(
            contender.candidate, contender.recipe, outcome.snapshot, card, outcome.verdict, contender.given
        )
        against = registry.aliases().get(CHAMPION, "")
        tags = {
            CANDIDATE: contender.candidate.digest,
            JUDGED_AGAINST: against,
            "ratchet.iteration": str(self.iteration),
            "ratchet.verdict": outcome.verdict.decision,
        }
        if against and self.project.spec.gate.promotion == "review":
            tags[REVIEW] = "pending"
        for version in registry.versions():
            if (
                version.tags.get(CANDIDATE) == contender.candidate.digest
                and version.tags.get(JUDGED_AGAINST) == against
            ):
                return version, registry.read_record(version)
        run_id = self._nested("candidate on golden", card, outcome.verdict)
        registry.log_run(run_id, params=flat_params(contender.recipe))
        registry.log_snapshot(run_id, outcome.snapshot)
        form = _without_torch(self.project, contender, outcome.snapshot)
        links = {
            "report": str(self.project.report_path(self.iteration)),
            "data docs": outcome.checks.docs if outcome.checks else "",
        }
        version = registry.register(run_id, record, form, describe_version(outcome, links), tags)
        registry.finish_run(run_id)
        return version, record

    def _nested(self, name: str, card: Scorecard, verdict: Verdict) -> str:
        registry = self.project.registry
        run_id = registry.start_run(name, self.run_id)
        registry.log_run(run_id, metrics=card_metrics(card), texts={"ratchet/verdict.json": to_json(verdict)})
        return run_id


def _found(trial: LeverTrial) -> dict[str, str]:
    """Return what a search found as parameters: its best trial's values, or passes; none where nothing was better."""
    search = trial.search
    best = next((each for each in search.trials if each.number == search.best), None) if search else None
    if trial.compression and trial.compression.passes:
        return {"compression.passes": passes_in_words(trial.compression.passes)}
    return {f"search.{name}": value for name, value in best.values.items()} if best else {}


def _chosen_figures(trial: LeverTrial) -> dict[str, float]:
    """Return the figures of what a search over passes chose as metrics; none where it chose nothing."""
    report = trial.compression
    chosen = next((point for point in report.points if point.number == report.chosen), None) if report else None
    if chosen is None:
        return {}
    named = {"speedup": chosen.speedup, "score": chosen.score, "loss": chosen.loss, "chance": chosen.chance,
             "latency_p99_ms": chosen.latency_p99_ms, "size_bytes": chosen.size_bytes,
             "memory_bytes": chosen.memory_bytes}  # fmt: skip
    return {f"compression.{name}": float(value) for name, value in named.items() if value is not None}


def _without_torch(project: Project, contender: Contender, snapshot: Snapshot) -> Candidate:
    """Return the contender's model in a form that serves without torch: itself, or a torch model's ONNX export."""
    if contender.candidate.runtime != "torch":
        return contender.candidate
    served = replace(contender.recipe, compress=(*contender.recipe.compress, Onnx()))
    return build(stages, project.store, served, contender.snapshot or snapshot, contender.given)


def card_metrics(card: Scorecard) -> dict[str, float]:
    """Return a scorecard as flat metrics, units in the names."""
    quality, speed = card.quality, card.speed
    metrics = {
        f"{quality.split}_{quality.metric}": quality.mean,
        f"{quality.split}_{quality.metric}_low": quality.low,
        f"{quality.split}_{quality.metric}_high": quality.high,
        **{f"{quality.split}_{name}": score.value for name, score in quality.metrics.items() if name != quality.metric},
        **{f"{quality.split}_{quality.metric}.{name.replace('=', '.')}": s.mean for name, s in quality.slices.items()},
    }
    if speed is not None:
        metrics |= {
            "throughput_b1_per_s": speed.throughput_b1_per_s,
            "throughput_batch_per_s": speed.throughput_batch_per_s,
            "latency_p50_ms": speed.latency_p50_ms,
            "peak_memory_bytes": speed.peak_memory_bytes,
            "size_bytes": speed.size_bytes,
        }
        tail = {"latency_p95_ms": speed.latency_p95_ms, "latency_p99_ms": speed.latency_p99_ms}
        metrics |= {name: value for name, value in tail.items() if value is not None}
    return {_metric_name(name): value for name, value in metrics.items()}


def _metric_name(name: str) -> str:
    """Return the name with what MLflow does not allow in metric names replaced."""
    return "".join(character if character.isalnum() or character in "_-. /" else "_" for character in name)[:250]
