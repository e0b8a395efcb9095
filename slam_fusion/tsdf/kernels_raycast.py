# SPDX-License-Identifier: Apache-2.0
"""Looking at the volume from a camera: the depth of its surface along each ray."""

import numpy as np
from numba import prange

from slam_fusion.tsdf.jit import jit, jit_parallel
from slam_fusion.tsdf.kernels_blocks import BLOCK_SIDE, pack_key, ray_through, slot_of

_BLOCK_VOXELS = BLOCK_SIDE**3


@jit
def _distance_at(x, y, z, table, rows, tsdf, weight, least_weight):
    """Distance (in truncations) stored in the voxel nearest a point in voxels; NaN if unseen.

    Returns the distance, and whether the point's block exists.
    """
    i, j, k = np.int64(np.floor(x + 0.5)), np.int64(np.floor(y + 0.5)), np.int64(np.floor(z + 0.5))
    key = pack_key(i >> 4, j >> 4, k >> 4)
    slot = slot_of(table, key)
    if table[slot] != key:
        return np.nan, False
    inside = ((k & 15) * BLOCK_SIDE + (j & 15)) * BLOCK_SIDE + (i & 15)
    voxel = np.int64(rows[slot]) * _BLOCK_VOXELS + inside
    if weight[voxel] < least_weight:
        return np.nan, True
    return np.float64(tsdf[voxel]), True


@jit_parallel
def raycast_depth(
    shape, camera, T_voxels_camera, truncation_voxels, depth_range, least_weight, blocks, voxels
):
    """Find where each pixel's ray first passes from free space into a surface.

    Args:
        shape: (H, W) of the image.
        camera: fx, fy, cx, cy in pixels.
        T_voxels_camera: (3, 4) float64, metres in the camera to voxels in the world.
        truncation_voxels: truncation distance in voxels.
        depth_range: least and most metres looked at.
        least_weight: weight that a voxel needs to count.
        blocks: (table, rows): from ``make_table``, with buffer rows beside the keys.
        voxels: (tsdf, weight, ...), flat; see ``kernels_integrate.integrate_blocks``.

    Returns:
        (H, W) float32 metres along the optical axis; 0 where no surface is met.
    """
    height, width = shape
    fx, fy, cx, cy = camera
    nearest, farthest = depth_range
    table, rows = blocks
    tsdf, weight = voxels[0], voxels[1]
    T = T_voxels_camera
    out = np.zeros((height, width), np.float32)
    for v in prange(height):
        ray_y = (v - cy) / fy
        for u in range(width):
            dx, dy, dz = ray_through(T, (u - cx) / fx, ray_y)
            per_metre = np.sqrt(dx * dx + dy * dy + dz * dz)  # voxels along the ray
            depth, before, before_at = nearest, -1.0, 0.0
            while depth < farthest:
                distance, known = _distance_at(
                    T[0, 3] + depth * dx,
                    T[1, 3] + depth * dy,
                    T[2, 3] + depth * dz,
                    table,
                    rows,
                    tsdf,
                    weight,
                    least_weight,
                )
                if distance <= 0.0 and before > 0.0:
                    share = before / (before - distance)
                    out[v, u] = before_at + share * (depth - before_at)
                    break
                before, before_at = (distance if distance == distance else -1.0), depth
                step = 1.0  # voxels, among unseen ones
                if not known:
                    # The band in front of a surface is as wide as the truncation: none is missed.
                    step = 0.75 * truncation_voxels
                elif distance > 0.0:
                    step = max(1.0, 0.8 * distance * truncation_voxels)
                depth += step / per_metre
    return out
