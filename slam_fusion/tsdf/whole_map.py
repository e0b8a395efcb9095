# SPDX-License-Identifier: Apache-2.0
"""All blocks, those on disk too, a few at a time: copies in order, places with neighbours."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from slam_fusion.tsdf.block_store import BLOCK_VOXELS, BlockStore, VoxelArrays
from slam_fusion.tsdf.volume_state import BATCH

WINDOW_BLOCKS = 1024
"""Blocks, with their neighbours, whose surface is extracted at once: 96 MiB."""


def array_batches(store: BlockStore, keys: np.ndarray, index: int) -> Iterator[np.ndarray]:
    """Copy one voxel array of blocks, ``BATCH`` at a time.

    Args:
        store: the blocks.
        keys: (B, 3) int32, of blocks that exist.
        index: of the array, as in ``VoxelArrays``.

    Yields:
        (n, 4096, ...) of the array's type.
    """
    array = store.voxels[index]
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        out = np.empty((len(batch), BLOCK_VOXELS, *array.shape[1:]), array.dtype)
        store.read(batch, index, out)
        yield out


def block_batches(store: BlockStore, keys: np.ndarray) -> Iterator[VoxelArrays]:
    """Copy all voxel arrays of blocks, ``BATCH`` at a time; see ``array_batches``."""
    parts = (array_batches(store, keys, index) for index in range(len(store.voxels)))
    yield from (VoxelArrays(*arrays) for arrays in zip(*parts, strict=True))


class Window(NamedTuple):
    """Some blocks, and what is needed to extract their surface."""

    own: np.ndarray  # (B, 3) int32 keys
    near: np.ndarray  # (N, 3) int32 keys of these and of their neighbours that exist
    rows: np.ndarray  # (N,) int32 where ``near`` are in the buffers
    voxels: VoxelArrays


def windows(store: BlockStore, keys: np.ndarray) -> Iterator[Window]:
    """Part blocks so that each part is in memory, with all neighbours; copies go with the next one.

    Args:
        store: the blocks.
        keys: (B, 3) int32 of blocks that exist, in lexicographic order; so they are parted.

    Raises:
        PageError: a block does not come back from disk.
    """
    near = keys if len(keys) == store.count + store.paged_count else store.around(keys)
    rows, known = store.find(near) if len(near) else (np.empty(0, np.int32), np.empty(0, bool))
    if known.all():
        yield Window(keys, near, rows, store.voxels)
        return
    copies = VoxelArrays(
        *(np.empty((WINDOW_BLOCKS * BLOCK_VOXELS, *a.shape[1:]), a.dtype) for a in store.voxels)
    )
    waiting = [keys[i : i + WINDOW_BLOCKS // 2] for i in range(0, len(keys), WINDOW_BLOCKS // 2)]
    waiting.reverse()
    while waiting:
        own = waiting.pop()
        near = store.around(own)
        if len(near) > WINDOW_BLOCKS:
            waiting += [own[len(own) // 2 :], own[: len(own) // 2]]
            continue
        for index, copy in enumerate(copies):
            store.read(near, index, copy.reshape(-1, BLOCK_VOXELS, *copy.shape[1:])[: len(near)])
        yield Window(own, near, np.arange(len(near), dtype=np.int32), copies)
