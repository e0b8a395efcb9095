# SPDX-License-Identifier: Apache-2.0
"""Reading the voxels around surface points: colour, label and confidence of each vertex."""

import numpy as np
from numba import prange

from mtl_perception.conventions import UNLABELLED
from slam_fusion.tsdf.evidence import SLOTS, verdict
from slam_fusion.tsdf.jit import jit, jit_parallel
from slam_fusion.tsdf.kernels_blocks import BLOCK_SIDE, pack_key, slot_of
from slam_fusion.tsdf.kernels_integrate import COLOR_SCALE

UNSEEN_GREY = 128
"""Grey level of a vertex whose colour no camera saw."""

SMOOTHING = 0.5
"""Weight of the evidence of a voxel's six neighbours beside its own. On maps of three synthetic
rooms (3 cm; see ``pixel_weights``) mean IoU rose from 0.566, 0.581, 0.611 to 0.572, 0.587, 0.620
with a network's labels, and from 0.948, 0.948, 0.944 to 0.963, 0.963, 0.961 where three of ten
pixels lie; 0.25 and 1 do as well."""

_CHUNK = 1024  # vertices that share scratch memory
_LEAST_SHARE = 1e-3  # vertices lie on voxel edges: corners off the edge share by rounding only
_BLOCK_VOXELS = BLOCK_SIDE**3
_SIDES = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))
_VOICES = 8 * (1 + len(_SIDES))  # voxels that a vertex listens to, at most


@jit
def _voxel_at(x, y, z, table, rows):
    """Return the buffer index of a global voxel coordinate, -1 when its block is absent."""
    key = pack_key(x >> 4, y >> 4, z >> 4)
    slot = slot_of(table, key)
    if table[slot] != key:
        return np.int64(-1)
    inside = ((z & 15) * BLOCK_SIDE + (y & 15)) * BLOCK_SIDE + (x & 15)
    return np.int64(rows[slot]) * _BLOCK_VOXELS + inside


@jit
def _add_slots(share, voxel, slot_labels, slot_evidence, labels, amounts, count):
    """Add a voxel's evidence, times ``share``, to a list of classes; return the list's length."""
    for slot in range(SLOTS):
        evidence = slot_evidence[voxel, slot]
        if evidence == 0:
            continue
        at = 0
        while at < count and labels[at] != slot_labels[voxel, slot]:
            at += 1
        if at == count:
            labels[at] = slot_labels[voxel, slot]
            amounts[at] = 0.0
            count += 1
        amounts[at] += share * evidence
    return count


