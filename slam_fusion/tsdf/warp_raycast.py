# SPDX-License-Identifier: Apache-2.0
"""``kernels_raycast`` for GPUs, in NVIDIA Warp: a thread per pixel, equal numbers bit for bit."""

import numpy as np
import warp as wp

from slam_fusion.tsdf import kernels_blocks as blocks_of
from slam_fusion.tsdf.kernels_blocks import BLOCK_SIDE
from slam_fusion.tsdf.warp_arrays import upload

wp.set_module_options({"enable_backward": False, "fuse_fp": False})

_SIDE = wp.constant(wp.int64(BLOCK_SIDE))
_KEY_LIMIT = wp.constant(wp.int64(blocks_of.KEY_LIMIT))
_MIXER = wp.constant(wp.uint64(int(blocks_of.MIXER)))
_EMPTY = wp.constant(wp.int64(int(blocks_of.EMPTY)))

_NO_BLOCK, _UNSEEN, _SEEN = wp.constant(0), wp.constant(1), wp.constant(2)


@wp.func
def _slot_of(table: wp.array[wp.int64], key: wp.int64) -> int:
    mask = table.shape[0] - 1
    slot = wp.int32((wp.uint64(key) * _MIXER) >> wp.uint64(32)) & mask
    while table[slot] != key and table[slot] != _EMPTY:
        slot = (slot + 1) & mask
    return slot


@wp.func
def _voxel_at(
    point: wp.vec3d,
    table: wp.array[wp.int64],
    rows: wp.array[wp.int32],
    weight: wp.array2d[wp.uint16],
    least_weight: int,
):
    """Return what is known of the voxel nearest a point in voxels, its row, and its place there."""
    half = wp.float64(0.5)
    i = wp.int64(wp.floor(point[0] + half))
    j = wp.int64(wp.floor(point[1] + half))
    k = wp.int64(wp.floor(point[2] + half))
    four = wp.int64(4)
    key = (
        ((i >> four) + _KEY_LIMIT) << wp.int64(42)
        | ((j >> four) + _KEY_LIMIT) << wp.int64(21)
        | ((k >> four) + _KEY_LIMIT)
    )
    slot = _slot_of(table, key)
    state = wp.int32(_NO_BLOCK)
    row = wp.int32(0)
    voxel = wp.int32(0)
    if table[slot] == key:
        inside = _SIDE - wp.int64(1)
        row = rows[slot]
        voxel = wp.int32(((k & inside) * _SIDE + (j & inside)) * _SIDE + (i & inside))
        state = _SEEN
        if int(weight[row, voxel]) < least_weight:
            state = _UNSEEN
    return state, row, voxel


@wp.kernel
def _raycast(
    camera: wp.vec4d,
    R: wp.mat33d,
    origin: wp.vec3d,
    truncation_voxels: wp.float64,
    depth_range: wp.vec2d,
    least_weight: int,
    table: wp.array[wp.int64],
    rows: wp.array[wp.int32],
    tsdf: wp.array2d[wp.float32],
    weight: wp.array2d[wp.uint16],
    out: wp.array2d[wp.float32],
):
    v, u = wp.tid()
    zero, one = wp.float64(0.0), wp.float64(1.0)
    ray_x = (wp.float64(u) - camera[2]) / camera[0]
    ray_y = (wp.float64(v) - camera[3]) / camera[1]
    dx = R[0, 0] * ray_x + R[0, 1] * ray_y + R[0, 2]
    dy = R[1, 0] * ray_x + R[1, 1] * ray_y + R[1, 2]
    dz = R[2, 0] * ray_x + R[2, 1] * ray_y + R[2, 2]
    per_metre = wp.sqrt(dx * dx + dy * dy + dz * dz)  # voxels along the ray
    depth = depth_range[0]
    before = -one
    before_at = zero
    while depth < depth_range[1]:
        point = wp.vec3d(origin[0] + depth * dx, origin[1] + depth * dy, origin[2] + depth * dz)
        state, row, voxel = _voxel_at(point, table, rows, weight, least_weight)
        step = one  # voxels, among unseen ones
        distance = -one
        if state == _SEEN:
            distance = wp.float64(tsdf[row, voxel])
            if distance <= zero and before > zero:
                share = before / (before - distance)
                out[v, u] = wp.float32(before_at + share * (depth - before_at))
                return
            if distance > zero:
                step = wp.max(one, wp.float64(0.8) * distance * truncation_voxels)
        elif state == _NO_BLOCK:
            step = wp.float64(0.75) * truncation_voxels
        before = distance
        before_at = depth
        depth = depth + step / per_metre


def raycast_depth(
    shape: tuple[int, int],
    camera: tuple,
    T_voxels_camera: np.ndarray,
    truncation_voxels: float,
    depth_range: tuple[float, float],
    least_weight: int,
    blocks: tuple[np.ndarray, np.ndarray],
    voxels: tuple,
) -> np.ndarray:
    """Find where each pixel's ray first passes from free space into a surface.

    Args:
        shape: as in ``kernels_raycast.raycast_depth``, as all arguments but the last.
        camera: see there.
        T_voxels_camera: see there.
        truncation_voxels: see there.
        depth_range: see there.
        least_weight: see there.
        blocks: see there.
        voxels: Warp arrays, see ``warp_integrate.integrate_blocks``.

    Returns:
        (H, W) float32 metres along the optical axis; 0 where no surface is met.
    """
    tsdf, weight = voxels[0], voxels[1]
    device = tsdf.device
    out = wp.zeros(shape, dtype=wp.float32, device=device)
    wp.launch(
        _raycast,
        dim=shape,
        inputs=[
            wp.vec4d(*camera),
            wp.mat33d(np.ascontiguousarray(T_voxels_camera[:, :3])),
            wp.vec3d(*T_voxels_camera[:, 3]),
            truncation_voxels,
            wp.vec2d(*depth_range),
            least_weight,
            upload(blocks[0], wp.int64, device),
            upload(blocks[1], wp.int32, device),
            tsdf,
            weight,
        ],
        outputs=[out],
        device=device,
    )
    return out.numpy()
