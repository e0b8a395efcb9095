# SPDX-License-Identifier: Apache-2.0
"""What leaves the scene leaves the map, what stays stays, and classes are what they are told."""

from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.conventions import UNLABELLED, Intrinsics, InvalidInput
from mtl_perception.labels import LABEL_SETS, LabelClass, LabelSet
from slam_fusion.depth.clearance import STEP, clearance
from slam_fusion.frame import Frame
from slam_fusion.ledger import Outcome
from slam_fusion.mapper import Mapper, MapperConfig
from slam_fusion.output.map_io import snapshot
from slam_fusion.policies import ClassPolicies, PolicyConfig
from slam_fusion.volume import SemanticVolume

CAMERA = Intrinsics(width=160, height=120, fx=140.0, fy=140.0, cx=79.5, cy=59.5)
ROOM = np.array([[-2.0, -1.2, -1.5], [2.0, 1.2, 2.5]])  # its corners, y down, metres
WALL, PERSON, CHAIR, MIRROR = range(4)
LABELS = LabelSet(
    "four",
    tuple(
        LabelClass(i, name, (40 * i, 90, 200))
        for i, name in enumerate(("wall", "person", "chair", "mirror"))
    ),
)
CONFIG = MapperConfig(voxel_size=0.05, device="cpu")
FAR = 0.08  # metres from the walls: another surface than they


def body(x: float, z: float, class_id: int, size=(0.4, 1.8, 0.3)) -> tuple[np.ndarray, int]:
    """An upright box on the floor: its corners, and what it is."""
    half = np.array([size[0], 0, size[2]]) / 2
    foot = np.array([x, ROOM[1, 1], z])
    return np.array([foot - half - [0, size[1], 0], foot + half]), class_id


def see(T_world_camera: np.ndarray, *bodies: tuple[np.ndarray, int]) -> tuple[np.ndarray, ...]:
    """Exact depth and labels of the room from inside, with boxes in it."""
    v, u = np.indices(CAMERA.shape)
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, 0 * u + 1.0], -1)
    rays = rays @ T_world_camera[:3, :3].T
    with np.errstate(divide="ignore"):
        ends = (ROOM - T_world_camera[:3, 3])[:, None, None] / rays
    depth = ends.max(axis=0).min(axis=-1)
    labels = np.full(CAMERA.shape, WALL, np.uint8)
    for corners, class_id in bodies:
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = (corners - T_world_camera[:3, 3])[:, None, None] / rays
        enter, leave = ends.min(axis=0).max(axis=-1), ends.max(axis=0).min(axis=-1)
        hit = (enter < leave) & (enter > 0.05) & (enter < depth)
        depth, labels = np.where(hit, enter, depth), np.where(hit, class_id, labels)
    return depth.astype(np.float32), labels.astype(np.uint8)


