"""What passes that change a PyTorch model share: opening the source, and sealing what became of it. Changes none."""

import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.artifacts import open_artifact, seal
from tasks.compress.material import Material, Rows
from tasks.errors import ModelError
from tasks.progress import report_progress
from tasks.records import Candidate

if TYPE_CHECKING:
    from torch import Tensor

    from tasks.train.model import EncoderClassifier

OWN = ("format", "runtime", "files", "notes")  # what each artifact's manifest says of itself
SEED = 13  # which rows are drawn for measuring; a pass is the same each time
BATCH_SIZE = 32


def open_source(source: Candidate, kind: str) -> "tuple[Path, dict[str, Any], EncoderClassifier]":
    """Return folder, manifest and model of what the pass `kind` is to change.

    Raises:
        ArtifactError: the artifact is missing, incomplete or damaged.
        ModelError: it is no PyTorch model.
    """
    folder, manifest = open_artifact(source)
    if manifest["runtime"] != "torch":
        raise ModelError(
            f"compress: {kind} needs a torch model, not {manifest['runtime']!r}; put it before onnx or openvino"
        )
    from tasks.train.model import load_artifact

    return folder, manifest, load_artifact(folder, manifest)


def seal_shaped(
    folder: Path, model: "EncoderClassifier", origin: Path, manifest: dict[str, Any], notes: dict[str, float]
) -> Candidate:
    """Return the changed model as a sealed torch artifact in `folder`, with the tokenizer of the folder `origin`."""
    from tasks.train.model import write_model

    sizes = write_model(folder, model)
    if origin != folder:
        shutil.copy(origin / "tokenizer.json", folder)
    kept = {name: value for name, value in manifest.items() if name not in OWN}
    return seal(folder, runtime="torch", notes={**notes, **sizes}, **kept)


def drawn_rows(material: Material, count: int, kind: str) -> Rows:
    """Return so many of the training rows, or all where there are fewer; the same ones each time, shorter ones first.

    Raises:
        ModelError: there is none.
    """
    if not material.train:
        raise ModelError(f"compress: {kind} measures the model on training rows, and there are none")
    places = random.Random(SEED).sample(range(len(material.train)), min(count, len(material.train)))
    return [material.train[place] for place in sorted(places, key=lambda place: (len(material.train[place][0]), place))]


def batches(
    folder: Path, manifest: dict[str, Any], texts: Sequence[str], kind: str = ""
) -> "Iterator[dict[str, Tensor]]":
    """Yield what the model takes of the texts, in their order: names to tensors [batch, tokens].

    A pass's `kind` says whose progress it is; none: nobody's.
    """
    import torch

    from serving.classes import encodable, tokenizer_function

    tokenize = tokenizer_function(folder, manifest["max_length"])
    for start in range(0, len(texts), BATCH_SIZE):
        if kind:
            report_progress(kind, start, len(texts))
        made = tokenize([encodable(text) for text in texts[start : start + BATCH_SIZE]])
        yield {name: torch.from_numpy(made[name]) for name in manifest["inputs"]}
