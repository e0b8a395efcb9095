# SPDX-License-Identifier: Apache-2.0
"""Our fused integration against Open3D's, frame by frame in turns, on the same real frames.

* ours: block allocation, distance, weight, colour and label evidence (``SemanticVolume``).
* ours, all of it: what the mapper does with a frame, so pixels that fly between surfaces are
  dropped, pixels are weighed, and what the camera sees through is carved out (``FrameFuser``).
* Open3D without labels: its block allocation and its ``integrate`` of depth and colour.
* Open3D with labels from Python: the way its documentation integrates attributes of one's own,
  by tensor operations on all voxels of the blocks; labels as a running mean of one-hot vectors.

The four take turns on every frame, so that a busy machine slows all of them alike.
"""

import time
from collections.abc import Callable

import numpy as np
import open3d as o3d
import open3d.core as o3c

from mtl_perception.labels import LABEL_SETS
from slam_fusion.frame import Frame
from slam_fusion.fusing import FrameFuser
from slam_fusion.mapper import MapperConfig
from slam_fusion.timing import StageTimes
from slam_fusion.tsdf.block_store import BLOCK_VOXELS, BYTES_PER_VOXEL
from slam_fusion.volume import SemanticVolume, VolumeConfig

CLASSES = 40
CONFIG = VolumeConfig(voxel_size=0.02)
BLOCK_COUNT = 700  # room in Open3D's grids: enough for the frames of the bench
PYTHON_EVERY = 8  # the Python way is slow: it takes part in every so-manyeth frame

_CPU = o3c.Device("CPU:0")


class Ours:
    """This package."""

    name = "ours, labels included"
    bytes_per_voxel = BYTES_PER_VOXEL

    def __init__(self) -> None:
        """Compile ahead."""
        SemanticVolume.warm_up()
        self.volume = SemanticVolume(CONFIG)

    def integrate(self, frame: Frame, T_world_camera: np.ndarray) -> int:
        """Fuse one frame; returns the count of its blocks."""
        return self.volume.integrate(frame, T_world_camera)


class OursWithAll:
    """This package, with all that the mapper does to a frame."""

    name = "ours, weighed and carved too"
    bytes_per_voxel = BYTES_PER_VOXEL

    def __init__(self) -> None:
        """Start empty."""
        config = MapperConfig(voxel_size=CONFIG.voxel_size)
        self.volume = SemanticVolume(config)
        self.times = StageTimes()
        self.fuse = FrameFuser(config, self.times)
        self.fuse.use_labels_of(LABEL_SETS["nyu40"])

    def integrate(self, frame: Frame, T_world_camera: np.ndarray) -> int:
        """Fuse one frame; returns the count of the map's blocks."""
        self.fuse(frame, T_world_camera, self.volume)
        return self.volume.block_count


class Open3dGrid:
    """What both of Open3D's ways share."""

    def __init__(self, label_channels: int) -> None:
        """Make an empty grid, with a label attribute when it has channels."""
        names, channels = ["tsdf", "weight", "color"], [1, 1, 3]
        if label_channels:
            names, channels = [*names, "label"], [*channels, label_channels]
        self.bytes_per_voxel = 4 * sum(channels)
        self.grid = o3d.t.geometry.VoxelBlockGrid(
            names,
            [o3c.float32] * len(names),
            [o3c.SizeVector([n]) for n in channels],
            CONFIG.voxel_size,
            16,
            BLOCK_COUNT,
            _CPU,
        )

    def blocks(
        self, depth: o3d.t.geometry.Image, K: o3c.Tensor, extrinsic: o3c.Tensor
    ) -> o3c.Tensor:
        """Return the coordinates of the frame's blocks."""
        return self.grid.compute_unique_block_coordinates(
            depth, K, extrinsic, 1.0, CONFIG.max_depth, CONFIG.truncation_voxels
        )


