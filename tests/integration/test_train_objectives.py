"""The training losses, each against its formula written out or a reference, alone and together."""

import logging
import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional

from tasks.train.methods import Distil, FineTune
from tasks.train.objectives import Objective, balanced_weights, make_objective, weighted_cross_entropy
from tests.integration.test_mixup import classifier

LABELS = torch.tensor([0, 1, 2, 3, 1, 0])
LOGITS = torch.tensor(np.random.default_rng(0).normal(scale=2, size=(6, 4)), dtype=torch.float32)
TEACHER = torch.tensor(np.random.default_rng(1).normal(scale=3, size=(6, 4)), dtype=torch.float32)
WEIGHTS = (0.5, 1.0, 2.0, 3.0)


class Given(nn.Module):
    """A model whose logits are its weights, a row for each text; a second pass has logits of its own."""

    def __init__(self, *passes: Tensor) -> None:
        super().__init__()
        self.passes = nn.Parameter(torch.cat(passes))
        self.calls: list[dict[str, Any]] = []

    def forward(self, **inputs: Any) -> dict[str, Tensor]:
        self.calls.append(inputs)
        return {"logits": self.passes[: len(inputs["input_ids"])]}


def batch(labels: Tensor = LABELS, **columns: Tensor) -> dict[str, Tensor]:
    return {"input_ids": torch.arange(len(labels)).unsqueeze(1), "labels": labels, **columns}


def loss_of(passes: tuple[Tensor, ...] = (LOGITS,), inputs: dict[str, Tensor] | None = None, **parts: Any) -> Tensor:
    model = Given(*passes).train()
    loss, _ = Objective(**parts)(model, inputs or batch())
    assert len(model.calls) == 1  # what DDP asks for
    return loss.detach()


def one_hot(labels: Tensor = LABELS) -> Tensor:
    return functional.one_hot(labels, 4).float()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_loss_is_that_of_its_formula(gamma: float, smoothing: float) -> None:
    expected = 0.0
    for row, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        total = sum(math.exp(value) for value in row)
        for place, value in enumerate(row):
            p = math.exp(value) / total
            target = (1 - smoothing) * (place == label) + smoothing / 4
            expected += target * (1 - p) ** gamma * -math.log(p) / len(LABELS)
    assert float(loss_of(focal=gamma, label_smoothing=smoothing)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_focal_loss_of_gamma_zero_is_the_cross_entropy(smoothing: float) -> None:
    expected = functional.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing)
    torch.testing.assert_close(loss_of(focal=0.0, label_smoothing=smoothing), expected)
    torch.testing.assert_close(loss_of(focal=1e-9, label_smoothing=smoothing), expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_has_a_finite_slope_where_the_model_is_sure(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = weighted_cross_entropy(logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), gamma)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(400)
    assert logits.grad is not None and torch.isfinite(logits.grad).all()
    assert logits.grad[1, 0] < 0 < logits.grad[1, 1]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_are_those_of_torch_for_soft_labels(smoothing: float) -> None:
    expected = functional.cross_entropy(LOGITS, one_hot(), torch.tensor(WEIGHTS), label_smoothing=smoothing)
    found = loss_of(class_weights=WEIGHTS, label_smoothing=smoothing)
    torch.testing.assert_close(found, expected)


def test_the_parts_of_a_batch_add_up_to_it_with_class_weights() -> None:
    parts = [
        loss_of((LOGITS[rows],), batch(LABELS[rows]), class_weights=WEIGHTS) for rows in (slice(0, 3), slice(3, 6))
    ]
    torch.testing.assert_close((parts[0] + parts[1]) / 2, loss_of(class_weights=WEIGHTS))


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = random.Random(0).choices(range(5), weights=[1, 2, 4, 8, 16], k=300)
    expected = compute_class_weight("balanced", classes=np.arange(5), y=np.array(labels))
    assert balanced_weights(labels, 5) == pytest.approx(expected)


def test_a_class_without_rows_weighs_nothing_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        weights = balanced_weights([0, 0, 0, 2, -100], 4)
    assert weights == pytest.approx((4 / 6, 0, 2, 0))
    assert "2 of 4 labels have no train rows" in caplog.text
    loss = loss_of(class_weights=weights, label_smoothing=0.1)
    assert torch.isfinite(loss)
    assert balanced_weights([], 2) == (0.0, 0.0)


def test_r_drop_is_both_cross_entropies_and_the_symmetric_divergence() -> None:
    second = LOGITS.flip(0) + 0.3
    first, other = Categorical(logits=LOGITS), Categorical(logits=second)
    apart = (kl_divergence(first, other) + kl_divergence(other, first)).mean() / 2
    plain = (functional.cross_entropy(LOGITS, LABELS) + functional.cross_entropy(second, LABELS)) / 2
    torch.testing.assert_close(loss_of((LOGITS, second), r_drop=3.0), plain + 3.0 * apart)


def test_r_drop_without_dropout_is_nothing_else_and_with_it_is() -> None:
    inputs = {"input_ids": torch.arange(18).reshape(6, 3), "attention_mask": torch.ones(6, 3, dtype=torch.int64)}
    losses = {}
    for dropout in (0.0, 0.5):
        model = classifier(dropout).train()
        losses[dropout] = [Objective(r_drop=weight)(model, {**inputs, "labels": LABELS})[0] for weight in (0.0, 4.0)]
    torch.testing.assert_close(losses[0.0][0], losses[0.0][1])
    assert losses[0.5][1] > losses[0.5][0] + 0.01


@pytest.mark.parametrize(("mix", "heat"), [(0.0, 2.0), (0.3, 1.0), (0.7, 4.0), (1.0, 2.0)])
def test_distillation_is_the_divergence_from_the_teacher_and_the_label_loss(mix: float, heat: float) -> None:
    apart = kl_divergence(Categorical(logits=TEACHER / heat), Categorical(logits=LOGITS / heat)).mean()
    label_loss = functional.cross_entropy(LOGITS, LABELS, label_smoothing=0.1)
    found = loss_of(inputs=batch(teacher_logits=TEACHER), mix=mix, temperature=heat, label_smoothing=0.1)
    torch.testing.assert_close(found, mix * heat**2 * apart + (1 - mix) * label_loss)


def test_a_student_that_answers_as_its_teacher_is_told_nothing_by_it() -> None:
    model = Given(TEACHER).train()
    loss, _ = Objective(mix=1.0, temperature=3.0)(model, batch(teacher_logits=TEACHER))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-5)
    assert model.passes.grad is not None and float(model.passes.grad.abs().max()) < 1e-6