def turned(yaw: float, position=(0.0, 0.0, 0.0)) -> np.ndarray:
    T = np.eye(4)
    c, s = np.cos(yaw), np.sin(yaw)
    T[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    T[:3, 3] = position
    return T


class At:
    """The pose of the frame that is added next."""

    def at(self, stamp_ns, camera_frame):
        return self.T


class Scene:
    """A mapper, and the room in front of its camera."""

    def __init__(self, config=CONFIG, label_set=LABELS):
        self.mapper, self.poses, self.count = Mapper(config, label_set), At(), 0

    def look(self, *bodies, yaw=0.0, position=(0.0, 0.0, 0.0), labels=None, **images):
        self.poses.T, self.count = turned(yaw, position), self.count + 1
        depth, true_labels = see(self.poses.T, *bodies)
        images = {"depth": depth, "labels": true_labels if labels is None else labels} | images
        self.mapper.add(Frame(self.count, "camera", CAMERA, **images))
        return self.mapper.integrate_ready(self.poses)

    def look_round(self):
        """Look at where bodies were, those at the image's edge as well."""
        for i in range(40):
            self.look(yaw=0.4 * np.sin(i / 3), position=(0.0, 0.0, -0.6 * (i % 2)))

    def far_from_walls(self, min_weight=1) -> np.ndarray:
        """Vertices of the map that are no part of the room's walls, floor and ceiling."""
        mesh = self.mapper.volume.extract_mesh(min_weight)
        return mesh.positions[np.abs(mesh.positions[:, None] - ROOM).min(axis=(1, 2)) > FAR]


UNKNOWN = np.full(CAMERA.shape, UNLABELLED, np.uint8)
WAY = [(-1.6 + 0.1 * i, 1.2) for i in range(33)]  # of somebody who walks past


# People


def test_who_walks_past_and_is_known_as_a_person_is_never_in_the_map():
    scene = Scene()
    for x, z in WAY:
        scene.look(body(x, z, PERSON))
        assert len(scene.far_from_walls()) == 0
    assert PERSON not in scene.mapper.volume.extract_mesh(1).labels


def test_who_walks_past_unrecognised_leaves_no_ghost():
    ghosts = {}
    for carve in (True, False):
        scene = Scene(replace(CONFIG, carve_free_space=carve))
        for x, z in WAY:
            scene.look(body(x, z, PERSON), labels=UNKNOWN)
        before = len(scene.far_from_walls())
        scene.look_round()
        ghosts[carve] = before, len(scene.far_from_walls())
    assert ghosts[True][1] == 0 and ghosts[True][0] < ghosts[False][0]
    assert ghosts[False][1] > 100  # they stay without it


def test_who_stood_for_long_is_gone_ten_clear_views_later():
    scene = Scene()
    for _ in range(100):
        scene.look(body(0.3, 1.2, PERSON), labels=UNKNOWN)
    assert len(scene.far_from_walls()) > 100
    for _ in range(10):
        scene.look()
    assert len(scene.far_from_walls(min_weight=3)) == 0


def test_a_ghost_that_waits_on_disk_is_gone_when_seen_through():
    config = replace(CONFIG, voxel_size=0.02, memory_limit_mb=20)
    scene = Scene(config)
    for _ in range(5):
        scene.look(body(0.0, 1.5, PERSON), labels=UNKNOWN)
    for yaw in (1.6, 3.1, 4.7, 2.3, 3.9):
        scene.look(yaw=yaw)
    assert scene.mapper.volume.paged_count > 0
    page_ins = scene.mapper.volume.page_ins
    scene.look_round()
    assert scene.mapper.volume.page_ins > page_ins
    assert len(scene.far_from_walls(min_weight=3)) == 0


def test_a_ghost_behind_a_person_who_stands_there_now_is_kept_and_before_him_cleared():
    scene = Scene()
    for z in (0.9, 2.0):
        for _ in range(10):
            scene.look(body(0.0, z, CHAIR, size=(0.5, 1.6, 0.1)))
    for _ in range(30):
        scene.look(body(0.0, 1.5, PERSON, size=(1.0, 2.0, 0.1)))
    # The person is not part of the map; what is before him is free, behind him is not seen.
    left = scene.far_from_walls()
    x, y, z = left[np.all(np.abs(left[:, :2]) < 0.3 * left[:, 2:], axis=1)].T  # not at the edge
    assert len(z) > 50 and z.min() > 1.9


# What stays


def test_what_stays_is_not_worn_away_by_noise_and_by_poses_that_are_off():
    chair = body(0.4, 1.2, CHAIR, size=(0.4, 0.9, 0.4))
    left = {}
    for carve in (True, False):
        scene, rng = Scene(replace(CONFIG, carve_free_space=carve)), np.random.default_rng(0)
        for i in range(80):
            place = rng.normal(0, [0.3, 0.1, 0.1])
            true = turned(0.3 * np.sin(i / 10), place)
            depth, labels = see(true, chair)
            depth = depth * rng.normal(1, 0.005, depth.shape).astype(np.float32)
            scene.look(
                depth=depth,
                labels=labels,
                yaw=0.3 * np.sin(i / 10) + rng.normal(0, 0.004),
                position=place + rng.normal(0, 0.01, 3),
            )
        left[carve] = len(scene.far_from_walls(min_weight=3))
    assert left[True] > 0.95 * left[False] > 200


def test_thin_things_that_the_sensor_does_not_measure_are_kept():
    pole = body(0.0, 1.2, CHAIR, size=(0.06, 1.5, 0.06))
    scene = Scene()
    for _ in range(10):
        scene.look(pole)
    before = len(scene.far_from_walls())
    depth, labels = see(turned(0.0), pole)
    for _ in range(50):  # now it is a hole in the depth
        scene.look(depth=np.where(labels == CHAIR, np.float32(0), depth), labels=labels)
    assert len(scene.far_from_walls()) >= 0.95 * before > 50


def test_without_anything_to_clear_no_block_counts_as_changed():
    scene = Scene()
    for _ in range(5):
        scene.look(body(0.0, 1.2, CHAIR))
    volume = scene.mapper.volume
    version, state = volume.version, volume.state_hash()
    clear = clearance(see(turned(0.0), body(0.0, 1.2, CHAIR))[0], CAMERA, 5.0, 0.2, 0.02)
    assert volume.carve(*clear, turned(0.0)) == 0
    assert (volume.version, volume.state_hash()) == (version, state)
    clear = clearance(see(turned(0.0))[0], CAMERA, 5.0, 0.2, 0.02)
    changed = volume.carve(*clear, turned(0.0))
    assert 0 < changed < volume.block_count / 4 and volume.version == version + 1


def test_a_clearing_that_a_damaged_disk_stops_is_told_and_the_frame_is_fused(monkeypatch):
    scene = Scene()
    scene.look()
    from slam_fusion.volume import PageError

    def damaged(*_):
        raise PageError("block (0, 0, 1) is damaged")

    monkeypatch.setattr(SemanticVolume, "carve", damaged)
    assert scene.look() == 1
    row = scene.mapper.ledger.rows[-1]
    assert row.outcome is Outcome.FUSED and "block (0, 0, 1) is damaged" in row.detail


# Policies


def test_what_is_ignored_is_neither_fused_nor_seen_through():
    for policy, entries in (("ignore", ("mirror=ignore",)), ("integrate", ())):
        scene = Scene(replace(CONFIG, class_policies=entries))
        for _ in range(10):
            scene.look(body(0.0, 1.2, CHAIR, size=(0.5, 1.6, 0.1)))
        mirror = np.full(CAMERA.shape, MIRROR, np.uint8)
        fused = sum(scene.look(labels=mirror) for _ in range(30))
        chair_left = len(scene.far_from_walls(min_weight=3))
        if policy == "ignore":
            assert fused == 0 and chair_left > 100
            assert scene.mapper.ledger.counts()[Outcome.DEPTH_EMPTY.value] == 30
        else:
            assert fused == 30 and chair_left == 0


def test_what_decays_is_forgotten_sooner_when_it_has_moved():
    looks = {}
    for entry in ("chair=decay", "chair=integrate"):
        scene = Scene(replace(CONFIG, class_policies=(entry,)))
        for _ in range(60):
            scene.look(body(0.0, 1.2, CHAIR, size=(0.5, 0.9, 0.5)))
        assert len(scene.far_from_walls(min_weight=3)) > 50
        looks[entry] = 0
        while len(scene.far_from_walls(min_weight=3)):
            scene.look(body(1.2, 1.8, WALL, size=(0.1, 0.1, 0.1)))
            looks[entry] += 1
            assert looks[entry] < 60
    assert looks["chair=decay"] <= 0.6 * looks["chair=integrate"]


def test_a_person_is_dynamic_by_default_where_the_label_set_has_one():
    assert PolicyConfig().class_policies == ("person=dynamic",)
    depth = np.full((20, 30), 2.0, np.float32)
    for name, has in (("nyu40", True), ("ade20k32", True), ("kitti6", False)):
        label_set = LABEL_SETS[name]
        labels = np.zeros((20, 30), np.uint8)
        if has:
            labels[:, :5] = label_set.id_of("person")
        policies = ClassPolicies(PolicyConfig().class_policies, label_set)
        surface = policies.surface(depth, labels)
        assert (surface[:, 12:] == 2).all() and (surface[:, :5] == 0).all() == has
        assert policies.looked_at(depth, labels) is depth  # up to a person space is free


def test_a_class_that_the_label_set_lacks_is_named():
    config = replace(CONFIG, class_policies=("persn=dynamic",))
    with pytest.raises(InvalidInput, match="no class 'persn': did you mean 'person'"):
        Mapper(config, LABELS)
    mapper = Mapper(config)  # nothing is known yet
    with pytest.raises(InvalidInput, match="persn"):
        mapper.label_set = LABELS
    assert mapper.label_set is None


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (("person",), "'person' is not a class name, =, and one of integrate, ignore"),
        (("person=gone",), "'person=gone'"),
        (("=dynamic",), "'=dynamic'"),
        (("a=ignore", "a=decay"), "a class comes twice"),
    ],
)
def test_entries_that_are_no_policies_are_named(entries, words):
    with pytest.raises(InvalidInput, match=words):
        PolicyConfig(class_policies=entries)


