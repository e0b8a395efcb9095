# SPDX-License-Identifier: Apache-2.0
"""Kernels on several threads, without OpenMP."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

BANDS = 4
"""Pieces of work for each thread: one that is held up leaves its rest to the others."""


class Crew:
    """Threads of its own and the caller's that share out counted work, with the GIL free.

    No OpenMP, whose idle threads spin and so take the cores from the network's own.
    """

    def __init__(self, threads: int) -> None:
        """Prepare to work on so many threads, the caller's among them."""
        self._threads = threads
        self._pool = ThreadPoolExecutor(max(threads - 1, 1), "crew")

    def share_out(self, process: Callable[[int, int], bool | None], count: int) -> bool:
        """Call ``process(first, end)`` on pieces of 0..count; False if one of them says so."""
        pieces = BANDS * self._threads if self._threads > 1 else 1
        edges = [count * i // pieces for i in range(pieces + 1)]
        bands = iter([band for band in pairwise(edges) if band[0] < band[1]])

        def work() -> bool:  # each thread takes the next one
            return all([process(*band) is not False for band in bands])

        helpers = [self._pool.submit(work) for _ in range(self._threads - 1)]
        return all([work(), *(helper.result() for helper in helpers)])
