# SPDX-License-Identifier: Apache-2.0
"""``kernels_integrate`` for GPUs, in NVIDIA Warp: a thread per voxel, the same numbers bit for bit.

Warp compiles this for CUDA, and for the CPU, where the tests run it. Constants are those of the
numba kernels. The arithmetic is written twice, in the same order and the same types, and without
fused multiply-adds each step rounds alike; tests hold the two to equal bits.
"""

from typing import Any

import numpy as np
import warp as wp

from mtl_perception.conventions import MAX_CLASSES as _MAX_CLASSES
from slam_fusion.tsdf import evidence as rule
from slam_fusion.tsdf import kernels_integrate as numba_kernels
from slam_fusion.tsdf.kernels_blocks import BLOCK_SIDE
from slam_fusion.tsdf.warp_arrays import upload
from slam_fusion.tsdf.warp_project import project

wp.set_module_options({"enable_backward": False, "fuse_fp": False})

_CLASSES = wp.constant(_MAX_CLASSES)
_MAX_WEIGHT = wp.constant(numba_kernels.MAX_WEIGHT)
_COLOR_SCALE = wp.constant(float(numba_kernels.COLOR_SCALE))
_COLOR_WINDOW = wp.constant(numba_kernels.COLOR_WINDOW)
_NOT_ZERO = wp.constant(float(numba_kernels.NOT_ZERO))
_SLOTS = wp.constant(rule.SLOTS)
_UNIT = wp.constant(rule.UNIT)
_UNIT_64 = wp.constant(wp.float64(rule.UNIT))
_MOST = wp.constant(rule.MOST)


@wp.func
def _evidence_of(confidence: wp.float32) -> int:
    units = wp.int32(0)
    if confidence >= 1.0:
        units = _UNIT
    elif confidence > 0.0:
        units = wp.int32(wp.float64(confidence) * _UNIT_64 + wp.float64(0.5))
    return units


@wp.func
def _add_evidence(
    labels: wp.array3d[wp.uint8],
    evidence: wp.array3d[wp.uint16],
    row: int,
    voxel: int,
    class_id: int,
    units: int,
):
    weakest = wp.int32(0)
    least = int(evidence[row, voxel, 0])
    for slot in range(_SLOTS):
        held = int(evidence[row, voxel, slot])
        if held > 0 and int(labels[row, voxel, slot]) == class_id:
            if held > _MOST - units:
                for other in range(_SLOTS):
                    half = int(evidence[row, voxel, other]) >> 1
                    evidence[row, voxel, other] = wp.uint16(half)
                held = held >> 1
            evidence[row, voxel, slot] = wp.uint16(held + units)
            return
        if held < least:
            weakest = slot
            least = held
    if least > units:
        evidence[row, voxel, weakest] = wp.uint16(least - units)
    else:
        labels[row, voxel, weakest] = wp.uint8(class_id)
        taken = units
        if least > 0:
            taken = units - least
        evidence[row, voxel, weakest] = wp.uint16(taken)


@wp.func
def _average_color(
    colors: wp.array3d[wp.uint16],
    row: int,
    voxel: int,
    color: wp.array2d[wp.uint8],
    pixel: int,
    own: int,
    weight: int,
):
    share = wp.float32(1.0)
    if int(colors[row, voxel, 0]) != 0:
        share = wp.max(wp.float32(own) / wp.float32(weight), 1.0 / wp.float32(_COLOR_WINDOW))
    for channel in range(3):
        value = wp.float32(color[pixel, channel]) * _COLOR_SCALE + 1.0
        old = wp.float32(colors[row, voxel, channel])
        colors[row, voxel, channel] = wp.uint16(old + (value - old) * share + 0.5)


@wp.kernel
def _integrate(
    rows: wp.array[wp.int32],
    origins: wp.array[wp.vec3d],
    axes: wp.mat33d,
    size: wp.vec2i,
    camera: wp.vec4f,
    depth: wp.array[wp.float32],
    shares: wp.array[wp.uint8],
    color: wp.array2d[wp.uint8],
    class_ids: wp.array[wp.uint8],
    confidence: wp.array[wp.float32],
    depth_range: wp.vec2f,
    truncation: wp.float32,
    label_band: wp.float32,
    limits: wp.array[wp.uint16],
    tsdf: wp.array2d[wp.float32],
    weights: wp.array2d[wp.uint16],
    colors: wp.array3d[wp.uint16],
    labels: wp.array3d[wp.uint8],
    evidence: wp.array3d[wp.uint16],
):
    block, voxel = wp.tid()
    pixel, z = project(origins[block], axes, voxel, camera, size)
    if pixel < 0:
        return
    measured = depth[pixel]
    distance = measured - z
    if not (measured >= depth_range[0] and measured <= depth_range[1] and distance >= -truncation):
        return
    row = rows[block]
    old = tsdf[row, voxel]
    count = int(weights[row, voxel])
    own = wp.int32(1)
    if shares.shape[0] > 0:
        own = int(shares[pixel])
    value = wp.min(distance * (1.0 / truncation), 1.0)
    mean = old + (value - old) * wp.float32(own) / wp.float32(count + own)
    if mean == 0.0:
        mean = _NOT_ZERO
    tsdf[row, voxel] = mean
    count = wp.min(count + own, _MAX_WEIGHT)
    weights[row, voxel] = wp.uint16(count)
    if distance > truncation:
        return
    if color.shape[0] > 0:
        _average_color(colors, row, voxel, color, pixel, own, count)
    if limits.shape[0] > 0 and class_ids.shape[0] > 0:
        limit = int(limits[int(class_ids[pixel])])
        weights[row, voxel] = wp.uint16(wp.min(count, limit))
    if class_ids.shape[0] > 0 and wp.abs(distance) <= label_band:
        class_id = int(class_ids[pixel])
        if class_id < _CLASSES:
            units = wp.int32(_UNIT)
            if confidence.shape[0] > 0:
                units = _evidence_of(confidence[pixel])
            if units > 0:
                _add_evidence(labels, evidence, row, voxel, class_id, units)


def integrate_blocks(
    blocks: tuple[Any, np.ndarray, np.ndarray],
    images: tuple,
    camera: tuple,
    depth_range: tuple,
    truncation: np.float32,
    label_band: np.float32,
    limits: np.ndarray,
    voxels: tuple,
) -> None:
    """Integrate one frame into the voxels of its blocks, in place, on the voxels' device.

    Args:
        blocks: as in ``kernels_integrate.integrate_blocks``, as all arguments but the last.
        images: see there.
        camera: see there.
        depth_range: see there.
        truncation: see there.
        label_band: see there.
        limits: see there.
        voxels: Warp arrays of one device (tsdf, weight, colors, slot_labels, slot_evidence), of
            the types there but shaped (rows, 4096, ...).
    """
    rows, origins, axes = blocks
    width, height, depth, shares, color, labels, confidence = images
    device = voxels[0].device
    wp.launch(
        _integrate,
        dim=(len(rows), BLOCK_SIDE**3),
        inputs=[
            upload(rows, wp.int32, device),
            upload(origins, wp.vec3d, device),
            wp.mat33d(axes),
            wp.vec2i(width, height),
            wp.vec4f(*camera),
            upload(depth, wp.float32, device),
            upload(shares, wp.uint8, device),
            upload(color, wp.uint8, device),
            upload(labels, wp.uint8, device),
            upload(confidence, wp.float32, device),
            wp.vec2f(*depth_range),
            float(truncation),
            float(label_band),
            upload(limits, wp.uint16, device),
            *voxels,
        ],
        device=device,
    )
