# SPDX-License-Identifier: Apache-2.0
"""Voxel blocks in Open3D's hash map, within a memory limit: what is too much waits on disk.

Blocks that were not used for longest are paged out when the rows are all taken, and come back
when they are asked for. Their bytes never change on the way.

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
from slam_fusion.tsdf.spill import Spill

BLOCK_VOXELS = BLOCK_SIDE**3
BYTES_PER_VOXEL = 4 + 2 + 3 * 2 + SLOTS * (1 + 2)
"""Distance, weight, colour, and label evidence of any number of classes: 24 bytes."""

BLOCK_BYTES = BLOCK_VOXELS * BYTES_PER_VOXEL

_ARRAY_BYTES = tuple(BLOCK_VOXELS * width for width in (4, 2, 3 * 2, SLOTS, SLOTS * 2))
_FIRST_BLOCKS = 1024
_EVICTED_SHARE = 1 / 256  # of the rows, at once: rarely, and yet no frame waits long
_NEAR = np.stack(np.meshgrid(*[np.arange(-1, 2, dtype=np.int32)] * 3), axis=-1).reshape(-1, 3)
_CPU = o3d.core.Device("CPU:0")

logger = logging.getLogger(__name__)


class VolumeFull(DenseSlamError):
    """The blocks of a frame would exceed the limits of memory and disk; the map is as before."""


class VoxelArrays(NamedTuple):
    """The voxel buffers, flat: voxel ``row * 4096 + (z * 16 + y) * 16 + x`` of a buffer row."""

    tsdf: np.ndarray  # (V,) float32, signed distance in truncations, -1..1, + in free space
    weight: np.ndarray  # (V,) uint16, sum of what readings weighed; 0 = never seen
    color: np.ndarray  # (V, 3) uint16, 8-bit RGB * 256 + 1; 0 = never seen
    label: np.ndarray  # (V, SLOTS) uint8 class ids
    evidence: np.ndarray  # (V, SLOTS) uint16, see evidence.py


class BlockStore:
    """The blocks of one volume; rows of its buffers are stable until ``activate``.

    Attributes:
        block_limit: blocks that may be in memory.
        page_outs: blocks written to disk so far.
        page_ins: blocks that came back so far.
        first_version: ``version`` when it was made, and empty.
        version: grows whenever blocks are handed out to be written.
    """

    def __init__(
        self,
        voxel_size: float,
        memory_limit_mb: int,
        disk_limit_mb: int = 0,
        page_folder: str = "",
        first_version: int = 0,
    ) -> None:
        """Start empty, with room for a small scene.

        Args:
            voxel_size: metres.
            memory_limit_mb: bound on the buffers, in MiB, also while they grow. Without room on
                disk the old ones exist beside the new ones then: half as much again.
            disk_limit_mb: bound on the blocks on disk, in MiB; 0 = none are. While a frame's
                blocks come back, those that make room for them are there too.
            page_folder: where they are; see ``Spill``.
            first_version: of an empty store that takes the place of another, one more than
                that one's last: who follows its changes then sees that it is another.
        """
        self.block_limit = memory_limit_mb * 2**20 // BLOCK_BYTES
        self.page_ins = self.page_outs = 0
        self._voxel_size = voxel_size
        self._spill = Spill(page_folder, disk_limit_mb * 2**20 // BLOCK_BYTES, _ARRAY_BYTES)
        self.first_version = self.version = first_version
        self._clock = 0  # counts calls of activate and bring
        self._changed_on_disk: dict[int, int] = {}  # packed key -> version
        self._newest_on_disk = 0  # no version of these is larger
        self._allocate(min(_FIRST_BLOCKS, self.block_limit))

    @property
    def count(self) -> int:
        """Blocks in memory."""
        return self._map.size()

    @property
    def paged_count(self) -> int:
        """Blocks on disk; the others are in memory."""
        return len(self._spill)

    @property
    def disk_bytes(self) -> int:
        """Size of the page file."""
        return self._spill.file_bytes

    @property
    def voxels(self) -> VoxelArrays:
        """The buffers in memory, until ``activate``; to write into them, ``activate`` first."""
        return self._voxels

    @property
    def capacity(self) -> int:
        """Blocks that the buffers hold before they must grow."""
        return self._map.capacity()

    def activate(self, keys: np.ndarray) -> np.ndarray:
        """Return the buffer rows of blocks: those on disk come back, new ones hold zeros.

        They count as changed: rows are asked for to write into them.

        Args:
            keys: (B, 3) int32 block coordinates, distinct, B > 0.

        Returns:
            (B,) int32 rows.

        Raises:
            VolumeFull: there is no room for the new ones; the map is as before.
            PageError: a block does not come back from disk; the map is as before.
        """
        rows = self.bring(keys)
        self.version += 1
        self._changed_at[rows] = self.version
        return rows

    def bring(self, keys: np.ndarray) -> np.ndarray:
        """Return the buffer rows of blocks to read; otherwise as ``activate``."""
        rows, known = self.find(keys)
        if not known.all():
            self._make_room(rows[known], keys[~known])
            self._enter(keys[~known])
            rows, _ = self.find(keys)  # growth moves old rows too
        self._clock += 1
        self._last_used[rows] = self._clock
        return rows

    def lend(self, keys: np.ndarray, *, write: bool) -> tuple[np.ndarray, VoxelArrays]:
        """Return blocks to the kernels that fuse and look, until the next call.

        Args:
            keys: as in ``activate``.
            write: whether they will be written into; else as ``bring``.

        Returns:
            (B,) int32 rows, and the buffers that have them.
        """
        return self.activate(keys) if write else self.bring(keys), self.voxels

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the (B,) int32 rows of blocks in memory, and (B,) bool: whether they are there."""
        rows, known = self._map.find(o3d.core.Tensor(np.ascontiguousarray(keys)))
        return rows.numpy(), known.numpy()

    def read(self, keys: np.ndarray, index: int, out: np.ndarray) -> None:
        """Copy one voxel array of blocks, wherever they are.

        Args:
            keys: (B, 3) int32, of blocks that exist.
            index: of the array, as in ``VoxelArrays``.
            out: (B, 4096, ...) of its type, contiguous; written.

        Raises:
            PageError: a block does not come back from disk.
        """
        rows, known = self.find(keys)
        array = self._voxels[index]
        out[known] = array.reshape(-1, BLOCK_VOXELS, *array.shape[1:])[rows[known]]
        missing = np.flatnonzero(~known)
        for at, key in zip(missing.tolist(), pack_keys(keys[missing]).tolist(), strict=True):
            self._spill.read_array(key, index, out[at])

    def changed_since(self, version: int) -> np.ndarray:
        """Return the keys, (B, 3) int32 in any order, of blocks that changed after ``version``."""
        since = max(version, self.first_version)
        rows = np.flatnonzero(self._changed_at > since)
        on_disk = []
        if since < self._newest_on_disk:  # seldom: what goes to disk was not used for long
            on_disk = [key for key, changed in self._changed_on_disk.items() if changed > since]
        far = unpack_keys(np.array(on_disk, np.int64))
        return np.concatenate([self._map.key_tensor().numpy()[rows], far])

    def around(self, keys: np.ndarray) -> np.ndarray:
        """Return those of some blocks and of their 26 neighbours that exist.

        Args:
            keys: (B, 3) int32.

        Returns:
            (N, 3) int32 keys in lexicographic order.
        """
        if len(keys) == 0:
            return keys
        return self.existing(np.unique(pack_keys((keys[:, None] + _NEAR).reshape(-1, 3))))

    def existing(self, packed: np.ndarray) -> np.ndarray:
        """Return the keys, (N, 3) int32, of those of (B,) int64 packed keys that are blocks."""
        if len(packed) == 0:
            return np.empty((0, 3), np.int32)
        keys = unpack_keys(packed)
        _, exists = self.find(keys)
        if self.paged_count:
            exists |= np.array([key in self._spill for key in packed.tolist()])
        return keys[exists]

    def sorted_keys(self) -> np.ndarray:
        """Return all (B, 3) int32 keys, of blocks in memory and on disk, in lexicographic order."""
        resident = pack_keys(self.sorted_blocks()[0])
        return unpack_keys(np.sort(np.concatenate([resident, self._spill.keys()])))

    def sorted_blocks(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the (B, 3) int32 keys in memory, in lexicographic order, and (B,) int32 rows."""
        rows = self._map.active_buf_indices().numpy()
        keys = self._map.key_tensor().numpy()[rows]
        order = np.argsort(pack_keys(keys))
        return keys[order], rows[order]

    def _make_room(self, kept: np.ndarray, keys: np.ndarray) -> None:
        """Grow, or page out, so that ``keys``, not in memory, fit beside the rows ``kept``.

        Open3D must not grow by itself: it knows no limit and leaves our views stale.
        """
        needed = self.count + len(keys)
        if needed > self.block_limit:
            self._check_limits(len(kept) + len(keys), keys)
        if min(needed, self.block_limit) > self.capacity:
            self._grow(min(needed, self.block_limit))
        if needed > self.block_limit:
            self._page_out(needed - self.block_limit, kept)

    def _check_limits(self, at_once: int, keys: np.ndarray) -> None:
        if at_once > self.block_limit:
            raise VolumeFull(
                f"{at_once} blocks are needed at once but memory_limit_mb allows "
                f"{self.block_limit} ({BLOCK_BYTES / 1024:.0f} KiB each): raise it, or use larger "
                "voxels"
            )
        back = sum(key in self._spill for key in pack_keys(keys).tolist())
        total = self.count + self.paged_count + len(keys) - back
        if total > self.block_limit + self._spill.block_limit:
            raise VolumeFull(
                f"the map needs {total} blocks but memory_limit_mb allows {self.block_limit} and "
                f"disk_limit_mb {self._spill.block_limit} ({BLOCK_BYTES / 1024:.0f} KiB each): "
                "raise them, or use larger voxels"
            )

    def _enter(self, keys: np.ndarray) -> None:
        """Put blocks that are not in memory into free rows."""
        self._map.activate(o3d.core.Tensor(keys))
        rows, _ = self.find(keys)
        packed = pack_keys(keys).tolist()
        back = [key for key in packed if key in self._spill]
        try:
            for row, key in zip(rows.tolist(), packed, strict=True):
                if key in self._spill:
                    self._spill.read(key, self._block(row))
                elif self._last_used[row]:  # another block's before; never used rows are zero
                    for array in self._block(row):
                        array.fill(0)
        except DenseSlamError:
            self._map.erase(o3d.core.Tensor(keys))
            raise
        finally:
            self._last_used[rows] = self._clock + 1
        self._changed_at[rows] = [self._changed_on_disk.pop(key, 0) for key in packed]
        self._spill.drop(back)
        self.page_ins += len(back)

    def _page_out(self, least: int, kept: np.ndarray) -> None:
        """Write at least so many blocks to disk, those unused for longest; none of ``kept``."""
        keys, rows = self.sorted_blocks()
        used = self._last_used[rows]
        used[np.isin(rows, kept)] = self._clock + 1
        more = min(int(self.block_limit * _EVICTED_SHARE), self._spill.room)
        count = min(max(least, more), len(rows) - len(kept))
        victims = np.sort(np.argsort(used, kind="stable")[:count])
        self._write(keys[victims], rows[victims])
        self._map.erase(o3d.core.Tensor(keys[victims]))
        self._changed_at[rows[victims]] = 0

    def _write(self, keys: np.ndarray, rows: np.ndarray) -> None:
        packed = pack_keys(keys).tolist()
        try:
            self._spill.write(packed, [self._block(row) for row in rows.tolist()])
        except OSError as error:
            raise VolumeFull(
                f"blocks cannot be written to disk in {self._spill.folder}: {error.strerror}"
            ) from error
        self._changed_on_disk |= zip(packed, self._changed_at[rows].tolist(), strict=True)
        self._newest_on_disk = max(self._newest_on_disk, int(self._changed_at[rows].max()))
        self.page_outs += len(keys)

    def _grow(self, needed: int) -> None:
        """Double the buffers until they hold ``needed`` blocks, the limit at most."""
        capacity = self.capacity
        while capacity < needed:
            capacity *= 2
        capacity = min(capacity, self.block_limit)
        # The old buffers exist beside the new ones for a moment.
        if self.capacity + capacity <= self.block_limit or not self._grow_by_disk():
            keys, rows = self.sorted_blocks()
            last_used, changed_at = self._last_used[rows], self._changed_at[rows]
            self._map.reserve(capacity)
            self._view()
            if len(keys):
                rows, _ = self.find(keys)
                self._last_used[rows], self._changed_at[rows] = last_used, changed_at
        logger.info("volume grew to room for %d blocks", self.capacity)

    def _grow_by_disk(self) -> bool:
        """Grow to the limit while the blocks wait on disk; return whether there was room."""
        if self._spill.room < self.count:
            return False
        keys, rows = self.sorted_blocks()
        last_used = self._last_used[rows]
        try:
            self._write(keys, rows)
        except VolumeFull as error:
            logger.warning("memory passes its limit while it grows: %s", error)
            return False
        del self.grid, self._map, self._voxels
        self._allocate(self.block_limit)
        self._enter(keys)
        self._last_used[self.find(keys)[0]] = last_used
        return True

    def _allocate(self, blocks: int) -> None:
        float32, uint8, uint16 = o3d.core.float32, o3d.core.uint8, o3d.core.uint16
        self.grid = o3d.t.geometry.VoxelBlockGrid(
            attr_names=VoxelArrays._fields,
            attr_dtypes=(float32, uint16, uint16, uint8, uint16),
            attr_channels=[o3d.core.SizeVector([n]) for n in (1, 1, 3, SLOTS, SLOTS)],
            voxel_size=self._voxel_size,
            block_resolution=BLOCK_SIDE,
            block_count=blocks,
            device=_CPU,
        )
        self._map = self.grid.hashmap()
        self._view()

    def _block(self, row: int) -> list[np.ndarray]:
        return [a[row * BLOCK_VOXELS : (row + 1) * BLOCK_VOXELS] for a in self._voxels]

    def _view(self) -> None:
        """See the buffers, which are new, from numpy."""
        tsdf, weight, color, label, evidence = (
            self._map.value_tensor(i).numpy() for i in range(len(VoxelArrays._fields))
        )
        self._voxels = VoxelArrays(
            tsdf.reshape(-1),
            weight.reshape(-1),
            color.reshape(-1, 3),
            label.reshape(-1, SLOTS),
            evidence.reshape(-1, SLOTS),
        )
        self._last_used = np.zeros(self.capacity, np.int64)  # clock, by row; 0 = row never used
        self._changed_at = np.zeros(self.capacity, np.int64)  # version, by row; 0 = no block there
