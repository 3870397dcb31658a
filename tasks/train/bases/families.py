"""What differs between families of encoders: how one is made, what it takes, where its window and its layers are.

A family is a `model_type` of transformers. Reads no weights and trains nothing.
"""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForTextEncoding, PreTrainedConfig, PreTrainedModel

from tasks.errors import ModelError
from tasks.train.bases.base import FromConfig
from tasks.train.bases.layers import find_layers
from tasks.train.bases.reshape import fit_shapes

ENCODER_HALVES = ("t5", "mt5", "umt5")  # encoder-decoders whose encoder transformers loads alone
WINDOWS = {  # where the config of a family that offers sliding-window attention says how many tokens it has
    "modernbert": "local_attention",  # half on either side
    "longformer": "attention_window",  # half on either side, even
    "mistral": "sliding_window",  # on the left, the token itself included, here and below
    "mixtral": "sliding_window",
    "phi3": "sliding_window",
    "qwen2": "sliding_window",
    "qwen3": "sliding_window",
    "starcoder2": "sliding_window",
}
PER_LAYER = ("layer_types", "mlp_layer_types", "no_rope_layers", "attention_window")  # lists with an entry for each


def auto_class(config: PreTrainedConfig) -> Any:
    """Return the class of transformers that loads the encoder of a config.

    Raises:
        ModelError: it is an encoder-decoder whose encoder cannot be loaded alone.
    """
    if config.model_type in ENCODER_HALVES:
        return AutoModelForTextEncoding
    if config.is_encoder_decoder:
        raise ModelError(
            f"recipe.base: {config.model_type} is an encoder with a decoder, of which only those of "
            f"{', '.join(ENCODER_HALVES)} can be taken apart; choose one of these, an encoder or a decoder"
        )
    return AutoModel


def make_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """Return an encoder with fresh weights in float32, drawn from torch's random state."""
    return bare_encoder(auto_class(config).from_config(config, dtype=torch.float32, trust_remote_code=False))


def bare_encoder(model: PreTrainedModel) -> PreTrainedModel:
    """Return the part of a model that gives a vector for each token: no pooler, no tied embeddings, no cache.

    Raises:
        ModelError: it does not read texts.
    """
    encoder: Any = model.encoder if model.config.model_type in ENCODER_HALVES else model
    takes = inspect.signature(encoder.forward).parameters
    if not {"input_ids", "attention_mask"} <= set(takes) or not isinstance(_width(encoder), int):
        raise ModelError(
            f"recipe.base: {model.config.model_type} is no model of texts that gives a vector for each token; choose "
            "one such as bert, deberta-v2, modernbert, t5 or gpt2"
        )
    if "add_pooling_layer" in inspect.signature(type(encoder).__init__).parameters:
        encoder.pooler = None  # nobody runs it, and a weight without a gradient stops distributed training
    if hasattr(encoder.config, "use_cache"):
        encoder.config.use_cache = False  # a decoder's keys and values, which nobody reads again
    return encoder


def _width(encoder: Any) -> Any:
    return getattr(encoder.config, "hidden_size", None)


def encoder_inputs(encoder: nn.Module) -> list[str]:
    """Return the names of what an encoder takes of a tokenizer's answer.

    The type of a token is among them only where there are several: in GPT-2 a type would be read as one more word.
    """
    takes = "token_type_ids" in inspect.signature(encoder.forward).parameters
    typed = takes and (getattr(encoder.config, "type_vocab_size", None) or 0) > 1
    return ["input_ids", "attention_mask", *(["token_type_ids"] if typed else [])]


def fresh_config(base: FromConfig, words: int, pad: int) -> PreTrainedConfig:
    """Return the config of a base with fresh weights, for a vocabulary of so many words and the number of its padding.

    Raises:
        ModelError: the sizes do not fit together, or the family offers no window.
    """
    if base.hidden_size % base.heads:
        raise ModelError(
            f"recipe.base: hidden_size {base.hidden_size} does not divide by heads {base.heads}; change one of them"
        )
    sizes: dict[str, Any] = {
        "vocab_size": words,
        "hidden_size": base.hidden_size,
        "num_hidden_layers": base.layers,
        "num_attention_heads": base.heads,
        "pad_token_id": pad,
        "bos_token_id": None,
        "eos_token_id": None,
        **_own_sizes(base),
    }
    config: PreTrainedConfig = CONFIG_MAPPING[base.family](**sizes)
    if base.window is not None:
        set_window(config, base.window)
        if hasattr(config, "layer_types"):
            config.layer_types = ["sliding_attention"] * base.layers
    return config


