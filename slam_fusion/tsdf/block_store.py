# SPDX-License-Identifier: Apache-2.0
"""Voxel blocks in Open3D's hash map: growth ahead of need, within a memory limit.

Open3D's tensor ``VoxelBlockGrid`` holds keys and buffers. On the CPU its buffers are seen from
numpy without a copy, which is where our kernels write.
"""

import logging
from typing import NamedTuple

import numpy as np
import open3d as o3d

from mtl_perception.conventions import DenseSlamError
from slam_fusion.tsdf.evidence import SLOTS
from slam_fusion.tsdf.kernels_blocks import BLOCK_SIDE, pack_keys, unpack_keys

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
    """The blocks of one volume; rows of its buffers are stable until it grows.

    Attributes:
        voxels: the buffers, until it grows.
        first_version: ``version`` when it was made, and empty.
        version: grows whenever blocks are handed out to be written.
    """

    def __init__(self, voxel_size: float, memory_limit_mb: int, first_version: int = 0) -> None:
        """Start empty, with room for a small scene.

        Args:
            voxel_size: metres.
            memory_limit_mb: bound on the buffers, in MiB. While they grow the old ones exist
                beside the new ones, so the peak is half as much again.
            first_version: of an empty store that takes the place of another, one more than
                that one's last: who follows its changes then sees that it is another.
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
        self.first_version = self.version = first_version
        self._changed_at = np.zeros(self.capacity, np.int64)  # version, by row

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

        They count as changed: rows are asked for to write into them.

        Args:
            keys: (B, 3) int32 block coordinates, distinct, B > 0.

        Returns:
            (B,) int32 rows.

        Raises:
            VolumeFull: there is no room for the new ones; nothing has changed.
        """
        rows, known = self._find(keys)
        if not known.all():
            self._make_room(self.count + int(np.count_nonzero(~known)))
            self._map.activate(o3d.core.Tensor(keys[~known]))
            rows, _ = self._find(keys)  # growth moves old rows too
        self.version += 1
        self._changed_at[rows] = self.version
        return rows

    def changed_since(self, version: int) -> np.ndarray:
        """Return the keys, (B, 3) int32 in any order, of blocks that changed after ``version``."""
        rows = np.flatnonzero(self._changed_at > max(version, self.first_version))
        return self._map.key_tensor().numpy()[rows]

    def around(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return those of some blocks and of their 26 neighbours that exist.

        Args:
            keys: (B, 3) int32.

        Returns:
            (N, 3) int32 keys in lexicographic order and their (N,) int32 rows.
        """
        if len(keys) == 0:
            return keys, np.empty(0, np.int32)
        steps = np.stack(np.meshgrid(*[np.arange(-1, 2, dtype=np.int32)] * 3), axis=-1)
        near = (keys[:, None] + steps.reshape(-1, 3)).reshape(-1, 3)
        near = unpack_keys(np.unique(pack_keys(near)))
        rows, known = self._find(near)
        return near[known], rows[known]

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
            keys, rows = self.sorted_blocks()
            changed_at = self._changed_at[rows]
            self._map.reserve(min(capacity, self.block_limit))
            self.voxels = self._view()
            self._changed_at = np.zeros(self.capacity, np.int64)
            if len(keys):
                self._changed_at[self._find(keys)[0]] = changed_at
            logger.info("volume grew to room for %d blocks", self.capacity)

    def _find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the (B,) int32 rows of blocks, and (B,) bool: whether they exist."""
        rows, known = self._map.find(o3d.core.Tensor(keys))
        return rows.numpy(), known.numpy()

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
