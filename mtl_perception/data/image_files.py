# SPDX-License-Identifier: Apache-2.0
"""Data sets that are one file per image and annotation: ``ImageFiles`` reads rows of paths.

What differs between them, the unit of depth, the meaning of ids, the camera, is a ``Reading``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtl_perception.conventions import UNLABELLED, Intrinsics, InvalidInput
from mtl_perception.data.files import (
    check_depth,
    check_size,
    read_array,
    read_color,
    read_depth,
    read_ids,
    require_files,
)
from mtl_perception.data.sample import DataCorrupt, DataMissing, Sample
from mtl_perception.data.text_files import intrinsics_of
from mtl_perception.labels import LabelSet


@dataclass(frozen=True)
class SampleFiles:
    """Where the parts of one sample lie; None = it does not have it."""

    name: str
    color: Path
    depth: Path | None = None
    labels: Path | None = None
    normals: Path | None = None
    camera: Path | None = None  # where a camera file per image exists


@dataclass(frozen=True, eq=False)
class Reading:
    """How the files of a data set are understood."""

    camera: Callable[[SampleFiles, tuple[int, int]], Intrinsics]  # of an image of this (H, W)
    units_per_metre: float = 5000.0  # of 16-bit depth; .npy depth is in metres
    depth_of: Callable[[Path, Intrinsics], np.ndarray] | None = None  # where it is not depth / unit
    label_set: LabelSet | None = None
    id_table: np.ndarray | None = None  # see ``id_table``
    normal_axes: str = ""  # see ``turned_normals``


class ImageFiles:
    """Samples of listed files, in the order of the list."""

    def __init__(
        self, name: str, rows: Sequence[SampleFiles], reading: Reading, left_out: int = 0
    ) -> None:
        """Take the list and check that every file is there.

        Args:
            name: of the data set.
            rows: the samples.
            reading: how their files are understood.
            left_out: how many samples the reader left out at the user's word; kept for reports.

        Raises:
            DataMissing: no rows, or files are missing; their count and the first names.
        """
        if not rows:
            raise DataMissing(f"{name}: no images found")
        parts = [(r.color, r.depth, r.labels, r.normals, r.camera) for r in rows]
        require_files([path for row in parts for path in row if path], name)
        self.name, self.left_out = name, left_out
        self.label_set = reading.label_set
        self._rows, self._reading = tuple(rows), reading

    def __len__(self) -> int:
        """Return the count of samples."""
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        """Read a sample.

        Raises:
            DataMissing, DataCorrupt: naming the file.
            IndexError: no such sample.
        """
        row, how = self._rows[index], self._reading
        color = read_color(row.color)
        shape = (color.shape[0], color.shape[1])
        camera = how.camera(row, shape)
        depth = labels = normals = None
        if row.depth:
            depth = check_size(_depth(row.depth, camera, how), shape, row.depth)
        if row.labels and how.id_table is not None:
            labels = check_size(read_ids(row.labels, how.id_table), shape, row.labels)
        if row.normals:
            normals = check_size(
                turned_normals(_normals(row.normals), how.normal_axes), shape, row.normals
            )
        return Sample(row.name, color, camera, depth, labels, normals)


@dataclass(frozen=True, eq=False)
class OneCamera:
    """The same camera for every image of a data set."""

    K: np.ndarray  # (3, 3) float64, pixels
    origin: str  # where K is from, for messages

    def __call__(self, files: SampleFiles, shape: tuple[int, int]) -> Intrinsics:
        """Return it for an image of (H, W) ``shape``."""
        return intrinsics_of(self.K, shape, self.origin)


def camera_matrix(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    """Return K, (3, 3) float64."""
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)


def id_table(label_set: LabelSet, first: int = 0, unknown: int = UNLABELLED) -> np.ndarray:
    """Return what ids in files mean, where they are those of a set, counted from ``first``.

    Args:
        label_set: its ids.
        first: what the file has for id 0; the raw NYU40 annotation counts from 1.
        unknown: what it has where it does not know.

    Returns:
        (256,) int16 class id, 255 = unlabelled; -1 for ids that such a file cannot have.
    """
    table = np.full(256, -1, np.int16)
    for c in label_set.classes:
        table[c.id + first] = c.id
    table[unknown] = UNLABELLED
    return table


def turned_normals(normals: np.ndarray, axes: str) -> np.ndarray:
    """Bring normals to the optical frame (x right, y down, z forward), of length 1 or 0.

    Args:
        normals: (H, W, 3) float, channels as in the file.
        axes: which channel, with which sign, is our x, y and z: "+0-1-2" for x right, y up,
            z towards the camera.

    Raises:
        InvalidInput: ``axes`` is not of that form.
    """
    signs, channels = axes[0::2], axes[1::2]
    if len(axes) != 6 or not set(signs) <= {"+", "-"} or sorted(channels) != ["0", "1", "2"]:
        raise InvalidInput(f"axes of normals {axes!r}: want a sign and 0, 1 or 2, thrice: +0-1-2")
    turned = np.stack(
        [
            normals[..., int(c)] * (1 if s == "+" else -1)
            for s, c in zip(signs, channels, strict=True)
        ],
        axis=-1,
    ).astype(np.float32)
    length = np.linalg.norm(turned, axis=-1, keepdims=True)
    # A half-grey or black pixel is no direction.
    return np.divide(turned, length, out=np.zeros_like(turned), where=np.abs(length - 1) < 0.5)


def _depth(path: Path, camera: Intrinsics, how: Reading) -> np.ndarray:
    if how.depth_of:
        return how.depth_of(path, camera)
    if path.suffix == ".npy":
        return check_depth(read_array(path, 2), str(path))
    return read_depth(path, how.units_per_metre)


def _normals(path: Path) -> np.ndarray:
    """Return (H, W, 3) float, as the file has them; a picture has -1..1 as 0..255."""
    if path.suffix == ".npy":
        normals = read_array(path, 3)
        if normals.shape[2] != 3 or not np.isfinite(normals).all():
            raise DataCorrupt(f"{path}: {normals.shape}, want three finite numbers a pixel")
        return normals
    return read_color(path).astype(np.float32) * np.float32(2 / 255) - 1
