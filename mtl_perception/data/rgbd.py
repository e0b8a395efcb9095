# SPDX-License-Identifier: Apache-2.0
"""Folders of numbered RGB-D frames, 7-Scenes style.

``frame-NNNNNN.color.jpg`` (or .png), ``frame-NNNNNN.depth.png`` (uint16 millimetres, 0 and 65535
unknown), ``camera-intrinsics.txt`` (3x3) and, where poses are asked for, ``frame-NNNNNN.pose.txt``
(4x4, camera to world). Colour and depth are taken as registered.
"""

import re
from pathlib import Path

import numpy as np

from mtl_perception.conventions import Intrinsics, InvalidInput
from mtl_perception.data.files import (
    check_size,
    read_color,
    read_depth,
    require_files,
    require_folder,
)
from mtl_perception.data.sample import DataCorrupt, DataMissing, Sample
from mtl_perception.data.text_files import intrinsics_of, read_matrix
from mtl_perception.labels import LabelSet

CAMERA_FILE = "camera-intrinsics.txt"

_COLOR_NAME = re.compile(r"frame-(\d{6})\.color\.(jpg|png)")


class RgbdFolder:
    """Frames of one folder, by number; see the module."""

    label_set: LabelSet | None = None

    def __init__(
        self,
        path: Path,
        frames: tuple[int, int] | None = None,
        neighbours: int = 0,
        camera: np.ndarray | None = None,
    ) -> None:
        """Find the frames and check that their files are there.

        Args:
            path: the folder.
            frames: first and last number that is wanted, both included; None = all.
            neighbours: bring the colour of the frames so many places before and after. Frames that
                lack one, at the ends of the range and at gaps in the numbering, are then not
                samples of their own; ``left_out`` counts them.
            camera: (3, 3) float64 K; None = that of ``camera-intrinsics.txt``.

        Raises:
            DataMissing: no folder, no frames in the range, or files are missing; says which.
            DataCorrupt: the camera file is wrong.
            InvalidInput: a range or a distance of neighbours that cannot be.
        """
        if neighbours < 0 or (frames and not 0 <= frames[0] <= frames[1]):
            raise InvalidInput(f"frames {frames}, neighbours {neighbours}: not ranges of a video")
        require_folder(path, "frame-NNNNNN.color.jpg and .depth.png")
        self._path, self._distance = path, neighbours
        self._color = _color_files(path, frames)
        numbers = list(self._color)
        require_files([self._depth_file(n) for n in numbers], f"depth images of {path}")
        self._K = read_matrix(path / CAMERA_FILE, 3, 3) if camera is None else camera
        self.name = path.name if frames is None else f"{path.name} {frames[0]}-{frames[1]}"
        self._samples = _with_neighbours(numbers, neighbours)
        self.left_out = len(numbers) - len(self._samples)

    def __len__(self) -> int:
        """Return the count of samples."""
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        """Read a frame.

        Raises:
            DataMissing, DataCorrupt: naming the file.
            IndexError: no such sample.
        """
        number, *others = self._samples[index]
        color = read_color(self._color[number])
        shape = (color.shape[0], color.shape[1])
        depth_file = self._depth_file(number)
        return Sample(
            f"frame-{number:06d}",
            color,
            self._camera(shape),
            check_size(read_depth(depth_file, 1000, 65535), shape, depth_file),
            neighbours=tuple(
                check_size(read_color(self._color[n]), shape, self._color[n]) for n in others
            ),
        )

    def pose(self, index: int) -> np.ndarray:
        """Return T_world_camera of a sample, (4, 4) float64.

        Raises:
            DataMissing, DataCorrupt: its file is not there, or does not hold a pose.
        """
        path = self._path / f"frame-{self._samples[index][0]:06d}.pose.txt"
        T_world_camera = read_matrix(path, 4, 4)
        R = T_world_camera[:3, :3]
        if not np.allclose(R.T @ R, np.eye(3), atol=0.01) or np.linalg.det(R) < 0:
            raise DataCorrupt(f"{path}: its 3x3 is not a rotation")
        return T_world_camera

    def _depth_file(self, number: int) -> Path:
        return self._path / f"frame-{number:06d}.depth.png"

    def _camera(self, shape: tuple[int, int]) -> Intrinsics:
        return intrinsics_of(self._K, shape, self._path / CAMERA_FILE)


def _color_files(path: Path, frames: tuple[int, int] | None) -> dict[int, Path]:
    """Return the colour file by number, in ascending order."""
    first, last = frames or (0, 999_999)
    found: dict[int, Path] = {}
    for file in sorted(path.iterdir()):
        match = _COLOR_NAME.fullmatch(file.name)
        if match and first <= int(match[1]) <= last:
            found.setdefault(int(match[1]), file)
    if not found:
        raise DataMissing(f"{path}: no frame-NNNNNN.color.jpg or .png with {first} <= N <= {last}")
    return found


def _with_neighbours(numbers: list[int], distance: int) -> list[tuple[int, ...]]:
    """Return each number, with those ``distance`` places before and after, that has both."""
    if distance == 0:
        return [(number,) for number in numbers]
    present = set(numbers)
    step = distance * int(min(np.diff(numbers), default=1))
    return [(n, n - step, n + step) for n in numbers if n - step in present and n + step in present]
