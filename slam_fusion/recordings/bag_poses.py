# SPDX-License-Identifier: Apache-2.0
"""Poses of a bag, read before its images: TF, or a topic of poses, into one ``PoseSource``."""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from mtl_perception.conventions import InvalidInput
from slam_fusion.ledger import Outcome
from slam_fusion.poses import PoseSource
from slam_fusion.recordings.bag_files import DESERIALIZE_ERRORS, BagFiles
from slam_fusion.recordings.bag_topics import TF_TYPES
from slam_fusion.recordings.pose_messages import transform_of
from slam_fusion.recordings.recording import BadRecording, Problem, RecordingOptions
from slam_fusion.trajectory import Trajectory
from slam_fusion.transform_tree import TransformTree, frame_name

logger = logging.getLogger(__name__)

CUSTOMARY_GLOBAL_FRAMES = ("odom", "map", "world")

MAX_TRANSFORMS = 20_000_000
"""Transforms read from one bag at most: 2 GB, a day of TF; robots send about 1000 a second."""


class BagPoses:
    """Reads the pose topics of a bag once; wrong transforms become ``problems``, each told once."""

    def __init__(self, files: BagFiles, options: RecordingOptions) -> None:
        """Start with nothing read."""
        self.problems: list[Problem] = []
        self._files = files
        self._options = options
        self._tree = TransformTree(max_gap_s=options.max_gap_s)
        self._told: set[str] = set()

    def load(self, pose_topic: str, camera_frame: str) -> PoseSource:
        """Read TF, and the poses of ``pose_topic`` unless it is "".

        PoseStamped is taken for the camera's own pose; Odometry and TransformStamped join the
        tree as the edge that they name.

        Args:
            pose_topic: see ``bag_topics.find_pose_topic``.
            camera_frame: optical frame of the images, to find the root of its tree.

        Raises:
            BadRecording: an absurd count of transforms.
        """
        types = {c.topic: c.msgtype for c in self._files.connections}
        tf_topics = [topic for topic, kind in types.items() if kind in TF_TYPES]
        if types.get(pose_topic) == "geometry_msgs/msg/PoseStamped":
            return self._load_trajectory(pose_topic)
        count = 0
        for topic, kind, raw in self._messages([*tf_topics, *filter(None, [pose_topic])]):
            transforms = self._read(raw, kind)
            count += len(transforms)
            if count > MAX_TRANSFORMS:
                raise BadRecording(f"more than {MAX_TRANSFORMS} transforms: use --trajectory")
            for transform in transforms:
                self._add(topic, transform, is_static=topic.endswith("tf_static"))
        self._tree.close()
        self._tree.global_frame = self._global_frame(camera_frame)
        return self._tree

    def _messages(self, topics: list[str]) -> Iterator[tuple[str, str, bytes]]:
        """Raw messages of ``topics``; a damaged file ends there, what came before is used."""
        try:
            for topic, kind, _, raw in self._files.messages(topics):
                yield topic, kind, raw
        except BadRecording as error:
            self._problem(0, f"reading poses ends early: {error}")

    def _read(self, raw: bytes, kind: str) -> list[Any]:
        try:
            msg = self._files.deserialize(raw, kind)
        except DESERIALIZE_ERRORS as error:
            self._problem(0, f"{kind} message of {len(raw)} bytes is damaged: {error}")
            return []
        return list(msg.transforms) if hasattr(msg, "transforms") else [msg]

    def _add(self, topic: str, msg: Any, is_static: bool) -> None:
        stamp_ns = stamp_ns_of(msg.header)
        try:
            T_parent_child = transform_of(msg)
            parent, child = msg.header.frame_id, msg.child_frame_id
            if is_static:
                self._tree.add_static(parent, child, T_parent_child)
            else:
                self._tree.add_dynamic(parent, child, stamp_ns, T_parent_child)
        except InvalidInput as error:
            self._problem(stamp_ns, f"{topic}: {error}")

    def _load_trajectory(self, topic: str) -> Trajectory:
        poses: dict[int, np.ndarray] = {}
        for _, kind, raw in self._messages([topic]):
            for msg in self._read(raw, kind):
                try:
                    poses.setdefault(stamp_ns_of(msg.header), transform_of(msg))
                except InvalidInput as error:
                    self._problem(stamp_ns_of(msg.header), f"{topic}: {error}")
        return Trajectory.from_poses(sorted(poses.items(), key=_stamp), self._options.max_gap_s)

    def _global_frame(self, camera_frame: str) -> str:
        if self._options.global_frame:
            return frame_name(self._options.global_frame)
        ancestors = self._tree.ancestors(camera_frame)
        customary = [name for name in CUSTOMARY_GLOBAL_FRAMES if name in ancestors]
        return customary[0] if customary else ancestors[-1]

    def _problem(self, stamp_ns: int, detail: str) -> None:
        """Note a problem that may come a thousand times a second: say each wording once."""
        if detail not in self._told and len(self._told) < 100:
            self._told.add(detail)
            self.problems.append((stamp_ns, Outcome.BAD_POSE, detail))
            logger.warning("%s", detail)


def stamp_ns_of(header: Any) -> int:
    """Stamp of a message header in nanoseconds."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def _stamp(pair: tuple[int, np.ndarray]) -> int:
    return pair[0]
