"""The pass that sets weights to zero, one by one or in a pattern. The matrices keep their shapes; trains nothing."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.compress.material import Material
from tasks.compress.methods import Prune
from tasks.compress.shaping.shaped import batches, drawn_rows, open_source, seal_shaped
from tasks.errors import ModelError
from tasks.records import Candidate

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

ROWS = 256  # that inputs are measured on
UNSTRUCTURED = "unstructured"


def prune(method: Prune, source: Candidate, folder: Path, material: Material) -> Candidate:
    """Return the source with its least important weights zero, as an artifact in `folder`.

    Its note `sparsity` is the share of zeros in the encoder's linear layers.

    Raises:
        ModelError: the source is no torch model, a pattern's group is wider than every layer, or there are no rows.
    """
    import torch

    from tasks.compress.shaping.activations import norms
    from tasks.train.bases.reshape import linear_layers, matrix

    origin, manifest, model = open_source(source, method.kind)
    layers = dict(linear_layers(model.encoder))
    weights = {name: matrix(layer) for name, layer in layers.items()}  # [outputs, inputs]
    by_input: dict[str, Tensor] = {}
    if method.importance == "activation":
        texts = [text for text, _ in drawn_rows(material, ROWS, method.kind)]
        by_input = norms(model, layers, batches(origin, manifest, texts, method.kind))
    pruned = 0
    for name, weight in weights.items():
        scores = weight.abs()
        if method.importance == "activation":  # a layer that no text reached has no input to speak of
            scores = scores * by_input.get(name, torch.zeros(weight.shape[1]))
        gone = least(scores, method.sparsity, method.pattern, by_row=method.importance == "activation")
        weight[gone] = 0
        pruned += int(gone.sum())
    if not pruned:
        raise ModelError(
            f"compress: prune with pattern {method.pattern!r}, sparsity {method.sparsity} sets no weight to zero: "
            "the layers of this model are narrower than a group; choose another"
        )
    zeros = sum(int((weight == 0).sum()) for weight in weights.values())
    sparsity = zeros / sum(weight.numel() for weight in weights.values())
    log.info("prune: %.1f %% of the weights of %d linear layers are zero", 100 * sparsity, len(weights))
    return seal_shaped(folder, model, origin, manifest, {"sparsity": sparsity})


def least(scores: "Tensor", sparsity: float, pattern: str, by_row: bool) -> "Tensor":
    """Return which weights go, bool [outputs, inputs]: those of the lowest scores.

    They are compared within each output's row (`by_row`, as Wanda does) or in the whole matrix; with a pattern n:m,
    within each m weights of a row, of which n stay. What a row has beyond its last whole group stays.
    """
    import torch

    gone = torch.zeros_like(scores, dtype=torch.bool)
    if pattern == UNSTRUCTURED:
        compared = scores if by_row else scores.reshape(1, -1)
        order = compared.argsort(dim=1, stable=True)[:, : int(sparsity * compared.shape[1])]
        return gone.reshape(compared.shape).scatter(1, order, True).reshape(scores.shape)
    kept, size = map(int, pattern.split(":"))
    whole = scores.shape[1] // size * size
    if whole:
        groups = scores[:, :whole].reshape(-1, size)
        order = groups.argsort(dim=1, stable=True)[:, : size - kept]
        gone[:, :whole] = torch.zeros_like(groups, dtype=torch.bool).scatter(1, order, True).reshape(len(scores), whole)
    return gone
