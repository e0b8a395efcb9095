# SPDX-License-Identifier: Apache-2.0
"""Batches in an order that seed and position alone decide, prepared ahead by a few threads.

Threads, not processes: decoding, resizing and NumPy let go of Python's lock, and nothing has to
be copied between processes.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mtl_perception.conventions import InvalidInput
from mtl_perception.data.sample import Dataset
from mtl_perception.training.batch import Batch, stack
from mtl_perception.training.config import ViewConfig
from mtl_perception.training.transforms import look, random_view

AHEAD = 3
"""Batches that are prepared before they are asked for."""

BLOCK = 1000
"""Images within which every data set has its share exactly."""


@dataclass(frozen=True)
class Mixture:
    """Data sets in given shares; every sample of a set comes once before any comes twice."""

    datasets: tuple[Dataset, ...]
    weights: tuple[float, ...]  # relative shares

    def __post_init__(self) -> None:
        """Refuse mixtures of nothing.

        Raises:
            InvalidInput: with the names and weights.
        """
        sizes = {d.name: len(d) for d in self.datasets}
        if not sizes or min(sizes.values()) < 1 or min(self.weights) <= 0:
            raise InvalidInput(f"data sets {sizes} with weights {self.weights}: nothing to mix")

    def draw(self, seed: int, position: int) -> tuple[int, int]:
        """Return (data set, sample) of the image at a position of the run, 0-based."""
        block, place = divmod(position, BLOCK)
        which, earlier, per_block = _block(self.weights, seed, block)
        chosen = int(which[place])
        count = block * int(per_block[chosen]) + int(earlier[place])
        size = len(self.datasets[chosen])
        turn, row = divmod(count, size)
        return chosen, int(_shuffled(seed, chosen, turn, size)[row])


@lru_cache(maxsize=4)
def _block(
    weights: tuple[float, ...], seed: int, block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the data sets of a block's images, how many of each came earlier, their counts.

    All three by number: (BLOCK,), (BLOCK,), and one count for each data set.
    """
    ends = np.rint(np.cumsum(weights) / np.sum(weights) * BLOCK).astype(int)
    per_block = np.diff(ends, prepend=0)
    which = np.repeat(np.arange(len(weights)), per_block)
    which = np.random.default_rng((seed, 1, block)).permutation(which)
    earlier = np.empty(BLOCK, int)
    for chosen, count in enumerate(per_block):
        earlier[which == chosen] = np.arange(count)
    return which, earlier, per_block


@lru_cache(maxsize=16)
def _shuffled(seed: int, chosen: int, turn: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, 2, chosen, turn)).permutation(size)


@dataclass(frozen=True)
class Loader:
    """Makes the batches of a run, or one process's part of them."""

    mixture: Mixture
    view: ViewConfig
    focal_px: float  # of the canonical camera, see ``transforms.look``
    seed: int
    batch: int  # images of a step, over all processes
    rank: int = 0  # of this process
    world: int = 1  # processes

    def __post_init__(self) -> None:
        """Refuse batches that the processes cannot share.

        Raises:
            InvalidInput: with the numbers.
        """
        if self.batch % self.world:
            raise InvalidInput(f"batches of {self.batch} images for {self.world} processes")

    def image(self, position: int) -> Batch:
        """Return the image at a position of the run, 0-based: data, view and colours.

        Raises:
            DataMissing, DataCorrupt: naming file or sample.
        """
        chosen, index = self.mixture.draw(self.seed, position)
        rng = np.random.default_rng((self.seed, 3, position))
        sample = self.mixture.datasets[chosen][index]
        view = random_view(sample, self.view, rng)
        return look(sample, view, self.focal_px, self.view.colors, rng)

    def positions(self, step: int) -> range:
        """Return which images of the run are this process's at a step."""
        return range(step * self.batch + self.rank, (step + 1) * self.batch, self.world)

    def batches(self, first: int, stop: int, workers: int) -> Iterator[tuple[int, Batch]]:
        """Yield (step, batch) for steps ``first`` to ``stop`` - 1; errors come at their step."""
        with ThreadPoolExecutor(workers, thread_name_prefix="loader") as pool:
            waiting: deque[tuple[int, list[Future[Batch]]]] = deque()
            todo = iter(range(first, stop))
            try:
                for step in todo:
                    waiting.append(
                        (step, [pool.submit(self.image, p) for p in self.positions(step)])
                    )
                    if len(waiting) > AHEAD:
                        yield _collected(waiting.popleft())
                while waiting:
                    yield _collected(waiting.popleft())
            finally:
                pool.shutdown(cancel_futures=True)


def _collected(item: tuple[int, list[Future[Batch]]]) -> tuple[int, Batch]:
    step, images = item
    return step, stack([image.result() for image in images])
