# SPDX-License-Identifier: Apache-2.0
"""Image topics -> frames: matched by stamp, decoded once they are complete."""

import logging
from collections import deque
from collections.abc import Callable
from copy import copy

import numpy as np
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from mtl_perception import ros
from mtl_perception.conventions import Intrinsics, InvalidInput
from mtl_perception.image_errors import BadCameraInfo
from slam_fusion.frame import Frame
from slam_fusion.image_sets import DECODERS, MISSING, refusal_outcome
from slam_fusion.ledger import Ledger, Outcome
from slam_fusion.node_config import FusionNodeConfig
from slam_fusion.sync import StampMatcher

log = logging.getLogger(__name__)

DEPTH_KINDS = {
    "sensor": ("depth",),
    "network": ("predicted_depth",),
    "fused": ("depth", "predicted_depth"),
}
"""Depth images that each ``depth_source`` waits for; the first one makes the frame."""

OPTIONAL = ("labels", "confidence", "color")
"""Images that a ``use_*`` parameter can switch off."""


class ImageInputs:
    """Subscribes to the images of a camera and hands on whole frames; counts those that fail."""

    def __init__(
        self,
        node: Node,
        config: FusionNodeConfig,
        ledger: Ledger,
        on_frame: Callable[[Frame], None],
    ) -> None:
        """Subscribe to ``camera_info`` and the images that the ``use_*`` ask for.

        Args:
            node: owner of the subscriptions.
            config: use_*, approx_sync*, sync_queue_size, input_qos, queue_depth.
            ledger: where messages and sets that make no frame are entered.
            on_frame: called with each frame, in stamp order.
        """
        self._node = node
        self._ledger = ledger
        self._on_frame = on_frame
        self._size = config.sync_queue_size
        kinds = list(DEPTH_KINDS[config.depth_source])
        self._reference = kinds[0]
        kinds += [kind for kind in OPTIONAL if getattr(config, f"use_{kind}")]
        self.received = dict.fromkeys([*kinds, "camera_info"], 0)
        self._matcher = StampMatcher(
            {kind: MISSING[kind] for kind in kinds},
            ledger,
            config.sync_queue_size,
            round(config.approx_sync_max_interval * 1e9) if config.approx_sync else 0,
        )
        self._intrinsics: Intrinsics | None = None
        self._camera_problem = ""
        # Whole sets that came before the first CameraInfo, which then serves them all.
        self._sets: deque[tuple[int, dict[str, Image]]] = deque()

        self._qos = copy(ros.qos(config.input_qos))
        self._qos.depth = config.queue_depth
        self._topics: dict[str, str] = {}
        for kind in kinds[1:]:
            self._subscribe(kind, Image, self._receiver(kind))
        self._subscribe("camera_info", CameraInfo, self._on_camera_info)

    @property
    def started(self) -> bool:
        """Whether the depth that makes the frames is subscribed to."""
        return self._reference in self._topics

    def start(self) -> None:
        """Subscribe to the depth that makes the frames: from now on they come, or are missed."""
        self._subscribe(self._reference, Image, self._receiver(self._reference))

    def __len__(self) -> int:
        """Count of incomplete sets, and of whole ones without a CameraInfo."""
        return len(self._matcher) + len(self._sets)

    def drop_waiting(self, outcome: Outcome, detail: str) -> None:
        """Drop all that waits here, counted as ``outcome``."""
        self._matcher.clear(outcome, detail)
        while self._sets:
            self._ledger.record(self._sets.popleft()[0], outcome, detail)

    def finish(self) -> None:
        """Account for all that waits here, each for what it lacks: no more messages will come."""
        self._matcher.finish()
        while self._sets:
            self._ledger.record(self._sets.popleft()[0], Outcome.NO_CAMERA_INFO, "none came")

    def problems(self) -> list[str]:
        """Say which inputs have brought nothing so far, and what to do about each."""
        silent = [kind for kind in self._topics if not self.received[kind]]
        return [self._silence(kind) for kind in silent]

    def _silence(self, kind: str) -> str:
        topic = self._topics[kind]
        publishers = self._node.get_publishers_info_by_topic(topic)
        if not publishers:
            optional = f", or set use_{kind}: false" if kind in OPTIONAL else ""
            return f"nobody publishes {topic}: start its source or remap '{kind}'{optional}"
        if self._qos.reliability == ReliabilityPolicy.RELIABLE and all(
            p.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for p in publishers
        ):
            return (
                f"{topic} is published best effort, which a reliable subscription never gets: "
                "set input_qos: sensor_queue"
            )
        return f"{topic} has a publisher but nothing came yet"

    def _subscribe(self, name: str, message_type: type, callback: Callable[..., None]) -> None:
        subscription = self._node.create_subscription(message_type, name, callback, self._qos)
        self._topics[name] = subscription.topic_name

    def _receiver(self, kind: str) -> Callable[[Image], None]:
        def receive(msg: Image) -> None:
            self.received[kind] += 1
            whole = self._matcher.add(kind, ros.stamp_ns(msg.header), msg)
            if whole is not None:
                self._sets.append(whole)
                self._release()

        return receive

    def _on_camera_info(self, msg: CameraInfo) -> None:
        self.received["camera_info"] += 1
        try:
            self._intrinsics, self._camera_problem = ros.intrinsics_from_msg(msg), ""
        except BadCameraInfo as error:
            self._intrinsics, self._camera_problem = None, str(error)
        self._release()

    def _release(self) -> None:
        """Make frames of the whole sets, or let the oldest go while there is no camera."""
        if self._intrinsics is not None or self._camera_problem:
            while self._sets:
                self._finish_set(*self._sets.popleft())
        while len(self._sets) > self._size:
            stamp_ns, _ = self._sets.popleft()
            detail = f"no CameraInfo on {self._topics['camera_info']} so far"
            self._ledger.record(stamp_ns, Outcome.NO_CAMERA_INFO, detail)

    def _finish_set(self, stamp_ns: int, messages: dict[str, Image]) -> None:
        try:
            frame = self._to_frame(stamp_ns, messages)
        except InvalidInput as error:
            self._ledger.record(stamp_ns, refusal_outcome(error), str(error))
        else:
            self._on_frame(frame)

    def _to_frame(self, stamp_ns: int, messages: dict[str, Image]) -> Frame:
        if self._intrinsics is None:
            raise BadCameraInfo(self._camera_problem)
        images = {kind: DECODERS[kind](msg) for kind, msg in messages.items()}
        if "depth" not in images:
            images["depth"] = np.zeros(self._intrinsics.shape, np.float32)
        return Frame(
            stamp_ns=stamp_ns,
            camera_frame=messages[self._reference].header.frame_id,
            intrinsics=self._intrinsics,
            **images,
        )
