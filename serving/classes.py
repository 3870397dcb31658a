"""What classifiers share in every runtime: tokenising, batches of similar length, probabilities. Runs no model."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from serving.predictors import Predictions

BATCH_SIZE = 32
Tokenize = Callable[[Sequence[str]], dict[str, np.ndarray]]


def tokenizer_function(folder: Path, max_length: int) -> Tokenize:
    """Return a function from texts to padded int64 arrays `input_ids`, `attention_mask`, `token_type_ids`."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.enable_truncation(max_length)
    if tokenizer.padding is None:
        tokenizer.enable_padding()
    else:
        tokenizer.enable_padding(**{**tokenizer.padding, "length": None})  # pad to the longest, never to a fixed length

    def tokenize(texts: Sequence[str]) -> dict[str, np.ndarray]:
        encodings = tokenizer.encode_batch(list(texts))
        return {
            "input_ids": np.array([e.ids for e in encodings], dtype=np.int64),  # [batch, tokens]
            "attention_mask": np.array([e.attention_mask for e in encodings], dtype=np.int64),
            "token_type_ids": np.array([e.type_ids for e in encodings], dtype=np.int64),
        }

    return tokenize


def predict_classes(
    texts: Sequence[str],
    labels: list[str],
    tokenize: Tokenize,
    logits_of: Callable[[dict[str, np.ndarray]], np.ndarray],
) -> Predictions:
    """Return classes for texts of mixed length: batches of similar length, answers in the order of the texts."""
    texts = [encodable(text) for text in texts]
    probabilities = np.zeros((len(texts), len(labels)), dtype=np.float32)  # [texts, labels]
    for rows in _batches_by_length(texts):
        probabilities[rows] = softmax(logits_of(tokenize([texts[row] for row in rows])))
    best = probabilities.argmax(axis=1) if len(texts) else np.zeros(0, dtype=int)
    scores = probabilities[np.arange(len(texts)), best]
    return Predictions([labels[index] for index in best], scores, probabilities)


def encodable(text: str) -> str:
    """Return the text with lone surrogates replaced, which no tokenizer can encode."""
    return text.encode("utf-8", "replace").decode("utf-8")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return row-wise probabilities; `[batch, labels]` in and out."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def _batches_by_length(texts: Sequence[str]) -> Iterator[list[int]]:
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    for start in range(0, len(order), BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]
