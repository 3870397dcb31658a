"""What tests of the shaping passes share: tiny untrained artifacts of every family, their rows and their answers."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from tasks.artifacts import open_artifact
from tasks.measure.runtime import load
from tasks.records import Candidate
from tasks.train.bases.loading import load_base
from tasks.train.model import EncoderClassifier, load_artifact, save_artifact
from tests.base_support import make_base, make_tokenizer
from tests.loop_support import FILLER, WORDS, messages

LABELS = sorted(WORDS)
ROWS = [(row["text"], row["label"]) for row in messages(60, seed=5)]
TEXTS = [text for text, _ in ROWS[:20]]


def made(root: Path, family: str, pad: str = "", **changes: object) -> Candidate:
    """Return an artifact of a family whose weights are drawn from a seed, wide enough that all of them matter."""
    base = make_base(root / "base", family, **changes)
    if pad:
        make_tokenizer(pad).save_pretrained(base)
    torch.manual_seed(7)
    model, tokenizer = load_base(str(base), len(LABELS), "mean", 0.0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "norm" not in name.lower():
                weight.copy_(torch.randn_like(weight) * (0.3 if "embed" in name else 0.25))
    return save(root / "model", model, tokenizer)


def save(folder: Path, model: EncoderClassifier, tokenizer: object) -> Candidate:
    """Return the model as an artifact."""
    return save_artifact(folder, model, tokenizer, labels=LABELS, max_length=32, pooling="mean", notes={}, seed=7,  # type: ignore[arg-type]
                         versions={})  # fmt: skip


def opened(candidate: Candidate) -> EncoderClassifier:
    """Return the artifact's model."""
    return load_artifact(*open_artifact(candidate))


def probabilities(candidate: Candidate, texts: list[str]) -> np.ndarray:
    """Return what the artifact answers, [texts, labels]."""
    found = load(candidate).predict(texts).probabilities
    assert found is not None
    return found


def part(model: EncoderClassifier, name: str) -> nn.Module:
    """Return a module of the encoder by the end of its name in the first layer that has it."""
    return next(module for path, module in model.encoder.named_modules() if path.endswith(name))


def known_texts() -> list[str]:
    """Return texts of words that training rows use."""
    words = [*FILLER, *WORDS["refund"], *WORDS["account"]]
    return [" ".join(words[start : start + 5]) for start in range(0, 20, 3)]
