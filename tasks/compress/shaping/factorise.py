"""The pass that replaces linear layers by two thin ones. Trains nothing: `recover` comes after it."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.compress.material import Material
from tasks.compress.methods import Factorise
from tasks.compress.shaping.shaped import batches, drawn_rows, open_source, seal_shaped
from tasks.progress import report_progress
from tasks.records import Candidate

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


def factorise(method: Factorise, source: Candidate, folder: Path, material: Material) -> Candidate:
    """Return the source with thin pairs for its linear layers, as an artifact in `folder`.

    Its notes: `layers_factorised`, `mean_rank` of these, and `linear_parameters`, the share that is left.

    Raises:
        ModelError: the source is no torch model, there are no rows, or `keep` leaves less than rank 1.
    """
    from tasks.compress.shaping.activations import moments
    from tasks.compress.shaping.low_rank import choose_ranks, directions, factors
    from tasks.train.bases.reshape import linear_layers, replace

    origin, manifest, model = open_source(source, method.kind)
    layers = dict(linear_layers(model.encoder))
    measured: dict[str, tuple[Tensor, Tensor]] = {}
    if method.activation_aware:
        texts = [text for text, _ in drawn_rows(material, method.rows, method.kind)]
        measured = moments(model, layers, batches(origin, manifest, texts, method.kind))
        layers = {name: layer for name, layer in layers.items() if name in measured}  # one that no text reaches stays
    found = {}
    for number, (name, layer) in enumerate(layers.items()):
        report_progress("factorise", number, len(layers))
        found[name] = directions(layer, _varying(layer.bias is not None, measured.get(name)))
    whole = sum(layer.whole for layer in found.values())
    ranks = choose_ranks(found, int(method.keep * whole))
    thin = {name: rank for name, rank in ranks.items() if rank is not None}
    for name, rank in thin.items():
        mean = measured[name][0] if name in measured else None
        replace(model.encoder, name, factors(layers[name], found[name].basis[:, :rank], mean))
    left = sum(thin[name] * sum(one.shape) if name in thin else one.whole for name, one in found.items())
    notes = {"layers_factorised": len(thin), "mean_rank": sum(thin.values()) / max(1, len(thin)),
             "linear_parameters": left / whole}  # fmt: skip
    log.info("factorise: %d of %d linear layers, of rank %.0f in the mean; %.1f %% of their parameters stay", len(thin),
             len(found), notes["mean_rank"], 100 * left / whole)  # fmt: skip
    return seal_shaped(folder, model, origin, manifest, notes)


def _varying(has_bias: bool, measured: "tuple[Tensor, Tensor] | None") -> "Tensor | None":
    """Return the inputs' mean products, about their mean where the layer has a bias that makes up for it."""
    if measured is None:
        return None
    mean, products = measured
    return products - mean.outer(mean) if has_bias else products
