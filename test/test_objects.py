# SPDX-License-Identifier: Apache-2.0

import json

import numpy as np
import pytest

from mtl_perception.conventions import UNLABELLED, InvalidInput
from mtl_perception.labels import LABEL_SETS, LabelClass, LabelSet
from slam_fusion.frame import Surface
from slam_fusion.geometry import matrix_from_quat_xyzw
from slam_fusion.objects import STUFF, ObjectsConfig, find_objects, upright_box

WALL, CHAIR, TABLE = 0, 4, 7
LABELS = LabelSet(
    "three",
    tuple(
        LabelClass(i, n, (9, 9, 9)) for i, n in ((WALL, "wall"), (CHAIR, "chair"), (TABLE, "table"))
    ),
)
UP = np.array([0.0, 0.0, 1.0])
CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) - 0.5
CUBE_TRIANGLES = np.array(
    [
        *([0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]),
        *([2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]),
    ]
)


def turned(yaw) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def boxes(*entries) -> Surface:
    """One mesh of boxes: (label, extents, centre, yaw, confidence)."""
    positions = [
        (CUBE * extents) @ turned(yaw).T + centre for _, extents, centre, yaw, _ in entries
    ]
    count = 8 * len(entries)
    return Surface(
        positions=np.concatenate([np.empty((0, 3)), *positions]).astype(np.float32),
        normals=np.tile(np.float32([0, 0, 1]), (count, 1)),
        colors=np.zeros((count, 3), np.uint8),
        labels=np.repeat([e[0] for e in entries], 8).astype(np.uint8),
        confidence=np.repeat([e[4] for e in entries], 8).astype(np.float32),
        triangles=np.concatenate(
            [np.empty((0, 3)), *(CUBE_TRIANGLES + 8 * i for i in range(len(entries)))]
        ).astype(np.int32),
    )


def length_axis(box) -> np.ndarray:
    return matrix_from_quat_xyzw(box.orientation)[:, 0]


@pytest.mark.parametrize("yaw", [0.0, 0.3, 1.2, 2.5, -0.7])
def test_a_box_is_found_as_it_stands(yaw):
    mesh = boxes((TABLE, (1.4, 0.6, 0.75), (2.0, -1.0, 0.4), yaw, 0.8))
    (table,) = find_objects(mesh, LABELS, UP).objects
    assert table.name == "table" and table.class_id == TABLE and table.vertex_count == 8
    assert np.allclose(table.box.extents, (1.4, 0.6, 0.75), atol=1e-5)
    assert np.allclose(table.box.center, (2.0, -1.0, 0.4), atol=1e-5)
    assert abs(length_axis(table.box) @ turned(yaw)[:, 0]) == pytest.approx(1, abs=1e-6)
    assert np.allclose(matrix_from_quat_xyzw(table.box.orientation)[:, 2], UP)
    assert table.volume_m3 == pytest.approx(1.4 * 0.6 * 0.75, rel=1e-4)
    assert table.area_m2 == pytest.approx(2 * (1.4 * 0.6 + 1.4 * 0.75 + 0.6 * 0.75), rel=1e-4)
    assert table.confidence == pytest.approx(0.8)


def test_two_chairs_are_two_objects_the_larger_first_and_the_wall_is_none():
    mesh = boxes(
        (CHAIR, (0.4, 0.4, 0.8), (0, 0, 0.4), 0.0, 0.9),
        (WALL, (5.0, 0.1, 2.5), (0, 3, 1.25), 0.0, 1.0),
        (CHAIR, (0.5, 0.5, 0.9), (2, 0, 0.45), 0.4, 0.7),
        (UNLABELLED, (1.0, 1.0, 1.0), (4, 0, 0.5), 0.0, 0.0),
    )
    found = find_objects(mesh, LABELS, UP)
    assert [(o.name, round(o.box.center[0])) for o in found.objects] == [("chair", 2), ("chair", 0)]
    every = find_objects(mesh, LABELS, UP, ObjectsConfig(stuff=()))
    assert {o.name for o in every.objects} == {"wall", "chair"}


