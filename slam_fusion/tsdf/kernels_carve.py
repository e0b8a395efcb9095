# SPDX-License-Identifier: Apache-2.0
"""Taking out of the map what a camera now sees through.

Fusion only writes near the surface that is measured. What stood in front of it before, and has
gone, lies in blocks that no later frame touches. Here these blocks are found along the rays, and
voxels in what is certainly free lose half of their weight with every view, and move towards free
space: what was seen from near a hundred times is gone after some ten clear views.
"""

import numpy as np
from numba import prange

from slam_fusion.tsdf.evidence import SLOTS
from slam_fusion.tsdf.jit import jit, jit_parallel
from slam_fusion.tsdf.kernels_blocks import (
    BLOCK_SIDE,
    EMPTY,
    pack_key,
    ray_through,
    rehash,
    slot_of,
)

FREE = np.float32(0.9)
"""Distance, in truncations, from which on a voxel is free space already."""

_f32 = np.float32


@jit
def free_blocks(clear, camera, T_blocks_camera, nearest, stride):
    """Find the blocks along the rays, as far as these are clear.

    Args:
        clear: (H, W) float32 metres along the optical axis up to which nothing is; 0 = unknown.
        camera: fx, fy, cx, cy in pixels of ``clear``.
        T_blocks_camera: (3, 4) float64, metres in the camera to blocks in the world.
        nearest: metres at which rays begin.
        stride: every ``stride``-th pixel of every ``stride``-th row is looked at.

    Returns:
        (B,) int64 packed keys, ascending, whether such blocks exist or not.
    """
    fx, fy, cx, cy = camera
    T = T_blocks_camera
    table, count = np.full(1024, EMPTY), 0
    height, width = clear.shape
    for v in range(0, height, stride):
        ray_y = (v - cy) / fy
        for u in range(0, width, stride):
            dx, dy, dz = ray_through(T, (u - cx) / fx, ray_y)
            step = 0.5 / np.sqrt(dx * dx + dy * dy + dz * dz)  # metres of depth to half a block
            along, last = nearest, EMPTY
            while along < clear[v, u]:
                key = pack_key(
                    int(np.floor(T[0, 3] + along * dx)),
                    int(np.floor(T[1, 3] + along * dy)),
                    int(np.floor(T[2, 3] + along * dz)),
                )
                along += step
                if key == last:
                    continue
                last = key
                slot = slot_of(table, key)
                if table[slot] != key:
                    table[slot] = key
                    count += 1
                    if 2 * count > len(table):
                        table = rehash(table)
    return np.sort(table[table != EMPTY])


@jit
def _fade(tsdf, weight, evidence, voxel):
    """Let a voxel forget half of what it knew, and see free space once."""
    kept = np.int32(weight[voxel]) >> 1
    tsdf[voxel] += (_f32(1.0) - tsdf[voxel]) / _f32(kept + 1)
    weight[voxel] = kept + 1
    for slot in range(SLOTS):
        evidence[voxel, slot] >>= 1


@jit_parallel
def carve_blocks(blocks, images, camera, write, voxels):
    """Find the voxels that a surface left in what is clear now; fade them.

    Args:
        blocks: (rows, origins, axes), see ``kernels_integrate.integrate_blocks``.
        images: (width, height, clear): pixels; (P,) float32 as ``free_blocks`` takes it, flat.
        camera: fx, fy, cx, cy in pixels of ``clear``, float32.
        write: False only finds blocks that have such voxels, and changes nothing.
        voxels: see ``kernels_integrate.integrate_blocks``.

    Returns:
        (B,) bool: the blocks that have such voxels.
    """
    rows, origins, axes = blocks
    width, height, clear = images
    fx, fy, cx, cy = camera
    tsdf, weight, _, _, evidence = voxels
    zero, half, one = _f32(0.0), _f32(0.5), _f32(1.0)
    found = np.zeros(len(rows), np.bool_)
    for block in prange(len(rows)):
        first = np.int64(rows[block]) * BLOCK_SIDE**3
        for line in range(BLOCK_SIDE * BLOCK_SIDE):
            if found[block] and not write:
                break
            j, k = line % BLOCK_SIDE, line // BLOCK_SIDE
            x = _f32(origins[block, 0] + k * axes[0, 2] + j * axes[0, 1])
            y = _f32(origins[block, 1] + k * axes[1, 2] + j * axes[1, 1])
            z = _f32(origins[block, 2] + k * axes[2, 2] + j * axes[2, 1])
            for i in range(BLOCK_SIDE):
                voxel = first + line * BLOCK_SIDE + i
                if weight[voxel] == 0 or tsdf[voxel] >= FREE:
                    continue
                at = _f32(i)
                zc = z + at * _f32(axes[2, 0])
                if not zc > zero:
                    continue
                scale = one / zc
                u = fx * (x + at * _f32(axes[0, 0])) * scale + cx + half
                v = fy * (y + at * _f32(axes[1, 0])) * scale + cy + half
                if not (u >= zero and u < _f32(width) and v >= zero and v < _f32(height)):
                    continue
                if zc < clear[np.int32(v) * np.int32(width) + np.int32(u)]:
                    found[block] = True
                    if write:
                        _fade(tsdf, weight, evidence, voxel)
    return found
