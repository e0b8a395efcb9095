# SPDX-License-Identifier: Apache-2.0
"""Which blocks a camera touches, sees through and sees, and where these are for it."""

import numpy as np

from mtl_perception.conventions import Intrinsics, InvalidInput
from slam_fusion.geometry import invert_se3
from slam_fusion.tsdf.kernels_blocks import BLOCK_SIDE, KEY_LIMIT, touched_blocks
from slam_fusion.tsdf.kernels_carve import free_blocks
from slam_fusion.tsdf.volume_state import VolumeConfig


class View:
    """One camera at one place, and the blocks around it."""

    def __init__(
        self, config: VolumeConfig, camera: Intrinsics, T_world_camera: np.ndarray
    ) -> None:
        """Place the camera.

        Args:
            config: of the volume.
            camera: its pixels.
            T_world_camera: (4, 4) pose of its optical frame.

        Raises:
            InvalidInput: the pose is not finite or too far from the origin.
        """
        T = np.asarray(T_world_camera, np.float64)
        self._config, self._camera = config, camera
        self._block_size = BLOCK_SIDE * config.voxel_size
        reach = np.abs(T[:3, 3]).max() + 4 * config.max_depth + config.truncation
        if not (T.shape == (4, 4) and reach < KEY_LIMIT * self._block_size):
            raise InvalidInput(f"T_world_camera is not a usable pose: {T.tolist()}")
        self._T_blocks_camera = np.ascontiguousarray(T[:3] / self._block_size)
        self._T_camera_world = invert_se3(T)

    @property
    def numbers(self) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy in pixels."""
        camera = self._camera
        return float(camera.fx), float(camera.fy), float(camera.cx), float(camera.cy)

    def placed(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where blocks are for the camera: see ``integrate_blocks``, origins and axes."""
        T = self._T_camera_world
        axes = np.ascontiguousarray(T[:3, :3] * self._config.voxel_size)
        return (keys * np.float64(BLOCK_SIDE)) @ axes.T + T[:3, 3], axes

    def touched(self, depth: np.ndarray) -> np.ndarray:
        """Return (B,) int64 packed keys of the blocks near the surface in a depth image, sorted."""
        config = self._config
        return touched_blocks(
            depth.reshape(self._camera.shape),
            self.numbers,
            self._T_blocks_camera,
            (float(config.min_depth), float(config.max_depth)),
            float(config.truncation),
            # Samples at most a quarter of a block apart along the ray, pixels half a block.
            2 + int(config.truncation_voxels * 2 / (BLOCK_SIDE / 4)),
            min(self._half_block_px(), 4),
        )

    def clear(self, clear: np.ndarray) -> np.ndarray:
        """Return (B,) int64 packed keys of the blocks in what is clear, sorted; see ``carve``."""
        return free_blocks(
            np.ascontiguousarray(clear),
            self.numbers,
            self._T_blocks_camera,
            float(self._config.min_depth),
            self._half_block_px(),
        )

    def of_those_seen(self, keys: np.ndarray) -> np.ndarray:
        """Return those of (B, 3) int32 keys whose blocks the camera may see."""
        camera, T = self._camera, self._T_camera_world
        centres = (keys + 0.5) * self._block_size @ T[:3, :3].T + T[:3, 3]
        radius = self._block_size * np.sqrt(3) / 2
        # Five planes bound the view: normals point inwards, all but the last through the camera.
        planes = [(camera.fx, 0, camera.cx + 0.5), (0, camera.fy, camera.cy + 0.5)]
        planes += [(-camera.fx, 0, camera.width - camera.cx - 0.5)]
        planes += [(0, -camera.fy, camera.height - camera.cy - 0.5)]
        normals = np.array(planes) / np.linalg.norm(planes, axis=1)[:, None]
        in_view = np.all(centres @ normals.T > -radius, axis=1)
        in_view &= centres[:, 2] < self._config.max_depth + radius
        return keys[in_view]

    def _half_block_px(self) -> int:
        """Return how many pixels half a block spans at the largest depth, at least 1."""
        focal_px = min(self._camera.fx, self._camera.fy)
        return max(1, int(focal_px * self._block_size / self._config.max_depth / 2))
