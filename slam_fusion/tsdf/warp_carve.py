# SPDX-License-Identifier: Apache-2.0
"""``kernels_carve`` for GPUs, in NVIDIA Warp: a thread per voxel, equal numbers bit for bit."""

from typing import Any

import numpy as np
import warp as wp

from slam_fusion.tsdf import kernels_carve as numba_kernels
from slam_fusion.tsdf.evidence import SLOTS
from slam_fusion.tsdf.kernels_blocks import BLOCK_SIDE
from slam_fusion.tsdf.warp_arrays import upload
from slam_fusion.tsdf.warp_project import project

wp.set_module_options({"enable_backward": False, "fuse_fp": False})

_SLOTS = wp.constant(SLOTS)
_FREE = wp.constant(float(numba_kernels.FREE))


@wp.kernel
def _carve(
    rows: wp.array[wp.int32],
    origins: wp.array[wp.vec3d],
    axes: wp.mat33d,
    size: wp.vec2i,
    camera: wp.vec4f,
    clear: wp.array[wp.float32],
    write: wp.bool,
    tsdf: wp.array2d[wp.float32],
    weights: wp.array2d[wp.uint16],
    evidence: wp.array3d[wp.uint16],
    found: wp.array[wp.bool],
):
    block, voxel = wp.tid()
    row = rows[block]
    weight = int(weights[row, voxel])
    if weight == 0 or tsdf[row, voxel] >= _FREE:
        return
    pixel, z = project(origins[block], axes, voxel, camera, size)
    if pixel < 0 or not z < clear[pixel]:
        return
    found[block] = True
    if not write:
        return
    kept = weight >> 1
    old = tsdf[row, voxel]
    tsdf[row, voxel] = old + (1.0 - old) / wp.float32(kept + 1)
    weights[row, voxel] = wp.uint16(kept + 1)
    for slot in range(_SLOTS):
        held = int(evidence[row, voxel, slot])
        evidence[row, voxel, slot] = wp.uint16(held >> 1)


def carve_blocks(
    blocks: tuple[Any, np.ndarray, np.ndarray],
    images: tuple[int, int, np.ndarray],
    camera: tuple,
    write: bool,
    voxels: tuple,
) -> np.ndarray:
    """Find the voxels that a surface left in what is clear now; fade them.

    Args:
        blocks: as in ``kernels_carve.carve_blocks``, as all arguments but the last.
        images: see there.
        camera: see there.
        write: see there.
        voxels: Warp arrays, see ``warp_integrate.integrate_blocks``.

    Returns:
        (B,) bool: the blocks that have such voxels.
    """
    rows, origins, axes = blocks
    width, height, clear = images
    tsdf, weight, _, _, evidence = voxels
    device = tsdf.device
    found = wp.zeros(len(rows), dtype=wp.bool, device=device)
    wp.launch(
        _carve,
        dim=(len(rows), BLOCK_SIDE**3),
        inputs=[
            upload(rows, wp.int32, device),
            upload(origins, wp.vec3d, device),
            wp.mat33d(axes),
            wp.vec2i(width, height),
            wp.vec4f(*camera),
            upload(clear, wp.float32, device),
            write,
            tsdf,
            weight,
            evidence,
        ],
        outputs=[found],
        device=device,
    )
    return found.numpy()
