# SPDX-License-Identifier: Apache-2.0
"""SE(3) and pinhole arithmetic on numpy arrays; no ROS, no Open3D."""

import numpy as np
from scipy.spatial.transform import Rotation

from mtl_perception.conventions import Intrinsics, InvalidInput

ROTATION_TOLERANCE = 1e-3
"""Largest |R^T R - I| entry accepted: text trajectories keep 6-8 digits, some only 4."""


def check_se3(T: np.ndarray, name: str) -> np.ndarray:
    """Return ``T`` as float64 with an exactly orthonormal rotation.

    Args:
        T: (4, 4) rigid transform, rounded as text files round it.
        name: what to call it in the error.

    Raises:
        InvalidInput: wrong shape, NaN or Inf, last row not 0 0 0 1, scale or mirror in R.
    """
    T = np.asarray(T, np.float64)
    if T.shape != (4, 4) or not np.all(np.isfinite(T)):
        raise InvalidInput(f"{name}: want a finite 4x4 transform, got {T.tolist()}")
    R = T[:3, :3]
    error = np.abs(R.T @ R - np.eye(3)).max()
    determinant = np.linalg.det(R)
    if error > ROTATION_TOLERANCE or determinant < 0 or np.abs(T[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise InvalidInput(
            f"{name} is not a rigid transform: |R^T R - I| = {error:.2g}, "
            f"det R = {determinant:.4f}, last row {T[3].tolist()}"
        )
    if error < 1e-12:  # the usual case for poses that come from quaternions
        return se3(R, T[:3, 3])
    return se3(Rotation.from_matrix(R).as_matrix(), T[:3, 3])


def se3(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Build a (4, 4) float64 transform from a (3, 3) rotation and a (3,) translation."""
    T = np.eye(4)
    T[:3, :3] = R
    T[:3, 3] = t
    return T


def invert_se3(T_a_b: np.ndarray) -> np.ndarray:
    """Return T_b_a of a rigid (4, 4) transform: R^T, -R^T t."""
    R = T_a_b[:3, :3].T
    return se3(R, -R @ T_a_b[:3, 3])


def matrix_from_quat_xyzw(quat_xyzw: np.ndarray) -> np.ndarray:
    """Return the (3, 3) rotation of a (4,) quaternion in ROS order, normalising it.

    Raises:
        InvalidInput: not finite, or too far from unit length to be a rounded unit quaternion
            (an all-zero quaternion is an unset message).
    """
    quat = np.asarray(quat_xyzw, np.float64)
    norm = np.linalg.norm(quat)
    if quat.shape != (4,) or not np.isfinite(norm) or abs(norm - 1) > 0.01:
        raise InvalidInput(f"quaternion xyzw {quat.tolist()} has length {norm:.4g}, want 1")
    return Rotation.from_quat(quat).as_matrix()


def quat_xyzw_from_matrix(R: np.ndarray) -> np.ndarray:
    """Return the (4,) quaternion in ROS order, w >= 0, of a (3, 3) rotation."""
    return Rotation.from_matrix(R).as_quat(canonical=True)


def interpolate_se3(T0: np.ndarray, T1: np.ndarray, alpha: float) -> np.ndarray:
    """Pose at the fraction ``alpha`` in [0, 1] of the way from T0 to T1.

    The rotation turns at constant speed about one axis (slerp), the translation is linear:
    what TF does, so a bag replayed through TF and read offline give the same pose.
    """
    if alpha == 0.0:
        return T0.copy()
    if alpha == 1.0:
        return T1.copy()
    R0 = T0[:3, :3]
    turn = Rotation.from_matrix(R0.T @ T1[:3, :3]).as_rotvec()
    R = R0 @ Rotation.from_rotvec(alpha * turn).as_matrix()
    return se3(R, (1 - alpha) * T0[:3, 3] + alpha * T1[:3, 3])


def backproject(
    depth: np.ndarray, intrinsics: Intrinsics, T_world_camera: np.ndarray
) -> np.ndarray:
    """Lift a depth image to points in the world frame.

    Args:
        depth: (H, W) float32 metres along the optical z axis; 0, NaN or Inf where unknown.
        intrinsics: camera of this very image.
        T_world_camera: (4, 4) float64.

    Returns:
        (N, 3) float64 metres, one point per known pixel, in row-major pixel order.
    """
    if depth.shape != intrinsics.shape:
        raise InvalidInput(f"backproject: depth {depth.shape}, camera {intrinsics.shape}")
    v, u = np.nonzero(np.isfinite(depth) & (depth > 0))
    z = depth[v, u].astype(np.float64)
    x = (u - intrinsics.cx) / intrinsics.fx * z
    y = (v - intrinsics.cy) / intrinsics.fy * z
    p_camera = np.stack([x, y, z], axis=1)  # (N, 3)
    return p_camera @ T_world_camera[:3, :3].T + T_world_camera[:3, 3]
