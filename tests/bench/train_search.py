"""How many trials a search needs that knows an earlier iteration's, against one that starts anew.

The earlier iteration searched on some rows; the later one has those and as many again. Both searches of the later one
try as many trials; the same quality is the best score that either reaches, less the tolerance, and each needs the
trials until it gets there first. Repeated over seeds, which draw the rows and drive the sampler.
"""

from pathlib import Path

from flows.search import search
from tasks.given import Given
from tasks.search.report import SearchReport
from tests.bench.train_fewshot import make_project
from tests.bench.train_text import Rows, draw_per_label, say

SEEDS = (1, 2, 3)
TRIALS = 12
TOLERANCE = 0.005  # of accuracy on valid: a third of its standard error
BASE = {"name": "minilm", "layers": [0, 5]}
RECIPE = {"base": BASE, "train": {"tune": "frozen", "epochs": 5, "max_length": 32}}  # the encoder reads each text once
SPACE = {
    "learning_rate": {"low": 1e-4, "high": 0.3, "log": True},
    "epochs": {"low": 2, "high": 12},
    "batch_size": [16, 32, 64, 128],
    "label_smoothing": {"low": 0.0, "high": 0.3},
    "dropout": {"low": 0.0, "high": 0.6},
    "weight_decay": {"low": 0.0, "high": 0.3},
}


def measure_search(train: Rows, folder: Path) -> dict[str, float]:
    """Return the trials that the warm search needs as a share of those of the cold one."""
    needs = [_one(train, folder / str(seed), seed) for seed in SEEDS]
    cold, warm = [need[0] for need in needs], [need[1] for need in needs]
    return {"warm_trials_ratio": sum(warm) / sum(cold), "cold_trials": sum(cold) / len(cold),
            "warm_trials": sum(warm) / len(warm)}  # fmt: skip


def _one(train: Rows, folder: Path, seed: int) -> tuple[int, int]:
    """Return the trials that a cold and a warm search need until they reach the same quality."""
    valid, others = draw_per_label(train, 10, seed)
    golden, others = draw_per_label(others, 1, seed)
    select, others = draw_per_label(others, 1, seed)
    before, others = draw_per_label(others, 6, seed)
    more, _ = draw_per_label(others, 6, seed)
    held = {"valid": valid, "select": select, "golden": golden}
    how = {"space": SPACE, "trials": TRIALS, "minutes": None, "seed": seed}
    _search(folder / "earlier", {"train": before, **held}, how)
    cold = _search(folder / "cold", {"train": before + more, **held}, how)
    warm = _search(folder / "earlier", {"train": before + more, **held}, how)
    reach = max(report.best_score or 0.0 for report in (cold, warm)) - TOLERANCE
    needs = _needed(cold, reach), _needed(warm, reach)
    say(f"  seed {seed}: {reach:.4f} is reached by the cold search at trial {needs[0]}, by the warm one at {needs[1]}; "
        f"best {cold.best_score:.4f} and {warm.best_score:.4f}")  # fmt: skip
    return needs


def _search(folder: Path, splits: dict[str, Rows], how: dict[str, object]) -> SearchReport:
    project, snapshot = make_project(folder, splits, RECIPE, **how)
    [lever] = project.spec.levers
    return search(project, project.spec.recipe, lever, snapshot, Given())


def _needed(report: SearchReport, reach: float) -> int:
    """Return how many trials it took to a score of at least `reach`; one more than there were where none has it."""
    scores = [trial.score for trial in report.trials]
    return next((at for at, score in enumerate(scores, 1) if score is not None and score >= reach), len(scores) + 1)