class Open3dWithoutLabels(Open3dGrid):
    """Open3D's own integration of depth and colour."""

    name = "Open3D integrate, no labels"

    def __init__(self) -> None:
        """Start empty."""
        super().__init__(label_channels=0)

    def integrate(self, frame: Frame, T_world_camera: np.ndarray) -> int:
        """Fuse one frame; returns the count of its blocks."""
        depth, color = o3d.t.geometry.Image(frame.depth), o3d.t.geometry.Image(frame.color)
        K, extrinsic = o3c.Tensor(frame.intrinsics.K), o3c.Tensor(np.linalg.inv(T_world_camera))
        blocks = self.blocks(depth, K, extrinsic)
        # Colour as float32, which is the only type it takes beside float32 voxels.
        color = color.to(o3c.float32)
        self.grid.integrate(
            blocks, depth, color, K, K, extrinsic, 1.0, CONFIG.max_depth, CONFIG.truncation_voxels
        )
        return len(blocks)


class Open3dPythonLabels(Open3dGrid):
    """Depth, colour and one-hot labels through Open3D's tensor operations."""

    name = f"Open3D from Python, {CLASSES} classes"

    def __init__(self) -> None:
        """Start empty."""
        super().__init__(label_channels=CLASSES)

    def integrate(self, frame: Frame, T_world_camera: np.ndarray) -> int:
        """Fuse one frame; returns the count of its blocks."""
        depth_image = o3d.t.geometry.Image(frame.depth)
        K, extrinsic = o3c.Tensor(frame.intrinsics.K), o3c.Tensor(np.linalg.inv(T_world_camera))
        blocks = self.blocks(depth_image, K, extrinsic)
        self.grid.hashmap().activate(blocks)
        rows, _ = self.grid.hashmap().find(blocks)
        points, voxels = self.grid.voxel_coordinates_and_flattened_indices(rows)
        seen, v, u, sdf = self._measure(frame, points, K, extrinsic)
        self._average(frame, voxels[seen], v, u, sdf)
        return len(blocks)

    def _measure(
        self, frame: Frame, points: o3c.Tensor, K: o3c.Tensor, extrinsic: o3c.Tensor
    ) -> tuple[o3c.Tensor, o3c.Tensor, o3c.Tensor, o3c.Tensor]:
        """Return which voxels are seen, their pixels, and their distance in truncations."""
        extrinsic, K = extrinsic.to(o3c.float32), K.to(o3c.float32)
        camera = extrinsic[:3, :3] @ points.T() + extrinsic[:3, 3:]
        image = K @ camera
        z = image[2]
        u = (image[0] / z).round().to(o3c.int64)
        v = (image[1] / z).round().to(o3c.int64)
        height, width = frame.depth.shape
        inside = (z > 0) & (u >= 0) & (v >= 0) & (u < width) & (v < height)
        u, v, z = u[inside], v[inside], z[inside]
        depth = o3c.Tensor.from_numpy(frame.depth)[v, u]
        truncation = CONFIG.truncation
        sdf = depth - z
        known = (depth > 0) & (depth < CONFIG.max_depth) & (sdf >= -truncation)
        sdf = sdf[known]
        sdf[sdf >= truncation] = truncation
        seen = inside.nonzero()[0][known]
        return seen, v[known], u[known], sdf / truncation

    def _average(
        self, frame: Frame, voxels: o3c.Tensor, v: o3c.Tensor, u: o3c.Tensor, sdf: o3c.Tensor
    ) -> None:
        """Fold the observations into the running means."""
        attribute = {
            name: self.grid.attribute(name).reshape((-1, channels))
            for name, channels in (("tsdf", 1), ("weight", 1), ("color", 3), ("label", CLASSES))
        }
        weight = attribute["weight"][voxels]
        total = weight + 1
        color = o3c.Tensor.from_numpy(frame.color)[v, u].to(o3c.float32)
        labels = o3c.Tensor.from_numpy(frame.labels)[v, u].to(o3c.int64)
        # Rows beyond the classes, of unlabelled pixels, are all 0.
        one_hot = o3c.Tensor.from_numpy(np.eye(256, CLASSES, dtype=np.float32))[labels]
        for name, value in (("tsdf", sdf.reshape((-1, 1))), ("color", color), ("label", one_hot)):
            attribute[name][voxels] = (attribute[name][voxels] * weight + value) / total
        attribute["weight"][voxels] = total


