# SPDX-License-Identifier: Apache-2.0
"""The written truth of a walk is the room's own surface, as far as it was seen."""

import numpy as np
import open3d as o3d
import pytest

from slam_fusion.demo.room import RoomWalk
from slam_fusion.demo.truth_file import EDGE, divided, write_truth
from slam_fusion.output.ply import read_ply


def areas(corners: np.ndarray) -> np.ndarray:
    """Signed along z: (M,) half of the cross product's z."""
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] / 2


def test_division_keeps_area_and_orientation_and_shortens_edges():
    rng = np.random.default_rng(0)
    corners = rng.uniform(-1, 1, (20, 3, 3)) * (1, 1, 0)
    parts, row = divided(corners, 0.3)
    assert np.linalg.norm(parts - np.roll(parts, -1, axis=1), axis=2).max() <= 0.3
    for whole in range(20):
        mine = areas(parts[row == whole])
        assert (np.sign(mine) == np.sign(areas(corners)[whole])).all()
        np.testing.assert_allclose(mine.sum(), areas(corners)[whole])


def test_division_leaves_small_triangles_as_they_are():
    corners = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]]], np.float32)
    parts, row = divided(corners, 1.5)
    np.testing.assert_array_equal(parts, corners)
    assert row.tolist() == [0]


@pytest.fixture(scope="module")
def scene() -> RoomWalk:
    return RoomWalk(seed=3, frames=24, kind="corridor")


def test_truth_lies_on_the_room_with_its_classes_and_objects(scene, tmp_path):
    path = tmp_path / "truth.ply"
    assert write_truth(path, scene) == path.stat().st_size
    truth, room = read_ply(path), scene.room
    corners = truth.positions[truth.triangles]
    edges = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2)
    assert len(truth) > 1000 and edges.max() <= EDGE + 1e-6
    # A ray from a little above a triangle meets it, or what lies on top of it.
    normal = truth.normals[truth.triangles[:, 0]]
    rays = np.hstack([corners.mean(axis=1) + 0.001 * normal, -normal]).astype(np.float32)
    found = room.scene.cast_rays(o3d.core.Tensor.from_numpy(rays))
    assert (found["t_hit"].numpy() <= 0.001 + 1e-4).mean() > 0.999  # but for rays along an edge
    same = room.labels[found["primitive_ids"].numpy()] == truth.labels[truth.triangles[:, 0]]
    assert same.mean() > 0.99  # where two objects touch, either is the closest
    assert set(np.unique(truth.labels)) <= set(np.unique(room.labels))
    assert set(instances_of(path, len(truth))) <= set(np.unique(room.instances))


def test_what_no_camera_saw_is_not_in_the_truth(tmp_path):
    scene = RoomWalk(seed=3, frames=1, kind="corridor")
    write_truth(tmp_path / "one.ply", scene)
    positions = read_ply(tmp_path / "one.ply").positions
    T_world_camera = scene.poses[0][1]
    ahead = (positions - T_world_camera[:3, 3]) @ T_world_camera[:3, 2]
    assert (ahead > 0).all() and (ahead < 5.1).all()


def instances_of(path, count: int) -> np.ndarray:
    """Read the last property of each vertex by hand."""
    data = path.read_bytes()
    assert b"property ushort instance\n" in data[:1000]
    start = data.index(b"end_header\n") + len(b"end_header\n")
    rows = np.frombuffer(data, np.uint8, count * 34, start).reshape(count, 34)
    return np.unique(np.ascontiguousarray(rows[:, 32:]).view("<u2"))
