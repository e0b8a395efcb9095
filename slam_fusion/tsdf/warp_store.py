# SPDX-License-Identifier: Apache-2.0
"""A block store for kernels on a GPU, whose memory is a cache in front of the host's.

Every block that is not on disk has its row in memory, as without a GPU. Blocks that were lent to
kernels are on the GPU as well, and what is there may be newer. It comes back when the buffers in
memory are asked for, before the block goes to disk, and when room on the GPU runs short; those not
lent for longest leave first. A camera that stays among blocks on the GPU moves its images there,
and no voxel.
"""

import logging
from functools import cached_property

import numpy as np

from slam_fusion.tsdf.block_store import BLOCK_BYTES, BlockStore, VolumeFull, VoxelArrays
from slam_fusion.tsdf.kernels_blocks import pack_keys, unpack_keys
from slam_fusion.tsdf.warp_arrays import DeviceBlocks, blocks_that_fit

_FIRST_BLOCKS = 1024
_EVICTED_SHARE = 1 / 64  # of the slots, at once

logger = logging.getLogger(__name__)


class GpuBlockStore(BlockStore):
    """The blocks of one volume; ``lend`` gives them as Warp arrays on the GPU.

    Attributes:
        gpu_limit: blocks that may be on the GPU: as many as in memory, or what half of its memory
            takes that was free at the start, if that is less.
        uploads: blocks copied to the GPU so far.
        fetches: blocks copied back so far.
    """

    def __init__(self, device: str, *limits: float | str) -> None:
        """Start empty; the GPU's memory is taken when blocks are lent.

        Args:
            device: Warp's name of it.
            *limits: of memory and disk, as ``BlockStore`` takes them.
        """
        super().__init__(*limits)  # type: ignore[arg-type]
        self.gpu_limit = min(self.block_limit, blocks_that_fit(device))
        self.uploads = self.fetches = 0
        self._device = device
        self._slot_of: dict[int, int] = {}  # packed key -> slot
        self._free: list[int] = []
        self._key_of = np.empty(0, np.int64)  # by slot; -1 = free
        self._lent_at = np.empty(0, np.int64)  # by slot: clock
        self._newer = np.empty(0, bool)  # by slot: than what is in memory
        self._add_slots(min(_FIRST_BLOCKS, self.gpu_limit))

    @cached_property
    def _blocks(self) -> DeviceBlocks:
        return DeviceBlocks(self._device, len(self._key_of), like=self._voxels)

    @property
    def gpu_count(self) -> int:
        """Blocks on the GPU."""
        return len(self._slot_of)

    @property
    def voxels(self) -> VoxelArrays:
        """The buffers in memory, after all that is newer on the GPU has come back."""
        self._fetch(np.flatnonzero(self._newer))
        return self._voxels

    def activate(self, keys: np.ndarray) -> np.ndarray:
        """Return the buffer rows of blocks, which leave the GPU: someone writes them in memory."""
        rows = super().activate(keys)
        self._leave(keys)
        return rows

    def lend(self, keys: np.ndarray, *, write: bool) -> tuple[np.ndarray, VoxelArrays]:
        """Return the slots of blocks on the GPU, and the Warp arrays there; see ``BlockStore``.

        Raises:
            VolumeFull: as ``activate``, or they do not fit on the GPU.
            PageError: as ``activate``.
        """
        if len(keys) > self.gpu_limit:
            raise VolumeFull(
                f"{len(keys)} blocks are needed at once but the GPU has room for {self.gpu_limit} "
                f"({BLOCK_BYTES / 1024:.0f} KiB each): use larger voxels, or device=cpu"
            )
        rows = super().activate(keys) if write else self.bring(keys)
        packed = pack_keys(keys)
        slots = self._find_slots(packed)
        self._lent_at[slots[slots >= 0]] = self._clock  # these stay
        missing = np.flatnonzero(slots < 0)
        if len(missing):
            slots[missing] = self._enter_gpu(packed[missing], rows[missing])
        self._newer[slots] |= write
        return slots, self._blocks.voxels

    def read(self, keys: np.ndarray, index: int, out: np.ndarray) -> None:
        """Copy one voxel array of blocks, wherever they are; see ``BlockStore``."""
        slots = self._find_slots(pack_keys(keys))
        slots = slots[slots >= 0]
        self._fetch(slots[self._newer[slots]])
        super().read(keys, index, out)

    def _write(self, keys: np.ndarray, rows: np.ndarray) -> None:
        self._leave(keys)
        super()._write(keys, rows)

    def _find_slots(self, packed: np.ndarray) -> np.ndarray:
        """Return the (B,) int32 slots of blocks, -1 for those that are not on the GPU."""
        return np.array([self._slot_of.get(key, -1) for key in packed.tolist()], np.int32)

    def _enter_gpu(self, packed: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Copy blocks to the GPU; returns their (B,) int32 slots."""
        if self.gpu_count + len(packed) > len(self._key_of):
            self._make_gpu_room(len(packed))
        slots = np.array([self._free.pop() for _ in packed], np.int32)
        self._blocks.write(slots, self._voxels, rows)
        self.uploads += len(slots)
        self._slot_of |= zip(packed.tolist(), slots.tolist(), strict=True)
        self._key_of[slots], self._lent_at[slots] = packed, self._clock
        return slots

    def _make_gpu_room(self, count: int) -> None:
        """Take more memory on the GPU, or let blocks leave, until so many slots are free."""
        capacity, needed = len(self._key_of), self.gpu_count + count
        while capacity < min(needed, self.gpu_limit):
            capacity = min(2 * capacity, self.gpu_limit)
        if capacity > len(self._key_of):
            self._blocks.grow(capacity)
            self._add_slots(capacity)
            logger.info("the GPU has room for %d blocks now", capacity)
        if needed > capacity:
            taken = np.flatnonzero((self._key_of >= 0) & (self._lent_at < self._clock))
            order = np.argsort(self._lent_at[taken], kind="stable")
            victims = taken[order[: max(needed - capacity, int(capacity * _EVICTED_SHARE))]]
            self._leave(unpack_keys(self._key_of[victims]))

    def _add_slots(self, capacity: int) -> None:
        old = len(self._key_of)
        self._free += range(old, capacity)
        new = np.zeros(capacity - old, np.int64)
        self._key_of = np.append(self._key_of, new - 1)
        self._lent_at = np.append(self._lent_at, new)
        self._newer = np.append(self._newer, new > 0)

    def _leave(self, keys: np.ndarray) -> None:
        """Take blocks off the GPU; what is newer there comes back."""
        slots = self._find_slots(pack_keys(keys))
        slots = slots[slots >= 0]
        self._fetch(slots[self._newer[slots]])
        for key in self._key_of[slots].tolist():
            self._free.append(self._slot_of.pop(key))
        self._key_of[slots] = -1

    def _fetch(self, slots: np.ndarray) -> None:
        """Copy blocks from the GPU into their rows."""
        if len(slots) == 0:
            return
        rows, _ = self.find(unpack_keys(self._key_of[slots]))
        self._blocks.read(slots.astype(np.int32), self._voxels, rows)
        self._newer[slots] = False
        self.fetches += len(slots)
