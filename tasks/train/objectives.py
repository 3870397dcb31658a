"""What training lowers: a loss of the model's logits against labels, and against a teacher's answers. Trains nothing.

One formula holds all parts, so that any of them go together. A text's target is a distribution over the labels:

1. its label, one-hot; none where the label is -100, as of a text that nobody labelled;
2. smoothed: (1 - s) of it, and s spread evenly over all labels (Szegedy et al. 2016);
3. mixed with the target of the text that it is paired with, in the proportion of their vectors (`_pairs`).

The label loss is the sum over classes of weight * target * (1 - p)^focal * -log p, the mean over the texts that have a
label. Two passes (R-Drop) have it each, and it is their mean. A teacher's probabilities are mixed as targets are.
In evaluation it is the plain mean cross-entropy whatever the parts, so that trainings compare.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tasks.train.methods import FineTune

log = logging.getLogger(__name__)

Inputs = dict[str, Tensor]
Loss = Callable[[nn.Module, Inputs], tuple[Tensor, dict[str, Tensor]]]  # model, batch -> mean loss, outputs
MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
NO_LABEL = -100  # the label of a text that has none, as everywhere in PyTorch
NEARLY_SURE = 1e-7  # 1 - p that is still told from 0, where the focal weight's slope may have no bound


@dataclass(frozen=True)
class Objective:
    """The loss of one training; called with the model and a batch it returns loss and outputs."""

    label_smoothing: float = 0.0
    mixup: float = 0.0  # alpha
    r_drop: float = 0.0  # alpha
    focal: float = 0.0  # gamma
    class_weights: tuple[float, ...] = ()  # of each label; empty: each 1
    temperature: float = 1.0  # of teacher and student
    mix: float = 0.0  # weight of the teacher's answers, against that of the labels
    names: tuple[str, ...] = MODEL_INPUTS  # what of a batch the model takes

    def __call__(self, model: nn.Module, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss over the batch, in float32, and the model's outputs.

        The model runs once, as DDP asks for.

        Args:
            model: what gives `logits` [batch, labels]; in evaluation the plain cross-entropy is returned.
            inputs: the model's inputs, or the texts' `vectors` [batch, hidden] for a model that takes them; `labels`
                [batch], -100 where a text has none; where a teacher is learnt from, its `teacher_logits` [batch,
                labels]. Other columns are left alone.
        """
        texts = {name: inputs[name] for name in (("vectors",) if "vectors" in inputs else self.names) if name in inputs}
        labels = inputs["labels"]
        if not model.training:
            outputs = model(**texts)
            return nn.functional.cross_entropy(outputs["logits"].float(), labels), outputs
        passes = 2 if self.r_drop else 1
        texts = {name: torch.cat([values] * passes) for name, values in texts.items()}
        share, other = self._pairs(labels)
        if other is not None:
            places = torch.cat([other + turn * len(labels) for turn in range(passes)])
            outputs = model(**texts, mixed_with=places, share=share)
        else:
            outputs = model(**texts)
        logits = outputs["logits"].float().chunk(passes)  # of each pass, [batch, labels]
        teacher = inputs.get("teacher_logits")
        loss = self._label_loss(logits, labels, share, other)
        if teacher is not None:
            loss = self.mix * self._teacher_loss(logits, teacher, share, other) + (1 - self.mix) * loss
        if self.r_drop:
            loss = loss + self.r_drop * divergence(*logits)
        return loss, {name: values[: len(labels)] for name, values in outputs.items()}

    def _pairs(self, labels: Tensor) -> tuple[float, Tensor | None]:
        """Return how vectors are mixed in pairs: a proportion drawn from Beta(a, a), and each one's partner [batch].

        Zhang et al. 2018, "mixup: Beyond empirical risk minimization", on hidden vectors instead of inputs as in
        Verma et al. 2019, "Manifold mixup", and Guo et al. 2019, "Augmenting data with mixup for sentence
        classification". The draws are torch's own, which the training seed sets; both passes of R-Drop share them.
        """
        if not self.mixup:
            return 1.0, None
        share = float(torch.distributions.Beta(self.mixup, self.mixup).sample())
        return share, torch.randperm(len(labels)).to(labels.device)

    def _label_loss(self, logits: Sequence[Tensor], labels: Tensor, share: float, other: Tensor | None) -> Tensor:
        targets = mixed(soft_labels(labels, logits[0].shape[1], self.label_smoothing), share, other)
        labelled = (labels != NO_LABEL).sum().clamp(min=1)
        weights = torch.tensor(self.class_weights, device=labels.device) if self.class_weights else None
        sums = [weighted_cross_entropy(each, targets, self.focal, weights) for each in logits]
        return sum_of(sums) / (len(sums) * labelled)

    def _teacher_loss(self, logits: Sequence[Tensor], teacher: Tensor, share: float, other: Tensor | None) -> Tensor:
        """Return T^2 * KL(teacher || student), both softened by the temperature T (Hinton et al. 2015)."""
        heat = self.temperature
        answers = mixed((teacher.float() / heat).softmax(1), share, other)
        losses = [nn.functional.kl_div((each / heat).log_softmax(1), answers, reduction="batchmean") for each in logits]
        return heat**2 * sum_of(losses) / len(losses)


