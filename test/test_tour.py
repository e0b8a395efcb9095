# SPDX-License-Identifier: Apache-2.0
"""Walks through flats go through the doors, see every room and touch nothing."""

import numpy as np
import open3d as o3d
import pytest

from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.materials import plaster
from mtl_perception.synthetic.mood import Mood
from mtl_perception.synthetic.patches import box, quad
from mtl_perception.synthetic.room import Room, build_room
from mtl_perception.synthetic.tour import paced, smoothed
from mtl_perception.synthetic.walk import CLEARANCE, NoFreePath, walk

WHITE = plaster((230, 230, 230), 0.0)


def two_rooms(door: tuple[float, float], blocks: list[tuple] = ()) -> Room:
    """Rooms of 3 m x 3 m side by side along x, the wall between them open from y0 to y1."""
    w, d, h = 6.12, 3.0, 2.5
    shell = [
        quad((0, 0, 0), (w, 0, 0), (0, d, 0), WHITE),
        quad((0, d, h), (w, 0, 0), (0, -d, 0), WHITE),
        quad((w, 0, 0), (-w, 0, 0), (0, 0, h), WHITE),
        quad((w, d, 0), (0, -d, 0), (0, 0, h), WHITE),
        quad((0, d, 0), (w, 0, 0), (0, 0, h), WHITE),
        quad((0, 0, 0), (0, d, 0), (0, 0, h), WHITE),
    ]
    between = [(0, door[0]), (door[1], d)] if door[0] < door[1] else [(0, d)]
    walls = [p for low, high in between for p in box((3, low, 0), (3.12, high, h), WHITE)]
    lamp = quad((1.7, 1.3, h - 0.01), (-0.4, 0, 0), (0, 0.4, 0), WHITE, emission=9.0)
    items = [Item("wall", shell + walls), Item("lamp", [lamp])]
    items += [Item("cabinet", box(*corners, WHITE)) for corners in blocks]
    floors = ((0.0, 0.0, 3.0, 3.0), (3.12, 0.0, 6.12, 3.0))
    size = np.array([w, d, h])
    return build_room("flat", size, floors, items, Mood(), np.random.default_rng(0))


@pytest.fixture(scope="module")
def room() -> Room:
    return two_rooms((1.8, 2.7), [((0, 0, 0), (0.6, 2.0, 2.0)), ((4.4, 1.0, 0), (4.9, 1.5, 1.9))])


@pytest.fixture(scope="module")
def poses(room: Room) -> np.ndarray:
    return np.stack([pose for _, pose in walk(room, 240, 1)])


def test_walk_visits_both_rooms_through_the_door(poses):
    x, y = poses[:, 0, 3], poses[:, 1, 3]
    assert (x < 3).sum() > 60 and (x > 3.12).sum() > 60
    in_wall = (x > 3) & (x < 3.12)
    crossing = np.flatnonzero(np.diff(x > 3.06))
    assert len(crossing) >= 1
    for step in crossing:
        assert 1.8 + CLEARANCE < y[step] < 2.7 - CLEARANCE
    assert (y[in_wall] > 1.8 + CLEARANCE).all() and (y[in_wall] < 2.7 - CLEARANCE).all()


def test_walk_keeps_its_distance_and_is_smooth(room, poses):
    positions = o3d.core.Tensor.from_numpy(poses[:, :3, 3].astype(np.float32))
    assert room.scene.compute_distance(positions).numpy().min() >= CLEARANCE
    assert np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).max() < 0.15
    cosine = np.einsum("ni,ni->n", poses[1:, :3, 2], poses[:-1, :3, 2])
    assert np.degrees(np.arccos(cosine.clip(-1, 1))).max() < 15
    assert (poses[:, 2, 3] > 1.2).all() and (poses[:, 2, 3] < 1.7).all()


def test_walk_looks_in_every_direction_in_both_rooms(poses):
    yaw = np.degrees(np.arctan2(poses[:, 1, 2], poses[:, 0, 2]))
    for inside in (poses[:, 0, 3] < 3, poses[:, 0, 3] > 3.12):
        seen = np.histogram(yaw[inside], bins=8, range=(-180, 180))[0]
        assert (seen > 0).all()


def test_walk_through_a_flat_is_the_same_for_the_same_seed(room, poses):
    again = np.stack([pose for _, pose in walk(room, 240, 1)])
    assert (again == poses).all()
    assert (np.stack([pose for _, pose in walk(room, 240, 2)]) != poses).any()


def test_room_without_a_door_is_left_out():
    blocked = two_rooms((0, 0), [((3.2, 0.1, 0), (3.6, 2.9, 2.0))])
    x = np.array([pose[0, 3] for _, pose in walk(blocked, 60, 1)])
    assert (x < 3).all()


def test_room_full_of_furniture_has_no_way():
    full = two_rooms((0, 0), [((0.1, 0.1, 0), (2.9, 2.9, 2.0)), ((3.2, 0.1, 0), (6, 2.9, 2.0))])
    with pytest.raises(NoFreePath, match="flat"):
        walk(full, 10, 1)


def test_pace_counts_way_and_turning():
    points = np.array([(0.0, 0), (1, 0), (1, 0)])
    xy, yaw, way = paced(points, np.array([0.0, 0, 1]), 17)
    steps = np.linalg.norm(np.diff(xy, axis=0), axis=1) + 0.6 * np.abs(np.diff(yaw))
    np.testing.assert_allclose(steps, 0.1)
    assert way[-1] == pytest.approx(1.6)


def test_smoothing_keeps_a_straight_way_straight():
    points = np.column_stack([np.linspace(0, 5, 50), np.ones(50)])
    xy, yaw = smoothed(points, np.full(50, 0.3), 4.0)
    np.testing.assert_allclose(xy[:, 1], 1)
    np.testing.assert_allclose(yaw, 0.3)
    assert (np.diff(xy[:, 0]) > 0).all()
