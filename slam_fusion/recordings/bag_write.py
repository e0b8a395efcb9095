# SPDX-License-Identifier: Apache-2.0
"""Frames and poses into a rosbag2 that ``ros2 bag play``, RViz and this package read."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_typestore

from mtl_perception.conventions import DenseSlamError, InvalidInput
from mtl_perception.labels import LabelSet
from slam_fusion.frame import Frame
from slam_fusion.geometry import invert_se3
from slam_fusion.poses import PoseNever
from slam_fusion.recordings.bag_messages import (
    T_LINK_OPTICAL,
    BagMessages,
)
from slam_fusion.recordings.bag_qos import LATCHED, RELIABLE
from slam_fusion.recordings.recording import Recording

STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
COMPRESSIONS = {
    "none": CompressionMode.NONE,
    "file": CompressionMode.FILE,
    "message": CompressionMode.MESSAGE,
    "storage": CompressionMode.STORAGE,  # zstd inside the MCAP chunks: small, and still seekable
}
METADATA_VERSION: Final = 8
"""rosbag2's metadata layout that Humble (which ignores newer fields) to Kilted read."""

FrameWithPose = tuple[Frame, np.ndarray | None]
"""A frame and its T_world_camera; None where the camera's pose is not known."""


class BagNotWritten(DenseSlamError):
    """The bag could not be written; nothing is left under its name."""


def write_bag(
    path: Path,
    source: Recording | Iterable[FrameWithPose],
    *,
    storage: str = "mcap",
    compression: str = "none",
    depth_encoding: str = "32FC1",
    global_frame: str = "odom",
    label_set: LabelSet | None = None,
    overwrite: bool = False,
) -> int:
    """Write frames and poses as a rosbag2 folder; the name appears when the bag is complete.

    Topics: ``/camera/{color,depth}/image_raw`` and ``camera_info``, ``/camera/labels``,
    ``/camera/confidence`` and ``/camera/label_set`` where frames have them, ``/tf``
    (global_frame -> camera_link, one sample per frame), ``/tf_static`` (camera_link ->
    camera_color_optical_frame).

    Args:
        path: folder to make.
        source: an open recording, or frames with T_world_camera in stamp order.
        storage: mcap or sqlite3.
        compression: none, file, message, or storage (MCAP only); zstd.
        depth_encoding: 32FC1 keeps every bit; 16UC1 rounds to millimetres, half the size.
        global_frame: parent of camera_link.
        label_set: meaning of the labels; a recording's own by default.
        overwrite: replace a bag of this name.

    Returns:
        Count of frames written.

    Raises:
        BagNotWritten: the name is taken, the folder cannot be written, or there were no frames.
        InvalidInput: an unknown storage, compression or encoding.
    """
    _check_choice("storage", storage, STORAGES)
    _check_choice("compression", compression, COMPRESSIONS)
    _check_choice("depth_encoding", depth_encoding, ("32FC1", "16UC1"))
    if compression == "storage" and storage != "mcap":
        raise InvalidInput("compression='storage' needs storage='mcap'")
    if isinstance(source, Iterable):
        frames = source
    else:
        label_set = label_set or source.label_set
        frames = _with_poses(source)
    path = Path(path)
    messages = BagMessages(depth_encoding, global_frame)

    def write(folder: Path) -> int:
        writer = Writer(folder, version=METADATA_VERSION, storage_plugin=STORAGES[storage])
        writer.set_compression(COMPRESSIONS[compression], CompressionFormat.ZSTD)
        with writer:
            return _write_frames(_Topics(writer), messages, frames, label_set)

    return _atomically(path, overwrite, write)


@dataclass
class _Topics:
    """Open writer; a topic begins with its first message."""

    writer: Writer

    def __post_init__(self) -> None:
        self._store = get_typestore(Stores.ROS2_HUMBLE)
        self._connections: dict[str, Connection] = {}

    def write(self, topic: str, stamp_ns: int, msg: Any, latched: bool = False) -> None:
        msgtype = msg.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self.writer.add_connection(
                topic,
                msgtype,
                typestore=self._store,
                offered_qos_profiles=[LATCHED if latched else RELIABLE],
            )
        raw = self._store.serialize_cdr(msg, msgtype)
        self.writer.write(self._connections[topic], stamp_ns, raw)


def _write_frames(
    topics: _Topics,
    messages: BagMessages,
    source: Iterable[FrameWithPose],
    label_set: LabelSet | None,
) -> int:
    count = 0
    for frame, T_world_camera in source:
        stamp_ns = frame.stamp_ns
        if count == 0:
            topics.write("/tf_static", stamp_ns, messages.static_transform(stamp_ns), latched=True)
            if label_set is not None:
                text = messages.text(label_set.to_json())
                topics.write("/camera/label_set", stamp_ns, text, latched=True)
        if T_world_camera is not None:
            T_global_link = T_world_camera @ invert_se3(T_LINK_OPTICAL)
            topics.write("/tf", stamp_ns, messages.transform(stamp_ns, T_global_link))
        for topic, msg in messages.images(frame):
            topics.write(topic, stamp_ns, msg)
        count += 1
    if count == 0:
        raise BagNotWritten("there were no frames to write")
    return count


def _with_poses(recording: Recording) -> Iterator[FrameWithPose]:
    """Frames of a recording; one whose pose is not known is kept without."""
    for frame in recording.frames():
        try:
            yield frame, recording.poses.at(frame.stamp_ns, frame.camera_frame)
        except PoseNever:
            yield frame, None


def _atomically(path: Path, overwrite: bool, write: Callable[[Path], int]) -> int:
    """Run ``write`` on a folder beside ``path`` that takes the name when it is complete.

    The folder has the final name inside a partial one: rosbag2 names its files after it.
    """
    if path.exists() and not overwrite:
        raise BagNotWritten(f"{path} exists; choose another name, or ask to overwrite")
    if path.exists() and not (path / "metadata.yaml").exists():
        raise BagNotWritten(f"{path} exists and is not a bag; it is not overwritten")
    partial = path.with_name(path.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        partial.mkdir(parents=True)
        count = write(partial / path.name)
        if path.exists():
            os.replace(path, partial / "replaced")
        os.replace(partial / path.name, path)
        return count
    except (OSError, WriterError) as error:
        raise BagNotWritten(f"{path} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise InvalidInput(f"{name}={value!r}: want one of {', '.join(choices)}")
