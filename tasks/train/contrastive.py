"""Contrastive training of the encoder before the head, for few examples (Tunstall et al. 2022, SetFit).

Texts of one label are drawn together and texts of others apart, then a logistic regression on the vectors is the head
that fine-tuning starts from. It is skipped where even the rarest class has examples enough.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DataCollatorWithPadding

from tasks.train.engine.trainer import Phase
from tasks.train.lesson import Lesson
from tasks.train.methods import Contrastive, FineTune
from tasks.train.model import EncoderClassifier
from tasks.train.objectives import Loss
from tasks.train.phases import Notes, run_phase
from tasks.train.processes.group import over_processes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

EPOCHS = {"supcon": 10, "cosine": 1}
TOGETHER = 4  # texts of one class that stand side by side in a batch of the supervised contrastive loss
INVERSE_PENALTY = 10.0  # C of the regression, on vectors of length 1
NEVER = -30.0  # logit of a label that the regression saw no row of, below its lowest one


def contrast(
    model: EncoderClassifier,
    tokenizer: "PreTrainedTokenizerBase",
    own: Contrastive,
    method: FineTune,
    lesson: Lesson,
    rows: Sequence[dict[str, Any]],
) -> Notes:
    """Train encoder and head in place and return what is noted; nothing where no class is short of rows.

    Args:
        own: what the method says of contrastive training.
        lesson: names the rows.
        rows: tokens of each text of its train rows, and its label's number as `labels`.

    Raises:
        ModelError: what `run_phase` raises.
    """
    rows = [*rows]  # read once: each is drawn many times
    labels = [int(row["labels"]) for row in rows]
    rarest = min(Counter(labels).values(), default=0)
    if rarest >= own.below or len(set(labels)) < 2:
        log.info("contrastive: skipped, the rarest class has %d rows (train.contrastive.below: %d)", rarest,
                 own.below)  # fmt: skip
        return {}
    pad = DataCollatorWithPadding(tokenizer)
    order = draw_order(labels, own, method.seed)
    pairs = list(zip(order[0::2], order[1::2], strict=True))
    log.info("contrastive: %d texts of %d rows in pairs, loss %s", len(order), len(rows), own.loss)
    model.head.requires_grad_(False)  # the loss does not reach it
    run_phase(Phase("contrastive", _flat(pad)), model, tokenizer, _loss_of(own), own, method,
              [{"pair": (rows[left], rows[right])} for left, right in pairs], lesson.work,
              lambda at: " with ".join(map(lesson.row_name, pairs[at])))  # fmt: skip
    model.head.requires_grad_(True)
    regress_head(model, embed(model, rows, pad), labels)
    return {"contrastive_texts": float(len(order))}


def _flat(pad: DataCollatorWithPadding) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
    """Return what makes a batch of pairs: their texts side by side, and the pairs' numbers."""

    def collate(pairs: list[dict[str, Any]]) -> dict[str, Tensor]:
        texts = pad([{**row} for pair in pairs for row in pair["pair"]])
        return {**texts, "rows": torch.tensor([pair["rows"] for pair in pairs])}

    return collate


def draw_order(labels: Sequence[int], method: Contrastive, seed: int) -> list[int]:
    """Return the places of the rows in the order in which training reads them, for all epochs.

    Each class counts alike, whatever its rows: as many times as the biggest has rows, but at most `below` times.
    Cosine: places 2i and 2i+1 are a pair; each anchor has `pairs` with its own class and as many with another one.
    Supcon: `TOGETHER` texts of a class stand side by side, and each class has its turn before one has another.
    """
    rng = random.Random(seed)
    classes = [[place for place, label in enumerate(labels) if label == one] for one in sorted(set(labels))]
    share = min(method.below, max(map(len, classes)))
    draw = _draw_pairs if method.loss == "cosine" else _draw_groups
    epochs = method.epochs or EPOCHS[method.loss]
    return [place for _ in range(epochs) for place in draw(classes, share, method.pairs, rng)]


def _draw_pairs(classes: Sequence[Sequence[int]], share: int, pairs: int, rng: random.Random) -> list[int]:
    found = []
    for number, own in enumerate(classes):
        others = [place for other, places in enumerate(classes) if other != number for place in places]
        for anchor in _cycled(own, share, rng):
            partners = [place for place in own if place != anchor] or own  # a lone row: itself, under another dropout
            for _ in range(pairs):
                found += [(anchor, rng.choice(partners)), (anchor, rng.choice(others))]
    rng.shuffle(found)
    return [place for pair in found for place in pair]


