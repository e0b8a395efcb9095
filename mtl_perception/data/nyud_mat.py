# SPDX-License-Identifier: Apache-2.0
"""NYUDv2's labelled images as published: a MATLAB 7.3 (HDF5) file of 2.8 GB, and two small."""

from pathlib import Path
from typing import Any

import numpy as np

from mtl_perception.conventions import UNLABELLED, DenseSlamError
from mtl_perception.data.files import check_depth, require_files
from mtl_perception.data.image_files import OneCamera, camera_matrix
from mtl_perception.data.sample import DataCorrupt, Sample
from mtl_perception.data.text_files import intrinsics_of
from mtl_perception.labels import LABEL_SETS, LabelSet

MAT_FILE = "nyu_depth_v2_labeled.mat"
LABELS_FILE, SPLITS_FILE = "labels40.mat", "splits.mat"
CAMERA = OneCamera(camera_matrix(518.857901, 519.469611, 325.582449, 253.736166), "NYUDv2's camera")
"""Of the colour images, 640x480, as the data set's toolbox has it."""

MAX_SMALL_BYTES = 2**30
"""labels40.mat has 445 MB unpacked, a twentieth of it packed."""


class NyudMat:
    """The 1449 labelled images; each read takes one image from the file.

    MATLAB stores arrays column by column, so that HDF5 shows them with their axes reversed:
    images (N, 3, W, H), depths (N, W, H).
    """

    def __init__(self, path: Path, split: str = "") -> None:
        """Open.

        Args:
            path: folder of the three files.
            split: train or test, by ``splits.mat``; "" = all, which needs no ``splits.mat``.

        Raises:
            DataMissing: a file, or h5py, or SciPy.
            DataCorrupt: a file is not what its name says.
        """
        small = [path / LABELS_FILE] + ([path / SPLITS_FILE] if split else [])
        require_files([path / MAT_FILE, *small], "NYUDv2")
        self.name = f"NYUDv2 {split}".strip()
        self.label_set: LabelSet | None = LABEL_SETS["nyu40"]
        self._path = path / MAT_FILE
        labels = _load_small(path / LABELS_FILE, "labels40")
        with _hdf5(self._path) as file:
            self._shape = _checked_shape(file, self._path)
        count, width, height = self._shape
        if labels.shape != (height, width, count) or labels.max(initial=0) > 40:
            raise DataCorrupt(
                f"{path / LABELS_FILE}: labels40 {labels.shape} up to {labels.max(initial=0)}, "
                f"want {(height, width, count)} up to 40"
            )
        self._labels = np.where(labels > 0, labels - 1, UNLABELLED).astype(np.uint8)
        self._rows = np.arange(count)
        if split:
            ids = _load_small(path / SPLITS_FILE, f"{split}Ndxs").astype(np.int64).ravel()
            if ids.min(initial=1) < 1 or ids.max(initial=1) > count:
                raise DataCorrupt(f"{path / SPLITS_FILE}: numbers outside of 1..{count}")
            self._rows = ids - 1

    def __len__(self) -> int:
        """Return the count of samples."""
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        """Read a sample.

        Raises:
            DataCorrupt: a depth that cannot be, or a part of the file that cannot be read.
            IndexError: no such sample.
        """
        row = int(self._rows[index])
        name = f"{row + 1:04d}"
        try:
            with _hdf5(self._path) as file:
                color, depth = file["images"][row], file["depths"][row]
        except OSError as error:
            raise DataCorrupt(f"{self._path}, image {name}: {error}") from None
        return Sample(
            name,
            np.ascontiguousarray(color.transpose(2, 1, 0)),
            intrinsics_of(CAMERA.K, (self._shape[2], self._shape[1]), CAMERA.origin),
            check_depth(np.ascontiguousarray(depth.T), f"{self._path}, image {name}"),
            np.ascontiguousarray(self._labels[:, :, row]),
        )


def _hdf5(path: Path) -> Any:
    """Open the file; not kept open, as HDF5 handles must not be shared by processes."""
    try:
        import h5py
    except ImportError:
        raise DenseSlamError(
            f"{path} needs h5py: pip install 'dense_semantic_slam[datasets]'"
        ) from None
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataCorrupt(f"{path}: not a MATLAB 7.3 file: {error}") from None


def _checked_shape(file: Any, path: Path) -> tuple[int, int, int]:
    """Return count, width, height."""
    parts = {name: file.get(name) for name in ("images", "depths")}
    images, depths = (tuple(getattr(part, "shape", ())) for part in parts.values())
    if len(images) != 4 or images[1] != 3 or depths != (images[0], *images[2:]):
        raise DataCorrupt(f"{path}: images {images}, depths {depths}: want (N,3,W,H) and (N,W,H)")
    if parts["images"].dtype != np.uint8:
        raise DataCorrupt(f"{path}: images of {parts['images'].dtype}, want uint8")
    return images[0], images[2], images[3]


def _load_small(path: Path, variable: str) -> np.ndarray:
    """Return an array of a MATLAB 5 file."""
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError:
        raise DenseSlamError(
            f"{path} needs SciPy: pip install 'dense_semantic_slam[datasets]'"
        ) from None
    if path.stat().st_size > MAX_SMALL_BYTES:
        raise DataCorrupt(f"{path}: more than {MAX_SMALL_BYTES} bytes")
    try:
        array = loadmat(path, variable_names=[variable]).get(variable)
    except (MatReadError, NotImplementedError, OSError, TypeError, ValueError) as error:
        raise DataCorrupt(f"{path}: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        raise DataCorrupt(f"{path}: no array {variable!r} of numbers in it")
    return array
