# SPDX-License-Identifier: Apache-2.0
"""One pass over the voxels of a frame's blocks: distance, weight, colour and label evidence.

The distance is the projective truncated signed distance of Curless & Levoy (1996), averaged with
equal weights as Open3D's ``integrate`` does. A block is handled plane by plane of 16 x 16 voxels,
in short loops that the compiler turns into vector code: project, measure, average. Only
the few voxels near the surface then take the scalar path for colour and labels.
"""

import numpy as np
from numba import prange

from mtl_perception.conventions import MAX_CLASSES
from slam_fusion.tsdf.evidence import UNIT, add_evidence, evidence_of
from slam_fusion.tsdf.jit import jit, jit_parallel
from slam_fusion.tsdf.kernels_blocks import BLOCK_SIDE

MAX_WEIGHT = 65535
"""Weight that stays when it is reached: the average then forgets, ever so slowly."""

COLOR_SCALE = 256
"""Stored colour = 8-bit colour * 256 + 1: fractions survive the running mean; 0 = never seen."""

COLOR_WINDOW = 64
"""Observations that the colour's mean looks back on. Longer, and 16 bits would round steps away."""

NOT_ZERO = np.float32(1e-5)
"""Stored in place of a distance of 0, at which extraction would see no change of sign: a hole."""

_f32 = np.float32
_PLANE = BLOCK_SIDE * BLOCK_SIDE


@jit
def _project_plane(origin, axes, camera, width, height, pixel, range_z):
    """Project the voxel centres of one plane of a block, 16 along y by 16 along x.

    Args:
        origin: camera coordinates (x, y, z) of the plane's first voxel, float64 metres.
        axes: see ``integrate_blocks``.
        camera: fx, fy, cx, cy, float32.
        width: of the image, pixels.
        height: of the image, pixels.
        pixel: (256,) uint32, written: row-major index of the nearest pixel; 0 outside the image.
        range_z: (256,) float32, written: metres along the optical axis; inf outside the image,
            which is behind every surface.
    """
    fx, fy, cx, cy = camera
    dx, dy, dz = _f32(axes[0, 0]), _f32(axes[1, 0]), _f32(axes[2, 0])
    zero, half, one, outside = _f32(0.0), _f32(0.5), _f32(1.0), _f32(np.inf)
    limit_u, limit_v = _f32(width), _f32(height)
    for line in range(BLOCK_SIDE):
        x = _f32(origin[0] + line * axes[0, 1])
        y = _f32(origin[1] + line * axes[1, 1])
        z = _f32(origin[2] + line * axes[2, 1])
        first = line * BLOCK_SIDE
        for i in range(BLOCK_SIDE):
            k = _f32(i)
            zc = z + k * dz
            scale = one / zc
            # Pixel centres are at integers: the nearest pixel of u is floor(u + 0.5).
            u = fx * (x + k * dx) * scale + cx + half
            v = fy * (y + k * dy) * scale + cy + half
            inside = (zc > zero) & (u >= zero) & (u < limit_u) & (v >= zero) & (v < limit_v)
            u = u if inside else zero
            v = v if inside else zero
            pixel[first + i] = np.int32(v) * np.int32(width) + np.int32(u)
            range_z[first + i] = zc if inside else outside


@jit
def _measure_plane(depth, depth_range, truncation, pixel, range_z, distance, seen):
    """Look up depth and write metres before (+) or behind (-) the surface, -inf where unseen.

    The result goes to ``distance``, (256,) float32; ``seen``, (16,) bool, tells which lines of
    the plane have any seen voxel.
    """
    nearest, farthest = depth_range
    unseen = _f32(-np.inf)
    for i in range(_PLANE):  # a loop of its own: loads of scattered pixels stay scalar
        distance[i] = depth[pixel[i]]
    for line in range(BLOCK_SIDE):
        any_seen = np.int32(0)
        for i in range(line * BLOCK_SIDE, (line + 1) * BLOCK_SIDE):
            d = distance[i]
            sdf = d - range_z[i]
            # The comparisons are false for NaN.
            ok = (d >= nearest) & (d <= farthest) & (sdf >= -truncation)
            distance[i] = sdf if ok else unseen
            any_seen |= np.int32(ok)
        seen[line] = any_seen != 0


