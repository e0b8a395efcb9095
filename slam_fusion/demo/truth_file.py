# SPDX-License-Identifier: Apache-2.0
"""The true surface of a walk as a PLY file, to judge maps by: ``eval MAP TRUTH`` reads it."""

from pathlib import Path

import numpy as np
import open3d as o3d

from slam_fusion.demo.room import TRUTH_CAMERA, RoomWalk
from slam_fusion.frame import Surface
from slam_fusion.output.ply import write_ply

EDGE = 0.08
"""Metres: no edge of the written surface is longer, so that its vertices stand for all of it."""

UP_TO = 0.9995
"""Part of the way to a triangle that must be free for it to be seen."""


def write_truth(path: Path, scene: RoomWalk, max_depth: float = 5.0, step: int = 4) -> int:
    """Write what the walk sees of the room: classes as labels and colours, objects as instances.

    Args:
        path: file to make or replace.
        scene: the room and the camera's way.
        max_depth: what is farther from every camera is left out, metres.
        step: views are similar enough to their neighbours to leave some out.

    Returns:
        Size of the file in bytes.

    Raises:
        OSError: the file cannot be written.
    """
    room = scene.room
    corners, row = divided(room.vertices[room.triangles], EDGE)
    seen = _seen(corners, scene, max_depth, step)
    corners, row = corners[seen], row[seen]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(normals, axis=1)
    solid = areas > 1e-9  # the tip of a lamp is a ring of triangles without width
    corners, row, normals = corners[solid], row[solid], normals[solid] / areas[solid, None]
    labels = np.repeat(room.labels[row], 3)
    surface = Surface(
        positions=np.ascontiguousarray(corners.reshape(-1, 3), np.float32),
        normals=np.repeat(normals.astype(np.float32), 3, axis=0),
        colors=scene.label_set.colorize(labels[None])[0],
        labels=labels,
        confidence=np.ones(len(labels), np.float32),
        triangles=np.arange(len(labels), dtype=np.int32).reshape(-1, 3),
    )
    return write_ply(path, surface, instances=np.repeat(room.instances[row], 3))


def divided(corners: np.ndarray, edge: float) -> tuple[np.ndarray, np.ndarray]:
    """Halve triangles at their longest edge until no edge is longer than ``edge`` metres.

    Args:
        corners: (M, 3, 3) float32 metres.
        edge: metres.

    Returns:
        Corners (N, 3, 3) of the parts, turned as their wholes are; and the row of ``corners``
        that each is of.
    """
    row = np.arange(len(corners))
    done: list[tuple[np.ndarray, np.ndarray]] = []
    while len(corners):
        lengths = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2)
        long = lengths.max(axis=1) > edge
        done.append((corners[~long], row[~long]))
        corners, row = corners[long], np.repeat(row[long], 2)
        # Turn each triangle so that its longest edge is the one from corner 0 to corner 1.
        turn = (lengths[long].argmax(axis=1)[:, None] + np.arange(3)) % 3
        a, b, c = np.take_along_axis(corners, turn[..., None], axis=1).transpose(1, 0, 2)
        middle = (a + b) / 2
        halves = np.stack([np.stack([a, middle, c], 1), np.stack([middle, b, c], 1)], axis=1)
        corners = halves.reshape(-1, 3, 3)
    parts, rows = zip(*done, strict=True)
    return np.concatenate(parts), np.concatenate(rows)


def _seen(corners: np.ndarray, scene: RoomWalk, max_depth: float, step: int) -> np.ndarray:
    """Whether the middle of each triangle (N, 3, 3) is seen from its outside: (N,) bool."""
    k = TRUTH_CAMERA
    middles = corners.mean(axis=1)
    outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    seen = np.zeros(len(corners), bool)
    for _, T_world_camera in scene.poses[::step]:
        rest = np.flatnonzero(~seen)
        way = middles[rest] - T_world_camera[:3, 3]
        x, y, z = (way @ T_world_camera[:3, :3]).T
        visible = (z > 0.1) & (z <= max_depth) & ((way * outward[rest]).sum(axis=1) < 0)
        z = np.maximum(z, 0.1)
        visible &= np.abs(k.fx * x / z + k.cx - (k.width - 1) / 2) <= k.width / 2
        visible &= np.abs(k.fy * y / z + k.cy - (k.height - 1) / 2) <= k.height / 2
        way, rest = way[visible], rest[visible]
        rays = np.hstack([np.broadcast_to(T_world_camera[:3, 3], way.shape), way])
        blocked = scene.room.scene.test_occlusions(
            o3d.core.Tensor.from_numpy(rays.astype(np.float32)), tnear=0.0, tfar=UP_TO
        )
        seen[rest[~blocked.numpy()]] = True
    return seen
