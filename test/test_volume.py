# SPDX-License-Identifier: Apache-2.0

from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.conventions import Intrinsics, InvalidInput
from slam_fusion.frame import Frame
from slam_fusion.tsdf.block_store import BLOCK_BYTES
from slam_fusion.tsdf.kernels_blocks import touched_blocks
from slam_fusion.tsdf.kernels_integrate import integrate_blocks
from slam_fusion.volume import SemanticVolume, VolumeConfig, VolumeFull, VolumeState

CAMERA = Intrinsics(width=160, height=120, fx=150.0, fy=150.0, cx=79.5, cy=59.5)
CONFIG = VolumeConfig(voxel_size=0.02, memory_limit_mb=256)


def fake_frame(depth, color=None, labels=None, confidence=None, camera=CAMERA) -> Frame:
    def image(value, dtype, *channels):
        if value is None:
            return None
        full = np.broadcast_to(np.asarray(value, dtype), (*camera.shape, *channels))
        return np.array(full, order="C")

    return Frame(
        stamp_ns=0,
        camera_frame="",
        intrinsics=camera,
        depth=image(depth, np.float32),
        color=image(color, np.uint8, 3),
        labels=image(labels, np.uint8),
        confidence=image(confidence, np.float32),
    )


def fused(*frames: Frame, config: VolumeConfig = CONFIG, T=None) -> SemanticVolume:
    volume = SemanticVolume(config)
    for frame in frames:
        volume.integrate(frame, np.eye(4) if T is None else T)
    return volume


def rays(camera=CAMERA) -> np.ndarray:
    v, u = np.indices(camera.shape)
    x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    return np.stack([x, y, np.ones_like(x)], axis=-1)  # (H, W, 3), z == 1


def depth_of_plane(normal, offset, T_world_camera, camera=CAMERA) -> np.ndarray:
    """Exact depth of the plane ``normal . p == offset`` (world), 0 where it is not in view."""
    directions = rays(camera) @ T_world_camera[:3, :3].T
    with np.errstate(divide="ignore"):
        depth = (offset - normal @ T_world_camera[:3, 3]) / (directions @ normal)
    return np.where((depth > 0) & (depth < 100), depth, 0).astype(np.float32)


