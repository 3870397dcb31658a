"""How much the heads, neurons and layers of a model matter to what it answers. Removes nothing."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from tasks.compress.shaping.activations import Batch, hooked
from tasks.errors import ModelError
from tasks.progress import report_progress
from tasks.train.bases.families import keep_layers
from tasks.train.bases.layers import encoder_layers
from tasks.train.bases.reshape import LowRank, matrix
from tasks.train.model import EncoderClassifier

log = logging.getLogger(__name__)


def by_taylor(
    model: EncoderClassifier, readers: Mapping[str, tuple[nn.Module, int]], texts: Iterable[tuple[Batch, Tensor]]
) -> dict[str, Tensor]:
    """Return what each unit is worth to the loss, to first order: for each reader, [units] float64.

    It is the mean over texts of |activation x gradient|, summed over a text's tokens and a unit's dimensions (Molchanov
    et al. 2017, equation 9; Michel et al. 2019, equation 5), of the cross-entropy of the texts' labels.

    Args:
        model: the classifier.
        readers: layers that read units, and how many of their inputs belong to each unit.
        texts: what the model takes, and the numbers of the right labels, [texts].
    """
    model.eval().requires_grad_(False)
    taken: dict[str, Tensor] = {}

    def keeping(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        def keep(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            taken[name] = given[0] if given[0].requires_grad else given[0].detach().requires_grad_()
            return (taken[name], *given[1:])

        return keep

    sums: dict[str, Tensor] = {}
    rows = 0
    with hooked(reader.register_forward_pre_hook(keeping(name)) for name, (reader, _) in readers.items()):
        for batch, labels in texts:
            loss = nn.functional.cross_entropy(model(**batch)["logits"], labels, reduction="sum")
            gradients = torch.autograd.grad(loss, [taken[name] for name in readers])
            for (name, (_, size)), gradient in zip(readers.items(), gradients, strict=True):
                worth = (taken[name].detach() * gradient).double().sum(1)  # [texts, inputs]
                sums[name] = sums.get(name, 0) + worth.reshape(len(worth), -1, size).sum(2).abs().sum(0)
            rows += len(labels)
    return {name: total / rows for name, total in sums.items()}


def by_magnitude(makers: Sequence[tuple[nn.Module, int]], reader: nn.Module, size: int) -> Tensor:
    """Return the norm of the weights that would go with each unit, [units].

    Args:
        makers: layers that make the units, and how many times each of them holds all units, one after another.
        reader: the layer that reads them.
        size: how many of its inputs belong to each unit.
    """
    squares = _matrix(reader).square().sum(0)  # [inputs]
    for maker, stacked in makers:
        squares = squares + _matrix(maker).square().sum(1).reshape(stacked, -1).sum(0)
    return squares.reshape(-1, size).sum(1).sqrt()


def _matrix(linear: nn.Module) -> Tensor:
    return matrix(linear.up) @ matrix(linear.down) if isinstance(linear, LowRank) else matrix(linear)


@torch.inference_mode()
def answers(model: EncoderClassifier, texts: Sequence[Batch]) -> Tensor:
    """Return the log-probabilities of the labels, [texts, labels]."""
    model.eval()
    return torch.cat([model(**batch)["logits"].log_softmax(1) for batch in texts])


def least_missed_layers(model: EncoderClassifier, count: int, texts: Sequence[Batch]) -> list[int]:
    """Return which layers stay when `count` go, one after another: each time the one whose absence changes least.

    What changes is the mean Kullback-Leibler divergence of the answers from the whole model's. The model itself is as
    before when this returns.

    Raises:
        ModelError: it has no more layers than are to go, or none of those left can.
    """
    whole, expected = model.encoder, answers(model, texts)
    stay = list(range(len(encoder_layers(whole))))
    if count >= len(stay):
        raise ModelError(f"compress: shrink is to remove {count} layers of {len(stay)}; leave at least one")
    for gone in range(count):
        changes: dict[int, float] = {}
        refused = ""
        for number, layer in enumerate(stay):
            report_progress("shrink", gone * len(stay) + number, count * len(stay))
            try:
                model.encoder = keep_layers(whole, [other for other in stay if other != layer])
            except ModelError as error:  # such as a first layer that nothing else can stand for
                refused = str(error)
                continue
            found = answers(model, texts)
            changes[layer] = float((expected.exp() * (expected - found)).sum(1).mean())
        model.encoder = whole
        if not changes:
            raise ModelError(f"compress: shrink finds no layer that can go; {refused}")
        least = min(changes, key=changes.__getitem__)
        log.info("shrink: without layer %d the answers change by %.4f nats", least, changes[least])
        stay.remove(least)
    return stay
