"""Loading base models: an encoder with a fresh head, and its tokenizer. Trains nothing."""

import torch
from safetensors import SafetensorError
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from tasks.errors import ModelError
from tasks.train.bases import Base, base_name, resolve_base
from tasks.train.model import EncoderClassifier


def load_base(
    base: Base, labels: int, pooling: str, dropout: float
) -> tuple[EncoderClassifier, PreTrainedTokenizerBase]:
    """Return a base encoder with a fresh head, and its fast tokenizer.

    Raises:
        ModelError: nothing loads under that name (unknown, offline, no safetensors), or its tokenizer is no fast one.
    """
    name = resolve_base(base_name(base))
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        encoder = AutoModel.from_pretrained(name, use_safetensors=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"recipe.base: cannot load {base!r} ({first_line}); give 'minilm', a folder with config, safetensors and "
            "tokenizer, or a hub id that this machine can reach"
        ) from error
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):  # made empty where there are no files
        raise ModelError(f"recipe.base: {base!r} has no tokenizer; put tokenizer.json beside config and safetensors")
    if not tokenizer.is_fast:
        raise ModelError(f"recipe.base: {base!r} has no fast tokenizer (tokenizer.json); choose a base that has one")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
        encoder.config.pad_token_id = tokenizer.pad_token_id
    return EncoderClassifier(encoder, labels, pooling, dropout), tokenizer


def longest_input(model: EncoderClassifier, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many tokens the base takes at most."""
    longest = int(tokenizer.model_max_length)
    return min(longest, int(getattr(model.config, "max_position_embeddings", longest)))
