"""A linear model of words, pairs of neighbours and character n-grams: a stage that answers in microseconds.

NumPy alone, a dictionary lookup a feature. Learns nothing; `tasks.compress.cascading` writes what is read here.
"""

import json
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from serving.artifact import ArtifactInvalid
from serving.classes import soften
from serving.runtimes.ngram_text import character_grams, find_tokens, neighbours

TABLES = ("words", "pairs", "grams")
KEPT_UNKNOWN = 4096  # unknown words whose sum of n-grams is remembered
LONGEST_KEPT = 64  # characters of a word that is remembered


class NgramStage:
    """The stage, ready to answer: logits are the sum of the rows of known features over the root of their masses.

    A feature's mass is the squared norm that it adds to the text's vector. A known word's row holds its n-grams
    already; an unknown word is the sum of those of its n-grams that are known. Threads may share it.
    """

    def __init__(self, folder: Path, labels: int) -> None:
        names, rows = _read(Path(folder), labels)
        self._lower: bool = names["lower"]
        self._sizes: tuple[int, int] = names["min_n"], names["max_n"]
        self._bias = rows["bias"]  # [labels]
        # Row 0 is no feature's, so that `filter(None, ...)` drops what is unknown at the speed of C.
        self._rows = np.concatenate([np.zeros((1, labels + 1), np.float32), rows["words"], rows["pairs"]])
        self._grams_rows = rows["grams"]  # [grams, labels + mass]
        self._words = {name: row for row, name in enumerate(names["words"], 1)}
        self._pairs = {name: row for row, name in enumerate(names["pairs"], 1 + len(names["words"]))}
        self._grams = {name: row for row, name in enumerate(names["grams"])}
        self._unknown: dict[str, np.ndarray | None] = {}

    def answer(self, text: str) -> tuple[int, float]:
        """Return the index of the most probable label and its probability; 0 where nothing of the text is known."""
        return self.judge(text)[:2]

    def judge(self, text: str) -> tuple[int, float, np.ndarray]:
        """Return what `answer` does and the probabilities `[labels]` float32, those of the bias if nothing is known."""
        total = self._sum(text)
        logits = total[:-1]
        mass = total.item(-1)
        known = mass > 0
        if known:
            logits *= 1 / sqrt(mass)
        logits += self._bias
        best, confidence = soften(logits)
        return best, confidence if known else 0.0, logits

    def answers(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return indices `[texts]`, confidences `[texts]` float64 and probabilities `[texts, labels]` of many texts."""
        best, confidences = np.zeros(len(texts), np.intp), np.zeros(len(texts))
        probabilities = np.empty((len(texts), len(self._bias)), np.float32)
        for row, text in enumerate(texts):
            best[row], confidences[row], probabilities[row] = self.judge(text)
        return best, confidences, probabilities

    def _sum(self, text: str) -> np.ndarray:
        """Return the sum of the rows of the text's features and, last, of their masses."""
        tokens = find_tokens(text.lower() if self._lower else text)
        rows = [*filter(None, map(self._words.get, tokens))]
        known = len(rows)
        rows += filter(None, map(self._pairs.get, neighbours(tokens)))
        total: np.ndarray = np.add.reduce(self._rows.take(rows or [0], 0))
        if known < len(tokens):
            for token in tokens:
                if token not in self._words and (unknown := self._sum_of_grams(token)) is not None:
                    total += unknown
        return total

    def _sum_of_grams(self, token: str) -> np.ndarray | None:
        try:
            return self._unknown[token]
        except KeyError:
            known = map(self._grams.get, character_grams(token, *self._sizes))
            rows = [row for row in known if row is not None]
            total = np.add.reduce(self._grams_rows.take(rows, 0)) if rows else None
            if len(token) <= LONGEST_KEPT:
                if len(self._unknown) >= KEPT_UNKNOWN:
                    self._unknown.clear()
                self._unknown[token] = total
            return total


def _read(folder: Path, labels: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the names of all features and their rows `[features, labels + mass]` float32, with `bias` `[labels]`.

    Raises:
        ArtifactInvalid: a file is missing, unreadable or does not fit the others.
    """
    try:
        names: dict[str, Any] = json.loads((folder / "words.json").read_text("utf-8"))
        names = {"lower": bool(names["lower"]), "min_n": int(names["min_n"]), "max_n": int(names["max_n"]),
                 **{name: list(names[name]) for name in TABLES}}  # fmt: skip
        arrays = {
            name: np.load(folder / f"{name}.npy", allow_pickle=False)
            for name in ("bias", *TABLES, *(f"{name}_mass" for name in TABLES))
        }
    except (OSError, ValueError, TypeError, KeyError, EOFError) as error:
        raise ArtifactInvalid(f"{folder}: expected a first stage's words.json and arrays; {error!r}") from error
    rows = {"bias": arrays["bias"].astype(np.float32)}
    _expect(folder, "bias", rows["bias"], (labels,))
    for name in TABLES:
        _expect(folder, name, arrays[name], (len(names[name]), labels))
        _expect(folder, f"{name}_mass", arrays[f"{name}_mass"], (len(names[name]),))
        rows[name] = np.column_stack([arrays[name], arrays[f"{name}_mass"]]).astype(np.float32, copy=False)
    return names, rows


def _expect(folder: Path, name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape or not np.isfinite(array).all():
        raise ArtifactInvalid(
            f"{folder / name}.npy: expected finite numbers of shape {list(shape)}, got {list(array.shape)}; "
            "build the model again"
        )