def _own_sizes(base: FromConfig) -> dict[str, Any]:
    """Return what the config of a family calls by a name of its own."""
    length = {"max_position_embeddings": base.max_length}
    match base.family:
        case "t5":  # the gated layers of version 1.1 (Shazeer 2020); no longest input: positions are relative
            return {"d_ff": base.intermediate_size, "d_kv": base.hidden_size // base.heads,
                    "feed_forward_proj": "gated-gelu"}  # fmt: skip
        case "gpt2":
            return {"n_inner": base.intermediate_size, **length}
        case "deberta-v2":  # as version 3 has it (He et al. 2023): content to position and back, in buckets
            return {"intermediate_size": base.intermediate_size, **length, "type_vocab_size": 0,
                    "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 256,
                    "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_biased_input": False}  # fmt: skip
        case "modernbert":
            return {"intermediate_size": base.intermediate_size, **length, "cls_token_id": None, "sep_token_id": None,
                    "layer_types": ["full_attention"] * base.layers}  # fmt: skip
    return {"intermediate_size": base.intermediate_size, **length}


def set_window(config: PreTrainedConfig, window: int) -> None:
    """Set how many tokens a token attends to in the layers of a config that slide; a decoder's all do then.

    Raises:
        ModelError: the family offers no sliding window.
    """
    field = WINDOWS.get(config.model_type)
    if field is None:
        raise ModelError(
            f"recipe.base: {config.model_type} offers no sliding window, every token attends to all; leave `window` "
            f"out, or choose a base of a family that does: {', '.join(WINDOWS)}"
        )
    if config.model_type == "longformer" and window % 2:
        raise ModelError(f"recipe.base: half of longformer's window is on either side; give an even one, not {window}")
    if hasattr(config, "use_sliding_window"):
        config.use_sliding_window = True
        config.layer_types = ["sliding_attention"] * config.num_hidden_layers
    setattr(config, field, window)


def _stack(encoder: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return name and layers of an encoder that has as many as its config says.

    Raises:
        ModelError: it has not, such as where all layers share their weights.
    """
    config: Any = encoder.config
    name, layers = find_layers(encoder)
    if len(layers) != config.num_hidden_layers:
        raise ModelError(
            f"recipe.base: the layers of {config.model_type} are not found, it may share one among all; leave `layers` "
            "out and train it whole, or choose another base"
        )
    return name, layers


def keep_layers(encoder: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """Return a copy of an encoder with the chosen layers only, from 0 on, in the order given; its config says so too.

    Raises:
        ModelError: a layer is not there, or cannot stand at its new place.
    """
    path, stack = _stack(encoder)
    check_layers(encoder.config.model_type, len(stack), layers)
    config = copy.deepcopy(encoder.config)
    for field in PER_LAYER:
        entries = getattr(config, field, None)
        if isinstance(entries, list | tuple) and len(entries) == len(stack):
            setattr(config, field, [entries[layer] for layer in layers])
    config.num_hidden_layers = len(layers)
    with torch.random.fork_rng():  # what it draws is overwritten
        shorter = make_encoder(config)
    moved = _moved(encoder, shorter, path, layers)
    fit_shapes(shorter, moved)
    _check_places(encoder, shorter, moved, layers)
    shorter.load_state_dict(moved)
    return shorter.train(encoder.training)


def check_layers(family: str, count: int, layers: Sequence[int]) -> None:
    """Refuse layers that an encoder of so many does not have.

    Raises:
        ModelError: one is out of range, or none is named.
    """
    wrong = [layer for layer in layers if not 0 <= layer < count]
    if wrong or not layers:
        asked = f"layer {wrong[0]} was asked for" if wrong else "no layer was asked for"
        raise ModelError(
            f"recipe.base: {asked}, but this {family} has {count} layers, 0 to {count - 1}; name some of these"
        )


def _moved(encoder: PreTrainedModel, shorter: nn.Module, path: str, layers: Sequence[int]) -> dict[str, torch.Tensor]:
    """Return the weights of the shorter encoder, taken from the whole one.

    T5 keeps the positions of all its layers in the first, so the new first one gets them.
    """
    old, moved = encoder.state_dict(), {}
    places = {f"{path}.{place}.": f"{path}.{layer}." for place, layer in enumerate(layers)}
    wanted = set(shorter.state_dict())
    for key, value in old.items():
        if not key.startswith(f"{path}."):
            moved[key] = value
        elif key.startswith(f"{path}.0.") and "relative_attention_bias" in key:
            moved.setdefault(key, value)
    for new, before in places.items():
        moved |= {new + key.removeprefix(before): value for key, value in old.items() if key.startswith(before)}
    return {key: value for key, value in moved.items() if key in wanted or "relative_attention_bias" not in key}


def _check_places(
    encoder: PreTrainedModel, shorter: nn.Module, moved: dict[str, torch.Tensor], layers: Sequence[int]
) -> None:
    """Refuse a layer that has other weights than the place that it is to stand at.

    Raises:
        ModelError: one has.
    """
    odd = set(shorter.state_dict()).symmetric_difference(moved)
    if odd:
        raise ModelError(
            f"recipe.base: the layers {', '.join(map(str, layers))} cannot stand in this order: {min(odd)} is only in "
            f"one place of {encoder.config.model_type}; let layer 0 stay the first"
        )
