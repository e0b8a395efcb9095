# SPDX-License-Identifier: Apache-2.0
"""ROS 2 node: plays a recording over DDS with its own clock; works without a ROS install."""

import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from geometry_msgs.msg import PoseStamped, TransformStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from mtl_perception import ros, ros_node
from mtl_perception.conventions import InvalidInput
from slam_fusion.frame import Frame
from slam_fusion.live.ros_poses import pose_to_msg
from slam_fusion.play.play_config import PlayConfig, ros_arguments
from slam_fusion.play.playback import PlaybackClock, ReadAhead
from slam_fusion.poses import PoseNever
from slam_fusion.recordings.recording import Recording, RecordingOptions, open_recording
from slam_fusion.transform_tree import TransformTree

log = logging.getLogger(__name__)

CAMERA_FRAME = "camera_color_optical_frame"
"""Optical frame of recordings that do not name theirs."""

GLOBAL_FRAME = "odom"
POSE_TOPIC = "camera_pose"
POSE_QOS = QoSProfile(depth=1000)  # reliable
"""Poses are small, and each one that is lost costs a frame."""
_ACKNOWLEDGE = Duration(seconds=2)
SETTLE_S = 1.0
"""A subscriber that we know of may not know us yet, and a best-effort one would miss the start."""

Outgoing = tuple[Any, Any]
"""A publisher and its message."""


