# SPDX-License-Identifier: Apache-2.0
"""Where a camera sees a voxel, for Warp's kernels, with the roundings of the numba kernels."""

import warp as wp

from slam_fusion.tsdf.kernels_blocks import BLOCK_SIDE

wp.set_module_options({"enable_backward": False, "fuse_fp": False})

_SIDE = wp.constant(BLOCK_SIDE)


@wp.func
def project(origin: wp.vec3d, axes: wp.mat33d, voxel: int, camera: wp.vec4f, size: wp.vec2i):
    """Return the row-major pixel nearest to a voxel, -1 outside the image, and its depth."""
    i = voxel % _SIDE
    line = (voxel / _SIDE) % _SIDE
    plane = voxel / (_SIDE * _SIDE)
    # In float64 to the line's first voxel, then on in float32, as the numba kernels do.
    first = origin + wp.float64(plane) * wp.vec3d(axes[0, 2], axes[1, 2], axes[2, 2])
    first = first + wp.float64(line) * wp.vec3d(axes[0, 1], axes[1, 1], axes[2, 1])
    k = wp.float32(i)
    z = wp.float32(first[2]) + k * wp.float32(axes[2, 0])
    scale = 1.0 / z
    x = wp.float32(first[0]) + k * wp.float32(axes[0, 0])
    y = wp.float32(first[1]) + k * wp.float32(axes[1, 0])
    u = camera[0] * x * scale + camera[2] + 0.5
    v = camera[1] * y * scale + camera[3] + 0.5
    pixel = wp.int32(-1)
    inside = u < wp.float32(size[0]) and v < wp.float32(size[1])
    if inside and z > 0.0 and u >= 0.0 and v >= 0.0:
        pixel = int(v) * size[0] + int(u)
    return pixel, z
