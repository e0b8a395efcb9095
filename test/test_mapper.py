# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.conventions import Intrinsics, InvalidInput
from slam_fusion.frame import Frame
from slam_fusion.ledger import Outcome
from slam_fusion.mapper import Mapper, MapperConfig
from slam_fusion.poses import PoseNever, PoseNotYet

SECOND = 1_000_000_000
CAMERA = Intrinsics(width=64, height=48, fx=60.0, fy=60.0, cx=31.5, cy=23.5)


class KnownUntil:
    """A camera at rest whose pose is known from ``first_ns`` up to ``last_ns``."""

    def __init__(self, last_ns, first_ns=0, T=None):
        self.first_ns, self.last_ns = first_ns, last_ns
        self.T = np.eye(4) if T is None else T

    def at(self, stamp_ns, camera_frame):
        if stamp_ns < self.first_ns:
            raise PoseNever(f"{stamp_ns} is before the first pose")
        if stamp_ns > self.last_ns:
            raise PoseNotYet(f"newest pose is {self.last_ns}")
        return self.T


def wall_frame(stamp_ns, depth=1.0, label=7):
    return Frame(
        stamp_ns,
        "camera",
        CAMERA,
        depth=np.full(CAMERA.shape, depth, np.float32),
        labels=np.full(CAMERA.shape, label, np.uint8),
    )


def outcomes(mapper):
    return [(row.stamp_ns, row.outcome) for row in mapper.ledger.rows]


def test_frame_waits_for_its_pose():
    mapper = Mapper(MapperConfig())
    mapper.add(wall_frame(10))
    assert mapper.integrate_ready(KnownUntil(9)) == 0 and mapper.waiting == 1
    assert mapper.integrate_ready(KnownUntil(10)) == 1 and mapper.waiting == 0
    assert outcomes(mapper) == [(10, Outcome.FUSED)]
    assert len(mapper.volume.extract_cloud(min_weight=1)) > 100


def test_frame_without_pose_gives_up_after_the_configured_wait():
    mapper = Mapper(MapperConfig(wait_for_transform=0.2))
    mapper.add(wall_frame(1 * SECOND))
    mapper.add(wall_frame(1 * SECOND + SECOND // 10))
    mapper.integrate_ready(KnownUntil(0))
    assert mapper.waiting == 2
    mapper.add(wall_frame(1 * SECOND + SECOND // 4))
    mapper.integrate_ready(KnownUntil(0))
    assert outcomes(mapper) == [(SECOND, Outcome.POSE_TIMEOUT)]
    mapper.finish()
    assert mapper.ledger.counts() == {"pose_timeout": 1, "shutdown": 2}


def test_frame_before_the_trajectory_does_not_hold_up_the_others():
    mapper = Mapper(MapperConfig())
    mapper.add(wall_frame(1))
    mapper.add(wall_frame(20))
    mapper.integrate_ready(KnownUntil(100, first_ns=10))
    assert outcomes(mapper) == [(1, Outcome.POSE_NEVER), (20, Outcome.FUSED)]


@pytest.mark.parametrize(
    ("depth", "outcome"),
    [
        (0.0, Outcome.DEPTH_EMPTY),
        (np.nan, Outcome.DEPTH_EMPTY),
        (np.inf, Outcome.DEPTH_EMPTY),
        (9.0, Outcome.DEPTH_EMPTY),
        (1500.0, Outcome.DEPTH_UNIT),
    ],
)
def test_depth_that_cannot_be_fused_leaves_the_map_as_it_was(depth, outcome):
    mapper = Mapper(MapperConfig())
    mapper.add(wall_frame(1))
    mapper.integrate_ready(KnownUntil(100))
    before = mapper.volume.state_hash()
    mapper.add(wall_frame(2, depth=depth))
    mapper.integrate_ready(KnownUntil(100))
    assert outcomes(mapper) == [(1, Outcome.FUSED), (2, outcome)]
    assert mapper.volume.state_hash() == before


def test_pose_that_is_not_rigid_is_counted():
    mapper = Mapper(MapperConfig())
    mapper.add(wall_frame(1))
    mapper.integrate_ready(KnownUntil(100, T=np.diag([2.0, 2, 2, 1])))
    assert outcomes(mapper) == [(1, Outcome.BAD_POSE)]


def test_full_volume_is_counted_and_keeps_what_it_has():
    mapper = Mapper(MapperConfig(voxel_size=0.01, memory_limit_mb=64, max_depth=20.0))
    mapper.add(wall_frame(1))
    mapper.integrate_ready(KnownUntil(100))
    before = mapper.volume.state_hash()
    mapper.add(wall_frame(2, depth=19.0))
    mapper.integrate_ready(KnownUntil(100))
    assert outcomes(mapper) == [(1, Outcome.FUSED), (2, Outcome.VOLUME_FULL)]
    assert mapper.volume.state_hash() == before


def test_rate_limit_keeps_the_mean_rate_under_jitter():
    mapper = Mapper(MapperConfig(max_integration_rate_hz=10.0))
    rng = np.random.default_rng(0)
    stamps = np.arange(60) * SECOND // 30 + rng.integers(-3_000_000, 3_000_000, 60) + SECOND
    for stamp in stamps.tolist():
        mapper.add(wall_frame(stamp))
        mapper.integrate_ready(KnownUntil(10 * SECOND))
    assert 19 <= mapper.ledger.fused <= 21
    assert mapper.ledger.counts()["rate_limit"] == 60 - mapper.ledger.fused


def test_rate_limit_at_the_camera_rate_drops_nothing():
    mapper = Mapper(MapperConfig(max_integration_rate_hz=30.0))
    rng = np.random.default_rng(0)
    stamps = np.arange(60) * SECOND // 30 + rng.integers(-3_000_000, 3_000_000, 60) + SECOND
    for stamp in stamps.tolist():
        mapper.add(wall_frame(stamp))
        mapper.integrate_ready(KnownUntil(10 * SECOND))
    assert mapper.ledger.counts() == {"fused": 60}


def test_poses_of_a_clock_that_jumped_back_are_in_order_of_stamp_each_once():
    mapper = Mapper(MapperConfig())
    for stamp_ns, x in ((5 * SECOND, 0.0), (7 * SECOND, 0.1), (5 * SECOND, 0.2), (6 * SECOND, 0.3)):
        mapper.add(wall_frame(stamp_ns))
        T = np.eye(4)
        T[0, 3] = x
        assert mapper.integrate_ready(KnownUntil(9 * SECOND, T=T)) == 1
    assert [(s // SECOND, T[0, 3]) for s, T in mapper.poses_by_stamp()] == [
        (5, 0.2),
        (6, 0.3),
        (7, 0.1),
    ]


def test_reset_empties_the_map_and_keeps_the_account():
    mapper = Mapper(MapperConfig())
    mapper.add(wall_frame(1))
    mapper.integrate_ready(KnownUntil(100))
    mapper.add(wall_frame(2))
    mapper.reset()
    assert mapper.volume.block_count == 0 and mapper.trajectory == []
    assert mapper.ledger.counts() == {"fused": 1, "reset": 1}
    mapper.add(wall_frame(1))
    assert mapper.integrate_ready(KnownUntil(100)) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"wait_for_transform": -1.0},
        {"sync_queue_size": 0},
        {"global_frame": ""},
        {"max_integration_rate_hz": -1.0},
        {"voxel_size": 0.0},
    ],
)
def test_impossible_parameters_are_named(values):
    with pytest.raises(InvalidInput, match=next(iter(values))):
        MapperConfig(**values)
