# SPDX-License-Identifier: Apache-2.0
"""Evaluation gives the numbers that brute force gives, on surfaces with known errors."""

import json

import numpy as np
import pytest

from mtl_perception.conventions import UNLABELLED, Intrinsics, InvalidInput
from slam_fusion.evaluation.evaluate import (
    LABEL_REACH,
    Truth,
    evaluate_map,
    seen_points,
    truth_of_mesh,
)
from slam_fusion.evaluation.evaluate_masks import (
    MaskReport,
    MaskView,
    compare_view,
    evaluate_masks,
    halved,
    iou,
)
from slam_fusion.evaluation.label_scores import Confusion
from slam_fusion.evaluation.surface_rays import SurfaceRays
from slam_fusion.frame import Frame, Surface

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
TWO_TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
NAMES = {0: "wall", 1: "floor"}


def fake_surface(positions, labels, triangles=None) -> Surface:
    n = len(positions)
    return Surface(
        np.asarray(positions, np.float32),
        np.tile(np.float32([0, 0, 1]), (n, 1)),
        np.full((n, 3), 128, np.uint8),
        np.asarray(labels, np.uint8),
        np.ones(n, np.float32),
        np.zeros((0, 3), np.int32) if triangles is None else np.asarray(triangles, np.int32),
    )


def grid(n: int, z: float = 0.0) -> np.ndarray:
    """n x n points at cell centres of the unit square, at height z."""
    axis = (np.arange(n) + 0.5) / n
    x, y = np.meshgrid(axis, axis)
    return np.stack([x.ravel(), y.ravel(), np.full(n * n, z)], axis=1).astype(np.float32)


def square_truth(n: int = 40) -> Truth:
    """The unit square at z = 0: floor where x < 0.5, wall beyond."""
    points = grid(n)
    return Truth(SQUARE, TWO_TRIANGLES, points, (points[:, 0] > 0.5).astype(np.uint8) ^ 1)


def scores_at(report, threshold):
    return next(d for d in report.distances if d.threshold == threshold)


def test_shifted_plane_has_exactly_the_shift_as_error():
    report = evaluate_map(fake_surface(grid(40, z=0.025), np.zeros(1600)), square_truth(), NAMES)
    for value in (report.error_mean, report.error_median, report.error_rms, report.gap_mean):
        assert value == pytest.approx(0.025, abs=1e-6)
    assert [d.threshold for d in report.distances] == [0.01, 0.02, 0.03, 0.05, 0.1]
    for d in report.distances:
        share = float(d.threshold > 0.025)
        assert (d.precision, d.recall, d.f_score) == (share, share, share)


def test_half_a_map_is_accurate_but_half_complete():
    half = grid(40)
    half = half[half[:, 1] < 0.5]
    report = evaluate_map(fake_surface(half, np.zeros(len(half))), square_truth(), NAMES)
    near = scores_at(report, 0.02)
    assert near.precision == 1
    assert near.recall == pytest.approx(0.5, abs=0.026)  # the next row lies within 2.5 cm
    assert near.f_score == pytest.approx(2 * near.recall / (1 + near.recall))


def test_mesh_covers_between_its_vertices():
    mesh = fake_surface(SQUARE + np.float32([0, 0, 0.01]), [1, 1, 1, 1], TWO_TRIANGLES)
    report = evaluate_map(mesh, square_truth(), NAMES)
    assert report.gap_mean == pytest.approx(0.01, abs=1e-6)
    assert scores_at(report, 0.02).recall == 1


def test_distances_and_labels_equal_brute_force():
    rng = np.random.default_rng(0)
    seen, positions = rng.random((60, 3)) * 0.3, rng.random((50, 3)) * 0.3
    seen_labels = rng.choice(np.uint8([0, 1, UNLABELLED]), 60)
    labels = rng.choice(np.uint8([0, 1, 7, UNLABELLED]), 50)
    truth = Truth(SQUARE, TWO_TRIANGLES, seen.astype(np.float32), seen_labels)
    report = evaluate_map(fake_surface(positions, labels), truth, NAMES)
    error = positions[:, 2]  # all above the square
    assert report.error_mean == pytest.approx(error.mean(), abs=1e-6)
    assert report.error_rms == pytest.approx(np.sqrt((error**2).mean()), abs=1e-6)
    assert scores_at(report, 0.05).precision == pytest.approx((error <= 0.05).mean())
    right = labelled = known = recalled = 0
    for point, label in zip(seen, seen_labels, strict=True):
        distance = [np.linalg.norm(point - p) for p in positions]
        recalled += min(distance) <= 0.05
        if label == UNLABELLED:
            continue
        known += 1
        found = labels[int(np.argmin(distance))] if min(distance) <= LABEL_REACH else UNLABELLED
        labelled += found != UNLABELLED
        right += found == label
    assert scores_at(report, 0.05).recall == pytest.approx(recalled / 60)
    assert report.labels.count == known
    assert report.labels.labelled == pytest.approx(labelled / known)
    assert report.labels.accuracy == pytest.approx(right / labelled)


