"""Weights that pruning set to zero, held there while a model trains. Prunes nothing."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

LEAST = 0.1  # share of a matrix that is exactly zero, from which on its zeros are taken for pruned


@contextmanager
def zeros_kept(model: nn.Module) -> Iterator[int]:
    """Hold the zeros of the model's pruned matrices at zero in the block; yields how many weights those are.

    Their gradients are zero there. So are AdamW's moments then, and its step from zero, weight decay included, goes
    nowhere; the gradient's norm, by which it is clipped, is that of the weights that learn.
    """
    pruned = {name: weight == 0 for name, weight in model.named_parameters() if _is_pruned(weight)}
    weights = dict(model.named_parameters())
    held = [weights[name].register_hook(_Without(zero)) for name, zero in pruned.items()]  # type: ignore[no-untyped-call]
    count = sum(int(zero.sum()) for zero in pruned.values())
    if pruned:
        log.info("zeros stay: %d weights in %d matrices", count, len(pruned))
    try:
        yield count
    finally:
        for handle in held:
            handle.remove()


def _is_pruned(weight: nn.Parameter) -> bool:
    """Return whether a weight is a matrix that learns, of which enough is zero."""
    return weight.requires_grad and weight.dim() == 2 and float((weight == 0).float().mean()) >= LEAST


class _Without:
    """Sets a gradient to zero where the weight is held, on whichever device the weight is by then."""

    def __init__(self, zero: Tensor) -> None:
        self._zero = zero

    def __call__(self, gradient: Tensor) -> Tensor:
        if self._zero.device != gradient.device:
            self._zero = self._zero.to(gradient.device)
        return torch.where(self._zero, 0.0, gradient)
