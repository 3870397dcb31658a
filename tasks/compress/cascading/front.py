"""The cascade pass: a cheap stage in front of a served model answers what it is sure of.

The stage is a linear model of n-grams that is fitted here, or a model of its own that passes made before.

N-grams learn what the origin says of the training rows, of texts mixed from them and of half of the unlabelled
texts. What counts as sure is chosen on `valid` and on the other unlabelled texts, by the stage as it will be served,
so that what writing it rounds counts too. Training rows are no evidence, not even with stages that are cross-fitted on
them: the origin has learned their labels (on banking77 it is right on 99.1 % of them and on 93.0 % of fresh texts), so
its answers to them are not those that a stage must match in production, and no bound carries over. Origins that are
cross-fitted too would be other models than the one to agree with, at a training each.

A model's own training may have read the unlabelled texts, so that `valid` alone judges it then. Which of its epochs was
kept was chosen on `valid`, by the loss of its labels: a choice among few, which the bound does not count.

The bound is on the stage's own answers against the origin's. The model behind it answers the rest as it did before.
"""

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.artifact import FIRST, REST
from serving.classes import softmax
from serving.runtimes.cascade import FirstStage, ModelStage
from serving.runtimes.ngrams import NgramStage
from tasks.artifacts import OF_THE_MODEL, open_artifact, seal
from tasks.compress.material import Material
from tasks.compress.methods import Cascade
from tasks.compress.sequence import reads_texts
from tasks.data.augmentation.remix import remix
from tasks.data.drawing import unit_interval
from tasks.errors import ModelError
from tasks.measure.runtime import load
from tasks.records import Candidate
from tasks.store import cache_key

if TYPE_CHECKING:
    from tasks.compress.cascading.threshold import Threshold

log = logging.getLogger(__name__)

MOST_ROWS = 5000  # unlabelled texts that are kept from learning for the threshold


@dataclass(frozen=True)
class Texts:
    """Which texts the stage learns from, and which choose its threshold; none is in both."""

    train: list[str]
    further: list[str]  # unlabelled ones that it learns from too
    held: list[str]  # rows of `valid`, then unlabelled ones


def put_in_front(method: Cascade, source: Candidate, folder: Path, material: Material) -> Candidate:
    """Return the source behind a first stage, as a cascade's artifact in `folder`.

    Its notes are the threshold, the shares of the held-out texts that the stage answers (`coverage`) and that it
    answers otherwise than the origin (`differing`), with the bound on that, how many texts there were, and the stage's
    accuracy on `valid`, alone.

    Raises:
        ModelError: the source is not served or no classifier, the origin has other labels, the rows are too few for
            any threshold to hold, the stage's model has other labels than the source, or its surest answers differ from
            the origin's.
    """
    origin, manifest = open_artifact(source)
    _check(manifest, material)
    taught = isinstance(method.stage, tuple) and reads_texts(method.stage)
    texts = _divide(replace(material, unlabelled=()) if taught else material, method.seed)
    _check_rows(method, texts)
    labels: list[str] = manifest["labels"]
    best, confidences = _judged(_first_stage(method, folder / FIRST, texts, labels, material), texts.held)
    agrees = best == answers_of(material, texts.held, labels, "fp32").argmax(axis=1)
    threshold = _choose(method, confidences, agrees)
    right = [labels[at] == label for at, (_, label) in zip(best, material.valid, strict=False)]
    notes = _notes(threshold) | ({"first_accuracy": float(np.mean(right))} if right else {})
    log.info("cascade: %s", ", ".join(f"{name} {value:.4g}" for name, value in notes.items()))
    shutil.copytree(origin, folder / REST, dirs_exist_ok=True)
    shutil.copy(origin / "tokenizer.json", folder)
    of_the_model = {name: manifest[name] for name in OF_THE_MODEL}
    return seal(folder, runtime="cascade", notes=notes, threshold=threshold.value, **of_the_model)


def _first_stage(method: Cascade, folder: Path, texts: Texts, labels: list[str], material: Material) -> FirstStage:
    """Write the first stage into the folder, and return it ready to judge."""
    if not isinstance(method.stage, tuple):
        _write_first(method, folder, texts, labels, material)
        return NgramStage(folder, len(labels))
    assert material.stage is not None  # `tasks.build` makes it before
    made, manifest = open_artifact(material.stage)
    if manifest["labels"] != labels:
        raise ModelError(
            "compress: cascade.stage makes a model with other labels than the model behind it: "
            f"{_some(set(manifest['labels']) ^ set(labels))}; make both of the same model"
        )
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return ModelStage(load(material.stage))


