"""What goes into the linear layers of an encoder while it reads texts: measured, for passes to weigh by."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tasks.train.bases.reshape import Linear
from tasks.train.model import EncoderClassifier

Batch = dict[str, Tensor]


@torch.inference_mode()
def norms(model: EncoderClassifier, layers: dict[str, Linear], texts: Iterable[Batch]) -> dict[str, Tensor]:
    """Return, for each layer, the Euclidean norm of each of its inputs over all tokens, [inputs]."""
    sums: dict[str, Tensor] = {}

    def add(name: str, values: Tensor) -> None:
        sums[name] = sums.get(name, 0) + values.double().square().sum(0)

    _run(model, layers, texts, add)
    return {name: total.sqrt().float() for name, total in sums.items()}


@torch.inference_mode()
def moments(
    model: EncoderClassifier, layers: dict[str, Linear], texts: Iterable[Batch]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return, for each layer, the mean of its inputs over all tokens [inputs] and of their products [inputs, inputs].

    Both are in float64.
    """
    sums: dict[str, tuple[Any, Any, Any]] = {}

    def add(name: str, values: Tensor) -> None:
        count, total, products = sums.get(name, (0, 0, 0))
        values = values.double()  # less would not do where one input is far larger than the others
        sums[name] = (count + len(values), total + values.sum(0), products + values.T @ values)

    _run(model, layers, texts, add)
    return {name: (total / count, products / count) for name, (count, total, products) in sums.items()}


def _run(
    model: EncoderClassifier, layers: dict[str, Linear], texts: Iterable[Batch], add: Callable[[str, Tensor], None]
) -> None:
    """Let the model read the texts, and give `add` what each layer takes of tokens that are no padding."""
    model.eval()
    seen: dict[str, Tensor] = {}

    def looking(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def look(_: nn.Module, taken: tuple[Tensor, ...]) -> None:
            values, mask = taken[0], seen["mask"]
            if values.shape[: mask.dim()] == mask.shape:
                add(name, values[mask])
            else:  # what is no token, such as a table of distances
                add(name, values.reshape(-1, values.shape[-1]))

        return look

    with hooked((layer.register_forward_pre_hook(looking(name)) for name, layer in layers.items())):
        for batch in texts:
            seen["mask"] = batch["attention_mask"].bool()
            model(**batch)


@contextmanager
def hooked(handles: Iterable[Any]) -> Iterator[None]:
    """Let hooks, as they were registered, last as long as the block."""
    held = list(handles)
    try:
        yield
    finally:
        for handle in held:
            handle.remove()
