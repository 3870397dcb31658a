"""In which order a training takes its rows: texts of like length together. Loads no rows and pads none."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices


class LengthGrouped(Sampler[int]):
    """Rows in batches of like length, the batches shuffled; the order follows from the seed and the epoch alone.

    So a training that goes on in the middle of an epoch sees the rest of that epoch's rows. The longest batch is the
    first, that memory which does not suffice shows at once; the incomplete one is the last.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self.epoch = 0
        self._lengths, self._batch, self._seed = list(lengths), batch, seed

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Take the order of this epoch, counted from 0."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        [drawn] = np.random.SeedSequence([self._seed, self.epoch]).generate_state(1, np.uint32)
        generator = torch.Generator().manual_seed(int(drawn))
        rows = get_length_grouped_indices(self._lengths, self._batch, generator=generator)
        batches = [rows[at : at + self._batch] for at in range(0, len(rows), self._batch)]
        inner = range(1, len(rows) // self._batch)
        for number in [0, *(inner[int(at)] for at in torch.randperm(len(inner), generator=generator))]:
            yield from batches[number]
        yield from (row for batch in batches[max(inner.stop, 1) :] for row in batch)


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Return the rows by falling length: the least padding, for what is evaluated only."""
    return sorted(range(len(lengths)), key=lambda row: -lengths[row])