def test_pieces_of_two_classes_that_touch_are_two_objects():
    mesh = boxes((CHAIR, (1.0, 1.0, 1.0), (0, 0, 0), 0.0, 0.9))
    mesh.labels[mesh.positions[:, 2] > 0] = TABLE
    found = find_objects(mesh, LABELS, UP, ObjectsConfig(min_area=0.1))
    # Bottom and lid; the triangles of the sides have corners of both.
    assert [(o.name, o.box.extents[2]) for o in found.objects] == [("chair", 0.0), ("table", 0.0)]
    assert [o.area_m2 for o in found.objects] == [1.0, 1.0]


def test_small_pieces_are_counted_by_class_and_not_listed():
    tiny = (0.02, 0.02, 0.02)
    mesh = boxes(
        (CHAIR, tiny, (0, 0, 0), 0.0, 0.9),
        (CHAIR, tiny, (1, 0, 0), 0.0, 0.9),
        (TABLE, (1, 1, 1), (3, 0, 0), 0.0, 0.9),
    )
    found = find_objects(mesh, LABELS, UP)
    assert [o.name for o in found.objects] == ["table"] and found.too_small == {"chair": 2}


def test_boxes_stand_along_the_up_direction_that_is_given():
    mesh = boxes((TABLE, (1.4, 0.6, 0.75), (0, 0, 0), 0.3, 0.8))
    R = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # z up -> y up
    mesh.positions[:] = mesh.positions @ R.T
    (table,) = find_objects(mesh, LABELS, R @ UP).objects
    assert np.allclose(table.box.extents, (1.4, 0.6, 0.75), atol=1e-5)
    assert abs(length_axis(table.box) @ (R @ turned(0.3))[:, 0]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_box_holds_all_points_and_no_other_yaw_has_a_smaller_floor(seed):
    points = np.random.default_rng(seed).normal(0, [2.0, 0.5, 0.3], (40, 3)) + [100, 200, 3]
    box = upright_box(points, UP)
    inside = (points - box.center) @ matrix_from_quat_xyzw(box.orientation)
    assert np.all(np.abs(inside) <= np.array(box.extents) / 2 + 1e-9)
    area = box.extents[0] * box.extents[1]
    for yaw in np.linspace(0, np.pi / 2, 200):
        assert np.ptp(points @ turned(yaw)[:, :2], axis=0).prod() >= area * (1 - 1e-5)


@pytest.mark.parametrize("points", [[[1, 2, 3]], [[1, 2, 3], [2, 3, 3]], [[0, 0, 0], [0, 0, 2]]])
def test_points_without_a_floor_area_have_a_flat_box(points):
    box = upright_box(np.array(points, float), UP)
    assert box.volume == 0 and np.allclose(box.center, np.mean(points, axis=0))
    assert box.extents[0] == pytest.approx(np.ptp(points, axis=0)[:2] @ np.ones(2) / np.sqrt(2))


def test_no_surface_has_no_objects():
    found = find_objects(boxes(), LABELS, UP)
    assert found.objects == () and found.too_small == {}


def test_json_holds_the_list():
    mesh = boxes((TABLE, (1.4, 0.6, 0.75), (0, 0, 0), 0.0, 0.8))
    read = json.loads(find_objects(mesh, None, UP, ObjectsConfig(stuff=())).to_json())
    assert read["up"] == [0, 0, 1] and read["objects"][0]["name"] == f"class {TABLE}"
    assert np.allclose(read["objects"][0]["box"]["extents"], [1.4, 0.6, 0.75])


def test_stuff_names_classes_of_the_built_in_sets():
    known = {name for label_set in LABEL_SETS.values() for name in label_set.names.values()}
    assert set(STUFF) <= known


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_an_area_that_cannot_be_is_refused(bad):
    with pytest.raises(InvalidInput, match="min_area"):
        ObjectsConfig(min_area=bad)
