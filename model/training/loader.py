"""Batches for a training loop, epoch after epoch, read ahead while the last one is being worked at.

An epoch draws every clip once, in an order of its own, and shares clips out among ranks; which memories each sample
gets is drawn with it. Everything follows from seed, epoch and rank, so a loader that is told where it was goes on from
there, in the middle of an epoch too. A `torch.utils.data.IterableDataset`: hand it to a DataLoader with
`batch_size=None`, with workers or without, or iterate over it as it is.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from model.config import MixConfig
from model.training.samples import Batch, draw_batch
from model.types import TrainingClip

AHEAD = 4  # batches read before they are asked for


@contextmanager
def read_ahead(draw: Callable[[int], Batch], first: int, step: int = 1) -> Iterator[Iterator[Batch]]:
    """Batches without end, by number from `first` on, drawn by a thread before they are asked for."""
    ahead: deque[Future[Batch]] = deque()
    numbers = count(first, step)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as reader:

        def batches() -> Iterator[Batch]:
            while True:
                while len(ahead) < AHEAD:
                    ahead.append(reader.submit(draw, next(numbers)))
                yield ahead.popleft().result()

        try:
            yield batches()
        finally:
            for waiting in ahead:
                waiting.cancel()


class BatchLoader(IterableDataset):
    """Batches of `size` samples without end, of the `rank`-th part of the clips out of `ranks`.

    Clips that do not fill a batch at the end of an epoch are left to the next ones.
    """

    def __init__(
        self, clips: Sequence[TrainingClip], size: int, mix: MixConfig, seed: int = 0, rank: int = 0, ranks: int = 1
    ) -> None:
        self._clips, self._size, self._mix, self._seed, self._rank, self._ranks = clips, size, mix, seed, rank, ranks
        self._next = 0
        assert self.batches_per_epoch > 0, f"{len(clips)} clips are too few for {ranks} batches of {size}"

    @property
    def batches_per_epoch(self) -> int:
        """Of this rank; all have equally many."""
        return len(self._clips) // self._ranks // self._size

    def state_dict(self) -> dict[str, int]:
        """Where it is; without workers, whose batches are not counted here."""
        return {"next": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there."""
        self._next = state["next"]

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        with read_ahead(self.batch, self._next + first, step) as batches:
            for batch in batches:
                self._next += step
                yield batch

    def batch(self, number: int) -> Batch:
        """The `number`-th batch of this rank, counted over all epochs."""
        epoch, place = divmod(number, self.batches_per_epoch)
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._clips))[self._rank :: self._ranks]
        chosen = order[place * self._size : (place + 1) * self._size]
        samples: Any = np.random.default_rng([self._seed, epoch, self._rank, place])
        shape = np.random.default_rng([self._seed, epoch, self._ranks, place])  # no rank is called so
        return draw_batch(self._clips, self._size, self._mix, samples, shape, chosen.tolist())
