# SPDX-License-Identifier: Apache-2.0
"""A bag as a recording: its camera's messages become frames, in stamp order and bounded memory."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from mtl_perception import encodings
from mtl_perception.conventions import Intrinsics, InvalidInput
from mtl_perception.labels import LabelSet
from slam_fusion.frame import Frame
from slam_fusion.image_sets import DECODERS, MISSING, refusal_outcome
from slam_fusion.ledger import Ledger, Outcome
from slam_fusion.poses import PoseSource
from slam_fusion.recordings.bag_files import DESERIALIZE_ERRORS, BagFiles
from slam_fusion.recordings.bag_poses import BagPoses, stamp_ns_of
from slam_fusion.recordings.bag_topics import (
    IMAGE_TYPES,
    STRING_TYPES,
    ImageTopic,
    find_pose_topic,
    find_topics,
)
from slam_fusion.recordings.recording import BadRecording, Problem, RecordingOptions
from slam_fusion.sync import StampMatcher
from slam_fusion.transform_tree import frame_name

logger = logging.getLogger(__name__)

PENDING_SETS = 30
"""Incomplete image sets kept: a network that lags its camera by a second still finds its images."""


class BagRecording:
    """A rosbag2 or ROS 1 bag as a ``Recording``."""

    def __init__(self, path: Path, options: RecordingOptions) -> None:
        """Open the files, find the camera, read the poses.

        Raises:
            BadRecording: damaged, no depth, no CameraInfo, an ambiguous choice; says what to do.
            InvalidInput: an option is wrong.
        """
        self.problems: list[Problem] = []
        self._options = options
        self._ledger = Ledger()
        self._files = BagFiles(path)
        try:
            self._types = {c.topic: c.msgtype for c in self._files.connections if c.msgcount}
            self._topics = find_topics(self._image_topics(), self._types, options)
            self._first_info = self._find_camera()
            self.label_set = self._find_label_set()
            self._poses = self._load_poses()
            self._note_unregistered()
        except BaseException:
            self.close()
            raise

    @property
    def poses(self) -> PoseSource:
        """The given trajectory, else the pose topic, else TF."""
        return self._poses

    @property
    def frame_count(self) -> int | None:
        """Depth messages, None when only a part of the bag is read."""
        if self._options.start_s or self._options.duration_s:
            return None
        depth = self._topics.depth
        return sum(c.msgcount for c in self._files.connections if c.topic == depth)

    @property
    def topics(self) -> Mapping[str, str]:
        """Topic of each kind of image, and of "camera_info" when there is one."""
        info = self._topics.camera_info
        return {**self._topics.by_kind(), **({"camera_info": info} if info else {})}

    def describe(self) -> str:
        """Say what it is and which topics it uses."""
        seconds = (self._files.end_ns - self._files.start_ns) / 1e9
        topics = ", ".join(f"{kind} {topic}" for kind, topic in self.topics.items())
        notes = "".join(f" ({note})" for note in self._files.notes)
        return f"bag {self._files.path}, {seconds:.1f} s: {topics}{notes}"

    def frames(self) -> Iterator[Frame]:
        """Yield frames in stamp order; messages that make none are entered in ``problems``.

        A file that is damaged half way ends there, with a problem that says so.
        """
        kinds = self._topics.by_kind()
        tolerance_ns = round(self._options.approx_sync_s * 1e9)
        missing = {kind: MISSING[kind] for kind in kinds}
        matcher = StampMatcher(missing, self._ledger, PENDING_SETS, tolerance_ns)
        kind_of = {topic: kind for kind, topic in kinds.items()}
        info, is_empty = self._first_info, True
        for topic, msg in self._messages([*kind_of, self._topics.camera_info]):
            if topic not in kind_of:
                info = msg
                continue
            complete = matcher.add(kind_of[topic], stamp_ns_of(msg.header), msg)
            if complete and (frame := self._frame(*complete, info)):
                is_empty = False
                yield frame
            self._drain()
        matcher.finish()
        self._drain()
        if is_empty and len(kinds) > 1 and not tolerance_ns:
            logger.warning("no frames: if the stamps of %s differ, give --approx-sync", kinds)

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def __enter__(self) -> "BagRecording":
        """Enter the context."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the files."""
        self.close()

    def _frame(self, stamp_ns: int, images: Mapping[str, Any], info: Any) -> Frame | None:
        try:
            arrays = {kind: DECODERS[kind](msg) for kind, msg in images.items()}
            height, width = arrays["depth"].shape
            camera = self._camera(info, width, height)
            camera_frame = self._options.camera_frame or images["depth"].header.frame_id
            return Frame(stamp_ns, frame_name(camera_frame), camera, **arrays)
        except InvalidInput as error:
            self._ledger.record(stamp_ns, refusal_outcome(error), str(error))
            return None

    def _camera(self, info: Any, width: int, height: int) -> Intrinsics:
        return self._options.camera(width, height) or encodings.decode_intrinsics(info)

    def _messages(self, topics: list[str]) -> Iterator[tuple[str, Any]]:
        """Deserialised messages of ``topics`` in the chosen part of the bag."""
        start_ns = self._files.start_ns + round(self._options.start_s * 1e9)
        stop_ns = start_ns + round(self._options.duration_s * 1e9)
        time_ns = start_ns
        try:
            for topic, msgtype, time_ns, raw in self._files.messages(
                topics, start_ns, stop_ns if self._options.duration_s else None
            ):
                try:
                    yield topic, self._files.deserialize(raw, msgtype)
                except DESERIALIZE_ERRORS as error:
                    detail = f"{topic}: message of {len(raw)} bytes is damaged: {error}"
                    self._ledger.record(time_ns, Outcome.BAD_IMAGE, detail)
        except BadRecording as error:
            logger.error("%s; what was read so far is used", error)
            self._ledger.record(time_ns, Outcome.BAD_IMAGE, f"reading ends here: {error}")

    def _first(self, topic: str) -> Any:
        """First message of ``topic`` that can be read, None when there is none."""
        for _, msgtype, _, raw in self._files.messages([topic]):
            try:
                return self._files.deserialize(raw, msgtype)
            except DESERIALIZE_ERRORS as error:
                logger.warning("%s: a message of %d bytes is damaged: %s", topic, len(raw), error)
        return None

    def _image_topics(self) -> Iterator[ImageTopic]:
        for topic, msgtype in self._types.items():
            if msgtype in IMAGE_TYPES and (msg := self._first(topic)) is not None:
                encoding = msg.encoding if hasattr(msg, "encoding") else msg.format
                yield ImageTopic(topic, encoding)

    def _find_camera(self) -> Any:
        """Return the first CameraInfo, so that images that came before it are not lost."""
        if not self._topics.camera_info:
            return None
        info = self._first(self._topics.camera_info)
        if info is None:
            raise BadRecording(f"no CameraInfo can be read from {self._topics.camera_info}")
        try:
            encodings.decode_intrinsics(info)
        except InvalidInput as error:
            raise BadRecording(
                f"{self._topics.camera_info}: {error}; give --intrinsics fx,fy,cx,cy"
            ) from None
        return info

    def _find_label_set(self) -> LabelSet | None:
        for topic, msgtype in self._types.items():
            if msgtype in STRING_TYPES and topic.endswith("label_set"):
                msg = self._first(topic)
                try:
                    return LabelSet.from_json(msg.data) if msg is not None else None
                except InvalidInput as error:
                    raise BadRecording(f"{topic}: {error}") from None
        return None

    def _load_poses(self) -> PoseSource:
        if (trajectory := self._options.given_trajectory()) is not None:
            return trajectory
        loader = BagPoses(self._files, self._options)
        first = self._first(self._topics.depth)
        if first is None:
            raise BadRecording(f"no message of {self._topics.depth} can be read")
        camera_frame = self._options.camera_frame or first.header.frame_id
        poses = loader.load(find_pose_topic(self._types, self._options), camera_frame)
        self.problems += loader.problems
        return poses

    def _note_unregistered(self) -> None:
        """Say that depth and colour are of two cameras: fused, colours and labels would be off."""
        if not self._topics.color:
            return
        depth, color = (self._first(t) for t in (self._topics.depth, self._topics.color))
        names = [frame_name(msg.header.frame_id) for msg in (depth, color) if msg is not None]
        if len(set(names)) == 2:
            self._files.note(
                f"depth is in frame {names[0]}, colour in {names[1]}: if the driver does not "
                "register them, colours and labels land beside their surfaces"
            )

    def _drain(self) -> None:
        self.problems += [(row.stamp_ns, row.outcome, row.detail) for row in self._ledger.rows]
        self._ledger.rows.clear()