def looking_from(position, yaw: float) -> np.ndarray:
    T = np.eye(4)
    c, s = np.cos(yaw), np.sin(yaw)
    T[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    T[:3, 3] = position
    return T


# Geometry


@pytest.mark.parametrize("extract", ["extract_cloud", "extract_mesh"])
def test_plane_is_recovered_within_half_a_voxel_by_a_moving_camera(extract):
    normal, offset = np.array([0.1, -0.2, 1.0]) / np.sqrt(1.05), 1.2
    volume = SemanticVolume(CONFIG)
    for x, yaw in ((-0.3, 0.2), (0.0, 0.0), (0.2, -0.1), (0.4, -0.3)):
        T = looking_from([x, 0.05, 0.1], yaw)
        volume.integrate(fake_frame(depth_of_plane(normal, offset, T)), T)
    surface = getattr(volume, extract)(min_weight=2)
    error = np.abs(surface.positions @ normal - offset)
    assert len(surface) > 2000
    assert error.max() < 0.5 * CONFIG.voxel_size and error.mean() < 0.05 * CONFIG.voxel_size


def test_pixel_centres_are_at_integers_so_a_plane_has_no_sideways_bias():
    # A steep plane turns a half-pixel error into a depth error of a fixed sign.
    normal, offset = np.array([0.7, 0.0, 0.7]) / np.hypot(0.7, 0.7), 0.9
    volume = fused(fake_frame(depth_of_plane(normal, offset, np.eye(4))))
    surface = volume.extract_cloud(min_weight=1)
    assert abs(np.mean(surface.positions @ normal - offset)) < 0.02 * CONFIG.voxel_size


def test_sphere_is_recovered_within_half_a_voxel():
    centre, radius = np.array([0.05, -0.03, 1.0]), 0.3
    b = rays() @ centre
    a = np.sum(rays() ** 2, axis=-1)
    discriminant = b**2 - a * (centre @ centre - radius**2)
    depth = np.where(discriminant > 0, (b - np.sqrt(np.maximum(discriminant, 0))) / a, 0)
    surface = fused(fake_frame(depth)).extract_cloud(min_weight=1)
    outward = surface.positions - centre
    error = np.abs(np.linalg.norm(outward, axis=1) - radius)
    # Where rays graze the rim, distance along the ray is not distance to the sphere.
    facing = outward[:, 2] < -0.6 * radius
    assert facing.sum() > 500 and error[facing].max() < 0.5 * CONFIG.voxel_size


def test_normals_and_triangles_face_the_camera():
    volume = fused(fake_frame(1.0))
    cloud, mesh = volume.extract_cloud(min_weight=1), volume.extract_mesh(min_weight=1)
    assert np.allclose(cloud.normals, [0, 0, -1], atol=1e-3)
    assert np.allclose(mesh.normals, [0, 0, -1], atol=1e-3)
    a, b, c = mesh.positions[mesh.triangles].transpose(1, 0, 2)
    assert np.all(np.cross(b - a, c - a)[:, 2] < 0)


def test_pose_maps_camera_to_world():
    T = looking_from([1.0, 2.0, 3.0], np.pi / 2)  # looks along world +x
    surface = fused(fake_frame(1.0), T=T).extract_cloud(min_weight=1)
    assert np.allclose(surface.positions[:, 0], 2.0, atol=1e-3)
    assert abs(surface.positions[:, 1].mean() - 2.0) < 0.02


def test_far_from_the_origin_the_surface_is_as_exact():
    T = looking_from([5000.0, 0.0, 0.0], 0.0)
    surface = fused(fake_frame(1.0), T=T).extract_cloud(min_weight=1)
    assert np.allclose(surface.positions[:, 2], 1.0, atol=1e-3)
    assert abs(surface.positions[:, 0].mean() - 5000) < 0.02


@pytest.mark.parametrize("depth", [np.nan, np.inf, -np.inf, 0.0, -1.0, 0.29, 2.01])
def test_depth_that_is_unknown_or_out_of_range_changes_nothing(depth):
    config = VolumeConfig(voxel_size=0.02, min_depth=0.3, max_depth=2.0, memory_limit_mb=64)
    volume = fused(fake_frame(1.0), config=config)
    before = volume.state_hash()
    assert volume.integrate(fake_frame(depth, color=9, labels=3), np.eye(4)) == 0
    assert volume.state_hash() == before


def test_unknown_pixels_leave_a_hole_and_nothing_else():
    depth = np.full(CAMERA.shape, 1.0, np.float32)
    depth[:, :80] = np.nan
    surface = fused(fake_frame(depth)).extract_cloud(min_weight=1)
    assert surface.positions[:, 0].min() > -CONFIG.voxel_size
    assert np.allclose(surface.positions[:, 2], 1.0, atol=1e-4)


@pytest.mark.parametrize("depth", [0.5, 1.0, 1.28])
def test_surface_through_voxel_centres_has_no_hole(depth):
    config = VolumeConfig(voxel_size=0.25 / 16, memory_limit_mb=64)  # exact in binary
    mesh = fused(fake_frame(depth), config=config).extract_mesh(min_weight=1)
    a, b, c = mesh.positions[mesh.triangles].transpose(1, 0, 2)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    in_view = (CAMERA.width - 1) * (CAMERA.height - 1) * (depth / CAMERA.fx) ** 2
    assert area == pytest.approx(in_view, rel=0.1)
    assert np.allclose(mesh.positions[:, 2], depth, atol=1e-4)


def test_cameras_of_other_sizes_fuse_into_one_surface():
    other = Intrinsics(width=97, height=73, fx=80.0, fy=81.0, cx=50.0, cy=33.0)
    volume = fused(fake_frame(1.0), fake_frame(1.0, camera=other))
    assert np.allclose(volume.extract_cloud(min_weight=2).positions[:, 2], 1.0, atol=1e-4)


def test_min_weight_is_the_least_count_of_observations():
    volume = fused(fake_frame(1.0), fake_frame(1.0))
    assert len(volume.extract_cloud(min_weight=2)) > 0
    assert len(volume.extract_cloud(min_weight=3)) == 0
    assert len(volume.extract_mesh(min_weight=3)) == 0


def test_small_voxels_leave_no_gap_between_pixels():
    config = VolumeConfig(voxel_size=0.004, memory_limit_mb=512)
    mesh = fused(fake_frame(0.8), config=config).extract_mesh(min_weight=1)
    a, b, c = mesh.positions[mesh.triangles].transpose(1, 0, 2)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    in_view = (CAMERA.width - 1) * (CAMERA.height - 1) * (0.8 / CAMERA.fx) ** 2
    assert area == pytest.approx(in_view, rel=0.03)


# Colour and labels


def test_color_is_the_mean_of_what_was_seen():
    frames = [fake_frame(1.0, color=[value, 255 - value, 7]) for value in range(10, 51)]
    surface = fused(*frames).extract_cloud(min_weight=1)
    assert np.all(surface.colors == [30, 225, 7])


@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_a_constant_color_neither_darkens_nor_drifts(value):
    frame = fake_frame(1.0, color=value)
    surface = fused(*[frame] * 100).extract_cloud(min_weight=1)
    assert np.all(surface.colors == value)


def test_frames_without_color_or_labels_give_grey_and_unlabelled():
    surface = fused(fake_frame(1.0)).extract_mesh(min_weight=1)
    assert np.all(surface.colors == 128)
    assert np.all(surface.labels == 255) and np.all(surface.confidence == 0)


def test_label_noise_of_thirty_percent_is_voted_away():
    rng = np.random.default_rng(0)
    truth = np.where(np.arange(CAMERA.width) < 80, 5, 250) * np.ones(CAMERA.shape, int)
    volume = SemanticVolume(CONFIG)
    for _ in range(25):
        flipped = rng.random(CAMERA.shape) < 0.3
        labels = np.where(flipped, rng.integers(0, 254, CAMERA.shape), truth)
        volume.integrate(fake_frame(1.0, labels=labels), np.eye(4))
    surface = volume.extract_cloud(min_weight=1)
    inside = np.abs(surface.positions[:, 0]) > 2 * CONFIG.voxel_size
    want = np.where(surface.positions[:, 0] < 0, 5, 250)
    assert np.mean(surface.labels[inside] == want[inside]) > 0.999


def test_confidence_weighs_the_votes():
    doubtful, certain = fake_frame(1.0, labels=1, confidence=0.25), fake_frame(1.0, labels=2)
    surface = fused(doubtful, doubtful, certain).extract_cloud(min_weight=1)
    assert np.all(surface.labels == 2)
    assert np.all(fused(doubtful, doubtful).extract_cloud(min_weight=1).labels == 1)


def test_the_map_is_surer_of_what_more_views_say_and_less_of_what_they_dispute():
    def confidence(*labels):
        frames = [fake_frame(1.0, labels=label) for label in labels]
        return fused(*frames).extract_cloud(min_weight=1).confidence

    disputed, once, often = confidence(2, 1, 2), confidence(2), confidence(*[2] * 20)
    assert disputed.max() < once.min() and once.max() < often.min()
    assert disputed.min() > 0.5 and often.max() < 1


@pytest.mark.parametrize("label", [254, 255])
def test_unlabelled_pixels_add_no_evidence(label):
    labelled, unlabelled = fake_frame(1.0, labels=7), fake_frame(1.0, labels=label)
    both = fused(labelled, unlabelled).extract_cloud(min_weight=1)
    alone = fused(labelled).extract_cloud(min_weight=1)
    assert np.all(both.labels == 7) and np.allclose(both.confidence, alone.confidence, atol=1e-4)
    nothing = fused(unlabelled).extract_cloud(min_weight=1)
    assert np.all(nothing.labels == 255) and np.all(nothing.confidence == 0)


def test_labels_do_not_reach_a_wall_behind_the_object():
    wall, box = 1.2, 1.05  # metres; the gap is wider than the label band, not than truncation
    near = np.abs(np.arange(CAMERA.width) - 80) < 20
    depth = np.where(near, box, wall) * np.ones(CAMERA.shape)
    labels = np.where(near, 1, 2) * np.ones(CAMERA.shape, int)
    surface = fused(fake_frame(depth, labels=labels)).extract_cloud(min_weight=1)
    on_wall = surface.positions[:, 2] > wall - CONFIG.voxel_size
    on_box = np.abs(surface.positions[:, 2] - box) < CONFIG.voxel_size
    assert on_wall.sum() > 500 and np.all(surface.labels[on_wall] == 2)
    assert on_box.sum() > 200 and np.all(surface.labels[on_box] == 1)


def test_number_of_classes_costs_no_memory():
    rng = np.random.default_rng(0)
    few, many = SemanticVolume(CONFIG), SemanticVolume(CONFIG)
    for _ in range(3):
        few.integrate(fake_frame(1.0, labels=rng.integers(0, 2, CAMERA.shape)), np.eye(4))
        many.integrate(fake_frame(1.0, labels=rng.integers(0, 250, CAMERA.shape)), np.eye(4))
    assert few.memory_bytes == many.memory_bytes
    assert few.bytes_per_voxel == many.bytes_per_voxel == 24
    state = many.to_state()
    arrays = (state.tsdf, state.weight, state.color, state.label, state.evidence)
    assert sum(array.nbytes for array in arrays) == many.block_count * BLOCK_BYTES


# Memory


def test_full_volume_refuses_the_frame_and_keeps_the_map():
    config = VolumeConfig(voxel_size=0.01, memory_limit_mb=10)  # 106 blocks
    volume = fused(fake_frame(0.5, color=9, labels=1), config=config)
    before, surface = volume.state_hash(), volume.extract_mesh(min_weight=1)
    with pytest.raises(VolumeFull, match="memory_limit_mb allows 106"):
        volume.integrate(fake_frame(2.0, color=200, labels=2), np.eye(4))
    assert volume.state_hash() == before
    assert np.array_equal(volume.extract_mesh(min_weight=1).positions, surface.positions)
    assert volume.integrate(fake_frame(0.5, color=9, labels=1), np.eye(4)) > 0


def test_growth_keeps_every_value_and_stays_within_the_limit():
    config = VolumeConfig(voxel_size=0.005, memory_limit_mb=160)  # 1706 blocks
    volume = fused(fake_frame(1.5, color=50, labels=3), config=config)
    before, capacity = volume.to_state(), volume.block_capacity
    volume.integrate(fake_frame(1.5, color=50, labels=3), looking_from([6.0, 0, 0], 0.0))
    assert capacity == 1024 < volume.block_count <= volume.block_capacity <= 1706
    after = volume.to_state()
    index = {tuple(key): row for row, key in enumerate(after.block_keys.tolist())}
    rows = [index[tuple(key)] for key in before.block_keys.tolist()]
    for name in ("tsdf", "weight", "color", "label", "evidence"):
        assert np.array_equal(getattr(after, name)[rows], getattr(before, name))
    assert np.allclose(volume.extract_mesh(min_weight=1).positions[:, 2], 1.5, atol=1e-3)


def test_reset_empties_the_volume_and_frees_its_memory():
    config = VolumeConfig(voxel_size=0.005, memory_limit_mb=400)
    volume = fused(fake_frame(1.5), config=config)
    volume.integrate(fake_frame(1.5), looking_from([6.0, 0, 0], 0.0))
    assert volume.block_capacity > 1024
    volume.reset()
    assert volume.block_count == 0 and volume.block_capacity == 1024
    assert len(volume.extract_cloud(min_weight=1)) == 0


def test_empty_volume_has_an_empty_surface():
    volume = SemanticVolume(CONFIG)
    for surface in (volume.extract_cloud(), volume.extract_mesh()):
        assert len(surface) == 0 and surface.triangles.shape == (0, 3)
    keys, labels = volume.occupied_voxels()
    assert keys.shape == (0, 3) and labels.shape == (0,)
    assert volume.state_hash() == SemanticVolume(CONFIG).state_hash()


# Determinism and state


def fake_walk() -> list[tuple[Frame, np.ndarray]]:
    rng = np.random.default_rng(1)
    walk = []
    for x in (-0.4, 0.0, 0.4):
        T = looking_from([x, 0, 0], x / 2)
        depth = depth_of_plane(np.array([0.0, 0.0, 1.0]), 1.3, T)
        depth += rng.normal(0, 0.005, depth.shape).astype(np.float32)
        color, labels = rng.integers(0, 256, (120, 160, 3)), rng.integers(0, 40, CAMERA.shape)
        walk.append((fake_frame(depth, color, labels, rng.random(CAMERA.shape)), T))
    return walk


def test_two_runs_give_the_same_hash_and_byte_equal_surfaces():
    surfaces, hashes = [], []
    for _ in range(2):
        volume = SemanticVolume(CONFIG)
        for frame, T in fake_walk():
            volume.integrate(frame, T)
        hashes.append(volume.state_hash())
        surfaces.append(volume.extract_mesh(min_weight=1))
    assert hashes[0] == hashes[1]
    for name in ("positions", "normals", "colors", "labels", "confidence", "triangles"):
        assert getattr(surfaces[0], name).tobytes() == getattr(surfaces[1], name).tobytes()


def test_hash_does_not_depend_on_the_order_of_separate_places_but_on_content():
    here, there = fake_frame(1.0, labels=1), fake_frame(1.0, labels=2)
    T_there = looking_from([10.0, 0, 0], 0.0)
    first, second, third = (SemanticVolume(CONFIG) for _ in range(3))
    first.integrate(here, np.eye(4))
    first.integrate(there, T_there)
    second.integrate(there, T_there)
    second.integrate(here, np.eye(4))
    third.integrate(here, T_there)
    third.integrate(there, np.eye(4))
    assert first.state_hash() == second.state_hash() != third.state_hash()


def test_surface_rows_are_sorted_and_triangles_sound():
    volume = SemanticVolume(CONFIG)
    for frame, T in fake_walk():
        volume.integrate(frame, T)
    mesh = volume.extract_mesh(min_weight=1)
    order = np.lexsort(mesh.positions.T[::-1])
    assert np.array_equal(order, np.arange(len(mesh)))
    assert len(np.unique(mesh.positions, axis=0)) == len(mesh)
    assert np.all(mesh.triangles[:, :1] <= mesh.triangles)
    assert np.array_equal(np.lexsort(mesh.triangles.T[::-1]), np.arange(len(mesh.triangles)))
    a, b, c = mesh.positions[mesh.triangles].transpose(1, 0, 2)
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).min() > 0


