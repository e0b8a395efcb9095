# SPDX-License-Identifier: Apache-2.0
"""The files of data sets: pictures, depth and id images, arrays.

What is not there is DataMissing, what is not as it should be is DataCorrupt; both name the file.
"""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from mtl_perception.compressed import decode_compressed_color, decode_compressed_gray
from mtl_perception.conventions import InvalidInput
from mtl_perception.data.sample import DataCorrupt, DataMissing

MAX_IMAGE_BYTES = 256 * 2**20
"""Larger files are not one image."""


def read_color(path: Path) -> np.ndarray:
    """Return a JPEG or PNG picture: (H, W, 3) uint8 RGB.

    Raises:
        DataMissing, DataCorrupt: naming the file.
    """
    try:
        return decode_compressed_color(_message(path))
    except InvalidInput as error:
        raise DataCorrupt(f"{path}: {error}") from None


def read_gray(path: Path, dtype: type[np.unsignedinteger]) -> np.ndarray:
    """Return a PNG of one channel: (H, W) of ``dtype``, np.uint8 or np.uint16.

    Raises:
        DataMissing, DataCorrupt: naming the file; also for a file of another depth of bits.
    """
    try:
        image = decode_compressed_gray(_message(path))
    except InvalidInput as error:
        raise DataCorrupt(f"{path}: {error}") from None
    if image.dtype != dtype:
        raise DataCorrupt(f"{path}: {image.dtype} values, want {np.dtype(dtype).name}")
    return image


def read_depth(path: Path, units_per_metre: float, *unknown: int) -> np.ndarray:
    """Return the depth of a 16-bit PNG: (H, W) float32 metres, 0 = unknown.

    Args:
        path: the file.
        units_per_metre: 1000 for millimetres, 5000 for TUM's and the NYUD release's unit, 256 for
            KITTI's.
        unknown: values besides 0 that mean "no depth".

    Raises:
        DataMissing, DataCorrupt: naming the file.
    """
    raw = read_gray(path, np.uint16)
    if unknown:
        raw = np.where(np.isin(raw, unknown), np.uint16(0), raw)
    return np.divide(raw, np.float32(units_per_metre), dtype=np.float32)


def check_depth(depth: np.ndarray, name: str) -> np.ndarray:
    """Return depth that came as numbers, of which none may be negative, NaN or infinite.

    Args:
        depth: (H, W) float metres, 0 = unknown.
        name: of the file, for the message.

    Raises:
        DataCorrupt: with the counts.
    """
    strange = int((~np.isfinite(depth)).sum())
    negative = int((depth < 0).sum())
    if strange or negative:
        raise DataCorrupt(
            f"{name}: depth has {strange} NaN or infinite, {negative} negative pixels"
        )
    return depth.astype(np.float32)


def read_ids(path: Path, table: np.ndarray) -> np.ndarray:
    """Return the class ids of a PNG of raw ids: (H, W) uint8, 255 = unlabelled.

    Args:
        path: 8 or 16 bits, one channel.
        table: (N,) int16 class id by raw id; -1 and ids from N on are refused.

    Raises:
        DataMissing, DataCorrupt: naming the file, and ids that it must not have.
    """
    try:
        raw = decode_compressed_gray(_message(path))
    except InvalidInput as error:
        raise DataCorrupt(f"{path}: {error}") from None
    known = np.full(65536, -1, np.int16)
    known[: len(table)] = table
    labels = known[raw]
    if (labels < 0).any():
        strange = np.unique(raw[labels < 0])[:10].tolist()
        raise DataCorrupt(f"{path}: ids {strange} are not in its label set")
    return labels.astype(np.uint8)


def read_array(path: Path, dimensions: int) -> np.ndarray:
    """Return a NumPy file of numbers.

    Raises:
        DataMissing, DataCorrupt: naming the file; also for Python objects in it.
    """
    try:
        if path.stat().st_size > MAX_IMAGE_BYTES:
            raise DataCorrupt(f"{path}: more than {MAX_IMAGE_BYTES} bytes")
        # Mapped, so that a header that claims more than the file has costs no memory.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataMissing(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise DataCorrupt(f"{path}: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise DataCorrupt(f"{path}: not one array of numbers")
    if array.ndim != dimensions:
        raise DataCorrupt(f"{path}: shape {array.shape}, want {dimensions} dimensions")
    return np.array(array)


def check_size(image: np.ndarray, shape: tuple[int, int], path: Path | str) -> np.ndarray:
    """Return ``image`` if it has (H, W) ``shape``.

    Raises:
        DataCorrupt: naming the file and both sizes.
    """
    if image.shape[:2] != shape:
        raise DataCorrupt(
            f"{path}: {image.shape[1]}x{image.shape[0]}, but its colour image has "
            f"{shape[1]}x{shape[0]}"
        )
    return image


def require_folder(path: Path, what: str) -> None:
    """Refuse a folder that is not there.

    Raises:
        DataMissing: naming it and ``what`` it should hold.
    """
    if not path.is_dir():
        raise DataMissing(f"{path}: no such folder; it should hold {what}")


def require_files(paths: Sequence[Path], what: str) -> None:
    """Refuse a data set that lacks files, before the work on it starts.

    Raises:
        DataMissing: their count and the first three names.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        first = ", ".join(map(str, missing[:3]))
        raise DataMissing(f"{what}: {len(missing)} of {len(paths)} files are missing: {first}")


def _message(path: Path) -> SimpleNamespace:
    """Wrap a file as the message that the decoders take; they name what they refuse by format."""
    try:
        size = path.stat().st_size
        if size > MAX_IMAGE_BYTES:
            raise DataCorrupt(f"{path}: {size} bytes, more than an image")
        return SimpleNamespace(data=path.read_bytes(), format=path.name)
    except OSError as error:
        raise DataMissing(f"{path}: {error.strerror}") from None
