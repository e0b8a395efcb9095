# SPDX-License-Identifier: Apache-2.0
"""Zero crossings of the signed distance, block by block: points and triangles.

A block gives the voxel edges and the cubes that start in it. Its outermost ones read the first
voxels of the next blocks, and normals read one voxel farther on every side: what a block gives
depends on itself and its 26 neighbours, on nothing else.
"""

import numpy as np
from numba import prange

from slam_fusion.tsdf.jit import jit, jit_parallel
from slam_fusion.tsdf.kernels_blocks import BLOCK_SIDE, pack_key, slot_of
from slam_fusion.tsdf.kernels_cube_table import (
    EDGE_AXES,
    EDGE_STARTS,
    TRIANGLE_COUNTS,
    TRIANGLE_EDGES,
)

_CHUNK = 16  # blocks that share scratch memory
_NODES = BLOCK_SIDE + 1  # voxels along the side of a block's cubes
_SIDE = BLOCK_SIDE + 3  # ... and with those that normals need
_STEPS = np.array([1, _SIDE, _SIDE * _SIDE])  # from a voxel of the field to the next along x, y, z
_BLOCK_VOXELS = BLOCK_SIDE**3
_FIRST = np.array([0, 1, BLOCK_SIDE + 1])  # where the voxels of the block before, this and ...
_LAST = np.array([1, BLOCK_SIDE + 1, _SIDE])  # ... the block after lie along a side of the field


@jit
def _gather(key, table, rows, tsdf, weight, least_weight, field):
    """Copy the distances in and around a block; NaN where voxels are seen too seldom.

    ``field`` is (19**3,) float32, written: voxel (x, y, z) of the block, each -1 to 17, is at
    ``((z + 1) * 19 + y + 1) * 19 + x + 1``.
    """
    for nz in range(3):
        for ny in range(3):
            for nx in range(3):
                packed = pack_key(key[0] + nx - 1, key[1] + ny - 1, key[2] + nz - 1)
                slot = slot_of(table, packed)
                known = table[slot] == packed
                block = np.int64(rows[slot]) * _BLOCK_VOXELS
                for z in range(_FIRST[nz], _LAST[nz]):
                    plane = block + (z - 1 - BLOCK_SIDE * (nz - 1)) * BLOCK_SIDE * BLOCK_SIDE
                    for y in range(_FIRST[ny], _LAST[ny]):
                        line = plane + (y - 1 - BLOCK_SIDE * (ny - 1)) * BLOCK_SIDE
                        first = (z * _SIDE + y) * _SIDE
                        for x in range(_FIRST[nx], _LAST[nx]):
                            voxel = line + x - 1 - BLOCK_SIDE * (nx - 1)
                            if known and weight[voxel] >= least_weight:
                                field[first + x] = tsdf[voxel]
                            else:
                                field[first + x] = np.nan


@jit
def _corners_at(field, at):
    """Four corners of one x: bits of those inside; -1 when one is not known."""
    a, b = field[at], field[at + _SIDE]
    c, d = field[at + _SIDE * _SIDE], field[at + _SIDE * _SIDE + _SIDE]
    total = a + b + c + d
    if total != total:  # NaN
        return np.int64(-1)
    return np.int64(a < 0) | np.int64(b < 0) << 1 | np.int64(c < 0) << 2 | np.int64(d < 0) << 3


@jit
def _march(field, vertex_of, edges, triangles, first_vertex):
    """Find the triangles of a block's cubes.

    Args:
        field: from ``_gather``.
        vertex_of: (3 * 17**3,) int32, -1 everywhere before and after.
        edges: (3 * 17**3,) int32, written: the edge that each vertex is on.
        triangles: (T, 3) int32, written; nothing is when T = 0.
        first_vertex: number of the block's first vertex.

    Returns:
        Counts of vertices and of triangles.
    """
    vertex_count, triangle_count = 0, 0
    for z in range(BLOCK_SIDE):
        for y in range(BLOCK_SIDE):
            start = ((z + 1) * _SIDE + y + 1) * _SIDE + 1
            near = _corners_at(field, start)
            for x in range(BLOCK_SIDE):
                far = _corners_at(field, start + x + 1)
                case = near | far << 4
                known = near >= 0 and far >= 0
                near = far
                if not known:
                    continue
                for corner in range(3 * TRIANGLE_COUNTS[case]):
                    e = TRIANGLE_EDGES[case, corner]
                    node = (z + EDGE_STARTS[e, 2]) * _NODES + y + EDGE_STARTS[e, 1]
                    edge = 3 * (node * _NODES + x + EDGE_STARTS[e, 0]) + EDGE_AXES[e]
                    if vertex_of[edge] < 0:
                        vertex_of[edge] = vertex_count
                        edges[vertex_count] = edge
                        vertex_count += 1
                    if len(triangles):
                        row = triangle_count + corner // 3
                        triangles[row, corner % 3] = first_vertex + vertex_of[edge]
                triangle_count += TRIANGLE_COUNTS[case]
    for vertex in range(vertex_count):
        vertex_of[edges[vertex]] = -1
    return vertex_count, triangle_count