def test_state_round_trip_goes_on_fusing_as_if_never_stopped():
    straight, stopped = SemanticVolume(CONFIG), SemanticVolume(CONFIG)
    for frame, T in fake_walk():
        straight.integrate(frame, T)
        stopped.integrate(frame, T)
        stopped = SemanticVolume.from_state(stopped.to_state())
    assert stopped.state_hash() == straight.state_hash()
    assert SemanticVolume.from_state(SemanticVolume(CONFIG).to_state()).block_count == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tsdf", np.full((1, 16, 16, 16), np.nan, np.float32)),
        ("weight", np.zeros((1, 16, 16, 16), np.int32)),
        ("label", np.zeros((1, 16, 16, 16, 3), np.uint8)),
        ("block_keys", np.full((1, 3), 2**30, np.int32)),
        ("block_keys", np.zeros((2, 3), np.int32)),
    ],
)
def test_state_that_is_not_a_volume_is_refused(name, value):
    cube = (1, 16, 16, 16)
    arrays = {
        "block_keys": np.zeros((1, 3), np.int32),
        "tsdf": np.zeros(cube, np.float32),
        "weight": np.zeros(cube, np.uint16),
        "color": np.zeros((*cube, 3), np.uint16),
        "label": np.zeros((*cube, 4), np.uint8),
        "evidence": np.zeros((*cube, 4), np.uint16),
    }
    VolumeState(CONFIG, **arrays)
    with pytest.raises(InvalidInput):
        VolumeState(CONFIG, **(arrays | {name: value}))


