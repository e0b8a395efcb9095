# SPDX-License-Identifier: Apache-2.0
"""Where the camera was, live: a pose topic, or TF where ROS is installed."""

import logging
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PoseStamped, TransformStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.time import Time
from std_msgs.msg import Header

from mtl_perception import ros
from mtl_perception.conventions import DenseSlamError, InvalidInput
from slam_fusion.geometry import matrix_from_quat_xyzw, quat_xyzw_from_matrix, se3
from slam_fusion.node_config import FusionNodeConfig
from slam_fusion.poses import PoseNever, PoseNotYet, PoseSource
from slam_fusion.recordings.pose_messages import transform_of
from slam_fusion.sync import CLOCK_JUMP_NS
from slam_fusion.transform_tree import TransformTree, frame_name

log = logging.getLogger(__name__)

POSE_MESSAGES = {
    "odometry": ("odom", Odometry),
    "pose": ("pose", PoseStamped),
    "transform": ("transform", TransformStamped),
}
"""pose_source -> (topic, message type)."""

_BASE, _CAMERA = "pose of the topic", "camera"

MAX_POSES = 20_000
"""Poses kept: 100 s of a 200 Hz odometry."""

POSE_QUEUE = 1000
"""Pose messages that may wait while the node is busy: five seconds at 200 Hz."""


class TfMissing(DenseSlamError):
    """``pose_source: tf`` without tf2_ros; says what to do instead."""


def open_pose_source(
    node: Node, config: FusionNodeConfig, on_pose: Callable[[], object]
) -> PoseSource:
    """Subscribe to what ``pose_source`` names.

    Args:
        node: owner of the subscription.
        config: pose_source, global_frame, camera_extrinsic, pose_max_gap.
        on_pose: called after each pose; TF never calls it.

    Raises:
        TfMissing: ``tf`` is asked for and tf2_ros is not installed.
        InvalidInput: camera_extrinsic has no unit quaternion.
    """
    if config.pose_source == "tf":
        return TfPoseSource(node, config.global_frame)
    topic, message_type = POSE_MESSAGES[config.pose_source]
    poses = TopicPoseSource(config)

    def receive(msg: PoseStamped | Odometry | TransformStamped) -> None:
        if poses.add(msg):
            on_pose()

    node.create_subscription(message_type, topic, receive, QoSProfile(depth=POSE_QUEUE))
    return poses


class TopicPoseSource:
    """The newest poses of one topic, interpolated; a ``PoseSource``.

    Attributes:
        newest_ns: stamp of the newest pose, None before the first.
    """

    def __init__(self, config: FusionNodeConfig) -> None:
        """Start empty.

        Args:
            config: global_frame, camera_extrinsic and pose_max_gap are used.

        Raises:
            InvalidInput: camera_extrinsic has no unit quaternion.
        """
        x, y, z, *quat_xyzw = config.camera_extrinsic
        T_base_camera = se3(matrix_from_quat_xyzw(np.array(quat_xyzw)), np.array([x, y, z]))
        self._tree = TransformTree(config.global_frame, config.pose_max_gap, MAX_POSES)
        self._tree.add_static(_BASE, _CAMERA, T_base_camera)
        self.newest_ns: int | None = None
        self._refusal = ""  # why the newest message was refused

    def add(self, msg: PoseStamped | Odometry | TransformStamped) -> bool:
        """Keep the pose of a message; a stamp far back (a looped bag) forgets all older ones.

        Returns:
            Whether it was taken: a pose in another frame, or no pose at all, is refused in words,
            once until a good one comes: poses come hundreds of times a second.
        """
        frame_id = frame_name(msg.header.frame_id)
        if frame_id not in ("", self._tree.global_frame):
            return self._refuse(
                f"poses are in frame {frame_id!r} but global_frame is "
                f"{self._tree.global_frame!r}: set global_frame to match"
            )
        stamp_ns = ros.stamp_ns(msg.header)
        if self.newest_ns is not None and self.newest_ns - stamp_ns >= CLOCK_JUMP_NS:
            self._tree.clear()
            self.newest_ns = None
        try:
            T_world_base = transform_of(msg)
            self._tree.add_dynamic(self._tree.global_frame, _BASE, stamp_ns, T_world_base)
        except InvalidInput as error:
            return self._refuse(str(error))
        self.newest_ns = stamp_ns if self.newest_ns is None else max(self.newest_ns, stamp_ns)
        self._refusal = ""
        return True

    def _refuse(self, why: str) -> bool:
        if not self._refusal:
            log.error("pose refused: %s", why)
        self._refusal = why
        return False

    def at(self, stamp_ns: int, camera_frame: str) -> np.ndarray:
        """Return T_world_camera at a stamp; see ``PoseSource.at``. The name is not looked at."""
        if self.newest_ns is None:
            why = self._refusal or "no pose has come at all: is the pose topic remapped?"
            raise PoseNotYet(why)
        return self._tree.at(stamp_ns, _CAMERA)


