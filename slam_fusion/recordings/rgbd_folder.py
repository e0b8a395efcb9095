# SPDX-License-Identifier: Apache-2.0
"""Folders of RGB-D images as recordings: 7-Scenes style (numbered files) and TUM style (lists)."""

import logging
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace, TracebackType

import numpy as np

from mtl_perception.compressed import decode_compressed_color, decode_compressed_gray
from mtl_perception.conventions import MAX_CLASSES, UNLABELLED, Intrinsics, InvalidInput
from mtl_perception.encodings import metres_from_millimetres
from mtl_perception.image_errors import BadImage
from mtl_perception.labels import LabelSet
from slam_fusion.frame import Frame
from slam_fusion.image_sets import refusal_outcome
from slam_fusion.poses import PoseSource
from slam_fusion.recordings.recording import (
    BadRecording,
    Problem,
    RecordingOptions,
    load_intrinsics,
)
from slam_fusion.recordings.rgbd_files import ImageFiles, listed_files, numbered_files
from slam_fusion.trajectory import Trajectory

logger = logging.getLogger(__name__)

MAX_FILE_BYTES = 256 * 2**20
"""Larger files are not one image."""

SEVEN_SCENES, TUM = "7-Scenes", "TUM"
DEPTH_SCALES = {SEVEN_SCENES: 1000.0, TUM: 5000.0}

INTRINSICS_FILES = ("camera-intrinsics.txt", "camera-intrinsics.color.txt")
TOPICS = {
    "color": "/camera/color/image_raw",
    "depth": "/camera/depth/image_raw",
    "labels": "/camera/labels",
    "camera_info": "/camera/depth/camera_info",
}