def test_occupied_voxels_lie_on_the_plane():
    keys, labels = fused(fake_frame(1.01, labels=4)).occupied_voxels()
    assert set(keys[:, 2].tolist()) == {50, 51}
    assert np.array_equal(np.lexsort(keys.T[::-1]), np.arange(len(keys)))
    assert keys.dtype == np.int32 and np.all(labels == 4)


# The door


@pytest.mark.parametrize(
    "bad",
    [
        {"voxel_size": 0.0},
        {"voxel_size": float("nan")},
        {"truncation_voxels": 0.5},
        {"min_depth": 5.0},
        {"max_depth": -1.0},
        {"memory_limit_mb": 0},
        {"memory_limit_mb": 1.5},
    ],
)
def test_parameters_that_cannot_work_are_refused_by_name(bad):
    with pytest.raises(InvalidInput, match=next(iter(bad))):
        VolumeConfig(**bad)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
def test_pose_that_is_no_place_is_refused(value):
    volume = SemanticVolume(CONFIG)
    with pytest.raises(InvalidInput, match="T_world_camera"):
        volume.integrate(fake_frame(1.0), looking_from([value, 0, 0], 0.0))
    assert volume.block_count == 0


def test_any_layout_of_the_images_gives_the_same_map_without_compiling_anew():
    rng = np.random.default_rng(2)
    plain = fake_frame(
        rng.uniform(0.9, 1.1, CAMERA.shape),
        rng.integers(0, 256, (120, 160, 3)),
        rng.integers(0, 9, CAMERA.shape),
        rng.random(CAMERA.shape),
    )
    want, T = fused(plain).state_hash(), np.eye(4)
    kernels = (touched_blocks, integrate_blocks)
    compiled = [len(kernel.signatures) for kernel in kernels]

    def strided(image):
        return np.repeat(image, 2, axis=1)[:, ::2]

    def read_only(image):
        return np.frombuffer(image.tobytes(), image.dtype).reshape(image.shape)

    def unaligned(image):
        return np.frombuffer(b"x" + image.tobytes(), image.dtype, offset=1).reshape(image.shape)

    for layout in (strided, read_only, unaligned):
        images = {n: layout(getattr(plain, n)) for n in ("depth", "color", "labels", "confidence")}
        for pose in (T, np.asfortranarray(T), T.astype(np.float32)):
            assert fused(replace(plain, **images), T=pose).state_hash() == want
    assert fused(plain).state_hash() == want and plain.depth.flags.writeable
    assert [len(kernel.signatures) for kernel in kernels] == compiled


def test_repr_tells_the_parameters():
    assert "voxel_size=0.02" in repr(SemanticVolume(CONFIG))


def test_warm_up_compiles_without_a_trace():
    SemanticVolume.warm_up()
