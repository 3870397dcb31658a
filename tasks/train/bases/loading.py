"""Loading base models: an encoder with a fresh head, and its tokenizer. Trains nothing.

Weights come from safetensors only, code from transformers only; an encoder whose weights are not all there is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from tasks.errors import ModelError
from tasks.train.bases.base import Base, FromConfig, Pretrained, base_name, resolve_base
from tasks.train.bases.families import (
    auto_class,
    bare_encoder,
    encoder_inputs,
    fresh_config,
    keep_layers,
    make_encoder,
    set_window,
)
from tasks.train.bases.files import check_folder
from tasks.train.model import EncoderClassifier

LOADING_ERRORS = (
    OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, ArithmeticError,
    SafetensorError, StrictDataclassError,
)  # fmt: skip
UNREAD = ("pooler", "position_ids")  # weights that may be missing: nobody reads them


def load_base(
    base: Base, labels: int, pooling: str, dropout: float
) -> tuple[EncoderClassifier, PreTrainedTokenizerBase]:
    """Return a base encoder with a fresh head, and its fast tokenizer, which pads and cuts on the right.

    Of an encoder such as BERT the pooling `mean` or `first` is sensible; of a decoder such as GPT-2, whose tokens see
    only what stands before them, `last` or `mean`. Fresh weights are drawn from torch's random state.

    Raises:
        ModelError: nothing loads under that name (unknown, offline, no safetensors, code of its own), its weights are
            not all there, its tokenizer is missing, slow or another model's, or it lacks the layers or the window.
    """
    tokenizer = load_tokenizer(base)
    encoder = _fresh(base, tokenizer) if isinstance(base, FromConfig) else _pretrained(base)
    if isinstance(base, Pretrained) and base.layers:
        encoder = keep_layers(encoder, base.layers)
    _match(base, encoder, tokenizer)
    return EncoderClassifier(encoder, labels, pooling, dropout), tokenizer


def base_config(base: Base) -> PreTrainedConfig:
    """Return the config of a base's encoder before any of its layers is left out.

    Raises:
        ModelError: it cannot be read, or the base has no such window.
    """
    if isinstance(base, FromConfig):
        tokenizer = load_tokenizer(base)
        return fresh_config(base, _words(tokenizer), tokenizer.pad_token_id)
    with _loading(base) as name:
        config: PreTrainedConfig = AutoConfig.from_pretrained(name, trust_remote_code=False)
    if isinstance(base, Pretrained) and base.window is not None:
        set_window(config, base.window)
    return config


def load_tokenizer(base: Base) -> PreTrainedTokenizerBase:
    """Return the fast tokenizer of a base, with a token for padding, padding and cutting on the right.

    Raises:
        ModelError: it has none, or a slow one only.
    """
    shown = base_name(base)
    with _loading(base) as name:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise ModelError(
            f"recipe.base: '{shown}' has no fast tokenizer (tokenizer.json), only {type(tokenizer).__name__}; choose a "
            "base that has one"
        )
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):  # made empty where there are no files
        raise ModelError(f"recipe.base: '{shown}' has no tokenizer; put tokenizer.json beside config and safetensors")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise ModelError(
            f"recipe.base: the tokenizer of '{shown}' has no token for padding, end or unknown words; add a pad_token "
            "to its tokenizer_config.json"
        )
    tokenizer.padding_side = tokenizer.truncation_side = "right"  # as serving does
    if isinstance(base, FromConfig):
        tokenizer.model_max_length = base.max_length
    return tokenizer


def longest_input(model: EncoderClassifier, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many tokens the base takes at most."""
    longest = int(tokenizer.model_max_length)
    places = getattr(model.config, "max_position_embeddings", None)
    return longest if places is None else min(longest, int(places) - places_before(model.encoder))


def places_before(encoder: nn.Module) -> int:
    """Return how many positions no token has: RoBERTa's begin after the number of its padding."""
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return int(module.padding_idx) + 1
    return 0


def _pretrained(base: str | Pretrained) -> PreTrainedModel:
    config = base_config(base)
    loads = auto_class(config)
    with _loading(base) as name:
        model, info = loads.from_pretrained(
            name, config=config, use_safetensors=True, dtype=torch.float32, output_loading_info=True,
            trust_remote_code=False,
        )  # fmt: skip
    lacking = sorted(key for key in info["missing_keys"] if not any(part in key for part in UNREAD))
    if lacking:
        raise ModelError(
            f"recipe.base: the weights of '{base_name(base)}' do not match its config: {len(lacking)} of the "
            f"{config.model_type} encoder are missing, such as {lacking[0]}, and would be random; copy config.json and "
            "safetensors of one and the same model"
        )
    return bare_encoder(model)


def _fresh(base: FromConfig, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    config = fresh_config(base, _words(tokenizer), tokenizer.pad_token_id)
    with _loading(base):
        return make_encoder(config)


def _words(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many rows a table needs that has one for each number of the tokenizer."""
    return 1 + max(int(number) for number in tokenizer.get_vocab().values())


def _match(base: Base, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let the tokenizer give what the encoder takes.

    Raises:
        ModelError: it knows words that the encoder does not: they are not of one model.
    """
    rows = encoder.get_input_embeddings().weight.shape[0]
    if _words(tokenizer) > rows:
        raise ModelError(
            f"recipe.base: the tokenizer of '{base_name(base)}' has {_words(tokenizer)} tokens, its weights know "
            f"{rows}; put the tokenizer.json beside the safetensors that they were trained with"
        )
    tokenizer.model_input_names = encoder_inputs(encoder)
    encoder.config.pad_token_id = tokenizer.pad_token_id


@contextmanager
def _loading(base: Base) -> Iterator[str]:
    """Give the folder or hub id of a base, looked at first, and turn what goes wrong with it into one `ModelError`."""
    shown = base_name(base)
    name = resolve_base(shown)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    folder = Path(name)
    if folder.is_dir() and not isinstance(base, FromConfig):
        check_folder(folder)
    elif folder.is_absolute() and not folder.is_dir():
        raise ModelError(
            f"recipe.base: there is no folder '{shown}'; give 'minilm', a folder with config, safetensors and "
            "tokenizer, or a hub id"
        )
    try:
        yield name
    except LOADING_ERRORS as error:
        raise ModelError(
            f"recipe.base: cannot load '{shown}' ({_reason(error)}); give 'minilm', a folder with config, "
            "safetensors and tokenizer, or a hub id that this machine can reach"
        ) from error


def _reason(error: Exception) -> str:
    """Return what went wrong in a few words."""
    text = str(error).strip() or type(error).__name__
    if "trust_remote_code" in text or "custom code" in text:
        return "it wants to run code of its own, trust_remote_code, which is refused"
    if "does not recognize this architecture" in text:
        return f"its architecture is not among the {len(CONFIG_MAPPING)} that this version of transformers knows"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]
