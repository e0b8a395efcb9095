# SPDX-License-Identifier: Apache-2.0
"""Which files of an RGB-D folder make one frame: numbered names (7-Scenes) or lists (TUM)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtl_perception.conventions import InvalidInput
from slam_fusion.recordings.recording import BadRecording
from slam_fusion.trajectory import frame_stamp_ns, stamp_ns_from_text

TUM_PAIRING_S = 0.02
"""TUM stamps of colour and depth differ; their own tool pairs within 20 ms."""


@dataclass(frozen=True)
class ImageFiles:
    """The files of one frame."""

    stamp_ns: int
    depth: Path
    color: Path | None = None
    labels: Path | None = None


def numbered_files(folder: Path, fps: float) -> list[ImageFiles]:
    """Find ``frame-NNNNNN.depth.png`` with ``.color.{png,jpg}`` and ``.{labels,segm}.png``.

    Raises:
        InvalidInput: a name without a number.
    """

    def sibling(depth: Path, *kinds: str) -> Path | None:
        stem = depth.name.removesuffix("depth.png")
        return next((p for kind in kinds if (p := folder / (stem + kind)).exists()), None)

    files = [
        ImageFiles(
            frame_stamp_ns(depth, fps),
            depth,
            sibling(depth, "color.png", "color.jpg"),
            sibling(depth, "labels.png", "segm.png"),
        )
        for depth in folder.glob("frame-*.depth.png")
    ]
    return sorted(files, key=lambda f: (f.stamp_ns, f.depth.name))


def listed_files(folder: Path) -> list[ImageFiles]:
    """Pair each image of ``depth.txt`` with the nearest of ``rgb.txt`` in time, each used once.

    Raises:
        InvalidInput: a line that is not a stamp and a file of the folder; names it.
        BadRecording: ``depth.txt`` lists nothing, or a list cannot be read.
    """
    depths = _read_list(folder, "depth.txt")
    colors = _read_list(folder, "rgb.txt") if (folder / "rgb.txt").exists() else []
    color_stamps_ns = np.array([stamp_ns for stamp_ns, _ in colors], np.int64)
    files, unused = [], 0
    for stamp_ns, depth in depths:
        color = None
        if unused < len(colors):
            after = int(np.searchsorted(color_stamps_ns, stamp_ns))
            neighbours = {min(max(i, unused), len(colors) - 1) for i in (after - 1, after)}
            nearest = min(neighbours, key=lambda i: (abs(colors[i][0] - stamp_ns), i))
            if abs(colors[nearest][0] - stamp_ns) <= TUM_PAIRING_S * 1e9:
                color, unused = colors[nearest][1], nearest + 1
        files.append(ImageFiles(stamp_ns, depth, color))
    return files


def _read_list(folder: Path, name: str) -> list[tuple[int, Path]]:
    """Read ``timestamp file`` lines, sorted by stamp."""
    path = folder / name
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise BadRecording(f"{path}: {error.strerror}") from None
    entries = []
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        image = folder / words[-1]
        if len(words) != 2 or not image.resolve().is_relative_to(folder.resolve()):
            raise InvalidInput(f"{path} line {number}: want a stamp and a file inside {folder}")
        entries.append((stamp_ns_from_text(words[0]), image))
    if not entries:
        raise BadRecording(f"{path} lists no images")
    return sorted(entries)