def _timed(
    integrate: Callable[[Frame, np.ndarray], int], frame: Frame, T_world_camera: np.ndarray
) -> tuple[float, int]:
    """Return the milliseconds of one integration and the count of its blocks."""
    start = time.perf_counter()
    blocks = integrate(frame, T_world_camera)
    return (time.perf_counter() - start) * 1e3, blocks


def _row(name: str, times_ms: list[float], bytes_per_voxel: int) -> str:
    low, middle, high = np.min(times_ms), np.median(times_ms), np.max(times_ms)
    return (
        f"{name:32s} {low:8.2f} {middle:8.2f} {high:8.2f} {1e3 / middle:10.1f} {bytes_per_voxel:9d}"
    )


def _ratio(slow: list[float], fast: list[float]) -> str:
    """Three ratios of the times: the fastest frames, the medians, and frame by frame."""
    by_frame = np.median(np.divide(slow, fast))
    return (
        f"{np.min(slow) / np.min(fast):.1f}x by the fastest frames, "
        f"{np.median(slow) / np.median(fast):.1f}x by medians, {by_frame:.1f}x frame by frame"
    )


def run(frames: list[Frame], poses: list[np.ndarray]) -> SemanticVolume:
    """Time the four ways in turns, print the table, return our map.

    Args:
        frames: with colour and labels below ``CLASSES``.
        poses: (4, 4) T_world_camera of each.
    """
    ours, whole, theirs, python = Ours(), OursWithAll(), Open3dWithoutLabels(), Open3dPythonLabels()
    times: dict[str, list[float]] = {way.name: [] for way in (ours, whole, theirs, python)}
    ours_beside_python, blocks = [], []
    for way in (ours, whole, theirs, python):
        way.integrate(frames[0], poses[0])  # first touch of memory is not timed
    for index, (frame, T) in enumerate(zip(frames, poses, strict=True)):
        for way in (ours, whole, theirs) if index % 2 else (theirs, whole, ours):
            elapsed_ms, block_count = _timed(way.integrate, frame, T)
            times[way.name].append(elapsed_ms)
            if way is ours:
                blocks.append(block_count)
        if index % PYTHON_EVERY == 0:
            times[python.name].append(_timed(python.integrate, frame, T)[0])
            ours_beside_python.append(times[ours.name][-1])
    height, width = frames[0].depth.shape
    print(
        f"\nfusion: {len(frames)} frames of {width}x{height}, {CONFIG.voxel_size * 100:g} cm "
        f"voxels, {np.median(blocks):.0f} blocks in a frame"
    )
    print(f"{'':32s} {'min ms':>8s} {'median':>8s} {'max':>8s} {'frames/s':>10s} {'B/voxel':>9s}")
    for way in (ours, whole, theirs, python):
        print(_row(way.name, times[way.name], way.bytes_per_voxel))
    stages = whole.times.summary()
    print("of it: " + ", ".join(f"{name} {s['median_ms']:.2f} ms" for name, s in stages.items()))
    print(f"ours against Open3D without labels:  {_ratio(times[theirs.name], times[ours.name])}")
    print(f"all of ours against the same:        {_ratio(times[theirs.name], times[whole.name])}")
    print(f"ours against Open3D from Python:     {_ratio(times[python.name], ours_beside_python)}")
    voxels_per_s = np.median(blocks) * BLOCK_VOXELS / np.median(times[ours.name]) * 1e3
    print(
        f"ours visits {voxels_per_s / 1e6:.0f} million voxels/s; read and written once, their "
        f"{BYTES_PER_VOXEL} bytes would be {2 * BYTES_PER_VOXEL * voxels_per_s / 1e9:.1f} GB/s"
    )
    return ours.volume
