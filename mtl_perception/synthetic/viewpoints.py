# SPDX-License-Identifier: Apache-2.0
"""Random places to look from: what a data set needs, where a walk would show too few of them."""

from dataclasses import dataclass

import cv2
import numpy as np
import open3d as o3d

from mtl_perception.conventions import DenseSlamError, Intrinsics
from mtl_perception.labels import LABEL_SETS
from mtl_perception.synthetic.camera import rays
from mtl_perception.synthetic.room import LABEL_SET, Room
from mtl_perception.synthetic.walk import look

SHELL_IDS = [LABEL_SETS[LABEL_SET].id_of(name) for name in ("wall", "floor", "ceiling")]
HIGH = 1.6  # metres above the floor of an object's middle
PROBE = 32  # pixels across the small view that a candidate is judged by
TRIES = 400  # candidates per view that is wanted


class NoViewpoint(DenseSlamError):
    """The room is too full, or too empty, for the views that were asked for."""


@dataclass(frozen=True)
class ViewRules:
    """Where cameras of training images are, and what they may not look like."""

    heights: tuple[float, float] = (0.9, 1.8)  # metres above the floor
    pitch_deg: tuple[float, float] = (-50.0, 20.0)  # positive looks up
    roll_deg: float = 3.0  # standard deviation
    clearance: float = 0.35  # metres free of any surface about the camera
    focal_px: tuple[float, float] = (480.0, 620.0)
    aimed: float = 0.9  # part of the views that look at a piece of furniture
    one_class: float = 0.7  # a view of which one class takes more is refused
    furniture: tuple[float, float] = (
        0.08,
        0.6,
    )  # least part of it that is not wall, floor, ceiling
    too_near: float = 0.6  # metres; a view with a quarter of it nearer is refused
    overview: float = 1.8  # metres; of the views with half of it nearer, most are refused
    close_up: float = 0.4  # part of those that is kept


def random_views(
    room: Room, count: int, rng: np.random.Generator, rules: ViewRules
) -> list[tuple[Intrinsics, np.ndarray]]:
    """Return cameras of 640 x 480 pixels and their T_world_camera (4, 4), all in free space.

    Raises:
        NoViewpoint: too few of the candidates are free and see more than one class.
    """
    views: list[tuple[Intrinsics, np.ndarray]] = []
    targets, odds = _targets(room)
    for _ in range(TRIES * count):
        if len(views) == count:
            return views
        position = np.append(rng.uniform(0, room.size[:2]), rng.uniform(*rules.heights))
        focal = rng.uniform(*rules.focal_px)
        centre = rng.normal((319.5, 239.5), 3.0)
        target = targets[rng.choice(len(targets), p=odds)]
        pose = _aimed(position, target, rng, rules)
        near = rules.too_near if rng.random() < rules.close_up else rules.overview
        if not _is_free(room, position, rules):
            continue
        if _is_worth_seeing(room, focal, pose, near, rng.uniform(*rules.furniture), rules):
            camera = Intrinsics(640, 480, focal, focal, float(centre[0]), float(centre[1]))
            views.append((camera, pose))
    raise NoViewpoint(
        f"only {len(views)} of {count} views of the room are free and not of one class"
    )


def _targets(room: Room) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the corners (N, 3) of each object's triangles, and how often to look at it.

    Large things that stand on the floor are looked at more often than what hangs high.
    """
    furniture = ~np.isin(room.labels, SHELL_IDS)
    order = np.argsort(room.instances[furniture], kind="stable")
    rows, instances = room.triangles[furniture][order], room.instances[furniture][order]
    starts = np.flatnonzero(np.diff(instances)) + 1
    corners = [room.vertices[part].reshape(-1, 3) for part in np.split(rows, starts) if len(part)]
    if not corners:
        raise NoViewpoint(f"{room.kind} without furniture")
    odds = np.array([np.linalg.norm(np.ptp(c, axis=0)) for c in corners])
    odds *= np.where([c[:, 2].mean() > HIGH for c in corners], 0.3, 1.0)
    return corners, odds / odds.sum()


def _aimed(
    position: np.ndarray, target: np.ndarray, rng: np.random.Generator, rules: ViewRules
) -> np.ndarray:
    """Return a pose at ``position`` that looks about at a point of the target, or anywhere."""
    yaw, pitch = rng.uniform(0, 2 * np.pi), np.radians(rng.normal(-15, 10))
    if rng.random() < rules.aimed:
        way = target[rng.integers(len(target))] - position
        yaw = np.arctan2(way[1], way[0]) + np.radians(rng.normal(0, 10))
        pitch = np.arctan2(way[2], np.hypot(way[0], way[1])) + np.radians(rng.normal(0, 7))
    low, high = np.radians(rules.pitch_deg)
    roll = np.radians(np.clip(rng.normal(0, rules.roll_deg), -10, 10))
    return look(position, yaw, np.clip(pitch, low, high), roll)


def _is_free(room: Room, position: np.ndarray, rules: ViewRules) -> bool:
    point = position.astype(np.float32)[None]
    near = room.scene.compute_distance(o3d.core.Tensor.from_numpy(point)).numpy()[0]
    return bool(near >= rules.clearance and room.in_open_air(point)[0])


def _is_worth_seeing(
    room: Room, focal: float, pose: np.ndarray, near: float, furniture: float, rules: ViewRules
) -> bool:
    """Whether the view is closed, half of it is farther than ``near``, and it has enough to see."""
    scale = PROBE / 640
    small = Intrinsics(PROBE, PROBE * 3 // 4, focal * scale, focal * scale, 15.5, 11.5)
    bundle = rays(small, pose)
    hit = room.scene.cast_rays(o3d.core.Tensor.from_numpy(bundle))
    triangle, depth = hit["primitive_ids"].numpy(), hit["t_hit"].numpy()
    if not np.isfinite(depth).all():
        return False  # it looks out of the room
    if (depth < rules.too_near).mean() > 0.25 or np.median(depth) < near:
        return False
    shares = np.bincount(room.labels[triangle].ravel(), minlength=256) / triangle.size
    return bool(shares.max() <= rules.one_class and 1 - shares[SHELL_IDS].sum() >= furniture)


def along(T_world_camera: np.ndarray, motion: np.ndarray, times: np.ndarray) -> list[np.ndarray]:
    """Return poses of a camera that keeps moving as it does at ``T_world_camera``.

    Args:
        T_world_camera: (4, 4) pose at time 0.
        motion: (6,) metres and radians per unit of time, in the camera's frame.
        times: (N,) when to look.
    """
    poses = []
    for time in times:
        T_camera_then = np.eye(4)
        T_camera_then[:3, :3] = cv2.Rodrigues(motion[3:] * time)[0]
        T_camera_then[:3, 3] = motion[:3] * time
        poses.append(T_world_camera @ T_camera_then)
    return poses


def random_shake(rng: np.random.Generator) -> np.ndarray:
    """Return what a hand-held camera moves by while one image is exposed; see ``along``."""
    exposure_s = rng.uniform(0.005, 0.033)
    speed, turn = rng.normal(0, 0.25, 3), np.radians(rng.normal(0, 18, 3))
    return exposure_s * np.concatenate([speed, turn])
