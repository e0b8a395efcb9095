# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mtl_perception.conventions import InvalidInput
from slam_fusion.geometry import invert_se3, se3
from slam_fusion.poses import PoseNever, PoseNotYet
from slam_fusion.transform_tree import TransformTree

MS = 10**6


def move(x: float, degrees: float = 0.0) -> np.ndarray:
    return se3(Rotation.from_euler("z", degrees, degrees=True).as_matrix(), np.array([x, 0, 0]))


@pytest.fixture
def tree() -> TransformTree:
    """map -> odom -> base -> camera, and base -> lidar; odom -> base moves 1 m in 100 ms."""
    tree = TransformTree("odom")
    tree.add_static("map", "odom", move(10))
    tree.add_static("base", "camera", move(1, 90))
    tree.add_static("/base", "/lidar", move(0.5))
    for i in range(3):
        tree.add_dynamic("odom", "base", i * 100 * MS, move(i, 30 * i))
    return tree


def test_edges_chain_from_camera_to_global(tree):
    np.testing.assert_allclose(tree.at(100 * MS, "camera"), move(1, 30) @ move(1, 90), atol=1e-12)


def test_moving_edges_are_interpolated_each_by_itself(tree):
    want = move(10) @ move(0.5, 15) @ move(1, 90)
    np.testing.assert_allclose(tree.lookup("map", "camera", 50 * MS), want, atol=1e-12)


def test_lookup_goes_up_and_down_the_tree(tree):
    want = invert_se3(move(0.5)) @ move(1, 90)
    np.testing.assert_allclose(tree.lookup("lidar", "camera", 10**15), want, atol=1e-12)
    back = tree.lookup("camera", "odom", 150 * MS) @ tree.lookup("odom", "camera", 150 * MS)
    np.testing.assert_allclose(back, np.eye(4), atol=1e-12)


def test_static_edges_alone_hold_at_any_time():
    tree = TransformTree("world")
    tree.add_static("world", "camera", move(3))
    tree.close()
    assert tree.at(0, "camera")[0, 3] == tree.at(10**18, "/camera")[0, 3] == 3


def test_a_stamp_ahead_of_the_newest_sample_waits_until_the_source_closes(tree):
    with pytest.raises(PoseNotYet, match="after the newest transform odom -> base"):
        tree.at(201 * MS, "camera")
    tree.add_dynamic("odom", "base", 300 * MS, move(3))
    tree.at(201 * MS, "camera")
    tree.close()
    with pytest.raises(PoseNever):
        tree.at(301 * MS, "camera")


def test_a_stamp_before_the_oldest_sample_never_gets_a_pose(tree):
    with pytest.raises(PoseNever, match="before the oldest"):
        tree.at(-1, "camera")


def test_a_gap_is_not_bridged():
    tree = TransformTree("odom", max_gap_s=0.5)
    tree.add_dynamic("odom", "camera", 0, move(0))
    tree.add_dynamic("odom", "camera", 600 * MS, move(1))
    with pytest.raises(PoseNever, match="gap of 600.0 ms"):
        tree.at(300 * MS, "camera")


def test_unconnected_frames_are_named(tree):
    with pytest.raises(PoseNotYet, match="'odom' and 'gripper' are not connected"):
        tree.at(0, "gripper")
    tree.close()
    with pytest.raises(PoseNever, match="known frames: base, camera"):
        tree.at(0, "gripper")


def test_late_samples_find_their_place_and_repeated_ones_are_ignored():
    tree = TransformTree("odom")
    for stamp_ns, x in ((0, 0), (200 * MS, 2), (100 * MS, 5), (100 * MS, 9)):
        tree.add_dynamic("odom", "camera", stamp_ns, move(x))
    assert tree.at(100 * MS, "camera")[0, 3] == 5


def test_a_log_that_runs_backwards_costs_no_more_than_one_that_runs_forwards(monkeypatch):
    tree = TransformTree("odom", max_gap_s=1)
    sorts = []
    unique = np.unique
    monkeypatch.setattr(np, "unique", lambda *a, **k: sorts.append(1) or unique(*a, **k))
    for i in reversed(range(2000)):
        tree.add_dynamic("odom", "camera", i * MS, move(i))
    assert not sorts
    assert [tree.at(i * MS, "camera")[0, 3] for i in (0, 7, 1999)] == [0, 7, 1999]
    assert len(sorts) == 1


def test_repeated_samples_take_no_memory_without_end():
    tree = TransformTree("odom", max_samples=100)
    for i in range(1000):
        tree.add_dynamic("odom", "camera", (i % 3) * MS, move(i))
    assert len(tree._edges["camera"].stamps_ns) <= 110
    assert [tree.at(i * MS, "camera")[0, 3] for i in range(3)] == [0, 1, 2]


def test_a_camera_that_nobody_places_is_not_at_the_origin(tree):
    with pytest.raises(PoseNotYet, match="no transform names frame 'drone'; known frames: base"):
        tree.lookup("drone", "/drone", 0)
    np.testing.assert_array_equal(tree.lookup("map", "map", 0), np.eye(4))


def test_two_parents_and_loops_are_refused_with_their_names(tree):
    with pytest.raises(InvalidInput, match="'base' has two parents: 'odom' and 'map'"):
        tree.add_dynamic("map", "base", 0, np.eye(4))
    with pytest.raises(InvalidInput, match="camera -> map -> odom -> base -> camera|loop"):
        tree.add_static("camera", "map", np.eye(4))
    with pytest.raises(InvalidInput, match="loop"):
        tree.add_static("self", "self", np.eye(4))
    with pytest.raises(InvalidInput, match="both static and moving"):
        tree.add_dynamic("map", "odom", 0, np.eye(4))
    with pytest.raises(InvalidInput, match="empty frame name"):
        tree.add_static("", "x", np.eye(4))


def test_memory_is_bounded_and_keeps_the_newest():
    tree = TransformTree("odom", max_samples=100)
    for i in range(1000):
        tree.add_dynamic("odom", "camera", i * MS, move(i))
    assert tree.at(999 * MS, "camera")[0, 3] == 999
    assert tree.at(950 * MS, "camera")[0, 3] == 950
    with pytest.raises(PoseNever):
        tree.at(500 * MS, "camera")


def test_clear_forgets_motion_but_not_mounting(tree):
    tree.clear()
    tree.lookup("base", "camera", 0)
    with pytest.raises(PoseNotYet):
        tree.at(100 * MS, "camera")


def test_a_transform_that_is_not_rigid_is_refused():
    with pytest.raises(InvalidInput, match="'camera'"):
        TransformTree().add_dynamic("odom", "camera", 0, 2 * np.eye(4))
