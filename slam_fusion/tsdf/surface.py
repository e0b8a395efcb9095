# SPDX-License-Identifier: Apache-2.0
"""Surface extraction: where the distance changes sign, with labels and colours; whole or in parts.

The blocks' parts together are the whole, vertex for vertex: extracting the whole only merges the
vertices on the seams and puts rows into a fixed order.
"""

from typing import NamedTuple

import numpy as np

from slam_fusion.frame import Surface, SurfaceChange
from slam_fusion.tsdf.block_store import BlockStore
from slam_fusion.tsdf.kernels_blocks import make_table, pack_keys
from slam_fusion.tsdf.kernels_extract import read_vertices
from slam_fusion.tsdf.kernels_surface import block_surfaces


def extract(store: BlockStore, voxel_size: float, min_weight: int, triangles: bool) -> Surface:
    """Extract the whole labelled surface: a mesh, or a cloud when no triangles are wanted.

    Args:
        store: the blocks.
        voxel_size: metres.
        min_weight: observations that a voxel needs to count, at least 1.
        triangles: False for the cloud, a point per voxel edge that the surface crosses.
    """
    keys, rows = store.sorted_blocks()
    table = _table(keys, rows)
    _, *shape = _shape(store, voxel_size, min_weight, triangles, keys, table)
    return _finish(store, voxel_size, table, *in_fixed_order(*shape))


def extract_changed(
    store: BlockStore, voxel_size: float, min_weight: int, triangles: bool, since: int
) -> SurfaceChange:
    """Extract the parts of the blocks that changed after version ``since``, and their neighbours.

    What a block gives depends on its neighbours too. Other arguments as in ``extract``.
    """
    keys, _ = store.around(store.changed_since(since))
    table = _table(*store.around(keys))
    starts, *shape = _shape(store, voxel_size, min_weight, triangles, keys, table)
    surface = _finish(store, voxel_size, table, *shape)
    return SurfaceChange(store.version, since < store.first_version, keys, starts, surface)


class _Table(NamedTuple):
    """Packed keys of blocks for ``slot_of``, and their buffer rows beside them."""

    packed: np.ndarray  # (2**n,) int64
    rows: np.ndarray  # (2**n,) int32


def _table(keys: np.ndarray, rows: np.ndarray) -> _Table:
    packed, index = make_table(pack_keys(keys))
    return _Table(packed, rows[index] if len(rows) else index)


def _shape(
    store: BlockStore,
    voxel_size: float,
    min_weight: int,
    with_triangles: bool,
    keys: np.ndarray,
    table: _Table,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Extract blocks: starts (B + 1, 2), positions (N, 3), normals (N, 3), triangles (M, 3)."""

    def run(starts: np.ndarray, vertices: int, triangles: int) -> tuple[np.ndarray, ...]:
        positions, normals = (np.empty((vertices, 3), np.float32) for _ in range(2))
        shape = (positions, normals, np.empty((triangles, 3), np.int32))
        counts = block_surfaces(
            np.ascontiguousarray(keys),
            tuple(table),
            min_weight,
            float(voxel_size),
            store.voxels.tsdf,
            store.voxels.weight,
            starts,
            shape,
        )
        return counts, *shape

    counts, *_ = run(np.zeros((1, 2), np.int64), 0, 0)
    starts = np.zeros((len(keys) + 1, 2), np.int64)
    if with_triangles:
        np.cumsum(counts[:, :2], axis=0, out=starts[1:])
    else:
        np.cumsum(counts[:, 2], out=starts[1:, 0])
    _, positions, normals, triangles = run(starts, int(starts[-1, 0]), int(starts[-1, 1]))
    return starts, positions, normals, triangles


def _finish(
    store: BlockStore,
    voxel_size: float,
    table: _Table,
    positions: np.ndarray,
    normals: np.ndarray,
    triangles: np.ndarray,
) -> Surface:
    colors, labels, confidence = read_vertices(positions, voxel_size, *table, store.voxels)
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
