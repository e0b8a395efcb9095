# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy wheels or a ROS install)")

from geometry_msgs.msg import PoseStamped, TransformStamped
from nav_msgs.msg import Odometry

from mtl_perception import ros
from mtl_perception.conventions import InvalidInput
from slam_fusion.live.ros_poses import pose_to_msg
from slam_fusion.recordings.pose_messages import transform_of

HEADER = ros.make_header(1, "odom")


def test_poses_of_every_message_are_the_same_transform():
    half = np.sqrt(0.5)
    T_world_camera = np.array([[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], float)
    stamped = PoseStamped()
    pose = stamped.pose
    pose.position.x, pose.position.y, pose.position.z = 1.0, 2.0, 3.0
    pose.orientation.z, pose.orientation.w = half, half  # a quarter turn about z
    odometry, transform = Odometry(), TransformStamped()
    odometry.pose.pose = pose
    transform.transform.translation.x = 1.0
    transform.transform.translation.y = 2.0
    transform.transform.translation.z = 3.0
    transform.transform.rotation = pose.orientation
    for msg in (stamped, odometry, transform, pose_to_msg(T_world_camera, HEADER)):
        np.testing.assert_allclose(transform_of(msg), T_world_camera, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, float("nan"), 2.0])
def test_an_unset_or_broken_quaternion_is_refused(value):
    msg = PoseStamped()
    msg.pose.orientation.w = value
    with pytest.raises(InvalidInput, match="quaternion"):
        transform_of(msg)
