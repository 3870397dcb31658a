"""What a base model costs for a token, counted from its config; nothing is loaded or timed."""

from typing import TYPE_CHECKING

from tasks.train.bases.base import Base, FromConfig, Pretrained

if TYPE_CHECKING:
    from torch import nn


def base_cost(base: "Base | nn.Module") -> int:
    """Return the multiply-adds of an encoder for one token: its parameters outside the embeddings.

    Every such weight is multiplied once for each token (Kaplan et al. 2020, section 2.1). The term of attention that
    grows with the text's length is left out, and a mixture of experts counts with all of them.

    Raises:
        ModelError: the base has no config that transformers knows, or not the layers that it names.
    """
    if not isinstance(base, str | Pretrained | FromConfig):
        return multiply_adds(base)
    import torch

    from tasks.train.bases.families import check_layers, make_encoder
    from tasks.train.bases.layers import encoder_layers
    from tasks.train.bases.loading import base_config

    config = base_config(base)
    with torch.device("meta"):  # sizes without memory
        encoder = make_encoder(config)
    if not isinstance(base, Pretrained) or not base.layers:
        return multiply_adds(encoder)
    stack = encoder_layers(encoder)
    check_layers(config.model_type, len(stack), base.layers)
    around = multiply_adds(encoder) - sum(multiply_adds(layer) for layer in stack)
    return around + sum(multiply_adds(stack[layer]) for layer in base.layers)


def multiply_adds(module: "nn.Module") -> int:
    """Return how many parameters of a module are in no embedding."""
    from torch import nn

    looked_up = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    return sum(weight.numel() for weight in module.parameters() if id(weight) not in looked_up)
