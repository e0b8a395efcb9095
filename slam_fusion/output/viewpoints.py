# SPDX-License-Identifier: Apache-2.0
"""From where to look at a map: which way is up, and virtual cameras that show the most."""

from dataclasses import dataclass

import numpy as np

from mtl_perception.conventions import Intrinsics
from slam_fusion.frame import Surface
from slam_fusion.geometry import se3

DOLLHOUSE_ELEVATION_DEG = 42.0
AZIMUTHS = 12
"""Candidate sides of the dollhouse view."""


@dataclass(frozen=True, eq=False)
class View:
    """One picture: a named pinhole camera, and whether it looks through the backs of surfaces."""

    name: str
    T_world_camera: np.ndarray  # (4, 4) float64, optical frame
    intrinsics: Intrinsics
    through_backs: bool  # True: a wall seen from outside is left out, as in a doll's house


def camera(width: int, height: int, fov_deg: float = 60.0) -> Intrinsics:
    """Return a pinhole camera of ``width`` x ``height`` pixels, ``fov_deg`` wide."""
    focal = 0.5 * width / np.tan(0.5 * np.radians(fov_deg))
    return Intrinsics(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def estimate_up(T_world_camera: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Estimate the up direction of a map whose world frame need not be level.

    People and robots hold cameras upright, so the mean image-up axis is a first guess, off by
    the pitch of the cameras; the floor and the table tops then pull it to their normal.

    Args:
        T_world_camera: (N, 4, 4) poses of the optical frame; N = 0 means z is up.
        normals: (M, 3) unit normals of the surface, into free space.

    Returns:
        (3,) float64 unit vector.
    """
    if len(T_world_camera) == 0:
        return np.array([0.0, 0.0, 1.0])
    up = _unit(-T_world_camera[:, :3, 1].mean(axis=0))
    # Mean shift in ever narrower cones about the guess; the widest still excludes walls.
    for cone_deg in (40, 30, 20, 15, 10, 10):
        inside = normals[normals @ up > np.cos(np.radians(cone_deg))]
        if len(inside) < 0.01 * len(normals):
            break
        up = _unit(inside.mean(axis=0, dtype=np.float64))
    return up


def look_at(eye: np.ndarray, target: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return T_world_camera, (4, 4) float64, of a camera at ``eye`` that faces ``target``.

    Args:
        eye: (3,) metres.
        target: (3,) metres.
        up: (3,) direction that appears upwards in the image; not parallel to the view.
    """
    forward = _unit(target - eye)
    right = _unit(np.cross(forward, up))
    return se3(np.stack([right, np.cross(forward, right), forward], axis=1), eye)


def dollhouse_views(surface: Surface, up: np.ndarray, intrinsics: Intrinsics) -> list[View]:
    """Candidate views from outside and above, one per side."""
    side = _unit(np.cross(up, np.eye(3)[np.argmin(np.abs(up))]))
    other = np.cross(up, side)
    elevation = np.radians(DOLLHOUSE_ELEVATION_DEG)
    views = []
    for azimuth in np.linspace(0, 2 * np.pi, AZIMUTHS, endpoint=False):
        level = np.cos(azimuth) * side + np.sin(azimuth) * other
        backwards = np.cos(elevation) * level + np.sin(elevation) * up
        T = _fit(surface, backwards, up, intrinsics)
        views.append(View("dollhouse", T, intrinsics, through_backs=True))
    return views


def plan_view(
    surface: Surface, up: np.ndarray, T_world_camera: np.ndarray, intrinsics: Intrinsics
) -> View:
    """Straight down on the map, with the ceiling left out; the cameras' mean heading is up."""
    heading = np.array([1.0, 0.0, 0.0])
    if len(T_world_camera):
        heading = T_world_camera[:, :3, 2].mean(axis=0)
    heading = heading - up * (heading @ up)
    if np.linalg.norm(heading) < 1e-3:
        heading = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    T = _fit(surface, up, _unit(heading), intrinsics)
    return View("plan", T, intrinsics, through_backs=True)


def inside_views(T_world_camera: np.ndarray, intrinsics: Intrinsics, count: int = 12) -> list[View]:
    """Candidate views along the way that the camera went, evenly spread; none without a way."""
    if len(T_world_camera) == 0:
        return []
    rows = np.unique(np.linspace(0, len(T_world_camera) - 1, count).astype(int))
    return [View("inside", T_world_camera[row], intrinsics, through_backs=False) for row in rows]


def _fit(
    surface: Surface, backwards: np.ndarray, up: np.ndarray, intrinsics: Intrinsics
) -> np.ndarray:
    """Nearest pose, looking along -backwards, whose image holds (nearly) the whole surface."""
    T = look_at(backwards, np.zeros(3), up)
    points = surface.positions @ T[:3, :3]  # (N, 3) in the axes of the camera
    # A few stray points must not shrink the picture.
    low, high = np.percentile(points, (0.5, 99.5), axis=0)
    centre = T[:3, :3] @ ((low + high) / 2)
    points = np.clip(points, low, high) - (low + high) / 2
    slope_x = 0.5 * intrinsics.width / intrinsics.fx
    slope_y = 0.5 * intrinsics.height / intrinsics.fy
    reach = np.maximum(np.abs(points[:, 0]) / slope_x, np.abs(points[:, 1]) / slope_y)
    distance = 1.03 * float((reach - points[:, 2]).max())
    return se3(T[:3, :3], centre + backwards * distance)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
