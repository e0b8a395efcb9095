# SPDX-License-Identifier: Apache-2.0
"""Pose messages to transforms, by their fields: one code for rclpy's messages and a bag's."""

from typing import Any

import numpy as np

from slam_fusion.geometry import matrix_from_quat_xyzw, se3


def transform_of(msg: Any) -> np.ndarray:
    """Return the (4, 4) float64 T_header_child of a TransformStamped, PoseStamped or Odometry.

    The target is the frame of the message's header. The source is the child frame, where the
    message names one (a PoseStamped does not).

    Raises:
        InvalidInput: the quaternion is not one (all zero in a message that nobody filled).
    """
    if hasattr(msg, "transform"):
        t, q = msg.transform.translation, msg.transform.rotation
    else:
        pose = msg.pose.pose if hasattr(msg.pose, "pose") else msg.pose
        t, q = pose.position, pose.orientation
    R = matrix_from_quat_xyzw(np.array([q.x, q.y, q.z, q.w]))
    return se3(R, np.array([t.x, t.y, t.z]))
