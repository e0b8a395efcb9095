# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from box_room import box_view, look

from mtl_perception.conventions import Intrinsics, InvalidInput
from slam_fusion.depth.alignment import align, aligned_to
from slam_fusion.depth.edges import reject_flying_pixels
from slam_fusion.depth.sources import DepthConfig, DepthSource
from slam_fusion.depth.temporal import bent_to_map
from slam_fusion.frame import Frame
from slam_fusion.ledger import Outcome
from slam_fusion.mapper import Mapper, MapperConfig
from slam_fusion.volume import SemanticVolume, VolumeConfig

CAMERA = Intrinsics(width=160, height=120, fx=140.0, fy=140.0, cx=79.5, cy=59.5)
ROOM = (-2.0, 2.0), (-1.2, 1.2), (-2.0, 2.0)  # x, y (down), z of its walls, metres


def room_depth(T_world_camera: np.ndarray, camera: Intrinsics = CAMERA) -> np.ndarray:
    """Exact depth of the inside of a box."""
    return box_view(ROOM, camera, T_world_camera)[0]


def distance_to_room(points: np.ndarray) -> np.ndarray:
    gaps = [np.abs(points[:, a] - wall) for a, walls in enumerate(ROOM) for wall in walls]
    return np.min(gaps, axis=0)


def rgbd(depth, predicted=None) -> Frame:
    return Frame(0, "camera", CAMERA, depth, predicted_depth=predicted)


def smooth_noise(rng, size) -> np.ndarray:
    """A field that wavers slowly over the image, as a network's mistakes do."""
    v, u = np.indices(CAMERA.shape) / 120.0
    waves = sum(
        rng.normal() * np.cos(rng.uniform(0.5, 2) * (np.cos(a) * u + np.sin(a) * v) + b)
        for a, b in rng.uniform(0, 2 * np.pi, (3, 2))
    )
    return np.exp(size * waves).astype(np.float32)


# Flying pixels


def test_pixels_between_two_surfaces_are_dropped_and_the_surfaces_stay():
    depth = np.full((40, 60), 1.0, np.float32)
    depth[:, 30:] = 3.0
    depth[:, 29:31] = [1.6, 2.3]  # a smeared edge
    kept = reject_flying_pixels(depth, 0.05)
    assert (kept[:, 29:31] == 0).all()
    assert (kept[:, :29] == depth[:, :29]).all() and (kept[:, 31:] == depth[:, 31:]).all()


def test_walls_seen_obliquely_are_not_edges():
    for degrees in (0, 60, 80):
        depth = np.exp(np.tan(np.radians(degrees)) / 525 * np.arange(80))
        image = np.repeat(depth[None], 60, axis=0).astype(np.float32)
        assert (reject_flying_pixels(image, 0.05) == image).all()


def test_unknown_depth_stays_unknown_and_a_step_of_zero_rejects_nothing():
    depth = np.zeros((10, 12), np.float32)
    depth[4, 4] = 1.0
    assert (reject_flying_pixels(depth, 0.05) == depth).all()
    assert reject_flying_pixels(depth, 0.0) is depth


# The network's depth on the sensor's scale


def test_scale_and_shift_are_found_though_a_fifth_of_the_pixels_lie():
    rng = np.random.default_rng(0)
    measured = room_depth(look(0.4))
    predicted = (measured - 0.3) / 1.4
    liars = rng.random(measured.shape) < 0.2
    found = align(np.where(liars, rng.uniform(0.3, 5, measured.shape), predicted), measured)
    assert found.scale == pytest.approx(1.4, rel=1e-2)
    assert found.shift == pytest.approx(0.3, abs=0.02)
    assert found.error < 0.01


def test_a_flat_view_decides_the_scale_alone():
    measured = np.full(CAMERA.shape, 2.0, np.float32)
    measured += np.random.default_rng(1).normal(0, 0.005, CAMERA.shape).astype(np.float32)
    found = align(np.full(CAMERA.shape, 1.6, np.float32), measured)
    assert found.shift == 0 and found.scale == pytest.approx(1.25, rel=1e-3)


def test_too_few_common_pixels_decide_nothing():
    measured = np.zeros(CAMERA.shape, np.float32)
    measured[:20, :20] = 1.0
    assert align(np.ones(CAMERA.shape, np.float32), measured) is None
    assert align(np.zeros(CAMERA.shape, np.float32), np.ones(CAMERA.shape, np.float32)) is None


def test_a_filled_hole_joins_its_rim_without_a_step():
    truth = room_depth(look(0.3))
    predicted = truth * smooth_noise(np.random.default_rng(3), 0.04) * 0.8
    measured = truth.copy()
    measured[40:80, 50:110] = 0
    source = DepthSource(DepthConfig("fused", 0.0))
    sourced = source(rgbd(measured, predicted), np.eye(4), SemanticVolume(VolumeConfig()))
    fused, hole = sourced.depth, measured == 0
    assert (sourced.shares[hole] == 1).all() and sourced.shares[~hole].max() > 4
    assert (sourced.seen == measured).all()  # what a network guesses clears nothing
    assert (fused[~hole] == measured[~hole]).all()
    error = np.abs(fused / truth - 1)[hole]
    line = np.abs(source.alignment.scale * predicted + source.alignment.shift - truth)[hole]
    assert np.median(error) < 0.02
    rim = np.abs(fused / truth - 1)[41, 51:109]
    assert np.median(rim) < 0.7 * np.median((line / truth[hole]).reshape(40, 60)[1])


