# SPDX-License-Identifier: Apache-2.0
"""The inside of a box, seen exactly."""

import numpy as np

from mtl_perception.conventions import Intrinsics

Walls = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""x, y (down), z of the walls, metres."""


def look(yaw: float, position: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Return T_world_camera of a camera that is turned about the vertical, radians."""
    T = np.eye(4)
    c, s = np.cos(yaw), np.sin(yaw)
    T[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    T[:3, 3] = position
    return T


def box_view(
    walls: Walls, camera: Intrinsics, T_world_camera: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return depth (H, W) float32 metres and the places seen (H, W, 3) float64, world frame."""
    v, u = np.indices(camera.shape)
    rays = np.stack(
        [(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(camera.shape)], -1
    )
    rays = rays @ T_world_camera[:3, :3].T
    nearest = np.full(camera.shape, np.inf)
    for axis, pair in enumerate(walls):
        for wall in pair:
            with np.errstate(divide="ignore"):
                depth = (wall - T_world_camera[axis, 3]) / rays[..., axis]
            nearest = np.where(depth > 0, np.minimum(nearest, depth), nearest)
    return nearest.astype(np.float32), T_world_camera[:3, 3] + nearest[..., None] * rays
