# SPDX-License-Identifier: Apache-2.0
"""Voxel blocks in Open3D's hash map: growth ahead of need, within a memory limit.

Open3D's tensor ``VoxelBlockGrid`` holds keys and buffers and extracts surfaces. On the CPU its
buffers are seen from numpy without a copy, which is where our kernels write.
"""

import logging
from typing import NamedTuple

import numpy as np
import open3d as o3d

from mtl_perception.conventions import DenseSlamError
from slam_fusion.tsdf.evidence import SLOTS
from slam_fusion.tsdf.kernels_blocks import BLOCK_SIDE, pack_keys

BLOCK_VOXELS = BLOCK_SIDE**3
BYTES_PER_VOXEL = 4 + 2 + 3 * 2 + SLOTS * (1 + 2)
"""Distance, weight, colour, and label evidence of any number of classes: 24 bytes."""

BLOCK_BYTES = BLOCK_VOXELS * BYTES_PER_VOXEL

_FIRST_BLOCKS = 1024
_CPU = o3d.core.Device("CPU:0")

logger = logging.getLogger(__name__)


class VolumeFull(DenseSlamError):
    """The blocks of a frame would exceed the memory limit; nothing was written."""


class VoxelArrays(NamedTuple):
    """The voxel buffers, flat: voxel ``row * 4096 + (z * 16 + y) * 16 + x`` of a buffer row."""

    tsdf: np.ndarray  # (V,) float32, signed distance in truncations, -1..1, + in free space
    weight: np.ndarray  # (V,) uint16, count of observations; 0 = never seen
    color: np.ndarray  # (V, 3) uint16, 8-bit RGB * 256 + 1; 0 = never seen
    label: np.ndarray  # (V, SLOTS) uint8 class ids
    evidence: np.ndarray  # (V, SLOTS) uint16, see evidence.py


class BlockStore:
    """The blocks of one volume; rows of its buffers are stable until it grows."""

    def __init__(self, voxel_size: float, memory_limit_mb: int) -> None:
        """Start empty, with room for a small scene.

        Args:
            voxel_size: metres.
            memory_limit_mb: bound on the buffers, in MiB. While they grow the old ones exist
                beside the new ones, so the peak is half as much again.
        """
        self.block_limit = memory_limit_mb * 2**20 // BLOCK_BYTES
        float32, uint8, uint16 = o3d.core.float32, o3d.core.uint8, o3d.core.uint16
        self.grid = o3d.t.geometry.VoxelBlockGrid(
            attr_names=VoxelArrays._fields,
            attr_dtypes=(float32, uint16, uint16, uint8, uint16),
            attr_channels=[o3d.core.SizeVector([n]) for n in (1, 1, 3, SLOTS, SLOTS)],
            voxel_size=voxel_size,
            block_resolution=BLOCK_SIDE,
            block_count=min(_FIRST_BLOCKS, self.block_limit),
            device=_CPU,
        )
        self._map = self.grid.hashmap()
        self.voxels = self._view()

    @property
    def count(self) -> int:
        """Blocks in use."""
        return self._map.size()

    @property
    def capacity(self) -> int:
        """Blocks that the buffers hold before they must grow."""
        return self._map.capacity()

    def activate(self, keys: np.ndarray) -> np.ndarray:
        """Return the buffer rows of blocks, making those that are new, with zeroed voxels.

        Args:
            keys: (B, 3) int32 block coordinates, distinct, B > 0.

        Returns:
            (B,) int32 rows.

        Raises:
            VolumeFull: there is no room for the new ones; nothing has changed.
        """
        tensor = o3d.core.Tensor(keys)
        rows, known = (found.numpy() for found in self._map.find(tensor))
        if known.all():
            return rows
        self._make_room(self.count + int(np.count_nonzero(~known)))
        self._map.activate(o3d.core.Tensor(keys[~known]))
        return self._map.find(tensor)[0].numpy()  # growth moves old rows too

    def sorted_blocks(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all (B, 3) int32 keys in lexicographic order and their (B,) int32 rows."""
        rows = self._map.active_buf_indices().numpy()
        keys = self._map.key_tensor().numpy()[rows]
        order = np.argsort(pack_keys(keys))
        return keys[order], rows[order]

    def _make_room(self, needed: int) -> None:
        """Grow before Open3D would: its own growth knows no limit and leaves our views stale."""
        if needed > self.block_limit:
            raise VolumeFull(
                f"the map needs {needed} blocks but memory_limit_mb allows {self.block_limit} "
                f"({BLOCK_BYTES / 1024:.0f} KiB each): raise it, or use larger voxels"
            )
        if needed > self.capacity:
            capacity = self.capacity
            while capacity < needed:
                capacity *= 2
            self._map.reserve(min(capacity, self.block_limit))
            self.voxels = self._view()
            logger.info("volume grew to room for %d blocks", self.capacity)

    def _view(self) -> VoxelArrays:
        tsdf, weight, color, label, evidence = (
            self._map.value_tensor(i).numpy() for i in range(len(VoxelArrays._fields))
        )
        return VoxelArrays(
            tsdf.reshape(-1),
            weight.reshape(-1),
            color.reshape(-1, 3),
            label.reshape(-1, SLOTS),
            evidence.reshape(-1, SLOTS),
        )