def test_class_names_may_hold_spaces_and_equal_signs():
    odd = LabelSet("odd", (LabelClass(3, "night = stand", (1, 2, 3)),))
    policies = ClassPolicies(("night = stand = ignore",), odd)
    labels = np.full((9, 9), 3, np.uint8)
    assert not policies.surface(np.ones((9, 9), np.float32), labels).any()


# What is clear


def test_up_to_the_nearest_surface_around_a_pixel_it_is_clear():
    depth = np.full(CAMERA.shape, 3.0, np.float32)
    depth[:, 80:] = 1.5
    depth[:10, :10] = [0, np.nan, np.inf, -1, 0, 0, 0, np.nan, 0, 0]
    depth[100:, :20] = 9.0
    clear, small = clearance(depth, CAMERA, max_depth=4.0, margin=0.1, relative_margin=0.02)
    assert small.shape == clear.shape == (CAMERA.height // STEP, CAMERA.width // STEP)
    at = {
        "left": (50, 40),
        "right": (50, 120),
        "edge": (50, 78),
        "hole": (4, 4),
        "far": (112, 8),
    }
    found = {name: clear[v // STEP, u // STEP] for name, (v, u) in at.items()}
    near, far = 1.5 * 0.98 - 0.1, 3.0 * 0.98 - 0.1
    assert found == pytest.approx(
        {"left": far, "right": near, "edge": near, "hole": 0, "far": 4.0 * 0.98 - 0.1}
    )


def test_the_map_is_the_same_however_often_it_is_made():
    def made() -> str:
        scene = Scene(replace(CONFIG, class_policies=("chair=decay", "person=dynamic")))
        for i, (x, z) in enumerate(WAY[::3]):
            scene.look(body(x, z, PERSON), body(0.5, 1.9, CHAIR), yaw=0.02 * i)
        return snapshot(scene.mapper, {}), scene.mapper.volume.state_hash()

    assert made()[1] == made()[1]