def test_class_scores_equal_brute_force():
    rng = np.random.default_rng(1)
    truth = rng.choice(np.uint8([0, 1, 2, UNLABELLED]), (9, 11))
    labels = rng.choice(np.uint8([0, 1, 3, UNLABELLED]), (9, 11))
    confusion = Confusion()
    confusion.add(truth[:4], labels[:4])
    confusion.add(truth[4:], labels[4:])
    scores = confusion.scores(NAMES)
    ious = []
    for score in scores.classes:
        known = [(t, p) for t, p in zip(truth.ravel(), labels.ravel(), strict=True) if t != 255]
        both = sum(t == score.id and p == score.id for t, p in known)
        either = sum(t == score.id or p == score.id for t, p in known)
        assert score.count == sum(t == score.id for t, _ in known)
        assert score.recall == pytest.approx(both / score.count)
        so = sum(p == score.id for _, p in known)
        assert score.precision == pytest.approx(both / so if so else 0)
        assert score.iou == pytest.approx(both / either)
        ious.append(both / either)
    assert {c.id for c in scores.classes} == {0, 1, 2}
    assert scores.mean_iou == pytest.approx(np.mean(ious))
    assert [c.count for c in scores.classes] == sorted(c.count for c in scores.classes)[::-1]


@pytest.mark.parametrize("degrees", [0, 30, 90, 180])
def test_normals_agree_by_the_cosine_of_their_angle_whichever_side_they_are_on(degrees):
    angle = np.radians(degrees)
    cloud = fake_surface(grid(20), np.ones(400))
    cloud.normals[:] = np.float32([np.sin(angle), 0, np.cos(angle)])
    report = evaluate_map(cloud, square_truth(20), NAMES)
    assert report.normal_consistency == pytest.approx(abs(np.cos(angle)), abs=1e-6)


def test_calibration_is_of_the_labelled_points_with_a_true_class():
    """Confidence 0.9 on the wall half, which is right, and on the floor half, which is wrong."""
    cloud = fake_surface(grid(40), np.zeros(1600))
    cloud.confidence[:] = 0.9
    calibration = evaluate_map(cloud, square_truth(), NAMES).calibration
    assert calibration.pixels == 1600
    assert calibration.ece == pytest.approx(0.4) == calibration.overconfidence
    cloud.labels[:] = UNLABELLED
    assert evaluate_map(cloud, square_truth(), NAMES).calibration is None


def test_points_of_a_true_mesh_are_spread_by_its_area_and_carry_its_labels():
    corners = np.float32([[0, 0, 0], [4, 0, 0], [4, 1, 0], [0, 1, 0]])
    small = np.float32([[9, 0, 0], [9.5, 0, 0], [9.5, 1, 0]])
    mesh = fake_surface(
        np.concatenate([corners, small]),
        [1, 1, 1, 1, 0, 0, 0],
        np.concatenate([TWO_TRIANGLES, [[4, 5, 6]]]),
    )
    truth = truth_of_mesh(mesh)
    assert len(truth.seen) == pytest.approx(4.25 / 0.02**2, abs=1)
    on_small = truth.seen[:, 0] >= 9
    assert np.mean(on_small) == pytest.approx(0.25 / 4.25, rel=0.01)
    assert np.array_equal(truth.seen_labels, np.where(on_small, 0, 1))
    # A quarter of a square metre anywhere on the large square has its share of the points.
    counts, *_ = np.histogram2d(*truth.seen[~on_small, :2].T, bins=(8, 2), range=[(0, 4), (0, 1)])
    assert np.all(np.abs(counts - 625) < 40)
    assert np.all(truth.seen[:, 2] == 0) and truth.seen[:, :2].min() >= 0


def test_a_true_mesh_without_triangles_is_refused():
    with pytest.raises(InvalidInput, match="no triangles"):
        truth_of_mesh(fake_surface(SQUARE, [1, 1, 1, 1]))


def test_nothing_labelled_gives_zeros_not_nan():
    confusion = Confusion()
    confusion.add(np.uint8([0, 1]), np.uint8([255, 255]))
    scores = confusion.scores(NAMES)
    assert (scores.labelled, scores.accuracy, scores.mean_iou) == (0, 0, 0)


def test_report_becomes_json_and_text():
    report = evaluate_map(fake_surface(grid(20), np.ones(400)), square_truth(), NAMES)
    assert json.loads(report.to_json())["labels"]["classes"][0]["name"] in ("wall", "floor")
    assert "F-score 1.000" in report.table() and "floor" in report.table()


def test_empty_maps_and_unequal_shapes_are_refused():
    with pytest.raises(InvalidInput, match="0 map points"):
        evaluate_map(fake_surface(np.zeros((0, 3)), []), square_truth(), NAMES)
    with pytest.raises(InvalidInput, match="no triangles"):
        SurfaceRays(SQUARE, np.zeros((0, 3), np.int32))
    with pytest.raises(InvalidInput, match="equal shapes"):
        Confusion().add(np.uint8([0, 1]), np.uint8([0]))


CAMERA = Intrinsics(4, 3, 2.0, 2.0, 1.5, 1.0)


