# SPDX-License-Identifier: Apache-2.0
"""Surface extraction: Open3D finds the zero crossings, our kernel labels and colours them.

Open3D's threads write vertices in any order; rows are put into a fixed order here, so that equal
maps give byte-equal surfaces.
"""

import numpy as np
import open3d as o3d

from slam_fusion.frame import Surface
from slam_fusion.tsdf.block_store import BlockStore
from slam_fusion.tsdf.kernels_blocks import make_table, pack_keys
from slam_fusion.tsdf.kernels_extract import read_vertices


def extract_cloud(store: BlockStore, voxel_size: float, min_weight: int) -> Surface:
    """Extract the labelled point cloud; see ``SemanticVolume.extract_cloud``."""
    if store.count == 0:
        return _empty_surface()
    cloud = store.grid.extract_point_cloud(min_weight - 0.5, -1)  # it takes weights above
    positions, normals = _vertices(cloud.point)
    return _finish(store, voxel_size, positions, normals, np.empty((0, 3), np.int32))


def extract_mesh(store: BlockStore, voxel_size: float, min_weight: int) -> Surface:
    """Extract the labelled mesh; see ``SemanticVolume.extract_mesh``."""
    if store.count == 0:
        return _empty_surface()
    mesh = store.grid.extract_triangle_mesh(min_weight - 0.5, -1)
    if "positions" not in mesh.vertex or "indices" not in mesh.triangle:
        return _empty_surface()
    positions, normals = _vertices(mesh.vertex)
    return _finish(store, voxel_size, positions, normals, mesh.triangle.indices.numpy())


def _vertices(attributes: o3d.t.geometry.TensorMap) -> tuple[np.ndarray, np.ndarray]:
    if "positions" not in attributes:
        return np.empty((0, 3), np.float32), np.empty((0, 3), np.float32)
    # Adding 0 turns -0.0, which differs in its bytes only, into 0.0.
    return attributes.positions.numpy() + np.float32(0), attributes.normals.numpy() + np.float32(0)


def _finish(
    store: BlockStore,
    voxel_size: float,
    positions: np.ndarray,
    normals: np.ndarray,
    triangles: np.ndarray,
) -> Surface:
    positions, normals, triangles = in_fixed_order(positions, normals, triangles)
    keys, rows = store.sorted_blocks()
    table, index = make_table(pack_keys(keys))
    colors, labels, confidence = read_vertices(
        positions, voxel_size, table, rows[index], store.voxels
    )
    return Surface(positions, normals, colors, labels, confidence, triangles)


def in_fixed_order(
    positions: np.ndarray, normals: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort vertices by position, merge equal ones, sort triangles, drop degenerate ones.

    Args:
        positions: (N, 3) float32.
        normals: (N, 3) float32; of merged vertices the lexicographically first is kept.
        triangles: (M, 3) integer rows; corners are rotated, never mirrored.

    Returns:
        The same three, triangles as int32.
    """
    order = np.lexsort((*normals.T[::-1], *positions.T[::-1]))
    ordered = positions[order]
    is_new = np.ones(len(order), bool)
    is_new[1:] = np.any(ordered[1:] != ordered[:-1], axis=1)
    new_index = np.empty(len(order), np.int32)
    new_index[order] = np.cumsum(is_new, dtype=np.int32) - 1
    kept = order[is_new]
    return positions[kept], normals[kept], _sorted_triangles(new_index[triangles], positions[kept])


def _sorted_triangles(triangles: np.ndarray, positions: np.ndarray) -> np.ndarray:
    a, b, c = (positions[triangles[:, corner]] for corner in range(3))
    triangles = triangles[np.any(np.cross(b - a, c - a) != 0, axis=1)]
    turn = np.argmin(triangles, axis=1)[:, None]
    triangles = np.take_along_axis(triangles, (turn + np.arange(3)) % 3, axis=1)
    triangles = triangles[np.lexsort(triangles.T[::-1])]
    is_new = np.ones(len(triangles), bool)
    is_new[1:] = np.any(triangles[1:] != triangles[:-1], axis=1)
    return np.ascontiguousarray(triangles[is_new])


def _empty_surface() -> Surface:
    return Surface(
        positions=np.empty((0, 3), np.float32),
        normals=np.empty((0, 3), np.float32),
        colors=np.empty((0, 3), np.uint8),
        labels=np.empty(0, np.uint8),
        confidence=np.empty(0, np.float32),
        triangles=np.empty((0, 3), np.int32),
    )
