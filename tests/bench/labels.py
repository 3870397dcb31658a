"""What cleaning does on real text: label errors, planted dirt, and whether a model gains by it.

Label errors are sought in published labels that are really wrong (banking77_oos, true ones beside them), in banking77
with planted dirt, and in clinc150 with planted wrong labels, on which nothing was decided here. Nothing is tuned on a
test set. The same fine-tune is then run on dirty, cleaned and original rows and scored on the official test set.
"""

import csv
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from serving.artifact import read_manifest
from tasks.data.cleaning.clean import clean
from tasks.data.cleaning.conflicts import Conflicts
from tasks.data.cleaning.dedup import ExactDuplicates, NearDuplicates
from tasks.data.cleaning.filter import Filter
from tasks.data.cleaning.label_errors import LabelErrors, find_label_errors
from tasks.data.cleaning.normalise import Normalise, normalise_text
from tasks.data.cleaning.outliers import Outliers, measure_distances
from tasks.data.cleaning.scrub import scrub_text
from tasks.data.cleaning.scrub_step import Scrub
from tasks.data.embeddings import embed_texts
from tasks.data.rows import make_rows, values
from tasks.measure.statistics import paired_difference
from tasks.train.finetune import finetune
from tasks.train.lesson import Lesson
from tasks.train.methods import FineTune
from tests.bench.dirt import Dirty, plant, plant_wrong_labels

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SEED = 20_26
RECIPE = (
    Normalise(), Filter(languages=("en",)), Scrub(), Conflicts(), ExactDuplicates(), NearDuplicates(threshold=0.8),
    LabelErrors(),
)  # fmt: skip
TRAIN = FineTune(epochs=3, learning_rate=2e-4, batch_size=32, max_length=64)  # as in examples/banking77.yaml
LONG = replace(TRAIN, epochs=6)  # long enough that a model learns wrong labels by heart; after 3 it hardly has

Pairs = list[tuple[str, str]]


def main() -> None:
    """Measure, and print a line for each figure with its target and one JSON object last."""
    figures = measure_real_text()
    sys.stdout.write(json.dumps(figures) + "\n")


def measure_real_text() -> dict[str, float]:
    """Return all figures by name, printing each as it is found. Shares are in [0, 1], gains in points of accuracy."""
    figures: dict[str, float] = {}
    for measure in (_published_labels, _other_labels, _out_of_scope, _planted_dirt):
        started = time.monotonic()
        figures |= measure()
        sys.stdout.write(f"({measure.__name__.strip('_').replace('_', ' ')}: {time.monotonic() - started:.0f} s)\n")
        sys.stdout.flush()
    return figures


def _say(what: str, value: float, target: float | None = None, form: str = "{:.3f}") -> float:
    goal = "" if target is None else f"  target {form.format(target)}: {'met' if value >= target else 'MISSED'}"
    sys.stdout.write(f"{what:<86} {form.format(value)}{goal}\n")
    sys.stdout.flush()
    return value


def read_pairs(path: str, text: str, label: str) -> Pairs:
    """Return two columns of a CSV file of the shared data."""
    with (DATA / path).open(newline="", encoding="utf-8") as file:
        return [(row[text], row[label]) for row in csv.DictReader(file)]


def average_precision(wrong: np.ndarray, suspicion: np.ndarray) -> float:
    """Return the average precision [0, 1] of ranking rows by suspicion, the highest first."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(wrong, suspicion))


def _published_labels() -> dict[str, float]:
    """Rank the rows of banking77_oos by how wrong their published label looks; compare with in-sample confidence."""
    true = read_pairs("banking77_oos/train.csv", "text", "true_intent")
    published = read_pairs("banking77_oos/train.csv", "text", "published_intent")
    wrong = np.array([left != right for left, right in zip(true, published, strict=True)])
    texts, labels = [text for text, _ in published], [label for _, label in published]
    found, _ = find_label_errors(LabelErrors(), texts, labels)
    ours = average_precision(wrong, -np.nan_to_num(found.given, nan=1.0))
    with tempfile.TemporaryDirectory() as folder:
        predict = _fine_tune(published, sorted(set(labels)), Path(folder))
        answers = predict.predict(texts).probabilities
    tuned = average_precision(wrong, -answers[np.arange(len(texts)), np.searchsorted(sorted(set(labels)), labels)])
    fitted = {name: average_precision(wrong, -_in_sample(vectors, labels)) for name, vectors in _views(texts).items()}
    _say("banking77_oos: average precision, label_errors", ours)
    figures = {"average_precision": ours}
    for name, found_there in {"fine-tuned": tuned, **fitted}.items():
        _say(f"banking77_oos: average precision without cross-validation, {name} model", found_there)
        key = "ap_ratio_" + name.split()[0].replace("-", "_").lower()
        figures[key] = _say("    ratio of label_errors to it", ours / found_there, 2.0)
    return {**figures, "ap_ratio": figures["ap_ratio_fine_tuned"], **_detection("oos", wrong, found.flagged)}


def _views(texts: Sequence[str]) -> dict[str, Any]:
    """Return vectors of the texts by the name of the model that is fitted on them."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(texts)
    return {"words (logistic regression)": words, "embeddings (logistic regression)": embed_texts(texts)}