def _judged(stage: FirstStage, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the stage's labels and confidences [texts], asked one by one: in a batch int8 rounds otherwise."""
    found = [stage.judge(text) for text in texts]
    return np.array([best for best, _, _ in found]), np.array([confidence for _, confidence, _ in found])


def _write_first(method: Cascade, folder: Path, texts: Texts, labels: list[str], material: Material) -> None:
    """Write the first stage into the folder; it is kept beside the answers that it learned, for other cascades."""
    from tasks.compress.cascading.ngram_stage import fit_stage, write_stage

    asked = [material.origin.digest, texts.train, texts.further, texts.held, labels]
    key = cache_key("first_stage", *asked, method.augment, method.max_features, method.seed)
    kept = material.answers / f"first-{key}" if material.answers else None
    if kept is None or not kept.is_dir():
        made = remix(texts.train, method.augment, method.seed)  # as `distil` does, whose answers then serve here too
        parts = [answers_of(material, each, labels, "auto") for each in (texts.train, texts.further, made) if each]
        held, real = set(texts.held), len(texts.train) + len(texts.further)
        everything = [*texts.train, *texts.further, *made]
        learned = [at for at, text in enumerate(everything) if at < real or text not in held]
        answers = softmax(np.concatenate(parts)[learned])
        stage = fit_stage([everything[at] for at in learned], answers, real, method.max_features, method.seed)
        write_stage(stage, folder)
        if kept is not None:
            _keep(folder, kept)
    else:
        shutil.copytree(kept, folder, dirs_exist_ok=True)


def _keep(folder: Path, kept: Path) -> None:
    """Copy the folder to where it is kept, whole or not at all; another process may do so at once."""
    partial = kept.with_suffix(f".{os.getpid()}.partial")
    shutil.copytree(folder, partial, dirs_exist_ok=True)
    try:
        partial.rename(kept)
    except OSError:
        if not kept.is_dir():
            raise
        shutil.rmtree(partial)  # the other was first, and wrote the same


def answers_of(material: Material, texts: Sequence[str], labels: Sequence[str], precision: str) -> np.ndarray:
    """Return the origin's logits but for a constant in each row, [texts, labels] float32; passes share what is kept."""
    from tasks.train.distil import kept_logits

    found = kept_logits([material.origin], texts, material.labels, 1.0, precision, material.answers)
    return found[:, [material.labels.index(label) for label in labels]]


def _check(manifest: dict[str, Any], material: Material) -> None:
    if manifest["runtime"] == "torch":
        raise ModelError("compress: cascade needs a served model; put the pass `onnx` or `openvino` before it")
    if manifest["task"] != "classification":
        raise ModelError(
            f"compress: cascade needs a classification, whose answers can be compared and have a confidence, not a "
            f"{manifest['task']}; drop the pass `cascade`"
        )
    for called, labels in (("model", manifest["labels"]), ("origin", open_artifact(material.origin)[1]["labels"])):
        if sorted(labels) != sorted(material.labels):
            raise ModelError(
                f"compress: cascade needs the labels of the training rows, and the {called} has others: "
                f"{_some(set(labels) ^ set(material.labels))}; train the model on the present labels"
            )


def _some(labels: set[str]) -> str:
    shown = ", ".join(repr(label) for label in sorted(labels)[:5])
    return f"{shown} and {len(labels) - 5} more" if len(labels) > 5 else shown


def _divide(material: Material, seed: int) -> Texts:
    """Return who learns and who judges: unlabelled texts once each, drawn by their hash; none that has a label."""
    train, valid = [text for text, _ in material.train], [text for text, _ in material.valid]
    labelled = {*train, *valid}
    others = [text for text in dict.fromkeys(material.unlabelled) if text not in labelled]
    share = min(0.5, MOST_ROWS / max(len(others), 1))
    held = {text for text in others if unit_interval(seed, "threshold", text) < share}
    return Texts(
        train, [text for text in others if text not in held], valid + [text for text in others if text in held]
    )


def _check_rows(method: Cascade, texts: Texts) -> None:
    from tasks.compress.cascading.threshold import fewest_rows

    needed = fewest_rows(method.agreement, method.confidence)
    if len(texts.held) < needed:
        raise ModelError(
            f"compress: cascade cannot show an agreement of {method.agreement} with confidence {method.confidence} on "
            f"{len(texts.held)} held-out texts: it takes {needed} at least; lower `agreement`, give `valid` more rows, "
            "or let the recipe read unlabelled texts"
        )


def _choose(method: Cascade, confidences: np.ndarray, agrees: np.ndarray) -> "Threshold":
    from tasks.compress.cascading.threshold import choose_threshold

    threshold = choose_threshold(confidences, agrees, method.agreement, method.confidence)
    if threshold is None:
        raise ModelError(
            f"compress: cascade found no threshold at which its first stage keeps an agreement of {method.agreement}: "
            f"where it is surest of {len(agrees)} held-out texts it already answers otherwise than the model; lower "
            "`agreement`, or give `train` or `valid` more rows"
        )
    return threshold


def _notes(threshold: "Threshold") -> dict[str, float]:
    return {
        "threshold": threshold.value,
        "coverage": threshold.answered / threshold.rows,
        "differing": threshold.differing / threshold.rows,
        "differing_bound": threshold.bound,
        "threshold_rows": threshold.rows,
    }
