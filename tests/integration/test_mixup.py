"""Mixup and smoothed labels in the loss: the arithmetic against soft labels written out, and what stays as it is."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.trainer_pt_utils import LabelSmoother

from tasks.records import Candidate
from tasks.train.finetune import FineTune, finetune
from tasks.train.model import EncoderClassifier
from tests.loop_support import messages

LABELS = torch.tensor([0, 1, 2, 3, 1, 0])
INPUTS = torch.arange(18).reshape(6, 3)


class Table(nn.Module):
    """An encoder that looks tokens up and does nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden_size=8)
        self.rows = nn.Embedding(18, 8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor]:
        return (self.rows(input_ids),)


def classifier(**loss: float) -> Any:
    torch.manual_seed(0)
    model: Any = EncoderClassifier(Table(), 4, "mean")  # type: ignore[arg-type]
    for name, value in loss.items():
        setattr(model, name, value)
    return model


def run(model: Any, seed: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    result: dict[str, Tensor] = model(INPUTS, torch.ones_like(INPUTS), labels=LABELS)
    return result


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_loss_is_that_of_mixed_vectors_against_mixed_labels(alpha: float, smoothing: float) -> None:
    model = classifier(mixup=alpha, label_smoothing=smoothing).train()
    found = run(model)
    torch.manual_seed(3)
    share, other = torch.distributions.Beta(alpha, alpha).sample(), torch.randperm(6)
    assert 0 < float(share) < 1
    pooled = model.encoder.rows(INPUTS).mean(1)
    logits = model.head(share * pooled + (1 - share) * pooled[other])
    one_hot = nn.functional.one_hot(LABELS, 4).float()
    soft = share * one_hot + (1 - share) * one_hot[other]
    soft = (1 - smoothing) * soft + smoothing / 4
    expected = -(soft * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(found["loss"], expected)
    torch.testing.assert_close(found["logits"], logits)
    assert run(model)["loss"] == found["loss"]
    assert run(model, seed=4)["loss"] != found["loss"]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothed_labels_are_those_of_the_trainer(smoothing: float) -> None:
    model = classifier(label_smoothing=smoothing).train()
    found = run(model)
    torch.testing.assert_close(found["loss"], LabelSmoother(smoothing)({"logits": found["logits"]}, LABELS))


def test_nothing_is_mixed_in_evaluation_nor_without_labels_nor_at_alpha_zero() -> None:
    plain, mixed = run(classifier()), classifier(mixup=0.4)
    for model in (mixed.eval(), classifier(mixup=0.0).train()):
        for name, value in run(model).items():
            torch.testing.assert_close(value, plain[name])
    only = mixed.train()(INPUTS, torch.ones_like(INPUTS))
    assert set(only) == {"logits"}
    torch.testing.assert_close(only["logits"], plain["logits"])


def test_a_batch_of_one_text_is_mixed_with_itself() -> None:
    model, ones = classifier(mixup=1.0).train(), torch.ones(1, 3, dtype=torch.long)
    mixed = model(INPUTS[:1], ones, labels=LABELS[:1])["loss"]
    torch.testing.assert_close(mixed, model.eval()(INPUTS[:1], ones, labels=LABELS[:1])["loss"])


def test_training_with_it_follows_from_the_seed_and_teaches_something_else(tmp_path: Path, tiny_base: Path) -> None:
    rows = [(row["text"], row["label"]) for row in messages(160, seed=1)]
    labels = sorted({label for _, label in rows})

    def train(name: str, **changes: Any) -> Candidate:
        (tmp_path / name).mkdir()
        method = FineTune(epochs=2, learning_rate=0.01, precision="fp32", label_smoothing=0.1, **changes)
        return finetune(str(tiny_base), method, rows[:120], rows[120:], labels, tmp_path / name / "model")

    first, again, off = train("first", mixup=0.4), train("again", mixup=0.4), train("off")
    files = [(Path(made.uri) / "model.safetensors").read_bytes() for made in (first, again, off)]
    assert files[0] == files[1] != files[2]
    assert 0 < first.notes["valid_loss"] < 2
