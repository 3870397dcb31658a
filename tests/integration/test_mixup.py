"""Mixup and smoothed labels in the loss: the arithmetic against soft labels written out, and what stays as it is."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.trainer_pt_utils import LabelSmoother

from tasks.records import Candidate
from tasks.train.finetune import finetune
from tasks.train.lesson import Lesson
from tasks.train.methods import FineTune
from tasks.train.model import EncoderClassifier
from tasks.train.objectives import Objective
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


def classifier(dropout: float = 0.0) -> Any:
    torch.manual_seed(0)
    return EncoderClassifier(Table(), 4, "mean", dropout)  # type: ignore[arg-type]


def run(model: Any, seed: int = 3, rows: int = 6, **loss: float) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    batch = {"input_ids": INPUTS, "attention_mask": torch.ones_like(INPUTS), "labels": LABELS}
    found, outputs = Objective(**loss)(model, {name: values[:rows] for name, values in batch.items()})
    return {"loss": found, "logits": outputs["logits"]}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_loss_is_that_of_mixed_vectors_against_mixed_labels(alpha: float, smoothing: float) -> None:
    model, loss = classifier().train(), {"mixup": alpha, "label_smoothing": smoothing}
    found = run(model, **loss)
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
    assert run(model, **loss)["loss"] == found["loss"]
    assert run(model, seed=4, **loss)["loss"] != found["loss"]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothed_labels_are_those_of_the_trainer(smoothing: float) -> None:
    found = run(classifier().train(), label_smoothing=smoothing)
    torch.testing.assert_close(found["loss"], LabelSmoother(smoothing)({"logits": found["logits"]}, LABELS))


def test_nothing_is_mixed_in_evaluation_nor_at_alpha_zero() -> None:
    plain = run(classifier().train())
    for found in (run(classifier().eval(), mixup=0.4), run(classifier().train(), mixup=0.0)):
        for name, value in found.items():
            torch.testing.assert_close(value, plain[name])


def test_a_batch_of_one_text_is_mixed_with_itself() -> None:
    mixed = run(classifier().train(), rows=1, mixup=1.0)["loss"]
    torch.testing.assert_close(mixed, run(classifier().eval(), rows=1)["loss"])


def test_training_with_it_follows_from_the_seed_and_teaches_something_else(tmp_path: Path, tiny_base: Path) -> None:
    rows = [(row["text"], row["label"]) for row in messages(160, seed=1)]
    labels = sorted({label for _, label in rows})

    def train(name: str, **changes: Any) -> Candidate:
        (tmp_path / name).mkdir()
        method = FineTune(epochs=2, learning_rate=0.01, precision="fp32", label_smoothing=0.1, **changes)
        return finetune(
            str(tiny_base), method, Lesson(rows[:120], rows[120:], tuple(labels)), tmp_path / name / "model"
        )

    first, again, off = train("first", mixup=0.4), train("again", mixup=0.4), train("off")
    files = [(Path(made.uri) / "model.safetensors").read_bytes() for made in (first, again, off)]
    assert files[0] == files[1] != files[2]
    assert 0 < first.notes["valid_loss"] < 2
