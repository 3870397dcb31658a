"""Texts as the tokens that a model reads, kept by content. Trains nothing."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.store import code_digest

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

Rows = Sequence[dict[str, Any]]  # encoded texts: a list, or a `datasets.Dataset`, which can be read as one


def encode(
    texts: Sequence[str],
    tokenizer: "PreTrainedTokenizerBase",
    max_length: int,
    folder: Path | None = None,
    **columns: Sequence[Any],
) -> "Dataset":
    """Return each text's tokens, cut to `max_length`, with its values of the further columns.

    The tokens are an Arrow file in `folder` under the digest of all that they follow from; None: they are not kept.
    A further column is numbers, or as many numbers for each row: whatever becomes a tensor by itself.
    """
    import datasets

    datasets.disable_progress_bars()
    if not texts:
        return datasets.Dataset.from_dict({})
    path = folder and folder / _digest(texts, tokenizer, max_length)
    found = path and _read(path)
    if not found:
        found = datasets.Dataset.from_dict(dict(tokenizer(list(texts), truncation=True, max_length=max_length)))
        if path:
            _keep(found, path)
    for name, values in columns.items():
        found = found.add_column(name, values if isinstance(values, list) else list(values))
    return found


def token_counts(rows: Rows) -> list[int]:
    """Return how many tokens each row has."""
    table = getattr(rows, "data", None)
    if table is None:
        return [len(row["input_ids"]) for row in rows]
    import pyarrow.compute

    counts: list[int] = pyarrow.compute.list_value_length(table.column("input_ids")).to_pylist()
    return counts


def _digest(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", max_length: int) -> str:
    """Return the digest of all that decides the tokens."""
    digest = hashlib.sha256()
    made_by = json.loads(tokenizer.backend_tokenizer.to_str()) | {
        "truncation": None,
        "padding": None,
    }  # of earlier calls
    names, cut = list(tokenizer.model_input_names), [tokenizer.truncation_side, max_length]
    digest.update(json.dumps([code_digest("tokens"), made_by, names, cut]).encode())
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()[:32]


def _read(path: Path) -> "Dataset | None":
    """Return the kept tokens; None where there are none, or none that can be read."""
    import datasets
    import pyarrow

    if not path.is_dir():
        return None
    try:
        return datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
        log.warning("tokens in %s cannot be read and are made anew (%s)", path, error)
        shutil.rmtree(path, ignore_errors=True)
        return None


def _keep(tokens: "Dataset", path: Path) -> None:
    """Write the tokens aside and move them to their place, where another process may have put the same meanwhile."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    tokens.save_to_disk(str(aside))
    try:
        aside.rename(path)
    except OSError:
        if not path.is_dir():
            raise
        shutil.rmtree(aside)
