# SPDX-License-Identifier: Apache-2.0
"""Voxel blocks on disk: one file without a name, a slot per block, a checksum per array.

The file has no name in its folder: the system gives its space back when the volume goes, however
the process ends. A block keeps its bytes; what comes back is what went out, or an error.
"""

import os
import tempfile
import weakref
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtl_perception.conventions import DenseSlamError


class PageError(DenseSlamError):
    """A block that was written to disk cannot be read back, or not as it was."""


class Spill:
    """Blocks by packed key; slots of the file are reused."""

    def __init__(self, folder: str, block_limit: int, array_bytes: Sequence[int]) -> None:
        """Start empty; the file is made when the first block comes.

        Args:
            folder: for the file; "" for the system's, see ``default_folder``.
            block_limit: blocks that the file should hold; callers look at ``room``.
            array_bytes: bytes of each array of a block.
        """
        self.folder = folder or default_folder()
        self.block_limit = block_limit
        self._starts = np.concatenate([[0], np.cumsum(array_bytes)]).tolist()
        self._slots: dict[int, tuple[int, tuple[int, ...]]] = {}  # key -> slot, crc32 per array
        self._free: list[int] = []
        self._file_slots = 0
        self._descriptor: int | None = None

    def __len__(self) -> int:
        """Count of blocks."""
        return len(self._slots)

    def __contains__(self, key: int) -> bool:
        """Whether the block is here."""
        return key in self._slots

    @property
    def room(self) -> int:
        """Blocks that may still come."""
        return self.block_limit - len(self._slots)

    @property
    def file_bytes(self) -> int:
        """Size of the file, free slots included."""
        return self._file_slots * self._starts[-1]

    def keys(self) -> np.ndarray:
        """Return the (B,) int64 packed keys of all blocks, in no order."""
        return np.fromiter(self._slots, np.int64, len(self._slots))

    def write(self, keys: Sequence[int], blocks: Sequence[Sequence[np.ndarray]]) -> None:
        """Take blocks that are not here yet.

        Args:
            keys: packed.
            blocks: the contiguous arrays of each.

        Raises:
            OSError: the disk is full or failed; then none was taken.
        """
        written: dict[int, tuple[int, tuple[int, ...]]] = {}
        try:
            for key, arrays in zip(keys, blocks, strict=True):
                if not self._free:
                    self._free.append(self._file_slots)
                    self._file_slots += 1
                slot = self._free.pop()
                written[key] = slot, tuple(zlib.crc32(_bytes(array)) for array in arrays)
                self._write_slot(slot, arrays)
        except OSError:
            self._free += [slot for slot, _ in written.values()]
            raise
        self._slots |= written

    def read(self, key: int, arrays: Sequence[np.ndarray]) -> None:
        """Copy a block into contiguous arrays; it stays here.

        Raises:
            PageError: the file is damaged; says which block.
        """
        for index, array in enumerate(arrays):
            self.read_array(key, index, array)

    def read_array(self, key: int, index: int, array: np.ndarray) -> None:
        """Copy one array of a block; see ``read``."""
        slot, checksums = self._slots[key]
        at = slot * self._starts[-1] + self._starts[index]
        try:
            count = os.preadv(self._open(), [_bytes(array)], at)
        except OSError as error:
            raise PageError(f"{self._where(key, slot)} cannot be read: {error.strerror}") from error
        if count != array.nbytes or zlib.crc32(_bytes(array)) != checksums[index]:
            raise PageError(f"{self._where(key, slot)} is damaged: it came back changed")

    def drop(self, keys: Sequence[int]) -> None:
        """Forget blocks; an empty file gives its space back."""
        self._free += [self._slots.pop(key)[0] for key in keys]
        if not self._slots and self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            self._free.clear()
            self._file_slots = 0

    def _write_slot(self, slot: int, arrays: Sequence[np.ndarray]) -> None:
        size = self._starts[-1]
        if os.pwritev(self._open(), [_bytes(array) for array in arrays], slot * size) != size:
            raise OSError(28, "No space left on device", self.folder)  # a short write

    def _where(self, key: int, slot: int) -> str:
        return f"block {key} of the map, in slot {slot} of the page file in {self.folder},"

    def _open(self) -> int:
        if self._descriptor is None:
            # The file object would warn at exit; the bare descriptor is closed with the spill.
            with tempfile.TemporaryFile(dir=self.folder) as file:
                self._descriptor = os.dup(file.fileno())
            weakref.finalize(self, os.close, self._descriptor)
        return self._descriptor


def default_folder() -> str:
    """Return TMPDIR, or /var/tmp, which is on disk where /tmp may be memory, or Python's choice."""
    if not os.environ.get("TMPDIR") and os.access("/var/tmp", os.W_OK | os.X_OK):
        return "/var/tmp"
    return tempfile.gettempdir()


def folder_problem(folder: str) -> str:
    """Say what is wrong with a folder for the page file; "" when nothing is."""
    if folder and not (Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        return "is no folder that can be written"
    return ""


def _bytes(array: np.ndarray) -> memoryview:
    return array.data.cast("B")
