# SPDX-License-Identifier: Apache-2.0
"""A camera that moves through a papered box, and what its images say of the box's depth."""

from dataclasses import replace

import numpy as np
import pytest
from box_room import box_view, look

from mtl_perception.conventions import Intrinsics
from slam_fusion.depth.correction import LEAST_POINTS, corrected
from slam_fusion.depth.sources import DepthConfig, DepthSource
from slam_fusion.depth.tracks import MOST_TRACKS, Points, PointTracks
from slam_fusion.frame import Frame
from slam_fusion.volume import SemanticVolume, VolumeConfig

CAMERA = Intrinsics(width=320, height=240, fx=280.0, fy=280.0, cx=159.5, cy=119.5)
WALLS = (-2.0, 2.0), (-1.2, 1.2), (-2.0, 2.5)  # x, y (down), z of the box, metres


def shown(T: np.ndarray, camera: Intrinsics = CAMERA) -> tuple[np.ndarray, np.ndarray]:
    """Return colour and exact depth of the box; its paper is a pattern of places in the world."""
    depth, places = box_view(WALLS, camera, T)
    rng = np.random.default_rng(5)
    waves = rng.normal(0, 14.0, (24, 3))  # radians per metre
    paper = np.cos(places @ waves.T + rng.uniform(0, 6, 24)).sum(axis=-1)
    gray = np.clip(128 + 18 * paper, 0, 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2), depth


def followed(poses: list[np.ndarray], camera: Intrinsics = CAMERA) -> tuple[Points, np.ndarray]:
    """Return the points of the last image, and its exact depth at them; guesses are 25 % off."""
    tracks = PointTracks()
    for T in poses:
        color, depth = shown(T, camera)
        points = tracks(color, camera, T, depth * np.float32(1.25))
    u, v = np.rint(points.pixels).astype(int).T
    return points, depth[v, u]


SIDEWAYS = [look(0.01 * i, (0.04 * i, 0.0, 0.0)) for i in range(8)]


def test_a_camera_that_moves_knows_how_far_points_are():
    points, truth = followed(SIDEWAYS)
    error = np.abs(points.depth / truth - 1)
    assert len(points.depth) > 100
    assert np.median(error) < 0.01 and np.quantile(error, 0.9) < 0.05
    assert np.median(error / points.error) < 2  # what it says of its errors is not far off


def test_a_camera_that_only_turns_knows_nothing():
    points, _ = followed([look(0.03 * i) for i in range(8)])
    assert len(points.depth) == 0


def test_wide_images_are_followed_in_a_smaller_size():
    wide = Intrinsics(width=1280, height=960, fx=1120.0, fy=1120.0, cx=639.5, cy=479.5)
    points, truth = followed(SIDEWAYS[::2], wide)
    assert len(points.depth) > 100 and points.pixels[:, 0].max() > 700
    assert np.median(np.abs(points.depth / truth - 1)) < 0.01


def test_what_moves_by_itself_is_not_told():
    tracks = PointTracks()
    rng = np.random.default_rng(0)
    patch = rng.integers(100, 156, (12, 12)).repeat(5, 0).repeat(5, 1).astype(np.uint8)
    for i, T in enumerate(SIDEWAYS):
        color, depth = shown(T)
        color[60 + 6 * i : 120 + 6 * i, 130:190] = patch[..., None]
        points = tracks(color, CAMERA, T, depth)
    u, v = points.pixels.T
    on_patch = (v > 60 + 6 * i) & (v < 120 + 6 * i) & (u > 130) & (u < 190)
    assert on_patch.sum() <= 3 < 50 < (~on_patch).sum()


def test_points_are_no_more_than_agreed_and_another_camera_starts_anew():
    tracks = PointTracks()
    for T in SIDEWAYS:
        color, depth = shown(T)
        points = tracks(color, CAMERA, T, depth)
        assert len(points.depth) <= MOST_TRACKS
    other = replace(CAMERA, width=160, height=120)
    color, depth = shown(T, other)
    assert len(tracks(color, other, T, depth).depth) == 0


def test_points_bend_a_wrong_depth_right():
    points, _ = followed(SIDEWAYS)
    _, truth = shown(SIDEWAYS[-1])
    slope = np.linspace(0.8, 1.3, CAMERA.width, dtype=np.float32)  # too near left, too far right
    said = truth * slope
    said[:40] = 0
    bent = corrected(said, points)
    assert bent.dtype == np.float32 and not bent[:40].any()
    error = np.abs(bent[40:] / truth[40:] - 1)
    assert np.median(error) < 0.02 and error.mean() < 0.03  # it was 0.13


def test_a_few_lies_among_the_points_do_little():
    points, _ = followed(SIDEWAYS)
    _, truth = shown(SIDEWAYS[-1])
    lies = points.depth.copy()
    lies[::6] *= 1.5
    bent = corrected(truth, replace(points, depth=lies))
    assert np.mean(np.abs(bent / truth - 1)) < 0.03


def test_depth_that_is_known_in_a_few_spots_only_is_corrected_there():
    points, _ = followed(SIDEWAYS)
    _, truth = shown(SIDEWAYS[-1])
    u, v = np.rint(points.pixels).astype(int).T
    said = np.zeros_like(truth)
    said[v, u] = truth[v, u] * np.float32(1.2)
    said[::8, ::8] = 0
    bent = corrected(said, points)
    known = said > 0
    assert np.array_equal(bent > 0, known)
    assert np.median(np.abs(bent[known] / truth[known] - 1)) < 0.02


def test_too_few_points_change_nothing():
    _, truth = shown(SIDEWAYS[0])
    pixels = np.full((LEAST_POINTS - 1, 2), 100.0)
    few = Points(pixels, np.full(len(pixels), 1.0), np.full(len(pixels), 0.01))
    assert corrected(truth, few) is truth


@pytest.mark.parametrize("wanted", [True, False])
def test_the_networks_depth_is_corrected_where_that_is_asked_for(wanted: bool):
    source = DepthSource(DepthConfig(depth_source="network", depth_from_motion=wanted))
    volume = SemanticVolume(VolumeConfig())
    for stamp, T in enumerate(SIDEWAYS):
        color, truth = shown(T)
        said = truth * np.float32(1.2)
        frame = Frame(stamp, "camera", CAMERA, np.zeros_like(said), color, predicted_depth=said)
        depth = source(frame, T, volume).depth
    known = depth > 0
    error = np.median(np.abs(depth[known] / truth[known] - 1))
    assert error < 0.03 if wanted else error > 0.15
