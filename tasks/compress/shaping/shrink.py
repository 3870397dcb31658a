"""The pass that removes attention heads, feed-forward neurons and whole layers: the matrices become smaller.

Trains nothing: `recover` comes after it. Layers go first, then the heads and neurons of those that are left, each
layer as many, so that all stay of one size.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.compress.material import Material, Rows
from tasks.compress.methods import Shrink
from tasks.compress.shaping.shaped import BATCH_SIZE, batches, drawn_rows, open_source, seal_shaped
from tasks.errors import ModelError
from tasks.records import Candidate
from tasks.train.bases.blocks import Block, head_size, heads_of, neurons_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tasks.train.model import EncoderClassifier

log = logging.getLogger(__name__)

STEP = 8  # neurons stay in multiples of it where there were: kernels compute in blocks of them
Part = tuple[Block, float, int]  # where the units are, the share of them that goes, dimensions of each


def shrink(method: Shrink, source: Candidate, folder: Path, material: Material) -> Candidate:
    """Return the source without its least important heads, neurons and layers, as an artifact in `folder`.

    Its notes: `heads_removed`, `neurons_removed` and `layers_removed`, in all.

    Raises:
        ModelError: the source is no torch model, its family keeps heads or neurons where they cannot be taken from, it
            has too few layers, or the shares are so small that nothing would go.
    """
    origin, manifest, model = open_source(source, method.kind)
    parts = _parts(method, model.config)
    layers_removed = _remove_layers(method, model, origin, manifest, material) if method.layers else 0
    worth = _worth(method, model, parts, _labelled(method, origin, manifest, material))
    removed = {"heads": 0, "neurons": 0}
    for kind, (block, share, size) in parts.items():
        for place, layer in _layers(model):
            removed[kind] += _remove(model.encoder, place, layer, block, worth[kind, place], share, size)
    if not layers_removed and not any(removed.values()):
        raise ModelError("compress: shrink removes nothing: the shares are less than one unit of a layer; give larger")
    notes: dict[str, float] = {
        f"{kind}_removed": count for kind, count in {**removed, "layers": layers_removed}.items()
    }
    log.info("shrink: %d heads, %d neurons and %d layers removed", removed["heads"], removed["neurons"], layers_removed)
    return seal_shaped(folder, model, origin, manifest, notes)


def _parts(method: Shrink, config: Any) -> dict[str, Part]:
    """Return what is to go beside layers, refused before anything is measured."""
    parts: dict[str, Part] = {}
    if method.heads:
        parts["heads"] = (heads_of(config), method.heads, head_size(config))
    if method.neurons:
        parts["neurons"] = (neurons_of(config), method.neurons, 1)
    return parts


def _remove_layers(
    method: Shrink, model: "EncoderClassifier", origin: Path, manifest: dict[str, Any], material: Material
) -> int:
    from tasks.compress.shaping.importance import least_missed_layers
    from tasks.train.bases.families import keep_layers

    rows = drawn_rows(material, method.rows, method.kind)
    texts = list(batches(origin, manifest, [text for text, _ in rows]))
    stay = least_missed_layers(model, method.layers, texts)
    model.encoder = keep_layers(model.encoder, stay)
    model.config = model.encoder.config
    log.info("shrink: the layers %s stay", stay)
    return method.layers


def _layers(model: "EncoderClassifier") -> "list[tuple[str, nn.Module]]":
    """Return the encoder's layers with their places in it."""
    from tasks.train.bases.layers import find_layers

    path, layers = find_layers(model.encoder)
    return [(f"{path}.{number}", layer) for number, layer in enumerate(layers)]


