# SPDX-License-Identifier: Apache-2.0
"""Our kernel against Open3D's own ``integrate`` on the same frames and blocks.

Two conventions differ, and are made equal here. Open3D truncates pixel coordinates where we round
them: it is given a principal point half a pixel further on. It also takes coordinates in -1..0
for pixel 0: the images' borders are made unknown.

What is left is float rounding at pixel borders: a voxel that projects within about 1e-5 pixel of
one may read the neighbour. Tolerance: the same weight on 99.9 % of all voxels, and there distances
within 1e-4 of the truncation on 99.9 %.
"""

import cv2
import numpy as np
import open3d as o3d
import pytest

from mtl_perception.conventions import Intrinsics
from slam_fusion.frame import Frame
from slam_fusion.geometry import check_se3
from slam_fusion.volume import SemanticVolume, VolumeConfig, VolumeState

CONFIG = VolumeConfig(voxel_size=0.02, max_depth=4.0)
KITCHEN = Intrinsics(width=640, height=480, fx=585.0, fy=585.0, cx=320.0, cy=240.0)


def open3d_volume(frames, poses, block_keys) -> tuple[np.ndarray, np.ndarray]:
    """Return Open3D's tsdf and weight, (B, 16, 16, 16) float32, of the blocks asked for."""
    grid = o3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight"),
        (o3d.core.float32, o3d.core.float32),
        ((1), (1)),
        CONFIG.voxel_size,
        16,
        len(block_keys),
        o3d.core.Device("CPU:0"),
    )
    for frame, T_world_camera, keys in zip(frames, poses, block_keys, strict=True):
        K = frame.intrinsics.K
        K[:2, 2] += 0.5
        grid.integrate(
            o3d.core.Tensor(keys),
            o3d.t.geometry.Image(frame.depth),
            o3d.core.Tensor(K),
            o3d.core.Tensor(np.linalg.inv(T_world_camera)),
            1.0,
            CONFIG.max_depth,
            CONFIG.truncation_voxels,
        )
    all_keys = np.unique(np.concatenate(block_keys), axis=0)
    table = grid.hashmap()
    rows = table.find(o3d.core.Tensor(all_keys))[0].numpy()
    return tuple(table.value_tensor(i).numpy()[rows][..., 0] for i in range(2))


def both_volumes(frames, poses) -> tuple[VolumeState, np.ndarray, np.ndarray]:
    volume, block_keys = SemanticVolume(CONFIG), []
    for frame, T_world_camera in zip(frames, poses, strict=True):
        alone = SemanticVolume(CONFIG)
        alone.integrate(frame, T_world_camera)
        block_keys.append(alone.to_state().block_keys)
        volume.integrate(frame, T_world_camera)
    return volume.to_state(), *open3d_volume(frames, poses, block_keys)


def assert_equal_within_tolerance(state: VolumeState, tsdf: np.ndarray, weight: np.ndarray) -> None:
    same_weight = state.weight == weight
    assert np.count_nonzero(weight) > 10_000
    assert same_weight.mean() >= 0.999
    difference = np.abs(state.tsdf - tsdf)[same_weight & (weight > 0)]
    assert np.mean(difference < 1e-4) >= 0.999


def without_border(depth: np.ndarray) -> np.ndarray:
    depth = depth.astype(np.float32)
    depth[[0, -1]] = depth[:, [0, -1]] = 0
    return depth


def test_distance_and_weight_equal_open3d_on_a_wavy_wall():
    camera = Intrinsics(width=160, height=120, fx=150.0, fy=140.0, cx=81.3, cy=57.9)
    v, u = np.indices(camera.shape)
    frames, poses = [], []
    for index in range(4):
        depth = 1.2 + 0.2 * np.sin(u / 20 + index) * np.cos(v / 15)
        depth[40:50, 60:90] = 0
        frames.append(Frame(index, "", camera, without_border(depth)))
        T = np.eye(4)
        T[:3, :3] = cv2.Rodrigues(np.array([0.05, 0.1, -0.07]) * index)[0]
        T[:3, 3] = [0.05 * index, -0.02, 0.03 * index]
        poses.append(T)
    assert_equal_within_tolerance(*both_volumes(frames, poses))


@pytest.fixture
def kitchen(shared_data):
    folder = shared_data / "seven_scenes_kitchen"
    frames, poses = [], []
    for number in range(0, 160, 32):
        millimetres = cv2.imread(
            str(folder / f"frame-{number:06d}.depth.png"), cv2.IMREAD_UNCHANGED
        )
        millimetres[millimetres == 65535] = 0
        frames.append(Frame(number, "", KITCHEN, without_border(millimetres / 1000)))
        # The file rounds its rotations: both sides must get the same rigid transform.
        poses.append(check_se3(np.loadtxt(folder / f"frame-{number:06d}.pose.txt"), "pose"))
    return frames, poses


def test_distance_and_weight_equal_open3d_on_a_real_recording(kitchen):
    assert_equal_within_tolerance(*both_volumes(*kitchen))


def test_our_blocks_cover_open3ds_surface(kitchen):
    frames, poses = kitchen
    grid = o3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight"),
        (o3d.core.float32, o3d.core.float32),
        ((1), (1)),
        CONFIG.voxel_size,
        16,
        100,
        o3d.core.Device("CPU:0"),
    )
    for frame, T_world_camera in zip(frames, poses, strict=True):
        theirs = grid.compute_unique_block_coordinates(
            o3d.t.geometry.Image(frame.depth),
            o3d.core.Tensor(frame.intrinsics.K),
            o3d.core.Tensor(np.linalg.inv(T_world_camera)),
            1.0,
            CONFIG.max_depth,
            CONFIG.truncation_voxels,
        )
        volume = SemanticVolume(CONFIG)
        volume.integrate(frame, T_world_camera)
        ours = set(map(tuple, volume.to_state().block_keys.tolist()))
        theirs = set(map(tuple, theirs.numpy().tolist()))
        assert len(theirs - ours) <= 0.05 * len(theirs)
