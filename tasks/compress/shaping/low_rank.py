"""Linear layers as products of two thin ones: how good each rank would be, and which rank each layer gets.

Changes no model itself.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.errors import ModelError
from tasks.train.bases.reshape import Linear, LowRank, matrix

RIDGE = 1e-6  # of the inputs' mean square, so that inputs which never vary have a root too


@dataclass(frozen=True)
class Directions:
    """Which directions of a layer's outputs carry how much of their energy."""

    basis: Tensor  # [outputs, directions], orthonormal, strongest first
    energies: Tensor  # [directions], mean squares of the outputs along them
    shape: tuple[int, int]  # outputs, inputs

    @property
    def whole(self) -> int:
        """The parameters of the layer as it is."""
        return self.shape[0] * self.shape[1]


def directions(linear: Linear, products: Tensor | None) -> Directions:
    """Return the left singular vectors of W L and its squared singular values, of a layer's weights W.

    L is the Cholesky factor of the inputs' mean products C = L L^T (Wang et al. 2024, SVD-LLM), [inputs, inputs]; None:
    the identity, for the plain decomposition. To project the outputs on the first r vectors is the best of all layers
    of rank r: the mean square of what it loses on those inputs is the sum of the other values.
    """
    weight = matrix(linear).double()
    if products is not None:
        ridge = RIDGE * products.diagonal().mean().clamp(min=1e-12)
        weight = weight @ torch.linalg.cholesky(products + ridge * torch.eye(len(products), dtype=torch.float64))
    basis, values, _ = torch.linalg.svd(weight, full_matrices=False)
    return Directions(basis, values.square(), (int(weight.shape[0]), int(weight.shape[1])))


def factors(linear: Linear, basis: Tensor, mean: Tensor | None) -> LowRank:
    """Return a layer as two thin ones: its outputs projected on a basis [outputs, rank].

    With the mean of its inputs [inputs], and where it has a bias, what is projected is how the outputs differ from
    theirs, so that the rank is spent on what varies.
    """
    weight = matrix(linear).double()
    bias = linear.bias
    with torch.random.fork_rng():
        made = LowRank(weight.shape[1], weight.shape[0], basis.shape[1], bias is not None)
    down = basis.T @ weight  # [rank, inputs]
    made.down.weight.data.copy_(down)
    made.up.weight.data.copy_(basis)
    if bias is not None:
        lost = 0 if mean is None else weight @ mean - basis @ (down @ mean)
        made.up.bias.data.copy_(bias.data.double() + lost)
    return made


def choose_ranks(layers: Mapping[str, Directions], budget: int) -> dict[str, int | None]:
    """Return each layer's rank so that together they have at most `budget` parameters; None: the layer stays whole.

    Each layer has one direction at first; then the one is added, again and again, that keeps the largest share of its
    layer's energy for a parameter. A layer whose factors would be as large as itself stays whole.

    Raises:
        ModelError: not even one direction each fits.
    """
    ranks, left = dict.fromkeys(layers, 0), budget
    queue = [(-float("inf"), name) for name in sorted(layers)]
    heapq.heapify(queue)
    while queue:
        _, name = heapq.heappop(queue)
        layer, rank = layers[name], ranks[name]
        price = _size(layer, rank + 1) - _size(layer, rank)
        if price > left:
            if rank == 0:
                least = sum(_size(one, 1) for one in layers.values())
                raise ModelError(
                    f"compress: factorise may keep {budget} parameters, and one direction of each layer takes {least}; "
                    "give a larger `keep`"
                )
            continue
        left -= price
        ranks[name] = rank + 1
        if _size(layer, rank + 1) < layer.whole:
            gain = layer.energies[rank + 1] / layer.energies.sum().clamp(min=1e-30) / sum(layer.shape)
            heapq.heappush(queue, (-float(gain), name))
    return {name: rank if _size(layers[name], rank) < layers[name].whole else None for name, rank in ranks.items()}


def _size(layer: Directions, rank: int) -> int:
    return min(rank * sum(layer.shape), layer.whole)
