# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.conventions import Intrinsics, InvalidInput
from slam_fusion.geometry import (
    backproject,
    check_se3,
    interpolate_se3,
    invert_se3,
    matrix_from_quat_xyzw,
    quat_xyzw_from_matrix,
    se3,
)

QUARTER_TURN_Z = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])


def test_inverse_undoes_a_transform():
    T = se3(QUARTER_TURN_Z, [1, 2, 3])
    np.testing.assert_allclose(invert_se3(T) @ T, np.eye(4), atol=1e-15)
    np.testing.assert_allclose(T @ [1, 0, 0, 1], [1, 3, 3, 1])


def test_quaternion_is_in_ros_order():
    half = np.sqrt(0.5)
    np.testing.assert_allclose(matrix_from_quat_xyzw([0, 0, half, half]), QUARTER_TURN_Z, atol=1e-9)
    np.testing.assert_allclose(quat_xyzw_from_matrix(QUARTER_TURN_Z), [0, 0, half, half])


@pytest.mark.parametrize("quat", [[0, 0, 0, 0], [0, 0, 0, 2], [np.nan, 0, 0, 1], [0, 0, 1]])
def test_quaternions_that_are_no_rotation_are_refused(quat):
    with pytest.raises(InvalidInput, match="quaternion"):
        matrix_from_quat_xyzw(quat)


def test_halfway_is_half_the_turn_and_half_the_way():
    T0, T1 = np.eye(4), se3(QUARTER_TURN_Z, [2, 0, 0])
    T = interpolate_se3(T0, T1, 0.5)
    np.testing.assert_allclose(T[:3, 3], [1, 0, 0])
    np.testing.assert_allclose(T[:2, 0], [np.cos(np.pi / 4), np.sin(np.pi / 4)])
    assert np.array_equal(interpolate_se3(T0, T1, 1.0), T1)
    assert np.array_equal(interpolate_se3(T0, T1, 0.0), T0)


def test_rounded_rotation_becomes_orthonormal():
    T = se3(np.round(matrix_from_quat_xyzw([0.1, 0.2, 0.3, 0.9273618]), 5), [0, 0, 0])
    R = check_se3(T, "T")[:3, :3]
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    "T",
    [
        np.diag([1.0, 1, -1, 1]),
        np.diag([1.1, 1.1, 1.1, 1]),
        np.full((4, 4), np.nan),
        np.zeros((4, 4)),
        np.eye(3),
    ],
)
def test_transforms_that_are_not_rigid_are_refused(T):
    with pytest.raises(InvalidInput, match="T_world_camera"):
        check_se3(T, "T_world_camera")


def test_pixel_centre_at_principal_point_lies_on_the_optical_axis():
    camera = Intrinsics(width=3, height=3, fx=2.0, fy=2.0, cx=1.0, cy=1.0)
    depth = np.zeros((3, 3), np.float32)
    depth[1, 1], depth[1, 2], depth[0, 0] = 2.0, 2.0, np.nan
    T_world_camera = se3(np.eye(3), [0, 0, 10])
    points = backproject(depth, camera, T_world_camera)
    np.testing.assert_allclose(points, [[0, 0, 12], [1, 0, 12]])
