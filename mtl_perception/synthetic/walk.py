# SPDX-License-Identifier: Apache-2.0
"""A hand-held walk that shows the whole room to the camera."""

from collections.abc import Iterator

import numpy as np
import open3d as o3d

from mtl_perception.conventions import DenseSlamError, InvalidInput
from mtl_perception.synthetic.room import Room
from mtl_perception.synthetic.tour import paced, plan_tour, smoothed

CLEARANCE = 0.25
"""Metres that stay free about the camera at every pose."""


class NoFreePath(DenseSlamError):
    """The room is too full for a camera to walk in."""


def walk(
    room: Room, frames: int, seed: int, *, rate_hz: float = 15.0
) -> list[tuple[int, np.ndarray]]:
    """Return camera poses of a walk that shows every room.

    In a single room it is one turn: the camera looks across the room from the far side of a
    circle about its middle, so every wall is seen from a distance, and nods so that floor and
    upper walls come into view. The circle shrinks until nothing is nearer than ``CLEARANCE``.
    In a flat, or where no circle is free, the way is planned (see ``tour``). Steps and hand
    tremor are smooth.

    Args:
        room: where to walk.
        frames: count of poses; the whole walk is in them, so few frames make large steps.
        seed: of the tremor and the starting direction.
        rate_hz: frames per second.

    Returns:
        ``(stamp_ns, T_world_camera)`` in time order; the first stamp is 1 s.

    Raises:
        InvalidInput: no frames, or a rate that is not positive.
        NoFreePath: there is no place for a camera.
    """
    if frames < 1 or not rate_hz > 0:
        raise InvalidInput(f"walk of {frames} frames at {rate_hz} Hz")
    times = np.arange(frames) / rate_hz
    stamps = np.rint(times * 1e9).astype(np.int64) + 1_000_000_000
    for poses in _candidates(room, times, seed):
        positions = o3d.core.Tensor.from_numpy(poses[:, :3, 3].astype(np.float32))
        if room.scene.compute_distance(positions).numpy().min() >= CLEARANCE:
            return list(zip(stamps.tolist(), poses, strict=True))
    raise NoFreePath(f"a {room.kind} has no way on which a camera has {CLEARANCE} m of free space")


def _candidates(room: Room, times: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yield ways (N, 4, 4), the one that shows most first."""
    if len(room.floors) == 1:
        for reach in np.linspace(0.24, 0.024, 10):
            yield _turn(room.size, times, reach, np.random.default_rng(seed))
    points, yaws = plan_tour(room, np.random.default_rng(seed))
    if len(points) == 0:
        return
    for sigma in (4.0, 2.0, 1.0, 0.0):
        yield _tour(*smoothed(points, yaws, sigma), times, np.random.default_rng(seed))


def _tour(
    points: np.ndarray, yaws: np.ndarray, times: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return (N, 4, 4) poses along a planned way."""
    xy, yaw, way = paced(points, yaws, len(times))
    pitch = np.radians(-14 + 15 * np.sin(1.5 * way)) + _tremor(times, 0.014, rng)
    roll = _tremor(times, 0.02, rng)
    yaw = yaw + _tremor(times, 0.02, rng)
    z = 1.45 + 0.1 * np.sin(0.7 * way) + _tremor(times, 0.015, rng)
    sway = np.stack([_tremor(times, 0.01, rng) for _ in range(2)], axis=1)
    positions = np.column_stack([xy + sway, z])
    return np.stack([look(*pose) for pose in zip(positions, yaw, pitch, roll, strict=True)])


def _turn(
    size: np.ndarray, times: np.ndarray, reach: float, rng: np.random.Generator
) -> np.ndarray:
    """Return (N, 4, 4) poses of a little more than one turn about the room's middle.

    ``reach`` is how far from it, as a part of the room's width and depth.
    """
    turn = 2 * np.pi * 1.06 * times / max(times[-1], 1e-9)
    yaw = rng.uniform(0, 2 * np.pi) + rng.choice([-1, 1]) * turn
    # Ceiling, walls and floor all come into view while the camera turns.
    pitch = np.radians(-14 + 17 * np.sin(3 * turn)) + _tremor(times, 0.014, rng)
    roll = _tremor(times, 0.02, rng)
    yaw = yaw + _tremor(times, 0.025, rng)
    positions = np.stack(
        [
            size[0] * (0.5 - reach * np.cos(yaw)) + _tremor(times, 0.012, rng),
            size[1] * (0.5 - reach * np.sin(yaw)) + _tremor(times, 0.012, rng),
            1.45 + 0.12 * np.sin(2 * turn + 1) + _tremor(times, 0.015, rng),
        ],
        axis=1,
    )
    return np.stack(
        [look(p, *a) for p, a in zip(positions, zip(yaw, pitch, roll, strict=True), strict=True)]
    )


def _tremor(times: np.ndarray, amplitude: float, rng: np.random.Generator) -> np.ndarray:
    """Sum of slow sines: hand shake and steps; about ``amplitude`` in size."""
    frequency = np.array([0.35, 0.8, 1.7])
    phase = rng.uniform(0, 2 * np.pi, 3)
    weight = amplitude * np.array([0.7, 0.4, 0.2]) * rng.uniform(0.7, 1.3, 3)
    return (weight * np.sin(2 * np.pi * frequency * times[:, None] + phase)).sum(axis=1)


def look(position: np.ndarray, yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Pose of an optical frame that looks along yaw and pitch (radians; up is positive)."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, right)
    T = np.eye(4)
    T[:3, 0] = np.cos(roll) * right + np.sin(roll) * down
    T[:3, 1] = np.cos(roll) * down - np.sin(roll) * right
    T[:3, 2] = forward
    T[:3, 3] = position
    return T