@jit
def _average_line(distance, share, truncation, start, first, tsdf, weight):
    """Fold ``distance[start:start + 16]`` into the running means of voxels from ``first`` on."""
    zero, one = _f32(0.0), _f32(1.0)
    scale = one / truncation
    for i in range(BLOCK_SIDE):
        seen = distance[start + i] >= -truncation
        value = distance[start + i] * scale
        value = value if value < one else one
        count, own = np.int32(weight[first + i]), np.int32(share[start + i])
        old = tsdf[first + i]
        change = (value - old) * _f32(own) / _f32(count + own)
        mean = old + change
        mean = mean if mean != zero else NOT_ZERO
        tsdf[first + i] = mean if seen else old
        total = min(count + own, np.int32(MAX_WEIGHT))
        weight[first + i] = total if seen else count


@jit
def _average_color(colors, voxel, red_green_blue, pixel, own, weight):
    """Fold a pixel's colour, of weight ``own``, into a voxel's; ``weight`` counts it already."""
    first = colors[voxel, 0] == 0
    share = max(_f32(own) / _f32(weight), _f32(1.0) / _f32(COLOR_WINDOW))
    share = _f32(1.0) if first else share
    for channel in range(3):
        value = _f32(red_green_blue[pixel, channel]) * _f32(COLOR_SCALE) + _f32(1.0)
        old = _f32(colors[voxel, channel])
        colors[voxel, channel] = np.uint16(old + (value - old) * share + _f32(0.5))


@jit_parallel
def integrate_blocks(blocks, images, camera, depth_range, truncation, label_band, limits, voxels):
    """Integrate one frame into the voxels of its blocks, in place.

    Args:
        blocks: (rows, origins, axes): (B,) int32 distinct buffer rows; (B, 3) float64 metres,
            first voxel of each block in the camera frame; (3, 3) float64 metres, whose columns
            are one voxel along world x, y, z in the camera frame.
        images: (width, height, depth, shares, color, labels, confidence), all flat, row by row:
            (P,) float32 metres; (P,) uint8, what a pixel weighs; (P, 3) uint8; (P,) uint8; (P,)
            float32. Empty = none; no shares and no confidence mean 1 everywhere.
        camera: fx, fy, cx, cy in pixels, float32.
        depth_range: least and most metres that count, float32.
        truncation: metres, float32.
        label_band: greatest distance from the surface that takes labels, metres, float32.
        limits: (256,) uint16, by class id: most that a voxel weighs where a pixel of the class
            shows; or empty.
        voxels: (tsdf, weight, colors, slot_labels, slot_evidence), all flat, 4096 voxels to a
            buffer row: (V,) float32; (V,) uint16; (V, 3) uint16; (V, SLOTS) uint8; (V, SLOTS)
            uint16.
    """
    rows, origins, axes = blocks
    width, height, depth, shares, color, labels, confidence = images
    tsdf, weight, colors, slot_labels, slot_evidence = voxels
    for block in prange(len(rows)):
        pixel = np.empty(_PLANE, np.uint32)
        share = np.ones(_PLANE, np.uint8)
        range_z = np.empty(_PLANE, np.float32)
        distance = np.empty(_PLANE, np.float32)
        seen = np.empty(BLOCK_SIDE, np.bool_)
        for plane in range(BLOCK_SIDE):
            origin = (
                origins[block, 0] + plane * axes[0, 2],
                origins[block, 1] + plane * axes[1, 2],
                origins[block, 2] + plane * axes[2, 2],
            )
            _project_plane(origin, axes, camera, width, height, pixel, range_z)
            _measure_plane(depth, depth_range, truncation, pixel, range_z, distance, seen)
            if shares.size:
                for i in range(_PLANE):
                    share[i] = shares[pixel[i]]
            plane_first = (np.int64(rows[block]) * BLOCK_SIDE + plane) * _PLANE
            for line in range(BLOCK_SIDE):
                if seen[line]:
                    start = line * BLOCK_SIDE
                    first = plane_first + start
                    _average_line(distance, share, truncation, start, first, tsdf, weight)
            for i in range(_PLANE):
                if not abs(distance[i]) <= truncation:
                    continue
                voxel, at = plane_first + i, pixel[i]
                if color.size:
                    _average_color(colors, voxel, color, at, share[i], weight[voxel])
                if limits.size and labels.size:
                    weight[voxel] = min(weight[voxel], limits[labels[at]])
                if labels.size and abs(distance[i]) <= label_band and labels[at] < MAX_CLASSES:
                    units = evidence_of(confidence[at]) if confidence.size else UNIT
                    if units > 0:
                        add_evidence(slot_labels, slot_evidence, voxel, labels[at], units)