@jit_parallel
def read_vertices(positions, voxel_size, table, rows, voxels):
    """Interpolate colour and label evidence of the up to eight voxels around each vertex.

    Evidence is added class by class with trilinear weights before the strongest class is taken,
    so that a vertex between two voxels gets the label that both support together. The six
    neighbours of a voxel have a say in it: what few pixels saw is held to what lies beside it.
    A border of classes stays where it is, for on either side of it most neighbours agree.

    Args:
        positions: (N, 3) float32 metres, world frame.
        voxel_size: metres.
        table: (2**n,) int64 packed block keys, from ``make_table``.
        rows: (2**n,) int32 buffer rows beside them.
        voxels: see ``kernels_integrate.integrate_blocks``.

    Returns:
        colors (N, 3) uint8, labels (N,) uint8, confidence (N,) float32.
    """
    _, _, stored_colors, slot_labels, slot_evidence = voxels
    count = len(positions)
    colors = np.full((count, 3), UNSEEN_GREY, np.uint8)
    labels = np.full(count, UNLABELLED, np.uint8)
    confidence = np.zeros(count, np.float32)
    for chunk in prange((count + _CHUNK - 1) // _CHUNK):
        near_labels = np.empty(_VOICES * SLOTS, np.uint8)
        near_amounts = np.empty(_VOICES * SLOTS, np.float64)
        for vertex in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, count)):
            gx = np.float64(positions[vertex, 0]) / voxel_size
            gy = np.float64(positions[vertex, 1]) / voxel_size
            gz = np.float64(positions[vertex, 2]) / voxel_size
            x, y, z = np.int64(np.floor(gx)), np.int64(np.floor(gy)), np.int64(np.floor(gz))
            classes, red, green, blue, seen, voices = 0, 0.0, 0.0, 0.0, 0.0, 0.0
            for corner in range(8):
                i, j, k = corner & 1, (corner >> 1) & 1, corner >> 2
                share = (1.0 - abs(gx - x - i)) * (1.0 - abs(gy - y - j)) * (1.0 - abs(gz - z - k))
                if share < _LEAST_SHARE:
                    continue
                voxel = _voxel_at(x + i, y + j, z + k, table, rows)
                if voxel < 0:
                    continue
                if stored_colors[voxel, 0] > 0:
                    red += share * (stored_colors[voxel, 0] - 1)
                    green += share * (stored_colors[voxel, 1] - 1)
                    blue += share * (stored_colors[voxel, 2] - 1)
                    seen += share * COLOR_SCALE
                classes = _add_slots(
                    share, voxel, slot_labels, slot_evidence, near_labels, near_amounts, classes
                )
                voices += share
                for dx, dy, dz in _SIDES:
                    beside = _voxel_at(x + i + dx, y + j + dy, z + k + dz, table, rows)
                    if beside >= 0 and slot_evidence[beside].any():
                        weight = share * SMOOTHING
                        voices += weight
                        classes = _add_slots(
                            weight,
                            beside,
                            slot_labels,
                            slot_evidence,
                            near_labels,
                            near_amounts,
                            classes,
                        )
            if seen > 0:
                colors[vertex, 0] = int(red / seen + 0.5)
                colors[vertex, 1] = int(green / seen + 0.5)
                colors[vertex, 2] = int(blue / seen + 0.5)
            # Neighbours saw the same pixels: their agreement is no more observations.
            near_amounts[:classes] /= max(voices, 1.0)
            label, probability = verdict(near_labels[:classes], near_amounts[:classes])
            labels[vertex] = label
            confidence[vertex] = probability
    return colors, labels, confidence


@jit
def surface_voxels(keys, rows, limit, voxels):
    """List the seen voxels nearer than ``limit`` to the surface, block by block.

    Args:
        keys: (B, 3) int32 block coordinates.
        rows: (B,) int32 their buffer rows.
        limit: distance in truncations.
        voxels: see ``kernels_integrate.integrate_blocks``.

    Returns:
        (N, 3) int32 global voxel coordinates and (N,) uint8 labels.
    """
    tsdf, weight, _, slot_labels, slot_evidence = voxels
    total = 0
    for row in rows:
        first = np.int64(row) * _BLOCK_VOXELS
        for voxel in range(first, first + _BLOCK_VOXELS):
            if weight[voxel] > 0 and abs(tsdf[voxel]) < limit:
                total += 1
    coordinates, labels = np.empty((total, 3), np.int32), np.empty(total, np.uint8)
    count = 0
    for block in range(len(rows)):
        first = np.int64(rows[block]) * _BLOCK_VOXELS
        for inside in range(_BLOCK_VOXELS):
            voxel = first + inside
            if weight[voxel] > 0 and abs(tsdf[voxel]) < limit:
                coordinates[count, 0] = keys[block, 0] * BLOCK_SIDE + inside % BLOCK_SIDE
                coordinates[count, 1] = (
                    keys[block, 1] * BLOCK_SIDE + inside // BLOCK_SIDE % BLOCK_SIDE
                )
                coordinates[count, 2] = keys[block, 2] * BLOCK_SIDE + inside // BLOCK_SIDE**2
                labels[count] = verdict(slot_labels[voxel], slot_evidence[voxel])[0]
                count += 1
    return coordinates, labels
