"""Opening the models that augmentation asks: safetensors only, each of the kind that its method needs.

It runs none of them. No weights are unpickled and no code that comes with a model is run.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tasks.errors import ModelError
from tasks.train.bases.base import resolve_base

log = logging.getLogger(__name__)

KINDS = {"AutoModel": "an encoder", "AutoModelForMaskedLM": "a masked language model",
         "AutoModelForSeq2SeqLM": "a sequence-to-sequence model"}  # fmt: skip


class LanguageModel(NamedTuple):
    """A model that only answers, and its tokenizer."""

    model: Any
    tokenizer: Any
    device: str  # cuda where there is one, else cpu


def open_model(field: str, name: str, auto_class: str) -> LanguageModel:
    """Return the model that a spec's field names, as an `auto_class` of transformers (a key of `KINDS`).

    Raises:
        ModelError: nothing loads under that name (unknown, offline, no safetensors), or it is of another kind.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    folder = resolve_base(name)
    if Path(name).is_absolute() and not Path(name).is_dir():
        raise ModelError(f"{field}: there is no folder {name!r}; give {KINDS[auto_class]}: a folder or a hub id")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():  # Marian's misses what only evens out punctuation
            warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model, info = getattr(transformers, auto_class).from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError, RuntimeError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelError(
            f"{field}: cannot load {name!r} as {KINDS[auto_class]} ({first_line}); give a folder with config, "
            "safetensors and tokenizer (pickled weights are never read), or a hub id that this machine can reach"
        ) from error
    _refuse_gaps(field, name, KINDS[auto_class], info["missing_keys"])
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):  # made empty where there are no files
        raise ModelError(f"{field}: {name!r} has no tokenizer; put its files beside config and safetensors")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return LanguageModel(model.to(device).eval(), tokenizer, device)


def _refuse_gaps(field: str, name: str, kind: str, missing: Sequence[str]) -> None:
    """Refuse weights that are not in the files: transformers would make them up at random."""
    lacking = sorted(key for key in missing if "pooler" not in key and "position_ids" not in key)  # nobody reads those
    if lacking:
        raise ModelError(
            f"{field}: {name!r} is not {kind}: its files lack {', '.join(lacking[:3])}; name a model that was trained "
            "as one (the embedded 'minilm' is an encoder alone)"
        )


@contextmanager
def running(field: str, name: str) -> Iterator[None]:
    """Turn what a model raises while it answers into a `ModelError` that names it."""
    import torch

    try:
        with torch.inference_mode():
            yield
    except (RuntimeError, IndexError, ValueError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelError(
            f"{field}: {name!r} failed ({first_line}); check that its weights and its tokenizer belong together, and "
            "lower batch_size where memory is short"
        ) from error


def longest_input(model: LanguageModel, wanted: int) -> int:
    """Return how many tokens a text may have: `wanted`, or fewer where the model takes fewer."""
    limits = (model.tokenizer.model_max_length, getattr(model.model.config, "max_position_embeddings", None))
    return min([wanted, *(int(limit) for limit in limits if limit)])
