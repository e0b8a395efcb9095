# SPDX-License-Identifier: Apache-2.0
"""Arrays on a device of Warp's: uploads, and voxel blocks. Sets Warp up as well."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import warp as wp

from slam_fusion.tsdf.block_store import BLOCK_BYTES, BLOCK_VOXELS, VoxelArrays

wp.config.log_level = wp.LOG_WARNING  # no greeting, no line for each module that is compiled
wp.set_module_options({"enable_backward": False})

BATCH = 256
"""Blocks of one transfer: 24 MiB in memory and as much on the device."""

_WORDS = BLOCK_BYTES // 4


def gpu_count() -> int:
    """Return how many GPUs the driver shows."""
    return wp.get_cuda_device_count()


def blocks_that_fit(device: str) -> int:
    """Return how many blocks half of the memory takes that is free on a GPU now."""
    found = wp.get_device(device)
    return found.free_memory // 2 // BLOCK_BYTES if found.is_cuda else sys.maxsize


def upload(array: Any, dtype: Any, device: wp.Device) -> wp.array:
    """Copy a NumPy array to a device; on the CPU it is only viewed, and must outlive the view."""
    return wp.array(array, dtype=dtype, device=device, copy=not device.is_cpu)


class DeviceBlocks:
    """Blocks on a device, in slots: a record of 96 KiB each, its arrays one after the other.

    Attributes:
        capacity: slots that there are.
        voxels: Warp arrays (capacity, 4096, ...) of all slots, until ``grow``.
    """

    def __init__(self, device: str, capacity: int, like: VoxelArrays) -> None:
        """Take memory; what is in it is not set.

        Args:
            device: Warp's name, as ``cuda:0``; ``cpu`` works as well.
            capacity: slots.
            like: arrays of the types and shapes, but for the count, that blocks have in memory.
        """
        self._device = wp.get_device(device)
        self._there = wp.empty((BATCH, _WORDS), dtype=wp.uint32, device=self._device)
        self._here = wp.empty(
            (BATCH, _WORDS), dtype=wp.uint32, device="cpu", pinned=self._device.is_cuda
        )
        self._layout = tuple(_layout(like))
        records = self._here.numpy().view(np.uint8)
        self._parts = [  # views of the batch in memory, (BATCH, 4096, ...)
            records[:, first : first + size].view(dtype).reshape(BATCH, *shape)
            for first, size, dtype, shape in self._layout
        ]
        self._allocate(capacity)

    def grow(self, capacity: int) -> None:
        """Take room for more slots; those that there are keep their numbers."""
        old = self._memory
        self._allocate(capacity)
        wp.copy(self._memory, old, count=old.size)

    def write(self, slots: np.ndarray, host: VoxelArrays, rows: np.ndarray) -> None:
        """Copy blocks from memory.

        Args:
            slots: (B,) int32, distinct.
            host: flat buffers in memory.
            rows: (B,) int32, of these buffers.
        """
        for start in range(0, len(slots), BATCH):
            to, of = slots[start : start + BATCH], rows[start : start + BATCH]
            for part, array in zip(self._parts, host, strict=True):
                part[: len(to)] = array.reshape(-1, *part.shape[1:])[of]
            wp.copy(self._there, self._here, count=len(to) * _WORDS)
            self._launch(_put_records, to)

    def read(self, slots: np.ndarray, host: VoxelArrays, rows: np.ndarray) -> None:
        """Copy blocks into memory; arguments as in ``write``."""
        for start in range(0, len(slots), BATCH):
            of, to = slots[start : start + BATCH], rows[start : start + BATCH]
            self._launch(_get_records, of)
            wp.copy(self._here, self._there, count=len(of) * _WORDS)
            wp.synchronize_device(self._device)
            for part, array in zip(self._parts, host, strict=True):
                array.reshape(-1, *part.shape[1:])[to] = part[: len(to)]

    def _launch(self, kernel: wp.Kernel, slots: np.ndarray) -> None:
        inputs = [upload(slots, wp.int32, self._device), self._memory, self._there]
        wp.launch(kernel, (len(slots), _WORDS), inputs, device=self._device)
        wp.synchronize_device(self._device)  # before the batch is filled again

    def _allocate(self, capacity: int) -> None:
        self.capacity = capacity
        self._memory = wp.empty((capacity, _WORDS), dtype=wp.uint32, device=self._device)
        self.voxels = VoxelArrays(
            *(
                wp.array(
                    ptr=self._memory.ptr + first,
                    dtype=wp.dtype_from_numpy(dtype),
                    shape=(capacity, *shape),
                    strides=(BLOCK_BYTES, *np.empty(shape, dtype).strides),
                    device=self._device,
                )
                for first, _, dtype, shape in self._layout
            )
        )


def _layout(like: VoxelArrays) -> Iterator[tuple[int, int, np.dtype, tuple[int, ...]]]:
    """Yield of each array of a record: its first byte, its bytes, type and shape."""
    first = 0
    for array in like:
        shape = (BLOCK_VOXELS, *array.shape[1:])
        size = int(np.prod(shape)) * array.itemsize
        yield first, size, array.dtype, shape
        first += size


@wp.kernel
def _put_records(
    slots: wp.array[wp.int32],
    memory: wp.array2d[wp.uint32],
    batch: wp.array2d[wp.uint32],
):
    i, word = wp.tid()
    memory[slots[i], word] = batch[i, word]


@wp.kernel
def _get_records(
    slots: wp.array[wp.int32],
    memory: wp.array2d[wp.uint32],
    batch: wp.array2d[wp.uint32],
):
    i, word = wp.tid()
    batch[i, word] = memory[slots[i], word]
