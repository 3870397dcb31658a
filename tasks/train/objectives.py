"""What training lowers: a loss of the model's logits against labels. Trains nothing."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tasks.train.methods import FineTune

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Objective:
    """The loss of one training; called with the model and a batch it returns loss and outputs."""

    label_smoothing: float = 0.0
    mixup: float = 0.0

    def __call__(self, model: nn.Module, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss over the batch, and the model's outputs.

        Args:
            model: what gives `logits` [batch, labels]; in evaluation the plain cross-entropy is returned.
            inputs: the model's inputs and `labels` [batch].
        """
        texts = {name: values for name, values in inputs.items() if name != "labels"}
        labels = inputs["labels"]
        if not model.training:
            outputs = model(**texts)
            return cross_entropy(outputs["logits"], labels), outputs
        if self.mixup:
            return self._mixed(model, texts, labels)
        outputs = model(**texts)
        return cross_entropy(outputs["logits"], labels, self.label_smoothing), outputs

    def _mixed(self, model: nn.Module, texts: Inputs, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return loss and outputs of the batch's vectors mixed in pairs, in one proportion drawn from Beta(a, a).

        Zhang et al. 2018, "mixup: Beyond empirical risk minimization", on hidden vectors instead of inputs as in
        Verma et al. 2019, "Manifold mixup", and Guo et al. 2019, "Augmenting data with mixup for sentence
        classification". The draws are torch's own, which the training seed sets.
        """
        share = float(torch.distributions.Beta(self.mixup, self.mixup).sample())
        other = torch.randperm(len(labels)).to(labels.device)
        outputs = model(**texts, mixed_with=other, share=share)
        losses = [cross_entropy(outputs["logits"], target, self.label_smoothing) for target in (labels, labels[other])]
        return share * losses[0] + (1 - share) * losses[1], outputs


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy with smoothed labels (Szegedy et al. 2016), the mean over the batch."""
    return nn.functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)


def make_objective(method: FineTune, **_: Any) -> Objective:
    """Return the objective of a method."""
    return Objective(method.label_smoothing, method.mixup)
