# SPDX-License-Identifier: Apache-2.0
"""What pixels count for: by angle, distance and label borders; and what that does to a map."""

import numpy as np
import pytest

from mtl_perception.conventions import Intrinsics
from slam_fusion.frame import Frame
from slam_fusion.mapper import Mapper, MapperConfig
from slam_fusion.pixel_weights import (
    BORDER,
    FULL_COSINE,
    LEAST_BY_ANGLE,
    MOST_SHARE,
    REACH,
    depth_shares,
    label_weights,
)
from slam_fusion.volume import SemanticVolume, VolumeConfig

CAMERA = Intrinsics(width=160, height=120, fx=140.0, fy=142.0, cx=77.5, cy=60.5)
ONE_LABEL = np.full(CAMERA.shape, 4, np.uint8)
INSIDE = slice(REACH, -REACH), slice(REACH, -REACH)


def plane(slant_deg: float, distance: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Depth of a plane turned about the vertical, and the cosine of each pixel's viewing angle."""
    v, u = np.indices(CAMERA.shape)
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, 0 * u + 1.0], -1)
    normal = np.array([np.sin(np.radians(slant_deg)), 0, np.cos(np.radians(slant_deg))])
    along = rays @ normal
    depth = np.where(along > 0.05, normal[2] * distance / np.maximum(along, 0.05), 0)
    return depth.astype(np.float32), along / np.linalg.norm(rays, axis=-1)


@pytest.mark.parametrize("slant_deg", [0, 30, 50, 60])
def test_a_slanted_surface_counts_by_the_cosine_of_the_viewing_angle(slant_deg):
    depth, cosine = plane(slant_deg, 0.6)
    weights = label_weights(depth, ONE_LABEL, CAMERA)[INSIDE]
    near = ((depth > 0) & (depth < 1.5))[INSIDE]  # the distance does not count yet
    expected = np.clip(cosine[INSIDE] / FULL_COSINE, LEAST_BY_ANGLE, 1)
    # The slope is that of a chord of 8 pixels.
    np.testing.assert_allclose(weights[near], expected[near], rtol=0.02)
    assert np.count_nonzero(near) > 5000


def test_far_labels_count_for_less():
    weights = [
        label_weights(plane(0, z)[0], ONE_LABEL, CAMERA)[60, 77] for z in (1.0, 1.5, 3.0, 6.0)
    ]
    assert weights == pytest.approx([1.0, 1.0, 0.5, 0.25], rel=1e-3)


def test_within_four_pixels_of_another_label_a_label_counts_for_less():
    labels = ONE_LABEL.copy()
    labels[:, 80:] = 5
    weights = label_weights(plane(0)[0], labels, CAMERA)[60]
    assert weights[[75, 84]] == pytest.approx([1, 1], rel=0.01)
    assert weights[[76, 79, 80, 83]] == pytest.approx([BORDER] * 4, rel=0.01)


def test_unknown_depth_says_nothing_about_the_angle():
    depth = plane(70)[0]
    holes = depth.copy()
    holes[:, 80] = 0
    holes[:, 81] = np.nan
    weights, whole = (label_weights(d, ONE_LABEL, CAMERA) for d in (holes, depth))
    assert np.isfinite(weights).all() and (weights >= 0).all() and (weights <= 1).all()
    beside = weights[60, [76, 84, 77, 85]]
    assert (beside > 1.5 * whole[60, [76, 84, 77, 85]]).all()
    assert weights[60, 75] == whole[60, 75]


def test_a_depth_reading_weighs_by_the_square_of_its_distance():
    depth = np.array([[0.3, 1.2, 2.4, 4.8, 9.0, 0.0, np.nan, np.inf]], np.float32)
    shares = depth_shares(depth)
    assert shares[0, :5].tolist() == [MOST_SHARE, MOST_SHARE, MOST_SHARE // 4, 1, 1]
    assert ((shares >= 1) & (shares <= MOST_SHARE)).all()


def test_a_near_reading_outweighs_far_ones_of_the_same_surface():
    heights = {}
    for shares in (False, True):
        volume = SemanticVolume(VolumeConfig(voxel_size=0.02, device="cpu"))
        for camera_z, error in ((0.0, 0.0), (-3.0, 0.05), (-3.0, 0.05)):
            depth = np.full(CAMERA.shape, 1.0 - camera_z + error, np.float32)
            T = np.eye(4)
            T[2, 3] = camera_z
            weights = depth_shares(depth) if shares else None
            volume.integrate(Frame(0, "", CAMERA, depth), T, weights)
        mesh = volume.extract_mesh(3)
        middle = np.abs(mesh.positions[:, :2]).max(axis=1) < 0.3
        heights[shares] = np.median(mesh.positions[middle, 2])
    assert heights[False] == pytest.approx(1 + 0.05 * 2 / 3, abs=0.003)
    assert heights[True] == pytest.approx(1 + 0.05 * 2 / 18, abs=0.003)


@pytest.mark.parametrize("distance", [1.01, 2.01, 3.99])
def test_colours_are_the_mean_of_all_views_whatever_these_weigh(distance):
    volume = SemanticVolume(VolumeConfig(voxel_size=0.02, device="cpu"))
    depth = np.full(CAMERA.shape, distance, np.float32)
    for grey in (0, *9 * [200]):
        color = np.full((*CAMERA.shape, 3), grey, np.uint8)
        volume.integrate(Frame(0, "", CAMERA, depth, color), np.eye(4), depth_shares(depth))
    assert np.median(volume.extract_mesh().colors) == pytest.approx(180, abs=1)


def test_a_label_seen_head_on_wins_over_the_same_number_seen_at_a_slant():
    # A wall at z = 1 m: seen head-on by cameras that say 1, from far aside by those that say 2.
    said = {}
    for weigh in (False, True):
        mapper = Mapper(MapperConfig(voxel_size=0.02, weigh_pixels=weigh, device="cpu"))
        aside = np.eye(4)
        c, s = np.cos(np.radians(60)), np.sin(np.radians(60))
        aside[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
        aside[:3, 3] = [-1.0, 0, 0.45]
        v, u = np.indices(CAMERA.shape)
        rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, 0 * u + 1.0], -1)
        along = (rays @ aside[:3, :3].T)[..., 2]
        slanted = np.where(along > 0.1, (1 - aside[2, 3]) / np.maximum(along, 0.1), 0)
        frames = [
            (np.eye(4), np.full(CAMERA.shape, 1.0, np.float32), 1, 0.60),
            (aside, slanted.astype(np.float32), 2, 0.65),
        ]
        for stamp, (T, depth, label, confidence) in enumerate(3 * frames):
            labels = np.full(CAMERA.shape, label, np.uint8)
            sure = np.full(CAMERA.shape, confidence, np.float32)
            mapper.add(Frame(stamp, "camera", CAMERA, depth, labels=labels, confidence=sure))
            mapper.integrate_ready(_Fixed(T))
        mesh = mapper.volume.extract_mesh(3)
        both = np.abs(mesh.positions[:, :2]).max(axis=1) < 0.05
        said[weigh] = set(mesh.labels[both].tolist())
    assert said == {False: {2}, True: {1}}


class _Fixed:
    def __init__(self, T):
        self.T = T

    def at(self, stamp_ns, camera_frame):
        return self.T
