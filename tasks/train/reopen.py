"""Opening a trained torch artifact to go on with it: its model and its tokenizer. Trains nothing."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import PreTrainedTokenizerFast

from tasks.artifacts import open_artifact
from tasks.errors import ModelError
from tasks.records import Candidate
from tasks.train.model import EncoderClassifier, load_artifact

MASKS = ("[MASK]", "<mask>")  # how tokenizers write a masked token; the artifact's file does not say which is theirs


def open_trained(
    candidate: Candidate, labels: tuple[str, ...], dropout: float = 0.0
) -> tuple[EncoderClassifier, PreTrainedTokenizerFast]:
    """Return the model of a torch artifact, its head in the order of `labels`, and its tokenizer.

    Raises:
        ArtifactError: the artifact's folder is missing, incomplete or not the one that was built.
        ModelError: it has other labels, or is no torch model.
    """
    folder, manifest = open_artifact(candidate)
    if manifest["runtime"] != "torch":
        raise ModelError(f"{folder}: expected a torch model to learn from, found runtime {manifest['runtime']!r}")
    places = label_places(manifest["labels"], labels)
    model = load_artifact(folder, manifest)
    with torch.no_grad():
        model.head.weight.copy_(model.head.weight[places].clone())
        model.head.bias.copy_(model.head.bias[places].clone())
    model.dropout = nn.Dropout(dropout)
    return model, open_tokenizer(folder, manifest)


def label_places(found: list[str], wanted: tuple[str, ...]) -> list[int]:
    """Return where each wanted label stands among those found.

    Raises:
        ModelError: they are not the same labels.
    """
    missing, further = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or further:
        raise ModelError(
            f"train.distil: the teacher has other labels than the training rows (it lacks {_listed(missing)}; it has "
            f"{_listed(further)} besides); train a teacher on the present labels (`teacher: recipe`)"
        )
    return [found.index(label) for label in wanted]


def _listed(labels: list[str]) -> str:
    shown = ", ".join(repr(label) for label in labels[:5]) or "none"
    return f"{shown} and {len(labels) - 5} more" if len(labels) > 5 else shown


def open_tokenizer(folder: Path, manifest: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Return the artifact's tokenizer, which pads as it did in training."""
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    padding = backend.padding or {}
    mask = next((token for token in MASKS if backend.token_to_id(token) is not None), None)
    backend.no_truncation()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=padding.get("pad_token", "[PAD]"), mask_token=mask,
        padding_side=padding.get("direction", "right"), model_input_names=manifest["inputs"],
    )  # fmt: skip
    return tokenizer
