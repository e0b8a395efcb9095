# SPDX-License-Identifier: Apache-2.0
"""What every recording offers, whatever its files: frames in order, poses, label set, problems."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from mtl_perception.conventions import DenseSlamError, Intrinsics, InvalidInput
from mtl_perception.labels import LabelSet
from slam_fusion.frame import Frame
from slam_fusion.ledger import Outcome
from slam_fusion.poses import PoseSource
from slam_fusion.trajectory import Trajectory, load_matrix

Problem = tuple[int, Outcome, str]
"""(stamp_ns, outcome, detail) of a message or file that could not become a frame."""


MAX_SECONDS = 2**31
"""What a ROS stamp can hold; longer waits and cuts are typing errors."""


class BadRecording(DenseSlamError):
    """The files are not a recording that can be mapped; the message says what to do."""


@dataclass(frozen=True)
class RecordingOptions:
    """What the user says about a recording; empty strings and zeros mean "find it yourself"."""

    color_topic: str = ""  # bags: sensor_msgs Image or CompressedImage
    depth_topic: str = ""
    labels_topic: str = ""
    confidence_topic: str = ""
    camera_info_topic: str = ""
    pose_topic: str = ""  # bags: PoseStamped, Odometry or TransformStamped; instead of TF
    trajectory: str = ""  # TUM file or folder of frame-NNNNNN.pose.txt; instead of recorded poses
    global_frame: str = ""  # bags with TF: frame of the map; "" = odom, map, world, or the root
    camera_frame: str = ""  # bags: optical frame; "" takes it from the image header
    intrinsics: str = ""  # "fx,fy,cx,cy" in pixels, or a file with a 3x3 matrix
    approx_sync_s: float = 0.0  # images this far apart make one frame; 0 = equal stamps only
    max_gap_s: float = 0.5  # poses further apart than this are not interpolated between
    start_s: float = 0.0  # skip this much of the recording
    duration_s: float = 0.0  # use this much of it; 0 = to the end
    fps: float = 30.0  # folders whose files are numbered: frames per second
    depth_scale: float = 0.0  # folders: depth units per metre; 0 = 1000, TUM style 5000
    depth_format: str = "auto"  # folders: auto = plain uint16, or label_fusion = its rotated bits

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work.

        Raises:
            InvalidInput: names the option and its value.
        """
        for name in ("approx_sync_s", "start_s", "duration_s"):
            if not 0 <= getattr(self, name) <= MAX_SECONDS:
                raise InvalidInput(f"{name}={getattr(self, name)} is not in 0..2^31 s")
        if not (math.isfinite(self.depth_scale) and self.depth_scale >= 0):
            raise InvalidInput(f"depth_scale={self.depth_scale} is negative or not finite")
        if not self.max_gap_s > 0 or not 0 < self.fps <= 10_000:
            raise InvalidInput(f"max_gap_s={self.max_gap_s}, fps={self.fps}: want more than 0")
        if self.depth_format not in ("auto", "label_fusion"):
            raise InvalidInput(f"depth_format={self.depth_format!r}: want auto or label_fusion")

    def camera(self, width: int, height: int) -> Intrinsics | None:
        """Return the camera that ``intrinsics`` names, for images of this size; None if unset.

        Raises:
            InvalidInput: neither four numbers nor a 3x3 file.
        """
        if not self.intrinsics:
            return None
        try:
            numbers = [float(word) for word in self.intrinsics.split(",")]
        except ValueError:
            return load_intrinsics(Path(self.intrinsics), width, height)
        if len(numbers) != 4:
            raise InvalidInput(f"intrinsics={self.intrinsics!r}: want fx,fy,cx,cy or a file")
        return Intrinsics(width, height, *numbers)

    def given_trajectory(self) -> Trajectory | None:
        """Load the poses that ``trajectory`` names; None if unset.

        Raises:
            BadRecording: it cannot be read.
            InvalidInput: it holds no poses, or wrong ones; names file and line.
        """
        if not self.trajectory:
            return None
        path = Path(self.trajectory)
        try:
            if path.is_dir():
                return Trajectory.load_pose_folder(path, self.fps, self.max_gap_s)
            return Trajectory.load_tum(path, self.max_gap_s)
        except OSError as error:
            raise BadRecording(f"trajectory {path}: {error.strerror}") from None


class Recording(Protocol):
    """An open recording; a context manager.

    Attributes:
        poses: where the camera was.
        label_set: meaning of the recorded class ids, None when the recording does not say.
        frame_count: depth images it holds, None when unknown; frames may be fewer.
        problems: what could not become a frame so far; the consumer may empty the list.
        topics: topic of each kind of image ("depth", "color", "labels", "confidence") and of
            "camera_info"; recordings without topics give the customary names.
    """

    label_set: LabelSet | None
    problems: list[Problem]

    @property
    def poses(self) -> PoseSource: ...  # noqa: D102  documented in the class

    @property
    def frame_count(self) -> int | None: ...  # noqa: D102

    @property
    def topics(self) -> Mapping[str, str]: ...  # noqa: D102

    def frames(self) -> Iterator[Frame]:
        """Yield frames in stamp order, in bounded memory; may be called again."""
        ...

    def describe(self) -> str:
        """Return a few words for people: what it is, where the images come from."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...

    def __enter__(self) -> "Recording":
        """Enter the context."""
        ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the files."""
        ...


def load_intrinsics(path: Path, width: int, height: int) -> Intrinsics:
    """Read a 3x3 camera matrix for images of this size.

    Raises:
        InvalidInput: not a camera matrix; names the file.
        BadRecording: no such file.
    """
    try:
        K = load_matrix(path, 3)
    except OSError as error:
        raise BadRecording(f"intrinsics {path}: {error.strerror}; or give fx,fy,cx,cy") from None
    return Intrinsics(width, height, K[0, 0], K[1, 1], K[0, 2], K[1, 2])


def open_recording(path: Path, options: RecordingOptions | None = None) -> Recording:
    """Open a rosbag2 folder or file, a ROS 1 bag, or a folder of RGB-D images.

    Args:
        path: ``*.mcap``, ``*.db3``, ``*.bag``, a folder of those with or without
            ``metadata.yaml``, or a folder in 7-Scenes or TUM style.
        options: what the user says about it.

    Raises:
        BadRecording: not a recording, or one that cannot be mapped; says what to do.
        InvalidInput: an option or a pose file is wrong.
    """
    # Imported here: bags bring rosbags, folders bring OpenCV, and each needs this module.
    from slam_fusion.recordings import bag, bag_files, rgbd_folder

    options = options or RecordingOptions()
    path = Path(path)
    if not path.exists():
        raise BadRecording(f"{path} does not exist")
    if bag_files.is_bag(path):
        return bag.BagRecording(path, options)
    if path.is_dir():
        return rgbd_folder.open_rgbd_folder(path, options)
    raise BadRecording(
        f"{path} is not a recording: want a rosbag2 folder, *.mcap, *.db3, *.bag, "
        "or a folder of RGB-D images"
    )