class RgbdFolder:
    """A folder of images as a ``Recording``; files are read one frame at a time."""

    label_set: LabelSet | None = None

    def __init__(
        self,
        path: Path,
        style: str,
        files: list[ImageFiles],
        trajectory: Trajectory,
        options: RecordingOptions,
    ) -> None:
        """Take what the style's reader found; see ``open_rgbd_folder``."""
        self.poses: PoseSource = trajectory
        self._pose_count = len(trajectory)
        self.problems: list[Problem] = []
        self._path, self._style = path, style
        self._options = options
        self._files = _selected(files, options)
        self._depth_scale = options.depth_scale or DEPTH_SCALES[style]

    @property
    def frame_count(self) -> int:
        """Count of depth images."""
        return len(self._files)

    @property
    def topics(self) -> Mapping[str, str]:
        """Customary topics of the images that the folder has."""
        first = self._files[0]
        return {k: t for k, t in TOPICS.items() if k == "camera_info" or getattr(first, k)}

    def describe(self) -> str:
        """Say what it is and what it holds."""
        extras = [kind for kind in ("color", "labels") if kind in self.topics]
        return (
            f"{self._style}-style folder {self._path}: {self.frame_count} depth images"
            f"{' with ' + ' and '.join(extras) if extras else ''}, {self._pose_count} poses"
        )

    @cached_property
    def intrinsics(self) -> Intrinsics:
        """Camera of the images, from the options or the folder's own file.

        Raises:
            BadRecording: neither is there.
        """
        height, width = self._image_shape()
        if camera := self._options.camera(width, height):
            return camera
        for name in INTRINSICS_FILES:
            if (self._path / name).exists():
                return load_intrinsics(self._path / name, width, height)
        raise BadRecording(
            f"{self._path} has no {INTRINSICS_FILES[0]} (3x3): give intrinsics as fx,fy,cx,cy"
        )

    def frames(self) -> Iterator[Frame]:
        """Yield the frames; a damaged file costs its frame and is entered in ``problems``."""
        for files in self._files:
            try:
                yield self._read(files)
            except InvalidInput as error:
                self.problems.append((files.stamp_ns, refusal_outcome(error), str(error)))

    def close(self) -> None:
        """Nothing stays open between frames."""

    def __enter__(self) -> "RgbdFolder":
        """Enter the context."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _image_shape(self) -> tuple[int, int]:
        """Shape of the first depth image that can be read."""
        for files in self._files:
            try:
                return self._read_depth(files.depth).shape
            except InvalidInput as error:
                logger.warning("%s", error)
        raise BadRecording(f"{self._path}: none of {self.frame_count} depth images can be read")

    def _read(self, files: ImageFiles) -> Frame:
        return Frame(
            files.stamp_ns,
            self._options.camera_frame,
            self.intrinsics,
            self._read_depth(files.depth),
            decode_compressed_color(_file(files.color)) if files.color else None,
            _read_labels(files.labels) if files.labels else None,
        )

    def _read_depth(self, path: Path) -> np.ndarray:
        """Return (H, W) float32 metres, 0 = unknown."""
        raw = decode_compressed_gray(_file(path))
        if raw.dtype != np.uint16:
            raise BadImage(f"{path.name} has {raw.dtype} values, want 16 bits")
        if self._options.depth_format == "label_fusion":
            # The writer turned the bits left by three; the unit is a tenth of a millimetre.
            turned = (raw >> np.uint16(3)) | (raw << np.uint16(13))
            return np.divide(turned, np.float32(10_000), dtype=np.float32)
        raw = np.where(raw == 65535, np.uint16(0), raw)
        if self._depth_scale == 1000:
            return metres_from_millimetres(raw)
        return np.divide(raw, np.float32(self._depth_scale), dtype=np.float32)


def open_rgbd_folder(path: Path, options: RecordingOptions) -> RgbdFolder:
    """Open a folder in the style that its files show.

    Args:
        path: folder with ``frame-NNNNNN.depth.png`` (7-Scenes) or ``depth.txt`` (TUM).
        options: camera, depth unit, poses.

    Raises:
        BadRecording: neither style, no camera, nothing selected.
        InvalidInput: a list, pose or camera file is wrong; names the line.
    """
    style = TUM if (path / "depth.txt").exists() else SEVEN_SCENES
    files = listed_files(path) if style == TUM else numbered_files(path, options.fps)
    if not files:
        raise BadRecording(
            f"{path} is not a recording: no metadata.yaml, no bag files, no "
            "frame-NNNNNN.depth.png (7-Scenes style), no depth.txt (TUM style)"
        )
    recording = RgbdFolder(path, style, files, _poses(path, style, options), options)
    if not recording.frame_count:
        raise BadRecording(f"{path}: start_s={options.start_s} leaves no frames")
    logger.debug("camera of %s: %s", path, recording.intrinsics)  # fails early when there is none
    return recording


def _poses(path: Path, style: str, options: RecordingOptions) -> Trajectory:
    """The given trajectory, else the folder's own poses; empty when there are none."""
    if (trajectory := options.given_trajectory()) is not None:
        return trajectory
    if style == TUM and (path / "groundtruth.txt").exists():
        return Trajectory.load_tum(path / "groundtruth.txt", options.max_gap_s)
    if style == SEVEN_SCENES and any(path.glob("frame-*.pose.txt")):
        return Trajectory.load_pose_folder(path, options.fps, options.max_gap_s)
    return Trajectory.from_poses([])


def _selected(files: list[ImageFiles], options: RecordingOptions) -> list[ImageFiles]:
    start_ns = files[0].stamp_ns + round(options.start_s * 1e9)
    stop_ns = start_ns + round(options.duration_s * 1e9) if options.duration_s else 2**63
    return [f for f in files if start_ns <= f.stamp_ns < stop_ns]


def _read_labels(path: Path) -> np.ndarray:
    ids = decode_compressed_gray(_file(path))
    return np.where(ids < MAX_CLASSES, ids, UNLABELLED).astype(np.uint8)


def _file(path: Path) -> SimpleNamespace:
    """Wrap a file as the CompressedImage message that the decoders take.

    Raises:
        BadImage: missing, or too large for an image.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise BadImage(f"{path} has {size} bytes, more than an image")
        return SimpleNamespace(data=path.read_bytes(), format=path.name)
    except OSError as error:
        raise BadImage(f"{path}: {error.strerror}") from None
