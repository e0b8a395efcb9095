# SPDX-License-Identifier: Apache-2.0
"""Flying pixels: depth between a near and a far surface, where nothing is."""

import numpy as np
from numba import prange

from slam_fusion.tsdf.jit import jit, jit_parallel

REACH = 2
"""Pixels to either side that are compared; networks smear an edge over about so many."""


@jit
def _between(near, depth, far, step):
    """Whether depth climbs, or falls, by more than ``step`` on both sides."""
    if not (near > 0 and far > 0):
        return False
    before, after = depth - near, far - depth
    return (before > step and after > step) or (before < -step and after < -step)


@jit_parallel
def _reject(depth, relative_step, out):
    height, width = depth.shape
    for v in prange(height):
        for u in range(width):
            d = depth[v, u]
            out[v, u] = d
            if not d > 0:
                continue
            step = relative_step * d
            inside_u = REACH <= u < width - REACH
            inside_v = REACH <= v < height - REACH
            flying = inside_u and _between(depth[v, u - REACH], d, depth[v, u + REACH], step)
            if not flying and inside_v:
                flying = _between(depth[v - REACH, u], d, depth[v + REACH, u], step)
            if not flying and inside_u and inside_v:
                flying = _between(
                    depth[v - REACH, u - REACH], d, depth[v + REACH, u + REACH], step
                ) or _between(depth[v - REACH, u + REACH], d, depth[v + REACH, u - REACH], step)
            if flying:
                out[v, u] = 0


def reject_flying_pixels(depth: np.ndarray, relative_step: float) -> np.ndarray:
    """Return the depth without the pixels that hang between two surfaces.

    A pixel flies when, along a row, a column or a diagonal, depth rises (or falls) from one side
    to it and on to the other side by more than the step each time. A surface does that only when
    it is seen at a grazing angle: with the step at 5 % and a focal length of 525 pixels, beyond
    about 85 degrees.

    Args:
        depth: (H, W) float32 metres; 0 = unknown.
        relative_step: part of the pixel's depth that counts as a jump; 0 rejects nothing.

    Returns:
        (H, W) float32 metres, 0 also where a pixel flies; ``depth`` itself for a step of 0.
    """
    if relative_step == 0:
        return depth
    out = np.empty_like(depth)
    _reject(np.ascontiguousarray(depth), np.float32(relative_step), out)
    return out