def test_a_network_that_contradicts_the_sensor_fills_nothing():
    rng = np.random.default_rng(4)
    measured = room_depth(look(0.3))
    measured[30:60] = 0
    nonsense = rng.uniform(0.5, 6, CAMERA.shape).astype(np.float32)
    source = DepthSource(DepthConfig("fused", 0.0))
    assert (source(rgbd(measured, nonsense), np.eye(4), None).depth == measured).all()


def test_a_blinded_sensor_is_replaced_at_the_last_known_scale():
    truth = room_depth(look(0.2))
    source = DepthSource(DepthConfig("fused", 0.0))
    blind = np.zeros(CAMERA.shape, np.float32)
    assert not source(rgbd(blind, truth / 2), np.eye(4), None).depth.any()  # nothing known yet
    source(rgbd(truth, truth / 2), np.eye(4), None)
    filled = source(rgbd(blind, truth / 2), np.eye(4), None).depth
    np.testing.assert_allclose(filled, truth, rtol=1e-3)


def test_aligned_depth_is_unknown_where_the_network_is():
    truth = room_depth(look(0.0))
    predicted = truth.copy()
    predicted[:30] = 0
    alignment = align(predicted, truth)
    assert not aligned_to(predicted, truth, alignment)[:30].any()


# The network's depth alone


def mapped(depth_source: str, seed: int = 0) -> SemanticVolume:
    """Turn round in the room with a network whose scale wavers from image to image."""
    rng = np.random.default_rng(seed)
    config = MapperConfig(voxel_size=0.04, depth_source=depth_source, edge_rejection=0.0)
    mapper = Mapper(config)
    for number, yaw in enumerate(np.linspace(0, 4 * np.pi, 72)):
        T = look(yaw, (0.3 * np.cos(yaw), 0.0, 0.3 * np.sin(yaw)))
        said = room_depth(T) * smooth_noise(rng, 0.04) * np.float32(np.exp(rng.normal(0, 0.08)))
        frame = replace(rgbd(said, said), stamp_ns=number + 1)
        mapper.add(frame)
        mapper.integrate_ready(_At(T))
    assert mapper.ledger.counts() == {"fused": 72}
    return mapper.volume


class _At:
    def __init__(self, T):
        self.T = T

    def at(self, stamp_ns, camera_frame):
        return self.T


def test_walls_of_a_wavering_network_have_one_layer():
    layered, held = (mapped(kind).extract_mesh() for kind in ("sensor", "network"))
    spread = [
        np.sqrt(np.mean(distance_to_room(surface.positions) ** 2)) for surface in (layered, held)
    ]
    assert len(held) < 0.75 * len(layered)  # a second layer is a second surface
    assert spread[1] < 0.7 * spread[0]


def test_a_frame_is_bent_onto_what_the_map_knows():
    volume = SemanticVolume(VolumeConfig(voxel_size=0.04))
    T = look(0.5)
    for _ in range(3):
        volume.integrate(rgbd(room_depth(T)), T)
    said = room_depth(T) * smooth_noise(np.random.default_rng(7), 0.05) * np.float32(1.15)
    bent = bent_to_map(said, CAMERA, T, volume)
    assert np.median(np.abs(said / room_depth(T) - 1)) > 0.05
    # The part of the truncation that a frame may keep is 3 to 4 % of this room's depth.
    assert np.quantile(np.abs(bent / room_depth(T) - 1), 0.95) < 0.05


def test_an_unknown_view_is_taken_as_it_is():
    said = room_depth(look(0.0))
    assert bent_to_map(said, CAMERA, np.eye(4), SemanticVolume(VolumeConfig())) is said


def test_a_frame_without_the_networks_depth_is_counted():
    mapper = Mapper(MapperConfig(depth_source="network"))
    mapper.add(rgbd(room_depth(np.eye(4))))
    mapper.integrate_ready(_At(np.eye(4)))
    assert [row.outcome for row in mapper.ledger.rows] == [Outcome.NO_DEPTH]


@pytest.mark.parametrize("wrong", [{"depth_source": "both"}, {"edge_rejection": 2.0}])
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        MapperConfig(**wrong)


# The look at the map


def test_the_map_is_seen_where_it_is():
    volume = SemanticVolume(VolumeConfig(voxel_size=0.02))
    views = [look(yaw, (0.2 * yaw, 0.0, 0.0)) for yaw in (-0.3, 0.0, 0.3)]
    for T in views:
        for _ in range(3):
            volume.integrate(rgbd(room_depth(T)), T)
    T = look(0.1, (0.1, 0.05, -0.1))
    seen, truth = volume.render_depth(CAMERA, T), room_depth(T)
    known = seen > 0
    assert known.mean() > 0.95
    assert np.quantile(np.abs(seen - truth)[known], 0.99) < 0.02
    assert not SemanticVolume(VolumeConfig()).render_depth(CAMERA, T).any()
