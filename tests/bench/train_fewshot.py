"""What a search of 15 minutes gains over default fine-tuning where a class has 10 examples, on banking77's test set.

All labelled rows are those ten: two of each class are `valid`, by which the search chooses. The default is the better
of two: our own default hyperparameters on the same rows, and the `Trainer` with its default arguments on all ten.
"""

import csv
import time
from pathlib import Path

import yaml

import tasks.build
import tasks.collect
from flows.project import Project, open_project
from flows.search import search
from tasks.build import fitted
from tasks.given import Given
from tasks.records import Snapshot
from tasks.specs import Recipe
from tests.bench.train_speed import train_by_default
from tests.bench.train_text import Rows, accuracy, draw_per_label, say

EXAMPLES, VALID = 10, 2  # of a class, and those of them that are held out
MINUTES = 15
SEED = 11


def measure_fewshot(train: Rows, test: Rows, folder: Path) -> dict[str, float]:
    """Return the points of accuracy that the best recipe found gains, and what it was compared with."""
    few, others = draw_per_label(train, EXAMPLES, SEED)
    valid, rest = draw_per_label(few, VALID, SEED)
    select, _ = draw_per_label(others, 1, SEED)  # a project wants it; nothing here reads it
    project, snapshot = make_project(folder, {"train": rest, "valid": valid, "select": select, "golden": test})
    recipe, [lever] = project.spec.recipe, project.spec.levers
    ours = accuracy(fitted(tasks.build, project.store, recipe, snapshot), test)
    theirs = train_by_default(few, test).accuracy
    say(f"  default hyperparameters {ours:.4f}, the Trainer's default arguments {theirs:.4f}")
    started = time.monotonic()
    found = search(project, recipe, lever, snapshot, Given())
    minutes = (time.monotonic() - started) / 60
    best = Recipe(base=found.base, train=found.train)
    reached = accuracy(fitted(tasks.build, project.store, best, snapshot), test)
    say(f"  {found.sentence}; on test {reached:.4f}")
    for trial in found.trials:
        shown = " ".join(f"{name} {value}" for name, value in trial.values.items())
        say(f"    {trial.number:3} {trial.state:9} {trial.score or 0:.4f} {trial.seconds:5.0f} s  {shown}")
    default = max(ours, theirs)
    return {"fewshot_gain": 100 * (reached - default), "fewshot_accuracy": reached, "fewshot_default": default,
            "fewshot_minutes": minutes, "fewshot_trials": float(len(found.trials))}  # fmt: skip


def make_project(
    folder: Path, splits: dict[str, Rows], recipe: dict[str, object] | None = None, **how: object
) -> tuple[Project, Snapshot]:
    """Return a project with one search lever, and its snapshot of the rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    spec = {
        "name": "bench-train",
        "data": {
            "source": {"kind": "file", "splits": {name: f"{name}.csv" for name in splits}},
            "leakage": "drop",
        },
        "recipe": recipe or {"train": {"max_length": 64}},
        "levers": [{"name": "search", "search": {"minutes": MINUTES, **how}}],
    }
    (folder / "ratchet.yaml").write_text(yaml.safe_dump(spec), "utf-8")
    project = open_project(folder)
    rows = tasks.collect.collect(project.store, str(project.root), project.spec.data)
    return project, tasks.build.snapshot(project.store, [rows], project.spec.data)