@jit
def _crossings(field, edges):
    """Find the voxel edges of a block that the surface crosses; ``edges`` as in ``_march``."""
    count = 0
    for z in range(BLOCK_SIDE):
        for y in range(BLOCK_SIDE):
            start = ((z + 1) * _SIDE + y + 1) * _SIDE + 1
            for x in range(BLOCK_SIDE):
                distance = field[start + x]
                for axis in range(3):
                    # Not equal is not enough: comparisons with NaN are false.
                    after = field[start + x + _STEPS[axis]]
                    if (distance < 0 and after >= 0) or (distance >= 0 and after < 0):
                        edges[count] = 3 * ((z * _NODES + y) * _NODES + x) + axis
                        count += 1
    return count


@jit
def _slope(field, at, step):
    """Slope of the distance at a voxel along one axis, per voxel: of both sides where known."""
    before, after = field[at] - field[at - step], field[at + step] - field[at]
    if before == before:
        return 0.5 * (before + after) if after == after else np.float64(before)
    return np.float64(after) if after == after else 0.0


@jit
def _place(field, key, edge, voxel_size, position, normal):
    """Write where the surface crosses an edge, and its normal there, (3,) float32 each."""
    axis, node = edge % 3, edge // 3
    x, y, z = node % _NODES, node // _NODES % _NODES, node // _NODES**2
    start = ((z + 1) * _SIDE + y + 1) * _SIDE + x + 1
    end = start + _STEPS[axis]
    before, after = np.float64(field[start]), np.float64(field[end])
    share = before / (before - after)
    voxel = (key[0] * BLOCK_SIDE + x, key[1] * BLOCK_SIDE + y, key[2] * BLOCK_SIDE + z)
    length = 0.0
    for i in range(3):
        along = share if i == axis else 0.0
        # Adding 0 turns -0.0, which differs in its bytes only, into 0.0.
        position[i] = (voxel[i] + along) * voxel_size + 0.0
        slope = (1 - share) * _slope(field, start, _STEPS[i]) + share * _slope(
            field, end, _STEPS[i]
        )
        normal[i] = slope + 0.0
        length += slope * slope
    if length > 0:
        for i in range(3):
            normal[i] /= np.sqrt(length)
    else:
        normal[axis] = 1.0 if after > before else -1.0


@jit_parallel
def block_surfaces(keys, blocks, least_weight, voxel_size, tsdf, weight, parts, surface):
    """Find the surface in blocks: first, without ``surface``, how much it is, then the surface.

    Args:
        keys: (B, 3) int32 block coordinates.
        blocks: (table, rows) of these and all their neighbours: packed keys from ``make_table``
            with buffer rows beside them.
        least_weight: weight that a voxel needs to count.
        voxel_size: metres.
        tsdf: (V,) float32, flat; see ``kernels_integrate.integrate_blocks``.
        weight: (V,) uint16, likewise.
        parts: (B + 1, 2) int64: the first vertex and the first triangle of each block. A block
            of no vertices is passed over. To count, give one of a single row.
        surface: (positions, normals, triangles): (N, 3) float32 metres, (N, 3) float32 unit length,
            (M, 3) int32; written. Without triangles, M = 0, all edges that the surface crosses
            get a vertex; with them those of the cubes whose eight voxels all count.

    Returns:
        (B, 3) int64 counts of each block: of vertices of its triangles, of triangles, of crossed
        edges. Zeros when ``surface`` is written.
    """
    table, rows = blocks
    positions, normals, triangles = surface
    counting = len(parts) == 1
    counts = np.zeros((len(keys), 3), np.int64)
    for chunk in prange((len(keys) + _CHUNK - 1) // _CHUNK):
        field = np.empty(_SIDE**3, np.float32)
        vertex_of = np.full(3 * _NODES**3, np.int32(-1))
        edges = np.empty(3 * _NODES**3, np.int32)
        for block in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, len(keys))):
            if not counting and parts[block, 0] == parts[block + 1, 0]:
                continue
            _gather(keys[block], table, rows, tsdf, weight, least_weight, field)
            if counting:
                found = _march(field, vertex_of, edges, triangles, 0)
                counts[block, 0], counts[block, 1] = found
                counts[block, 2] = _crossings(field, edges)
                continue
            first, end = parts[block, 0], parts[block + 1, 0]
            if len(triangles):
                own = triangles[parts[block, 1] : parts[block + 1, 1]]
                _march(field, vertex_of, edges, own, first)
            else:
                _crossings(field, edges)
            for vertex in range(first, end):
                _place(
                    field,
                    keys[block],
                    edges[vertex - first],
                    voxel_size,
                    positions[vertex],
                    normals[vertex],
                )
    return counts