class TfPoseSource:
    """TF through tf2_ros: lookups at the image's stamp that never block; a ``PoseSource``.

    Attributes:
        buffer: the tf2_ros.Buffer.
    """

    def __init__(self, node: Node, global_frame: str) -> None:
        """Listen to /tf and /tf_static.

        Raises:
            TfMissing: tf2_ros is not installed (it is not on PyPI).
        """
        try:
            import tf2_ros
        except ModuleNotFoundError as error:
            if error.name != "tf2_ros":
                raise
            raise TfMissing(
                "pose_source is 'tf' but tf2_ros is not installed: run inside a ROS 2 install, or "
                "set pose_source to 'pose', 'odometry' or 'transform' and feed that topic"
            ) from None
        self._tf2 = tf2_ros
        self._global_frame = frame_name(global_frame)
        self.buffer = tf2_ros.Buffer(node=node)
        # spin_thread=False: the whole node would land in a second executor.
        self._listener = tf2_ros.TransformListener(self.buffer, node, spin_thread=False)

    def at(self, stamp_ns: int, camera_frame: str) -> np.ndarray:
        """Return T_world_camera at a stamp; see ``PoseSource.at``."""
        source = frame_name(camera_frame)  # tf2 refuses the leading slash of ROS 1 drivers
        if not source:
            raise PoseNever("the image header names no frame: set camera_frame")
        if stamp_ns <= 0:  # TF takes zero for "the newest there is", rclpy refuses less
            raise PoseNever(f"stamp {stamp_ns} is no time: does the driver fill in its header?")
        try:
            msg = self.buffer.lookup_transform(
                self._global_frame, source, Time(nanoseconds=stamp_ns)
            )
        except self._tf2.ExtrapolationException as error:
            newest = self.buffer.get_latest_common_time(self._global_frame, source)
            if stamp_ns > newest.nanoseconds:
                raise PoseNotYet(str(error)) from None
            raise PoseNever(str(error)) from None
        except (self._tf2.LookupException, self._tf2.ConnectivityException) as error:
            # The publisher that connects the frames may be about to start.
            raise PoseNotYet(str(error)) from None
        except self._tf2.TransformException as error:  # a frame name that tf2 does not take
            raise PoseNever(str(error)) from None
        return transform_of(msg)


def pose_to_msg(T_header_child: np.ndarray, header: Header) -> PoseStamped:
    """Return the PoseStamped of a (4, 4) rigid transform into the header's frame."""
    msg = PoseStamped(header=header)
    position, orientation = msg.pose.position, msg.pose.orientation
    position.x, position.y, position.z = T_header_child[:3, 3].tolist()
    quat_xyzw = quat_xyzw_from_matrix(T_header_child[:3, :3])
    orientation.x, orientation.y, orientation.z, orientation.w = quat_xyzw.tolist()
    return msg
