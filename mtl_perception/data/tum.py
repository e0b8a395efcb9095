# SPDX-License-Identifier: Apache-2.0
"""Folders of the TUM RGB-D benchmark (Sturm et al. 2012): ``rgb.txt`` and ``depth.txt``."""

from pathlib import Path

import numpy as np

from mtl_perception.data.files import require_folder
from mtl_perception.data.image_files import ImageFiles, OneCamera, Reading, SampleFiles
from mtl_perception.data.rgbd import CAMERA_FILE
from mtl_perception.data.sample import DataCorrupt, Dataset
from mtl_perception.data.text_files import check_inside, read_matrix, read_text

MAX_GAP_S = 0.02
"""Seconds between the two images of one frame, as in the benchmark's own tools."""


def open_tum(path: Path, camera: np.ndarray | None = None) -> Dataset:
    """Open the frames whose colour image has a depth image close enough in time.

    Colour images without one are counted in ``left_out``: the two cameras do not run in step.

    Args:
        path: folder with the two lists; depth is 16 bits, 1/5000 m.
        camera: (3, 3) K; None = that of ``camera-intrinsics.txt``.

    Raises:
        DataMissing: a list or a listed file is missing, or no two images fit.
        DataCorrupt: a line that is not TIME FILE, or the camera file.
    """
    require_folder(path, "rgb.txt and depth.txt")
    colors, depths = _listed(path, "rgb.txt"), _listed(path, "depth.txt")
    times = np.array([time for time, _ in depths])
    rows = []
    for time, color in colors:
        near = int(np.abs(times - time).argmin())
        if abs(times[near] - time) <= MAX_GAP_S:
            rows.append(SampleFiles(f"{time:.6f}", color, depths[near][1]))
    K = read_matrix(path / CAMERA_FILE, 3, 3) if camera is None else camera
    reading = Reading(OneCamera(K, str(path / CAMERA_FILE)))
    return ImageFiles(path.name, rows, reading, len(colors) - len(rows))


def _listed(path: Path, name: str) -> list[tuple[float, Path]]:
    """Return (seconds, file) of a list, in the order of time."""
    found = []
    for number, line in enumerate(read_text(path / name).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split()
        try:
            time = float(words[0])
        except ValueError:
            time = np.nan
        if len(words) != 2 or not np.isfinite(time):
            raise DataCorrupt(f"{path / name}, line {number}: want TIME FILE, got {line[:80]!r}")
        check_inside(words[1], f"{path / name}, line {number}")
        found.append((time, path / words[1]))
    if not found:
        raise DataCorrupt(f"{path / name}: lists nothing")
    return sorted(found)
