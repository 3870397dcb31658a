"""Texts as vectors of meaning, by the base encoder that a recipe fine-tunes. Trains nothing and keeps nothing.

Equal texts are encoded once and in batches of like length, put together by the texts alone: the order of the rows does
not reach the vectors.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.progress import report_progress
from tasks.train.bases.base import EMBEDDED_BASE

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

MAX_TOKENS = 128
_BATCH_TOKENS = 4096  # padding included, so that memory is bounded whatever the texts
_CHUNK = 20_000  # texts tokenized at a time


def embed_texts(texts: Sequence[str], base: str = EMBEDDED_BASE, *, max_tokens: int = MAX_TOKENS) -> np.ndarray:
    """Return the vectors [texts, width] of the texts in float32, each of length 1: the mean over a text's tokens.

    A text without a token, such as an empty one may be, is the zero vector; a long one is cut to `max_tokens`, or to
    what the base takes. As many threads work as PyTorch is set to, in bfloat16 where the processor multiplies in it,
    which changes the cosine of two texts in the third decimal at most.

    Raises:
        ModelError: nothing loads under the name of the base.
    """
    from tasks.train.bases.loading import load_base, longest_input  # loads torch

    unique = sorted(set(texts), key=lambda text: (len(text), text))
    model, tokenizer = load_base(base, 1, "mean", 0.0)
    max_tokens = min(max_tokens, longest_input(model, tokenizer))
    encoder = _prepare(model.encoder)
    vectors = np.empty((len(unique), encoder.config.hidden_size), np.float32)
    for start in range(0, len(unique), _CHUNK):
        part = unique[start : start + _CHUNK]
        vectors[start : start + len(part)] = _embed(part, encoder, tokenizer, max_tokens)
        report_progress("embed", start + len(part), len(unique))
    place = {text: number for number, text in enumerate(unique)}
    return vectors[[place[text] for text in texts]]


def _prepare(encoder: Any) -> Any:
    import torch

    fast = torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return encoder.eval().to(device=device, dtype=torch.bfloat16 if fast else torch.float32)


def _embed(texts: Sequence[str], encoder: Any, tokenizer: "PreTrainedTokenizerBase", max_tokens: int) -> np.ndarray:
    """Return the vectors [texts, width] of a chunk; it is batched by length in tokens, then by text."""
    import torch

    tokens: list[list[int]] = tokenizer(list(texts), truncation=True, max_length=max_tokens)["input_ids"]
    order = sorted((row for row, known in enumerate(tokens) if known), key=lambda row: len(tokens[row]))
    found = np.zeros((len(texts), encoder.config.hidden_size), np.float32)
    with torch.inference_mode():
        for batch in _batches(order, tokens):
            padded = tokenizer.pad({"input_ids": [tokens[row] for row in batch]}, return_tensors="pt")
            found[batch] = _pool(encoder, padded)
    return found


def _batches(order: Sequence[int], tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield the rows, ascending in length, in batches of bounded size, padding included."""
    batch: list[int] = []
    for row in order:
        if batch and (len(batch) + 1) * len(tokens[row]) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _pool(encoder: Any, batch: "dict[str, torch.Tensor]") -> np.ndarray:
    import torch

    from tasks.train.model import mean_pool

    batch = {name: tensor.to(encoder.device) for name, tensor in batch.items()}
    hidden = encoder(**batch)[0].float()  # [batch, tokens, width]
    pooled = mean_pool(hidden, batch["attention_mask"])  # [batch, width]
    vectors: np.ndarray = torch.nn.functional.normalize(pooled).cpu().numpy()
    return vectors
