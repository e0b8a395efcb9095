# SPDX-License-Identifier: Apache-2.0
"""Surface extraction: where the distance changes sign, with labels and colours; whole or in parts.

The blocks' parts together are the whole, vertex for vertex: extracting the whole only merges the
vertices on the seams and puts rows into a fixed order.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from slam_fusion.frame import Surface, SurfaceChange
from slam_fusion.tsdf.block_store import BlockStore, VoxelArrays
from slam_fusion.tsdf.kernels_blocks import make_table, pack_keys
from slam_fusion.tsdf.kernels_extract import read_vertices
from slam_fusion.tsdf.kernels_surface import block_surfaces
from slam_fusion.tsdf.whole_map import WINDOW_BLOCKS, windows

PART_BLOCKS = WINDOW_BLOCKS // 2
"""Blocks of which ``extract_parts`` gives the surface at once: some 60 MiB of it."""


def extract(store: BlockStore, voxel_size: float, min_weight: int, triangles: bool) -> Surface:
    """Extract the whole labelled surface: a mesh, or a cloud when no triangles are wanted.

    Args:
        store: the blocks.
        voxel_size: metres.
        min_weight: weight that a voxel needs to count, at least 1.
        triangles: False for the cloud, a point per voxel edge that the surface crosses.

    Raises:
        PageError: a block does not come back from disk.
    """
    _, whole = _extract(store, voxel_size, min_weight, triangles, store.sorted_keys())
    kept, rows = _fixed_order(whole.positions, whole.normals, whole.triangles)
    return Surface(
        whole.positions[kept],
        whole.normals[kept],
        whole.colors[kept],
        whole.labels[kept],
        whole.confidence[kept],
        rows,
    )


def extract_parts(
    store: BlockStore, voxel_size: float, min_weight: int, triangles: bool
) -> Iterator[Surface]:
    """Yield the whole surface part by part, in memory that does not grow with it.

    Arguments and errors as in ``extract``. Parts share no vertices: those on their seams are in
    each, with equal values.
    """
    keys = store.sorted_keys()
    for first in range(0, len(keys), PART_BLOCKS):
        part = keys[first : first + PART_BLOCKS]
        yield _extract(store, voxel_size, min_weight, triangles, part)[1]


def extract_changed(
    store: BlockStore, voxel_size: float, min_weight: int, triangles: bool, since: int
) -> SurfaceChange:
    """Extract the parts of the blocks that changed after version ``since``, and their neighbours.

    What a block gives depends on its neighbours too. Other arguments as in ``extract``.
    """
    keys = store.around(store.changed_since(since))
    starts, surface = _extract(store, voxel_size, min_weight, triangles, keys)
    return SurfaceChange(store.version, since < store.first_version, keys, starts, surface)


def _extract(
    store: BlockStore, voxel_size: float, min_weight: int, triangles: bool, keys: np.ndarray
) -> tuple[np.ndarray, Surface]:
    """Extract blocks one after the other: starts (B + 1, 2) of each, see ``SurfaceChange``."""
    starts, parts = [np.zeros((1, 2), np.int64)], []
    for own, near, rows, voxels in windows(store, keys):
        table = _table(near, rows)
        ends, *shape = _shape(voxels, voxel_size, min_weight, triangles, own, table)
        shape[2] += np.int32(starts[-1][-1, 0])
        starts.append(ends[1:] + starts[-1][-1])
        values = read_vertices(shape[0], voxel_size, *table, voxels)
        parts.append((*shape[:2], *values, shape[2]))
    columns = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
    return np.concatenate(starts), Surface(*columns)


class _Table(NamedTuple):
    """Packed keys of blocks for ``slot_of``, and their buffer rows beside them."""

    packed: np.ndarray  # (2**n,) int64
    rows: np.ndarray  # (2**n,) int32


def _table(keys: np.ndarray, rows: np.ndarray) -> _Table:
    packed, index = make_table(pack_keys(keys))
    return _Table(packed, rows[index] if len(rows) else index)


def _shape(
    voxels: VoxelArrays,
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
            voxels.tsdf,
            voxels.weight,
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
    kept, triangles = _fixed_order(positions, normals, triangles)
    return positions[kept], normals[kept], triangles


def _fixed_order(
    positions: np.ndarray, normals: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return which vertices are kept, in order, and the triangles; see ``in_fixed_order``."""
    order = np.lexsort((*normals.T[::-1], *positions.T[::-1]))
    ordered = positions[order]
    is_new = np.ones(len(order), bool)
    is_new[1:] = np.any(ordered[1:] != ordered[:-1], axis=1)
    new_index = np.empty(len(order), np.int32)
    new_index[order] = np.cumsum(is_new, dtype=np.int32) - 1
    kept = order[is_new]
    return kept, _sorted_triangles(new_index[triangles], positions[kept])


def _sorted_triangles(triangles: np.ndarray, positions: np.ndarray) -> np.ndarray:
    a, b, c = (positions[triangles[:, corner]] for corner in range(3))
    triangles = triangles[np.any(np.cross(b - a, c - a) != 0, axis=1)]
    turn = np.argmin(triangles, axis=1)[:, None]
    triangles = np.take_along_axis(triangles, (turn + np.arange(3)) % 3, axis=1)
    triangles = triangles[np.lexsort(triangles.T[::-1])]
    is_new = np.ones(len(triangles), bool)
    is_new[1:] = np.any(triangles[1:] != triangles[:-1], axis=1)
    return np.ascontiguousarray(triangles[is_new])
