"""What classifiers share in every runtime: tokenising, batches of similar length, probabilities. Runs no model."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.artifact import ArtifactInvalid
from serving.predictors import Predictions

BATCH_SIZE = 32
TOKEN_ARRAYS = ("input_ids", "attention_mask", "token_type_ids")
Tokenize = Callable[[Sequence[str]], dict[str, np.ndarray]]


def open_tokenizer(folder: Path, max_length: int) -> Any:
    """Return the artifact's tokenizer: it cuts at `max_length` and pads to the longest text of a batch.

    Raises:
        ArtifactInvalid: `tokenizer.json` is missing or no tokenizer.
    """
    from tokenizers import Tokenizer

    path = Path(folder) / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises this very class
        raise ArtifactInvalid(f"{path}: expected a fast tokenizer's file; {first_line(error)}") from error
    tokenizer.enable_truncation(max_length)
    if tokenizer.padding is None:
        tokenizer.enable_padding()
    else:
        tokenizer.enable_padding(**{**tokenizer.padding, "length": None})  # pad to the longest, never to a fixed length
    return tokenizer


def tokenizer_function(folder: Path, max_length: int) -> Tokenize:
    """Return a function from texts to padded int64 arrays `input_ids`, `attention_mask`, `token_type_ids`.

    Raises:
        ArtifactInvalid: `tokenizer.json` is missing or no tokenizer.
    """
    return tokenize_with(open_tokenizer(folder, max_length))


def tokenize_with(tokenizer: Any) -> Tokenize:
    """Return `tokenizer_function` for a tokenizer that is open already."""
    encode = tokenizer.encode_batch_fast  # without offsets, which nobody reads

    def tokenize(texts: Sequence[str]) -> dict[str, np.ndarray]:
        found = encode(list(texts))
        masks = [e.attention_mask for e in found]
        arrays = np.array([[e.ids for e in found], masks, [e.type_ids for e in found]], dtype=np.int64)
        if not all(map(any, masks)):
            arrays = _with_a_token_each(arrays, tokenizer.padding["pad_id"])
        return dict(zip(TOKEN_ARRAYS, arrays, strict=True))  # [batch, tokens] each

    return tokenize


def _with_a_token_each(arrays: np.ndarray, pad_id: int) -> np.ndarray:
    """Return token arrays `[arrays, batch, tokens]` in which a text without any token has one of padding to be read.

    Such is the empty text, where the tokenizer adds no special tokens. No model reads nothing, and what one makes of
    a text that is padding alone would depend on the runtime and on the batch.
    """
    if not arrays.shape[2]:
        arrays = np.zeros((*arrays.shape[:2], 1), np.int64)
        arrays[0] = pad_id
    arrays[1, ~arrays[1].any(axis=1), 0] = 1
    return arrays


def predict_classes(
    texts: Sequence[str],
    labels: list[str],
    tokenize: Tokenize,
    logits_of: Callable[[dict[str, np.ndarray]], np.ndarray],
) -> Predictions:
    """Return classes for texts of mixed length: batches of similar length, answers in the order of the texts."""
    texts = [encodable(text) for text in texts]
    if len(texts) == 1:
        return class_of(logits_of(tokenize(texts)), labels)
    probabilities = np.zeros((len(texts), len(labels)), dtype=np.float32)  # [texts, labels]
    for rows in _batches_by_length(texts):
        probabilities[rows] = softmax(logits_of(tokenize([texts[row] for row in rows])))
    return classes_of(probabilities, labels)


def class_of(logits: np.ndarray, labels: list[str]) -> Predictions:
    """Return the class of one text's logits `[1, labels]`, which are overwritten."""
    best, confidence = soften(logits[0])
    return Predictions([labels[best]], np.array([confidence], np.float32), logits)


def classes_of(probabilities: np.ndarray, labels: list[str]) -> Predictions:
    """Return the most probable label of each row of `[texts, labels]` with its probability."""
    best = probabilities.argmax(axis=1)
    return Predictions([labels[row] for row in best.tolist()], probabilities.max(axis=1, initial=0), probabilities)


def soften(logits: np.ndarray) -> tuple[int, float]:
    """Turn one text's logits `[labels]` into probabilities in place; return the index of the largest and the largest.

    It is `softmax` in as few calls as can be: after a model has swept the caches each costs microseconds.
    """
    best = int(logits.argmax())
    logits -= logits[best]
    np.exp(logits, logits)
    confidence = 1 / float(np.add.reduce(logits))
    logits *= confidence
    return best, confidence


def encodable(text: str) -> str:
    """Return the text with lone surrogates replaced, which no tokenizer can encode."""
    return text.encode("utf-8", "replace").decode("utf-8")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return row-wise probabilities; `[batch, labels]` in and out."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says, for a message of one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _batches_by_length(texts: Sequence[str]) -> Iterator[list[int]]:
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    for start in range(0, len(order), BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]
