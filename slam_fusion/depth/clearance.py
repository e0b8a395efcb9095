# SPDX-License-Identifier: Apache-2.0
"""How far a camera certainly sees through: what the map has there has left."""

import numpy as np
from numba import prange

from mtl_perception.conventions import Intrinsics
from slam_fusion.tsdf.jit import jit_parallel

STEP = 4
"""Pixels and rows of the depth image to one of the clearance's."""

REACH = 4
"""Pixels to each side that are looked at; the nearest counts, so that edges that are off by some
pixels, of the depth or of the pose, do not cut into what stands there."""

LEAST_KNOWN = 0.75
"""Part of these pixels that has to be known: thin things are often holes in measured depth."""

_f32 = np.float32


@jit_parallel
def _clear(depth, farthest, part, margin, out):
    height, width = depth.shape
    zero, unknown = _f32(0.0), _f32(np.inf)
    for row in prange(out.shape[0]):
        top, bottom = max(row * STEP - REACH, 0), min(row * STEP + REACH + 1, height)
        nearest = np.full(width, np.inf, np.float32)  # of each column
        known = np.zeros(width, np.int32)
        for v in range(top, bottom):
            for u in range(width):
                d = depth[v, u]
                is_known = (d > zero) & (d < unknown)  # NaN is not
                d = d if is_known else unknown
                nearest[u] = d if d < nearest[u] else nearest[u]
                known[u] += np.int32(is_known)
        for column in range(out.shape[1]):
            left, right = max(column * STEP - REACH, 0), min(column * STEP + REACH + 1, width)
            z, count = farthest, 0
            for u in range(left, right):
                z = min(z, nearest[u])
                count += known[u]
            clear = z * part - margin
            enough = count >= LEAST_KNOWN * (bottom - top) * (right - left)
            out[row, column] = clear if enough and clear > zero else zero


def clearance(
    depth: np.ndarray, camera: Intrinsics, max_depth: float, margin: float, relative_margin: float
) -> tuple[np.ndarray, Intrinsics]:
    """Return up to where the rays of a depth image are clear, with few pixels.

    Args:
        depth: (H, W) float32 metres; 0, NaN and Inf = unknown.
        camera: of the image.
        max_depth: metres; what is farther counts as so far.
        margin: metres before a surface that are not called clear,
        relative_margin: and part of its depth that is not either.

    Returns:
        (H / 4, W / 4) float32 metres along the optical axis, 0 where nothing is known to be
        clear; the camera of these pixels.
    """
    height, width = (-(-size // STEP) for size in depth.shape)
    clear = np.empty((height, width), np.float32)
    numbers = _f32(max_depth), _f32(1 - relative_margin), _f32(margin)
    _clear(np.ascontiguousarray(depth), *numbers, clear)
    small = Intrinsics(
        width, height, camera.fx / STEP, camera.fy / STEP, camera.cx / STEP, camera.cy / STEP
    )
    return clear, small