def _draw_groups(classes: Sequence[Sequence[int]], share: int, pairs: int, rng: random.Random) -> list[int]:
    """Return groups of one class each; a class has its next group only when all others had theirs."""
    rounds: list[list[list[int]]] = []
    for own in classes:
        cycled = _cycled(own, -(-share // TOGETHER) * TOGETHER, rng)
        groups = [cycled[start : start + TOGETHER] for start in range(0, len(cycled), TOGETHER)]
        for at, group in enumerate(groups):
            rounds += [[]] if at == len(rounds) else []
            rounds[at].append(group)
    for each in rounds:
        rng.shuffle(each)
    return [place for each in rounds for group in each for place in group]


def _cycled(places: Sequence[int], count: int, rng: random.Random) -> list[int]:
    """Return `count` of the places, shuffled; where they are fewer, they begin again."""
    found: list[int] = []
    while len(found) < count:
        found += rng.sample(places, len(places))
    return found[:count]


def _loss_of(own: Contrastive) -> Loss:
    """Return the loss of a batch of texts; in that of supcon those of all processes meet, but not parts of a batch."""

    def loss(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        labels = inputs.pop("labels")
        vectors = model(**inputs)["pooled"].float()  # [texts, hidden]
        if own.loss == "cosine":
            return cosine_loss(vectors, labels), {}
        return supcon_loss(over_processes(vectors), over_processes(labels), own.temperature), {}

    return loss


def cosine_loss(vectors: Tensor, labels: Tensor) -> Tensor:
    """Return the mean squared difference of each pair's cosine to 1 (same label) or 0 (Tunstall et al. 2022).

    Args:
        vectors: [2 * pairs, hidden], the texts of a pair side by side.
        labels: [2 * pairs].
    """
    cosines = nn.functional.cosine_similarity(vectors[0::2], vectors[1::2])  # [pairs]
    return nn.functional.mse_loss(cosines, (labels[0::2] == labels[1::2]).float())


def supcon_loss(vectors: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss (Khosla et al. 2020, L_out) of a batch: every pair in it counts.

    Args:
        vectors: [texts, hidden].
        labels: [texts]; a text whose label no other has only pushes others away.
    """
    directions = nn.functional.normalize(vectors, dim=1)
    cosines = directions @ directions.T / temperature  # [texts, texts]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    others = cosines.masked_fill(itself, torch.finfo(cosines.dtype).min)  # no infinity: a text may be alone
    logs = cosines - others.logsumexp(1, keepdim=True)
    alike = (labels[:, None] == labels[None, :]) & ~itself
    count = alike.sum(1)
    losses = -(logs * alike).sum(1) / count.clamp(min=1)  # [texts], 0 where none is alike
    return losses.sum() / (count > 0).sum().clamp(min=1)


@torch.no_grad()
def embed(model: EncoderClassifier, rows: Sequence[dict[str, Any]], collate: Any, batch_size: int = 64) -> np.ndarray:
    """Return the vector that the head reads of each text, [texts, hidden], without dropout."""
    found: list[Tensor] = []
    hook = model.head.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].float().cpu()))
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        for start in range(0, len(rows), batch_size):
            batch = collate([{**row} for row in rows[start : start + batch_size]])
            model(**{name: values.to(device) for name, values in batch.items() if name != "labels"})
    finally:
        hook.remove()
        model.train(was_training)
    vectors: np.ndarray = torch.cat(found).numpy()
    return vectors


def regress_head(model: EncoderClassifier, vectors: np.ndarray, labels: Sequence[int]) -> None:
    """Make the head give the probabilities of a logistic regression on the vectors [texts, hidden], in place.

    The regression sees the vectors divided by their mean length, which the head's weights then make up for. A label
    without rows gets a logit so low that it has no probability.
    """
    from sklearn.linear_model import LogisticRegression

    scale = float(np.linalg.norm(vectors, axis=1).mean()) or 1.0
    fitted = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(vectors / scale, labels)
    slopes, offsets = fitted.coef_ / scale, fitted.intercept_
    if len(fitted.classes_) == 2:  # one logit, of the second class
        slopes, offsets = np.stack([-slopes[0] / 2, slopes[0] / 2]), np.array([-offsets[0] / 2, offsets[0] / 2])
    seen = torch.from_numpy(np.asarray(fitted.classes_, dtype=np.int64))
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.fill_(float(offsets.min()) + NEVER)
        model.head.weight[seen] = torch.from_numpy(slopes).to(model.head.weight)
        model.head.bias[seen] = torch.from_numpy(offsets).to(model.head.bias)