def _in_sample(vectors: Any, labels: Sequence[str]) -> np.ndarray:
    """Return the confidence in the given label [texts] of a model fitted to these very rows until it fits them."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=100, max_iter=300).fit(vectors, labels)
    numbers = np.searchsorted(model.classes_, labels)
    confidence: np.ndarray = model.predict_proba(vectors)[np.arange(len(labels)), numbers]
    return confidence


def _detection(name: str, wrong: np.ndarray, flagged: np.ndarray) -> dict[str, float]:
    hits = int((wrong & flagged).sum())
    return {f"{name}_recall": _say(f"{name}: label-error recall", hits / max(1, int(wrong.sum()))),
            f"{name}_precision": _say(f"{name}: label-error precision", hits / max(1, int(flagged.sum())))}  # fmt: skip


def _other_labels() -> dict[str, float]:
    """Find planted wrong labels in clinc150."""
    rows = read_pairs("clinc150/full_train.csv", "text", "intent")
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    given = plant_wrong_labels(labels, 0.1, SEED)
    wrong = np.array([left != right for left, right in zip(labels, given, strict=True)])
    found, _ = find_label_errors(LabelErrors(), texts, given)
    return _detection("clinc150", wrong, found.flagged)


def _out_of_scope() -> dict[str, float]:
    """Tell out-of-scope queries, mixed into train under random labels, by the distance that `outliers` goes by."""
    from sklearn.metrics import roc_auc_score

    rows = read_pairs("banking77_oos/train.csv", "text", "published_intent")
    labels = sorted({label for _, label in rows})
    figures = {}
    for kind in ("near", "far"):
        odd = [text for text, _ in read_pairs(f"banking77_oos/{kind}_oos_valid.csv", "text", "label")]
        drawn = plant_wrong_labels([labels[at % len(labels)] for at in range(len(odd))], 1.0, SEED)
        texts, targets = [text for text, _ in rows] + odd, [label for _, label in rows] + drawn
        truth = np.arange(len(texts)) >= len(rows)
        for among in ("label", "all"):
            distances = measure_distances(Outliers(among=among), texts, targets)  # type: ignore[arg-type]
            key = f"outlier_auroc_{kind}_{among}"
            figures[key] = _say(f"banking77_oos: AUROC of {kind} out-of-scope rows, distance among {among}",
                                float(roc_auc_score(truth, distances)))  # fmt: skip
    return figures


def _planted_dirt() -> dict[str, float]:
    """Clean dirty banking77 and train on dirty, cleaned and original rows."""
    original = read_pairs("banking77/train.csv", "text", "category")
    dirty = plant(original, SEED)
    table = make_rows({
        "id": [name for name, _, _ in dirty.rows], "text": [text for _, text, _ in dirty.rows],
        "target": [label for _, _, label in dirty.rows], "split": ["train"] * len(dirty.rows),
        "source": ["bench"] * len(dirty.rows),
    })  # fmt: skip
    figures = {"pii_recall": _personal_data(dirty)}
    gone: dict[str, list[str]] = {}
    for step in RECIPE:
        left = clean(table, [step]).table
        kept = set(values(left, "id"))
        gone[step.kind] = [name for name in values(table, "id") if name not in kept]
        if step.kind == "label_errors":
            figures |= _planted_labels(dirty, values(table, "id"), gone[step.kind], kept)
        table = left
    figures |= _unfit_and_near(dirty, set(values(table, "id")))
    sys.stdout.write(f"rows removed: { {kind: len(names) for kind, names in gone.items()} }\n")
    cleaned = list(zip(values(table, "text"), values(table, "target"), strict=True))
    return figures | _gain(original, [(text, label) for _, text, label in dirty.rows], cleaned)


def _personal_data(dirty: Dirty) -> float:
    """Return the share of planted values that are not in the text any more after `normalise` and `scrub`."""
    texts = {name: text for name, text, _ in dirty.rows}
    left = {name for name, value in dirty.personal.items() if value in scrub_text(normalise_text(texts[name]))}
    for kind in sorted(set(dirty.kinds.values())):
        names = [name for name, found in dirty.kinds.items() if found == kind]
        _say(f"banking77 dirty: recall of {kind}", 1 - sum(name in left for name in names) / len(names))
    return _say("banking77 dirty: recall of personal data", 1 - len(left) / len(dirty.personal), 0.98)


def _planted_labels(dirty: Dirty, before: Iterable[str], flagged: Sequence[str], kept: set[str]) -> dict[str, float]:
    """Return recall over planted wrong labels that reach the step, and precision among rows that have a right label."""
    wrong = [name for name in before if name in dirty.wrong]
    judged = [name for name in flagged if name not in dirty.unfit]
    hits = sum(name in dirty.wrong for name in judged)
    left = sum(name in kept for name in dirty.wrong)
    return {
        "label_error_recall": _say("banking77 dirty: label-error recall", hits / len(wrong), 0.80),
        "label_error_precision": _say("banking77 dirty: label-error precision", hits / max(1, len(judged)), 0.70),
        "wrong_labels_left": _say("banking77 dirty: wrong labels left, share of planted", left / len(dirty.wrong)),
    }


def _unfit_and_near(dirty: Dirty, kept: set[str]) -> dict[str, float]:
    for kind in sorted(set(dirty.unfit.values())):
        names = [name for name, found in dirty.unfit.items() if found == kind]
        _say(f"banking77 dirty: recall of {kind} rows", 1 - sum(name in kept for name in names) / len(names))
    twice = sum(name in kept and twin in kept for name, twin in dirty.near.items())
    return {
        "unfit_recall": _say("banking77 dirty: recall of foreign and garbage rows",
                             1 - sum(name in kept for name in dirty.unfit) / len(dirty.unfit)),
        "near_duplicate_recall": _say("banking77 dirty: near duplicates of which one row at most is left",
                                      1 - twice / len(dirty.near)),
    }  # fmt: skip


def _gain(original: Pairs, dirty: Pairs, cleaned: Pairs) -> dict[str, float]:
    """Return by how many points of accuracy, on the official test set, training on cleaned rows beats dirty ones."""
    test = read_pairs("banking77/test.csv", "text", "category")
    labels = sorted({label for _, label in original})
    right: dict[str, np.ndarray] = {}
    for name, rows in (("dirty", dirty), ("cleaned", cleaned), ("original", original)):
        with tempfile.TemporaryDirectory() as folder:
            predict = _fine_tune(rows, labels, Path(folder), LONG)
            found = predict.predict([text for text, _ in test]).outputs
        right[name] = np.array([output == label for output, (_, label) in zip(found, test, strict=True)], float)
        _say(f"banking77 test: accuracy trained on {name} rows ({len(rows)})", float(right[name].mean()))
    gain = paired_difference(right["cleaned"], right["dirty"], 0.025)
    short = paired_difference(right["original"], right["cleaned"], 0.025)
    return {
        "cleaned_gain": _say("points that cleaned beats dirty by", 100 * gain.value, form="{:+.2f}"),
        "cleaned_gain_low": _say("  lower end of its 95 % interval", 100 * gain.low, 0.0, "{:+.2f}"),
        "cleaned_gain_high": _say("  upper end", 100 * gain.high, form="{:+.2f}"),
        "original_gap": _say("points that cleaned falls short of original by (at most 1)", 100 * short.value,
                             form="{:+.2f}"),
        "accuracy_dirty": float(right["dirty"].mean()), "accuracy_cleaned": float(right["cleaned"].mean()),
        "accuracy_original": float(right["original"].mean()),
    }  # fmt: skip


def _fine_tune(rows: Pairs, labels: Sequence[str], folder: Path, how: FineTune = TRAIN) -> Any:
    from tasks.train.model import TorchPredictor

    finetune("minilm", how, Lesson(rows, [], tuple(labels)), folder / "model")
    return TorchPredictor(folder / "model", read_manifest(folder / "model"))


if __name__ == "__main__":
    main()