def soft_labels(labels: Tensor, classes: int, smoothing: float = 0.0) -> Tensor:
    """Return smoothed one-hot labels, [batch, classes] float32 of labels [batch]; zeros where there is no label."""
    labelled = (labels != NO_LABEL).unsqueeze(1)  # [batch, 1]
    one_hot = nn.functional.one_hot(labels.where(labelled[:, 0], 0), classes).float()
    return labelled * ((1 - smoothing) * one_hot + smoothing / classes)


def mixed(rows: Tensor, share: float, other: Tensor | None) -> Tensor:
    """Return `share` of each row and the rest of the row at its place in `other` [batch]; None: the rows."""
    return rows if other is None else share * rows + (1 - share) * rows[other]


def weighted_cross_entropy(
    logits: Tensor, targets: Tensor, focal: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy of logits [batch, classes] against soft labels of that shape, summed over the batch.

    With `focal` each class's term is weighted by (1 - p)^focal, so that what the model is sure of counts less: Lin et
    al. 2017, "Focal loss for dense object detection", equation 4, for several classes and soft targets. With `weights`
    [classes] each class's term has its own. The mean is to be taken over rows, not over weights, as PyTorch does for
    soft labels: then parts of a batch that pass one after another add up to the batch.
    """
    logs = logits.log_softmax(1)  # [batch, classes]
    terms = -targets * logs
    if focal:
        terms = terms * (-torch.expm1(logs)).clamp(min=NEARLY_SURE) ** focal
    return (terms if weights is None else terms * weights).sum()


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """Return half the Kullback-Leibler divergences both ways of two passes' logits [batch, classes], the mean of rows.

    Liang et al. 2021, "R-Drop: Regularized dropout for neural networks", equation 2. Their sum of two cross-entropies
    is a mean here, so that without dropout the loss is what it is without R-Drop. Texts without a label count too.
    """
    logs = first.log_softmax(1), second.log_softmax(1)
    return 0.5 * ((logs[0].exp() - logs[1].exp()) * (logs[0] - logs[1])).sum(1).mean()


def sum_of(values: Sequence[Tensor]) -> Tensor:
    """Return the sum of tensors of one shape."""
    return torch.stack(list(values)).sum(0)


def balanced_weights(labels: Sequence[int], classes: int) -> tuple[float, ...]:
    """Return n / (k * n_c) for each class: n rows, n_c of the class, k classes that have rows; 0 for one that has none.

    So every class that has rows weighs the same in sum, and the mean over the rows is 1 (King and Zeng 2001).
    """
    counts = Counter(label for label in labels if label != NO_LABEL)
    absent = classes - len(counts)
    if absent:
        log.warning("class_weights: %d of %d labels have no train rows; they weigh nothing", absent, classes)
    return tuple(counts.total() / (len(counts) * counts[label]) if counts[label] else 0.0 for label in range(classes))


def make_objective(
    method: FineTune, labels: Sequence[int] = (), classes: int = 0, names: Sequence[str] = MODEL_INPUTS
) -> Objective:
    """Return the objective of a method, for train rows with these labels' numbers out of so many classes.

    `names` are the model's inputs, as its tokenizer names them.
    """
    distil: dict[str, Any] = {}
    if method.distil is not None:
        distil = {"temperature": method.distil.temperature, "mix": method.distil.mix}
    return Objective(
        label_smoothing=method.label_smoothing,
        mixup=method.mixup,
        r_drop=method.r_drop,
        focal=method.focal,
        class_weights=balanced_weights(labels, classes) if method.class_weights == "balanced" else (),
        names=tuple(names),
        **distil,
    )
