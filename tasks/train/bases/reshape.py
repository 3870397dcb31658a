"""Linear layers of other shapes than an encoder's config says: factors, removed heads and neurons, fewer words.

What a compression pass changed is told by the names and shapes of the weights themselves, so that a saved model opens
again. Chooses nothing to remove, and reads no file.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tasks.train.bases.blocks import HEADS
from tasks.train.bases.layers import encoder_layers, find_layers

DOWN, UP = ".down.weight", ".up.weight"


class LowRank(nn.Module):
    """A linear layer as the product of two thin ones: `up(down(x))`, with the bias in `up`."""

    def __init__(self, inputs: int, outputs: int, rank: int, bias: bool) -> None:
        super().__init__()
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=bias)

    def forward(self, values: Tensor) -> Tensor:
        """Return the outputs, [..., outputs], of values [..., inputs]."""
        made: Tensor = self.up(self.down(values))
        return made

    @property
    def weight(self) -> Tensor:
        """The first factor, at which some families look for the type of what they compute in."""
        return self.down.weight


Linear = Any  # nn.Linear, Conv1D or LowRank


def linear_layers(encoder: nn.Module) -> Iterator[tuple[str, Linear]]:
    """Yield the linear layers in the encoder's list of layers, with their names in the encoder.

    Raises:
        ModelError: it has no list of layers.
    """
    path, layers = find_layers(encoder)
    for name, module in layers.named_modules():
        if isinstance(module, nn.Linear | Conv1D):
            yield f"{path}.{name}", module


def matrix(linear: Linear) -> Tensor:
    """Return a linear layer's weights as [outputs, inputs], whichever way round it keeps them; no copy."""
    weight: Tensor = linear.weight.data
    return weight.T if isinstance(linear, Conv1D) else weight


def cut_outputs(linear: Linear, kept: Tensor) -> Linear:
    """Return a linear layer that gives the outputs `kept` (their numbers) only, in that order."""
    if isinstance(linear, LowRank):
        return _low_rank(linear.down, cut_outputs(linear.up, kept))
    bias = None if linear.bias is None else linear.bias.data[kept]
    return _filled(linear, matrix(linear)[kept], bias)


def cut_inputs(linear: Linear, kept: Tensor) -> Linear:
    """Return a linear layer that takes the inputs `kept` (their numbers) only, in that order."""
    if isinstance(linear, LowRank):
        return _low_rank(cut_inputs(linear.down, kept), linear.up)
    return _filled(linear, matrix(linear)[:, kept], None if linear.bias is None else linear.bias.data)


def _low_rank(down: Any, up: Any) -> LowRank:
    made = LowRank(down.in_features, up.out_features, down.out_features, up.bias is not None)
    made.down, made.up = down, up
    return made


def _filled(like: Linear, weight: Tensor, bias: Tensor | None) -> Linear:
    """Return a layer of the same kind with the weights [outputs, inputs]."""
    made = _empty(like, *weight.shape)
    matrix(made).copy_(weight)
    if bias is not None:
        made.bias.data.copy_(bias)
    return made


def _empty(like: Linear, outputs: int, inputs: int) -> Linear:
    """Return a layer of the same kind and another shape, which draws nothing from torch's random state."""
    with torch.random.fork_rng():
        if isinstance(like, Conv1D):
            return Conv1D(outputs, inputs)
        return nn.Linear(inputs, outputs, bias=like.bias is not None)


def replace(encoder: nn.Module, name: str, linear: Linear) -> None:
    """Put another linear layer at a name of the encoder, and let the attention around it know of its heads."""
    place, _, own = name.rpartition(".")
    parent: Any = encoder.get_submodule(place)
    setattr(parent, own, linear.train(parent.training))
    size = getattr(parent, "attention_head_size", None)
    if size and getattr(parent, "num_attention_heads", None) and own.startswith(("query", "key", "value")):
        parent.num_attention_heads = outputs_of(linear) // size
        parent.all_head_size = outputs_of(linear)
    if hasattr(parent, "split_size") and own == "c_attn":  # queries, keys and values in one
        parent.split_size = outputs_of(linear) // 3


def outputs_of(linear: Linear) -> int:
    """Return how many outputs a linear layer gives."""
    last = linear.up if isinstance(linear, LowRank) else linear
    return int(matrix(last).shape[0])


def fit_shapes(model: nn.Module, weights: Mapping[str, Tensor]) -> bool:
    """Give the linear layers of a model the shapes of the weights that it is to load; return whether any changed.

    A layer `x` of which there are `x.down.weight` and `x.up.weight` becomes two thin ones. What fits in no way is left
    for `load_state_dict` to refuse.
    """
    changed = False
    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear | Conv1D):
            continue
        fitted = _fitted(module, name, weights)
        if fitted is not None:
            replace(model, name, fitted)
            changed = True
    return changed


def _fitted(module: Linear, name: str, weights: Mapping[str, Tensor]) -> Linear:
    """Return a layer of the shape of the weights; None where the module has it already, or no layer could."""
    down, up, whole = weights.get(name + DOWN), weights.get(name + UP), weights.get(name + ".weight")
    if down is not None and up is not None:
        with torch.random.fork_rng():
            return LowRank(down.shape[-1], up.shape[0], down.shape[0], module.bias is not None)
    if whole is None or whole.dim() != 2 or whole.shape == module.weight.shape:
        return None
    return _empty(module, *(reversed(whole.shape) if isinstance(module, Conv1D) else whole.shape))


def inputs_of(linear: Linear) -> int:
    """Return how many inputs a linear layer takes."""
    first = linear.down if isinstance(linear, LowRank) else linear
    return int(matrix(first).shape[1])


def check_runs(encoder: PreTrainedModel) -> None:
    """Refuse linear layers whose shapes do not fit together: heads are counted, and two tokens are read once.

    Raises:
        RuntimeError: they do not run.
        ValueError: they would, but with other heads in queries, keys and values.
    """
    for layer in encoder_layers(encoder) if encoder.config.model_type in HEADS else ():
        block = HEADS[encoder.config.model_type]
        widths = {outputs_of(layer.get_submodule(name)) // block.stacked for name in block.makers}
        if widths != {inputs_of(layer.get_submodule(block.reader))}:
            raise ValueError(f"its attention has {sorted(widths)} dimensions where they should be equal")
    encoder.eval()
    ones = torch.ones(1, 2, dtype=torch.long)
    with torch.inference_mode():
        encoder(input_ids=torch.zeros_like(ones), attention_mask=ones)
