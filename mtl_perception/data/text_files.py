# SPDX-License-Identifier: Apache-2.0
"""The text files of data sets: lists, camera matrices."""

from pathlib import Path

import numpy as np

from mtl_perception.conventions import Intrinsics, InvalidInput
from mtl_perception.data.sample import DataCorrupt, DataMissing

MAX_TEXT_BYTES = 64 * 2**20
"""Room for lists of a million files; larger ones are not lists."""


def read_text(path: Path) -> str:
    """Return a text file.

    Raises:
        DataMissing, DataCorrupt: naming the file.
    """
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise DataCorrupt(f"{path}: more than {MAX_TEXT_BYTES} bytes of text")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataMissing(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataCorrupt(f"{path}: not UTF-8 text: {error.reason}") from None


def read_names(path: Path) -> list[str]:
    """Return the names of a list, one a line; empty lines do not count.

    Raises:
        DataMissing, DataCorrupt: naming the file, and the line of a name that leads elsewhere.
    """
    names = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if name := line.strip():
            check_inside(name, f"{path}, line {number}")
            names.append(name)
    return names


def check_inside(name: str, where: str) -> None:
    """Refuse a relative path that would lead out of its folder.

    Raises:
        DataCorrupt: saying ``where`` it stood.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataCorrupt(f"{where}: {name[:80]!r} leads out of the data set's folder")


def read_matrix(path: Path, rows: int, columns: int) -> np.ndarray:
    """Return the (rows, columns) float64 matrix of a text file.

    Raises:
        DataMissing, DataCorrupt: naming the file.
    """
    words = read_text(path).split()
    try:
        values = np.array(words, np.float64)
    except ValueError:
        raise DataCorrupt(f"{path}: not numbers") from None
    if values.size != rows * columns or not np.isfinite(values).all():
        raise DataCorrupt(f"{path}: want {rows}x{columns} finite numbers, got {len(words)} words")
    return values.reshape(rows, columns)


def intrinsics_of(K: np.ndarray, shape: tuple[int, int], origin: Path | str) -> Intrinsics:
    """Return the camera of a matrix whose upper left 3x3 is K.

    Raises:
        DataCorrupt: no camera has such numbers; names ``origin``.
    """
    try:
        return Intrinsics(
            shape[1], shape[0], float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])
        )
    except InvalidInput as error:
        raise DataCorrupt(f"{origin}: {error}") from None