def test_without_a_teachers_answers_there_is_the_label_loss_alone() -> None:
    torch.testing.assert_close(loss_of(mix=0.9), functional.cross_entropy(LOGITS, LABELS))


def test_unlabelled_texts_learn_from_the_teacher_alone() -> None:
    labels = torch.tensor([0, -100, 2, -100, 1, 0])
    apart = kl_divergence(Categorical(logits=TEACHER), Categorical(logits=LOGITS)).mean()
    known = functional.cross_entropy(LOGITS[labels >= 0], labels[labels >= 0], label_smoothing=0.1)
    found = loss_of(inputs=batch(labels, teacher_logits=TEACHER), mix=0.6, label_smoothing=0.1)
    torch.testing.assert_close(found, 0.6 * apart + 0.4 * known)
    torch.testing.assert_close(loss_of(inputs=batch(labels), label_smoothing=0.1), known)


@pytest.mark.parametrize("parts", [{}, {"focal": 2.0, "r_drop": 1.0}, {"mixup": 0.4, "label_smoothing": 0.1},
                                   {"class_weights": WEIGHTS}])  # fmt: skip
def test_a_batch_without_any_label_gives_numbers(parts: dict[str, Any]) -> None:
    model = Given(LOGITS, LOGITS + 1).train()
    inputs = batch(torch.full((6,), -100), teacher_logits=TEACHER)
    loss, _ = Objective(mix=0.5, **parts)(model, inputs)
    loss.backward()
    assert float(loss.detach()) > 0
    assert model.passes.grad is not None and torch.isfinite(model.passes.grad).all()


