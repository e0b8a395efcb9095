# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from mtl_perception.conventions import InvalidInput
from mtl_perception.labels import LabelClass, LabelSet
from slam_fusion.frame import Surface
from slam_fusion.output import legend, render, viewpoints

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)
SETS = LabelSet("toy", (LabelClass(0, "floor", RED), LabelClass(1, "wall", GREEN)))
LENS = viewpoints.camera(64, 48)


def quad(corner, side_a, side_b, color, label, steps: int = 8):
    """Vertices, normals (side_a x side_b), colours, labels and triangles of a tessellated quad."""
    corner, side_a, side_b = (np.array(v, np.float32) for v in (corner, side_a, side_b))
    grid = np.linspace(0, 1, steps + 1, dtype=np.float32)
    a, b = (g.ravel()[:, None] for g in np.meshgrid(grid, grid, indexing="ij"))
    positions = corner + a * side_a + b * side_b
    normal = np.cross(side_a, side_b)
    normals = np.tile(normal / np.linalg.norm(normal), (len(positions), 1))
    rows = np.arange(len(positions)).reshape(steps + 1, steps + 1)
    p, q, r, s = (x.ravel() for x in (rows[:-1, :-1], rows[1:, :-1], rows[1:, 1:], rows[:-1, 1:]))
    triangles = np.concatenate([np.stack([p, q, r], 1), np.stack([p, r, s], 1)])
    count = len(positions)
    return positions, normals, np.tile(color, (count, 1)), np.full(count, label), triangles


def surface_of(*quads) -> Surface:
    start, triangles = 0, []
    for q in quads:
        triangles.append(q[4] + start)
        start += len(q[0])
    positions, normals, colors, labels = (np.concatenate([q[i] for q in quads]) for i in range(4))
    return Surface(
        positions.astype(np.float32),
        normals.astype(np.float32),
        colors.astype(np.uint8),
        labels.astype(np.uint8),
        np.ones(len(positions), np.float32),
        np.concatenate(triangles).astype(np.int32),
    )


def fake_room() -> Surface:
    """Floor 4 x 3 m (class 0), two walls (class 1) and a ceiling (unlabelled), seen from inside."""
    return surface_of(
        quad((0, 0, 0), (4, 0, 0), (0, 3, 0), RED, 0),
        quad((0, 0, 0), (0, 3, 0), (0, 0, 2), GREEN, 1),
        quad((4, 0, 0), (0, 0, 2), (0, 3, 0), GREEN, 1),
        quad((0, 0, 2), (0, 3, 0), (4, 0, 0), BLUE, 255),
    )


def fake_walk(pitch_deg: float = 25.0) -> np.ndarray:
    """(8, 4, 4) upright poses in the room that all look the same way and down."""
    forward = np.array([np.cos(np.radians(pitch_deg)), 0.3, -np.sin(np.radians(pitch_deg))])
    eyes = [np.array([0.5, 0.6 + 0.1 * i, 1.4]) for i in range(8)]
    return np.array([viewpoints.look_at(eye, eye + forward, np.array([0, 0, 1])) for eye in eyes])


def test_up_is_the_floors_normal_although_the_camera_looks_down():
    up = viewpoints.estimate_up(fake_walk(), fake_room().normals)
    np.testing.assert_allclose(up, [0, 0, 1], atol=1e-6)


def test_up_without_poses_is_z():
    np.testing.assert_array_equal(viewpoints.estimate_up(np.zeros((0, 4, 4)), np.eye(3)), [0, 0, 1])


def test_look_at_is_a_camera_whose_axis_meets_the_target():
    T = viewpoints.look_at(np.array([1.0, 2, 3]), np.array([4.0, 2, 3]), np.array([0, 0, 1.0]))
    np.testing.assert_allclose(T[:3, 2], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(T[:3, 1], [0, 0, -1], atol=1e-12)
    assert np.linalg.det(T[:3, :3]) == pytest.approx(1)


def test_ceiling_is_left_out_of_the_plan_and_the_floor_shows():
    room = fake_room()
    view = viewpoints.plan_view(room, np.array([0, 0, 1.0]), fake_walk(), LENS)
    true, classes = render.render(room, view, legend.class_colors(room, SETS))
    middle = true[24, 32].astype(int)
    assert middle[0] > 100 and middle[1:].max() < 20  # Red floor, not the blue ceiling.
    assert classes[24, 32].argmax() == 0
    assert (true[0, 0] == 255).all()  # White around.


def test_from_inside_the_ceiling_is_there():
    room = fake_room()
    up_there = viewpoints.look_at(
        np.array([2, 1.5, 1]), np.array([2, 1.5, 2]), np.array([0, 1.0, 0])
    )
    view = viewpoints.View("up", up_there, LENS, through_backs=False)
    true, classes = render.render(room, view, legend.class_colors(room, SETS))
    assert true[24, 32].argmax() == 2
    assert np.ptp(classes[24, 32].astype(int)) == 0  # Unlabelled is grey.


def test_a_vertex_is_drawn_where_the_pinhole_model_puts_it():
    spot = quad((0.5, -0.2, 3), (0, 0.1, 0), (0.1, 0, 0), RED, 0)
    view = viewpoints.View("spot", np.eye(4), viewpoints.camera(320, 240), through_backs=False)
    true, _ = render.render(surface_of(spot), view, np.tile(np.uint8(RED), (len(spot[0]), 1)))
    v, u = np.nonzero((true < 255).any(axis=2))
    lens = view.intrinsics
    assert u.mean() == pytest.approx(lens.fx * 0.55 / 3 + lens.cx, abs=0.5)
    assert v.mean() == pytest.approx(lens.fy * -0.15 / 3 + lens.cy, abs=0.5)


def test_areas_are_square_metres_by_class_largest_first():
    wall = quad((0, 0, 0), (0, 3, 0), (0, 0, 2), GREEN, 1)
    floor = quad((0, 0, 0), (4, 0, 0), (0, 3, 0), RED, 0)
    shares = legend.class_shares(surface_of(wall, floor), SETS)
    assert shares == (
        legend.ClassShare(0, "floor", 12.0, 0.6667),
        legend.ClassShare(1, "wall", 6.0, 0.3333),
    )


def test_pictures_show_both_colourings_and_a_legend(tmp_path):
    room = fake_room()
    paths = render.render_views(tmp_path, room, SETS, fake_walk())
    assert [p.name for p in paths] == ["dollhouse.png", "plan.png", "inside.png"]
    for path in paths:
        image = cv2.imread(str(path))[:, :, ::-1]
        assert image.shape[1] == 2 * render.PANE[0]
        strip = image[-48:]
        for chip in (RED, GREEN, legend.UNLABELLED_RGB):
            assert (strip == chip).all(axis=2).any(), (path.name, chip)


def test_pictures_are_the_same_every_time(tmp_path):
    room = fake_room()
    view = viewpoints.inside_views(fake_walk(), LENS)[0]
    one = render.render(room, view, legend.class_colors(room, SETS))
    two = render.render(room, view, legend.class_colors(room, SETS))
    np.testing.assert_array_equal(one, two)


def test_a_map_without_surface_is_said_in_words(tmp_path):
    cloud = surface_of(quad((0, 0, 0), (1, 0, 0), (0, 1, 0), RED, 0))
    empty = Surface(*(getattr(cloud, n)[:0] for n in vars(cloud)))
    with pytest.raises(InvalidInput, match="no surface"):
        render.render_views(tmp_path, empty, SETS, fake_walk())