def _labelled(
    method: Shrink, origin: Path, manifest: dict[str, Any], material: Material
) -> "Iterator[tuple[dict[str, Tensor], Tensor]]":
    """Yield what the model takes of the drawn rows, and the numbers of their labels, [texts].

    Raises:
        ModelError: a row has a label that the model does not know.
    """
    import torch

    rows: Rows = drawn_rows(material, method.rows, method.kind)
    numbers = {label: number for number, label in enumerate(manifest["labels"])}
    unknown = next((label for _, label in rows if label not in numbers), None)
    if unknown is not None:
        raise ModelError(f"compress: shrink expected the model's labels, and a training row has {unknown!r}; train the "
                         "model on these rows, or use importance: magnitude")  # fmt: skip
    for start, batch in enumerate(batches(origin, manifest, [text for text, _ in rows], method.kind)):
        labels = [numbers[label] for _, label in rows[start * BATCH_SIZE : (start + 1) * BATCH_SIZE]]
        yield batch, torch.tensor(labels)


def _worth(
    method: Shrink, model: "EncoderClassifier", parts: Mapping[str, Part],
    texts: "Iterator[tuple[dict[str, Tensor], Tensor]]",
) -> "dict[tuple[str, str], Tensor]":  # fmt: skip
    """Return what each unit is worth, [units], by kind and place of the layer."""
    from tasks.compress.shaping.importance import by_magnitude, by_taylor

    layers = _layers(model)
    if method.importance == "taylor":
        readers = {
            f"{kind} {place}": (_linear(layer, block.reader, model), size)
            for kind, (block, _, size) in parts.items()
            for place, layer in layers
        }
        found = by_taylor(model, readers, texts) if readers else {}
        return {(kind, place): found[f"{kind} {place}"] for kind in parts for place, _ in layers}
    worth = {}
    for kind, (block, _, size) in parts.items():
        for place, layer in layers:
            makers = [(_linear(layer, name, model), block.stacked) for name in _makers(layer, block)]
            worth[kind, place] = by_magnitude(makers, _linear(layer, block.reader, model), size)
    return worth


def _makers(layer: "nn.Module", block: Block) -> list[str]:
    there = {name for name, _ in layer.named_modules()}
    return [*block.makers, *(name for name in block.further if name in there)]


def _linear(layer: "nn.Module", name: str, model: "EncoderClassifier") -> Any:
    """Return a linear layer by its name in a layer of the encoder.

    Raises:
        ModelError: there is none, since this model of the family is built otherwise.
    """
    try:
        return layer.get_submodule(name)
    except AttributeError as error:
        raise ModelError(
            f"compress: shrink expected {name!r} in each layer of this {model.encoder.config.model_type}, which is "
            "built otherwise; leave out what it should remove there"
        ) from error


def _remove(
    encoder: Any, place: str, layer: "nn.Module", block: Block, worth: "Tensor", share: float, size: int
) -> int:  # fmt: skip
    """Take the least important units out of a layer, say so in the config, and return how many went."""
    import torch

    from tasks.train.bases.reshape import cut_inputs, cut_outputs, outputs_of, replace

    kept_count = kept_units(len(worth), share, 1 if size > 1 else STEP)
    kept = worth.argsort(descending=True, stable=True)[:kept_count].sort().values
    inputs = (kept[:, None] * size + torch.arange(size)).flatten()  # the dimensions of these units
    total = len(worth) * size
    for name in _makers(layer, block):
        maker = layer.get_submodule(name)
        if outputs_of(maker) != block.stacked * total:
            raise ModelError(f"compress: shrink expected {block.stacked * total} outputs of {place}.{name}, which has "
                             f"{outputs_of(maker)}; leave out what it should remove there")  # fmt: skip
        outputs = torch.cat([inputs + part * total for part in range(block.stacked)])
        replace(encoder, f"{place}.{name}", cut_outputs(maker, outputs))
    replace(encoder, f"{place}.{block.reader}", cut_inputs(layer.get_submodule(block.reader), inputs))
    if block.size:
        setattr(encoder.config, block.size, kept_count)
    return len(worth) - kept_count


def kept_units(count: int, share: float, step: int) -> int:
    """Return how many of so many units stay when a share goes: at least one, in multiples of `step` where they were."""
    kept = max(1, count - int(share * count + 1e-9))
    return min(count, -(-kept // step) * step) if count % step == 0 else kept
