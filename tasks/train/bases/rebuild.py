"""An encoder made anew with another vocabulary or another attention window; its other weights stay. Trains nothing."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from tasks.errors import ModelError
from tasks.train.bases.families import WINDOWS, make_encoder, set_window
from tasks.train.bases.reshape import fit_shapes


def with_words(encoder: PreTrainedModel, kept: Sequence[int]) -> PreTrainedModel:
    """Return a copy of an encoder that knows the words `kept` only (their numbers, ascending), numbered from 0 on.

    Its config names padding, start and end by their new numbers; those that are not kept have none.
    """
    config = copy.deepcopy(encoder.config)
    config.vocab_size = len(kept)
    numbers = {old: new for new, old in enumerate(kept)}
    for field, value in list(config.to_dict().items()):
        if field.endswith("_token_id") and value is not None:
            setattr(config, field, _renumbered(value, numbers))
    table = encoder.get_input_embeddings()
    weights = encoder.state_dict()
    name = next(name for name, module in encoder.named_modules() if module is table)
    weights[f"{name}.weight"] = table.weight.data[torch.tensor(kept)]
    with torch.random.fork_rng():
        smaller = make_encoder(config)
    fit_shapes(smaller, weights)
    smaller.load_state_dict(weights)
    return smaller.train(encoder.training)


def _renumbered(value: Any, numbers: Mapping[int, int]) -> Any:
    if isinstance(value, list):
        return [numbers[one] for one in value if one in numbers] or None
    return numbers.get(value)


def narrow_window(encoder: PreTrainedModel, window: int) -> PreTrainedModel:
    """Return a copy of an encoder whose sliding layers see so many tokens; all slide where none did before.

    Raises:
        ModelError: the family offers no sliding window, or this model has one as narrow already.
    """
    config = copy.deepcopy(encoder.config)
    present: Any = getattr(config, WINDOWS.get(config.model_type, ""), None)
    kinds = getattr(config, "layer_types", None) or []
    slides = not kinds or "sliding_attention" in kinds
    widest: Any = max(present) if isinstance(present, list | tuple) and present else present
    set_window(config, window)
    if slides and widest is not None and widest <= window:
        raise ModelError(
            f"recipe.base: this {config.model_type} has a window of {widest} tokens already; give fewer than these, "
            f"not {window}"
        )
    if kinds and not slides:
        config.layer_types = ["sliding_attention"] * len(kinds)
        by_kind = getattr(config, "rope_parameters", None) or {}
        if "full_attention" in by_kind:  # turned as the layers were when they saw all
            config.rope_parameters = {**by_kind, "sliding_attention": by_kind["full_attention"]}
    with torch.random.fork_rng():
        narrower = make_encoder(config)
    weights = encoder.state_dict()
    fit_shapes(narrower, weights)
    narrower.load_state_dict(weights)
    return narrower.train(encoder.training)
