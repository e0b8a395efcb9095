# SPDX-License-Identifier: Apache-2.0
"""Questions to a map's mesh: what does a camera see, how far is the surface from a point."""

from functools import cached_property

import numpy as np
from open3d.core import Tensor
from open3d.t.geometry import RaycastingScene

from mtl_perception.conventions import Intrinsics, InvalidInput


class SurfaceRays:
    """Ray casting and distances on a mesh, or on bare triangles."""

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray) -> None:
        """Take a mesh.

        Args:
            vertices: (V, 3) float, metres, world frame.
            triangles: (M, 3) integer rows of ``vertices``.

        Raises:
            InvalidInput: there are no triangles.
        """
        if len(triangles) == 0:
            raise InvalidInput(f"a surface of {len(vertices)} points has no triangles to look at")
        self._vertices = np.ascontiguousarray(vertices, np.float32)
        self._triangles = np.ascontiguousarray(triangles, np.uint32)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Return (N,) float32 metres from (N, 3) points to the nearest point of the surface."""
        return self._scene.compute_distance(Tensor(points.astype(np.float32))).numpy()

    def nearest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the surface's nearest point for each of (N, 3) points.

        Returns:
            (N,) float32 metres to it, and (N, 3) float32 unit normal of its triangle; 0, 0, 0
            where the triangle has no area.
        """
        points = points.astype(np.float32)
        found = self._scene.compute_closest_points(Tensor(points))
        normals = found["primitive_normals"].numpy()
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
        normals = np.where(lengths > 0, normals / np.where(lengths > 0, lengths, 1), 0)
        distance = np.linalg.norm(found["points"].numpy() - points, axis=1)
        return distance, normals.astype(np.float32)

    def look(
        self, intrinsics: Intrinsics, T_world_camera: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cast a ray through every pixel's centre.

        Returns:
            depth: (H, W) float32 metres along optical z, 0 where the ray meets nothing.
            vertex: (H, W) int64 row of the met triangle's nearest vertex, -1 for nothing.
        """
        x = (np.arange(intrinsics.width) - intrinsics.cx) / intrinsics.fx
        y = (np.arange(intrinsics.height) - intrinsics.cy) / intrinsics.fy
        R = T_world_camera[:3, :3]
        rays = np.empty((*intrinsics.shape, 6), np.float32)
        rays[..., :3] = T_world_camera[:3, 3]
        # Of length 1 along the optical axis, so that the distance along the ray is the depth.
        rays[..., 3:] = x[:, None] * R[:, 0] + y[:, None, None] * R[:, 1] + R[:, 2]
        hit = self._scene.cast_rays(Tensor(rays))
        depth = hit["t_hit"].numpy()
        met = np.isfinite(depth)
        uv = hit["primitive_uvs"].numpy()[met]
        corner = np.column_stack([1 - uv.sum(axis=1), uv]).argmax(axis=1)
        vertex = np.full(depth.shape, -1, np.int64)
        vertex[met] = self._triangles[hit["primitive_ids"].numpy()[met], corner]
        return np.where(met, depth, 0), vertex

    @cached_property
    def _scene(self) -> RaycastingScene:
        scene = RaycastingScene()
        scene.add_triangles(Tensor(self._vertices), Tensor(self._triangles))
        return scene