def test_all_parts_together_are_soft_labels_written_out() -> None:
    labels, second, heat = torch.tensor([0, 1, -100, 3, 1, -100]), LOGITS.flip(1), 2.0
    parts = {"mixup": 0.7, "r_drop": 1.5, "focal": 2.0, "class_weights": WEIGHTS, "label_smoothing": 0.1}
    torch.manual_seed(5)
    found = loss_of((LOGITS, second), batch(labels, teacher_logits=TEACHER), mix=0.4, temperature=heat, **parts)
    torch.manual_seed(5)
    share, other = float(torch.distributions.Beta(0.7, 0.7).sample()), torch.randperm(6)
    targets = torch.stack([0.9 * one_hot(label) + 0.025 if label >= 0 else torch.zeros(4) for label in labels])
    targets = share * targets + (1 - share) * targets[other]
    answers = (TEACHER / heat).softmax(1)
    answers = share * answers + (1 - share) * answers[other]
    label_loss = teacher_loss = torch.zeros(())
    for logits in (LOGITS, second):
        p = logits.softmax(1)
        label_loss = label_loss - (torch.tensor(WEIGHTS) * targets * (1 - p) ** 2 * p.log()).sum() / 4 / 2
        student = Categorical(logits=logits / heat)
        teacher_loss = teacher_loss + heat**2 * kl_divergence(Categorical(probs=answers), student).mean() / 2
    p, q = LOGITS.softmax(1), second.softmax(1)
    apart = 0.5 * ((p * (p / q).log()).sum(1) + (q * (q / p).log()).sum(1)).mean()
    torch.testing.assert_close(found, 0.4 * teacher_loss + 0.6 * label_loss + 1.5 * apart)


def test_both_passes_of_r_drop_mix_the_same_pairs() -> None:
    model = Given(LOGITS, LOGITS).train()
    torch.manual_seed(2)
    Objective(mixup=1.0, r_drop=1.0)(model, batch())
    torch.manual_seed(2)
    torch.distributions.Beta(1.0, 1.0).sample()
    other = torch.randperm(6)
    assert model.calls[0]["mixed_with"].tolist() == [*other.tolist(), *(other + 6).tolist()]


@pytest.mark.parametrize("rows", [1, 5])
def test_in_evaluation_it_is_the_plain_cross_entropy_whatever_the_parts(rows: int) -> None:
    model = Given(LOGITS[:rows]).eval()
    parts = {"mixup": 0.7, "r_drop": 1.5, "focal": 2.0, "class_weights": WEIGHTS, "label_smoothing": 0.1, "mix": 0.5}
    loss, outputs = Objective(**parts)(model, batch(LABELS[:rows], teacher_logits=TEACHER[:rows]))  # type: ignore[arg-type]
    torch.testing.assert_close(loss, functional.cross_entropy(LOGITS[:rows], LABELS[:rows]))
    torch.testing.assert_close(outputs["logits"], LOGITS[:rows])


def test_columns_that_are_no_inputs_of_the_model_are_left_alone() -> None:
    model = Given(LOGITS).train()
    Objective(names=("input_ids",))(model, batch(rows=torch.arange(6), attention_mask=torch.ones(6, 1)))
    assert set(model.calls[0]) == {"input_ids"}


@pytest.mark.parametrize("parts", [{"focal": 2.0}, {"r_drop": 1.0}, {"class_weights": WEIGHTS}, {"mix": 0.5},
                                   {"mixup": 0.5, "r_drop": 1.0, "focal": 1.0, "mix": 0.9}])  # fmt: skip
@pytest.mark.parametrize("rows", [6, 1])
def test_under_autocast_the_loss_is_float32_and_every_weight_learns(parts: dict[str, Any], rows: int) -> None:
    model = classifier(0.1).train()
    inputs = {"input_ids": torch.arange(18).reshape(6, 3)[:rows], "labels": LABELS[:rows],
              "attention_mask": torch.ones(rows, 3, dtype=torch.int64), "teacher_logits": TEACHER[:rows]}  # fmt: skip
    with torch.autocast("cpu", torch.bfloat16):
        loss, outputs = Objective(**parts)(model, inputs)
    assert loss.dtype == torch.float32
    assert outputs["logits"].dtype == torch.bfloat16
    assert outputs["logits"].shape == (rows, 4)
    loss.backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().sum() > 0


def test_a_method_gives_the_objective_that_it_describes() -> None:
    method = FineTune(label_smoothing=0.1, mixup=0.2, r_drop=0.3, focal=2.0, class_weights="balanced",
                      distil=Distil(temperature=3.0, mix=0.8))  # fmt: skip
    assert make_objective(method, [0, 0, 0, 1], 2, ["input_ids"]) == Objective(
        0.1, 0.2, 0.3, 2.0, class_weights=(4 / 6, 2.0), temperature=3.0, mix=0.8, names=("input_ids",)
    )
    assert make_objective(FineTune()) == Objective()
