"""What a search asks the model before the first pass: how many layers it has, and what each of them is worth to it.

Trains nothing and changes no artifact.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.artifacts import open_artifact
from tasks.errors import ModelError
from tasks.records import Candidate
from tasks.store import Store, cache_key

if TYPE_CHECKING:
    from tasks.train.model import EncoderClassifier

log = logging.getLogger(__name__)

NEEDED = 1.0  # the share of a layer that cannot be left out


@dataclass(frozen=True)
class Shape:
    """The model that a search begins with."""

    layers: int
    windows: bool = False  # whether its family lets tokens see their neighbours only
    drops: tuple[float, ...] = ()  # share of answers that change where one layer is left out, from the bottom up


def stored_shape(store: Store, candidate: Candidate, texts: Sequence[str]) -> Shape:
    """Return what `shape_of` does, from the store where it was asked before.

    Raises:
        RatchetError: as `shape_of`, or the store cannot be written.
    """
    key = cache_key("layers", candidate, list(texts))
    return store.build("layers", key, Shape, lambda _: shape_of(candidate, texts))


def shape_of(candidate: Candidate, texts: Sequence[str] = ()) -> Shape:
    """Return the shape of a torch model; with texts, also what leaving out each layer alone changes of its answers.

    Raises:
        ArtifactError: the artifact is missing or damaged.
        ModelError: it has no list of layers.
    """
    from tasks.train.bases.families import WINDOWS
    from tasks.train.bases.layers import encoder_layers
    from tasks.train.model import load_artifact

    folder, manifest = open_artifact(candidate)
    model = load_artifact(folder, manifest)
    family = json.loads((folder / "config.json").read_text("utf-8")).get("model_type", "")
    layers = len(encoder_layers(model.encoder))
    if not texts or layers < 2:
        return Shape(layers, family in WINDOWS)
    own = _answers(model, folder, manifest, texts)
    drops = tuple(_drop(model, layer, layers, own, folder, manifest, texts) for layer in range(layers))
    log.info("answers that change without one layer: %s", ", ".join(f"{100 * share:.1f} %" for share in drops))
    return Shape(layers, family in WINDOWS, drops)


def _drop(
    model: "EncoderClassifier", layer: int, layers: int, own: np.ndarray, folder: Path, manifest: dict[str, Any],
    texts: Sequence[str],
) -> float:  # fmt: skip
    """Return the share of the texts that are answered otherwise than their `own` answers [texts] without the layer."""
    from tasks.train.bases.families import keep_layers
    from tasks.train.model import EncoderClassifier

    try:
        encoder = keep_layers(model.encoder, [each for each in range(layers) if each != layer])
    except ModelError as error:
        log.info("layer %d cannot be left out: %s", layer, error)
        return NEEDED
    shorter = EncoderClassifier(encoder, len(manifest["labels"]), manifest["pooling"])
    shorter.head = model.head
    return float(np.mean(_answers(shorter.eval(), folder, manifest, texts) != own))


def _answers(model: "EncoderClassifier", folder: Path, manifest: dict[str, Any], texts: Sequence[str]) -> np.ndarray:
    """Return the model's answers [texts]."""
    import torch

    from serving.classes import predict_classes, tokenizer_function

    def logits(batch: dict[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = model(**{name: torch.from_numpy(batch[name]) for name in manifest["inputs"]})[
                "logits"
            ].numpy()
        return found  # [batch, labels]

    tokenize = tokenizer_function(folder, manifest["max_length"])
    return np.array(predict_classes(list(texts), manifest["labels"], tokenize, logits).outputs, dtype=object)
