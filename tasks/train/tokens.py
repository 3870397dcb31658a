"""Texts as the tokens that a model reads. Trains nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode(
    texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", max_length: int, **columns: Sequence[Any]
) -> list[dict[str, Any]]:
    """Return each text's tokens, cut to `max_length`, with its values of the further columns."""
    if not texts:
        return []
    encoded = {**tokenizer(list(texts), truncation=True, max_length=max_length), **columns}
    return [{name: values[row] for name, values in encoded.items()} for row in range(len(texts))]