class PlayNode(Node):
    """Publishes a recording's images with their own stamps, its camera poses and /clock.

    The pose of the optical frame in the global frame is resolved from the recording's TF or
    trajectory, and goes out before the images of the same stamp: consumers need no TF. Where
    tf2_msgs exists the same pose goes to /tf, as one edge from the global to the camera frame.
    """

    def __init__(self) -> None:
        """Open the recording, offer its topics, start playing."""
        super().__init__("play")
        ros_node.forward_logging(self)
        self._config, options = ros_node.declare_all(self, PlayConfig, RecordingOptions)
        self._recording = open_recording(Path(self._config.recording), options)
        self._global_frame = _global_frame(self._recording, options)
        self._clock_publisher = self.create_publisher(Clock, "/clock", ros.RELIABLE)
        self._pose_publisher = self.create_publisher(PoseStamped, POSE_TOPIC, POSE_QOS)
        self._tf_publisher = self._offer_tf()
        self._images, self._infos = self._offer_topics()
        self._waited_for = self._topics_to_wait_for()
        self._label_set_publisher = self._latch_label_set()
        self._sent: Counter[str] = Counter()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.get_logger().info(f"playing {self._recording.describe()}")
        self._thread.start()

    def on_shutdown(self) -> None:
        """Stop playing and close the files.

        Raises:
            DenseSlamError: what ended the playing early.
        """
        self._stop.set()
        self._thread.join()
        self._recording.close()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        """Play to the end, then ask the process to end; the node's thread."""
        try:
            self._wait_for_subscribers()
            self._play_once()
            while self._config.loop and not self._stop.is_set():
                self.get_logger().info("playing again: the clock jumps back")
                self._play_once()
        except BaseException as error:  # noqa: BLE001  raised by on_shutdown, whatever it is
            self._error = error
        finally:
            self._finish()

    def _play_once(self) -> None:
        clock: PlaybackClock | None = None
        with ReadAhead(self._outgoing()) as steps:
            for stamp_ns, outgoing in steps:
                clock = clock or PlaybackClock(stamp_ns, self._config.rate)
                if not self._keep_clock_until(stamp_ns, clock):
                    return
                self._publish_clock(stamp_ns)
                for publisher, msg in outgoing:
                    ros_node.publish(publisher, msg)
        if clock is None:
            raise InvalidInput(f"{self._config.recording} gives no frames: {self._problems()}")
        if clock.slipped_s > 1:
            log.warning("reading was too slow: played %.1f s longer", clock.slipped_s)

    def _keep_clock_until(self, stamp_ns: int, clock: PlaybackClock) -> bool:
        """Send /clock until ``stamp_ns`` is due; False when asked to stop."""
        tick_s = 1 / self._config.clock_hz
        while (wait_s := clock.wait_s(stamp_ns)) > 0:
            if self._stop.wait(min(wait_s, tick_s)):
                return False
            if wait_s > tick_s:
                self._publish_clock(min(clock.now_ns(), stamp_ns))
        return not self._stop.is_set()

    def _publish_clock(self, stamp_ns: int) -> None:
        ros_node.publish(self._clock_publisher, Clock(clock=ros.stamp_to_msg(stamp_ns)))

    def _outgoing(self) -> Iterator[tuple[int, list[Outgoing]]]:
        """Messages of each frame in the order to send them: pose, camera, images."""
        for frame in self._recording.frames():
            yield frame.stamp_ns, [*self._poses(frame), *self._frame_messages(frame)]
            self._sent["frames"] += 1

    def _poses(self, frame: Frame) -> Iterator[Outgoing]:
        try:
            T_global_camera = self._recording.poses.at(frame.stamp_ns, frame.camera_frame)
        except PoseNever as error:
            self._sent["frames without pose"] += 1
            if self._sent["frames without pose"] == 1:
                log.warning("a frame has no pose: %s", error)
            return
        header = ros.make_header(frame.stamp_ns, self._global_frame)
        pose = pose_to_msg(T_global_camera, header)
        if self._tf_publisher is not None:
            yield self._tf_publisher, _tf(pose, frame.camera_frame or CAMERA_FRAME)
        yield self._pose_publisher, pose

    def _frame_messages(self, frame: Frame) -> Iterator[Outgoing]:
        header = ros.make_header(frame.stamp_ns, frame.camera_frame or CAMERA_FRAME)
        info = ros.camera_info_to_msg(frame.intrinsics, header)
        for publisher in self._infos:
            yield publisher, info
        for kind, publisher in self._images.items():
            image = getattr(frame, kind)
            if image is not None:
                yield publisher, _TO_MSG[kind](image, header)

    def _offer_topics(self) -> tuple[dict[str, Any], list[Any]]:
        """Publishers of images by kind, and of CameraInfo: beside depth and colour, as recorded."""
        topics = dict(self._recording.topics)
        info_topics = {topics.pop("camera_info", "")} - {""}
        images = {}
        for kind, topic in topics.items():
            raw_topic = topic.removesuffix("/compressedDepth").removesuffix("/compressed")
            images[kind] = self.create_publisher(Image, raw_topic, ros.RELIABLE)
            if kind in ("depth", "color"):
                info_topics.add(raw_topic.rpartition("/")[0] + "/camera_info")
        infos = [self.create_publisher(CameraInfo, t, ros.RELIABLE) for t in sorted(info_topics)]
        return images, infos

    def _offer_tf(self) -> Any:
        """Return a /tf publisher, None where tf2_msgs is not installed (it has no wheel)."""
        try:
            from tf2_msgs.msg import TFMessage
        except ModuleNotFoundError as error:
            if error.name not in ("tf2_msgs", "tf2_msgs.msg"):
                raise
            return None
        return self.create_publisher(TFMessage, "/tf", ros.RELIABLE)

    def _latch_label_set(self) -> Any:
        """Publish the label set once, for whoever comes; the publisher must stay alive."""
        if self._recording.label_set is None:
            return None
        topic = self._recording.topics.get("labels", "/camera/labels").rpartition("/")[0]
        publisher = self.create_publisher(String, f"{topic}/label_set", ros.LATCHED)
        ros_node.publish(publisher, ros.label_set_to_msg(self._recording.label_set))
        return publisher

    def _topics_to_wait_for(self) -> dict[str, Callable[[], int]]:
        """Return what counts the subscribers of each topic that must have one, by topic."""
        known = {**self._images, POSE_TOPIC: self._pose_publisher}
        wanted = [word.strip() for word in self._config.wait_for_subscribers.split(",")]
        words = [word for word in wanted if word]
        if words == ["all"]:
            words = list(known)
        if unknown := [word for word in words if word not in known and not word.startswith("/")]:
            raise InvalidInput(
                f"wait_for_subscribers: {', '.join(unknown)}; this recording has "
                f"{', '.join(known)}; topics of others are named from the root, /like/this"
            )
        own = {known[w].topic_name: known[w].get_subscription_count for w in words if w in known}
        others = {w: partial(self.count_subscribers, w) for w in words if w not in known}
        return {**own, **others}

    def _wait_for_subscribers(self) -> None:
        lacking = self._waited_for
        told: list[str] = []
        while lacking and not self._stop.wait(0.05):
            lacking = {topic: count for topic, count in lacking.items() if count() == 0}
            if lacking and told != list(lacking):
                told = list(lacking)
                self.get_logger().info(f"waiting for subscribers of {', '.join(lacking)}")
        if self._waited_for:
            self._stop.wait(SETTLE_S)

    def _finish(self) -> None:
        if not self._stop.is_set():
            for publisher in (*self._images.values(), *self._infos, self._pose_publisher):
                publisher.wait_for_all_acked(_ACKNOWLEDGE)
        self.get_logger().info(
            ", ".join(f"{count} {what}" for what, count in self._sent.items())
            + f" played; {self._problems()}"
        )
        self.context.try_shutdown()

    def _problems(self) -> str:
        counts = Counter(outcome.value for _, outcome, _ in self._recording.problems)
        return ", ".join(f"{name}: {count}" for name, count in counts.items()) or "no problems"


_TO_MSG = {
    "color": ros.image_to_msg,
    "depth": ros.depth_to_msg,
    "labels": ros.labels_to_msg,
    "confidence": ros.confidence_to_msg,
}


def _global_frame(recording: Recording, options: RecordingOptions) -> str:
    poses = recording.poses
    known = poses.global_frame if isinstance(poses, TransformTree) else GLOBAL_FRAME
    return options.global_frame or known


def _tf(pose: PoseStamped, camera_frame: str) -> Any:
    from tf2_msgs.msg import TFMessage

    transform = TransformStamped(header=pose.header, child_frame_id=camera_frame)
    position, translation = pose.pose.position, transform.transform.translation
    translation.x, translation.y, translation.z = position.x, position.y, position.z
    transform.transform.rotation = pose.pose.orientation
    return TFMessage(transforms=[transform])


def main() -> None:
    """Entry point of ``ros2 run dense_semantic_slam play_node``."""
    sys.exit(ros_node.spin(PlayNode, [sys.argv[0], *ros_arguments(sys.argv[1:])]))


if __name__ == "__main__":
    main()