def test_seen_points_keep_one_point_per_cell():
    depth = np.full((3, 4), 1.0, np.float32)
    depth[0, 0] = 0
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    points, values = seen_points([(depth, labels, CAMERA, np.eye(4))] * 2, spacing=0.1)
    assert values.tolist() == list(range(1, 12))
    np.testing.assert_allclose(points[0], [(1 - 1.5) / 2, (0 - 1) / 2, 1])
    coarse, values = seen_points([(depth, labels, CAMERA, np.eye(4))], spacing=100.0)
    assert len(coarse) == len(np.unique(np.floor(points / 100), axis=0))


def test_camera_sees_the_mesh_at_its_depth_and_nothing_beside_it():
    wall = SQUARE - np.float32([0.5, 0.5, -2])  # unit square, 2 m ahead
    depth, vertex = SurfaceRays(wall, TWO_TRIANGLES).look(
        Intrinsics(9, 9, 8.0, 8.0, 4.0, 4.0), np.eye(4)
    )
    inside = np.zeros((9, 9), bool)
    inside[2:7, 2:7] = True  # 2 m * 2 / 8 = 0.5 m: exactly the border
    assert not depth[~inside].any() and (vertex[~inside] == -1).all()
    np.testing.assert_allclose(depth[3:6, 3:6], 2, atol=1e-6)
    assert vertex[3, 3] == 0 and vertex[3, 5] == 1 and vertex[5, 5] == 2 and vertex[5, 3] == 3


def test_distance_to_a_triangle_is_exact():
    points = np.array([[0.5, 0.5, 0.2], [2, 0.5, 0], [-3, -4, 0]], np.float32)
    np.testing.assert_allclose(
        SurfaceRays(SQUARE, TWO_TRIANGLES).distance(points), [0.2, 1, 5], atol=1e-6
    )


def test_view_of_a_mesh_is_compared_with_masks():
    camera = Intrinsics(8, 8, 8.0, 8.0, 3.5, 3.5)
    left = SQUARE - np.float32([1.0, 0.5, -1])  # x -1..0: the left half of the image
    mesh = fake_surface(left, [48] * 4, TWO_TRIANGLES)
    masks = np.zeros((8, 8), np.uint8)
    masks[:, 2:6] = 48  # half on the mesh, half beside it
    masks[0, 7] = 132  # never mapped
    frame = Frame(0, "", camera, np.ones((8, 8), np.float32), labels=masks)
    first, second = compare_view(
        mesh, SurfaceRays(mesh.positions, mesh.triangles), frame, np.eye(4)
    )
    assert (first.object_id, first.pixels, first.covered) == (48, 32, 0.5)
    assert first.iou == pytest.approx(16 / 48)
    assert first.iou_covered == pytest.approx(16 / 32)
    assert (second.object_id, second.iou, second.covered) == (132, 0, 0)
    assert iou(np.zeros(3, bool), np.zeros(3, bool)) == 1
    views = (MaskView("a", False, (first, second)), MaskView("b", True, (first,)))
    report = MaskReport(0.01, 1, views)
    assert report.mean_iou(held_out=False) == pytest.approx(16 / 96)
    assert report.mean_iou(held_out=True, covered=True) == pytest.approx(0.5)
    assert "held out" in report.table() and json.loads(report.to_json())["voxel_size"] == 0.01


def test_halved_frame_keeps_the_nearest_depth_of_four_and_its_label():
    camera = Intrinsics(4, 2, 8.0, 8.0, 1.5, 0.5)
    depth = np.float32([[0, 2, 0, 0], [3, 0, 0, 0]])
    labels = np.uint8([[1, 2, 3, 4], [5, 6, 7, 8]])
    half = halved(Frame(5, "camera", camera, depth, labels=labels))
    np.testing.assert_array_equal(half.depth, [[2, 0]])
    assert half.labels[0, 0] == 2
    # The ray through the middle of the first four pixels is the ray of the new first pixel.
    assert (0 - half.intrinsics.cx) / half.intrinsics.fx == (0.5 - camera.cx) / camera.fx
    assert (0 - half.intrinsics.cy) / half.intrinsics.fy == (0.5 - camera.cy) / camera.fy


def test_real_masks_come_back_from_the_map_in_a_view_it_never_saw(shared_data):
    report = evaluate_masks(shared_data / "label_fusion")
    assert report.fused_frames == 14 and [v.held_out for v in report.views].count(True) == 1
    assert {s.object_id for v in report.views for s in v.objects} == {48, 132}
    # The masks themselves are up to 30 pixels beside their objects, object 48 above all.
    fused = [s for v in report.views if not v.held_out for s in v.objects]
    box, bag = ([s.iou for s in fused if s.object_id == k] for k in (132, 48))
    assert np.mean(box) > 0.82 and np.mean(bag) > 0.58
    assert report.mean_iou(held_out=True) > 0.55


def test_masks_of_a_frame_that_does_not_exist_are_refused(shared_data):
    with pytest.raises(InvalidInput, match="15 frames"):
        evaluate_masks(shared_data / "label_fusion", held_out=15)
