"""The moving average of a model's weights, evaluated and kept in their place. Trains nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Average:
    """An exponential moving average: after each step `decay` of it and the rest of the weights.

    Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging". It starts as the weights after
    the first step.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self._model = model
        self._kept = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """Take the weights of this step in."""
        self._kept.update_parameters(self._model)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the average as its weights in the block."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the model's weights and the average."""
        for weight, kept in zip(self._model.parameters(), self._kept.module.parameters(), strict=True):
            held = weight.clone()
            weight.copy_(kept)
            kept.copy_(held)

    def save(self, path: Path) -> None:
        """Write the average."""
        save_model(self._kept, str(path))

    def load(self, path: Path) -> None:
        """Take the average that was written."""
        load_model(self._kept, str(path))
