# SPDX-License-Identifier: Apache-2.0
"""How far a camera certainly sees through: what the map has there has left."""

import cv2
import numpy as np

from mtl_perception.conventions import Intrinsics

STEP = 4
"""Pixels and rows of the depth image to one of the clearance's."""

WINDOW = 9
"""Pixels across: the nearest of so many counts, so that edges that are off by some pixels, of the
depth or of the pose, do not cut into what stands there."""

LEAST_KNOWN = 0.75
"""Part of the window that has to be known: thin things are often holes in measured depth."""


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
    known = np.isfinite(depth) & (depth > 0)
    window = np.ones((WINDOW, WINDOW), np.uint8)
    nearest = cv2.erode(np.where(known, depth, np.float32(np.inf)), window)[::STEP, ::STEP]
    share = cv2.blur(known.astype(np.float32), (WINDOW, WINDOW))[::STEP, ::STEP]
    nearest = np.minimum(nearest, np.float32(max_depth))
    clear = nearest * np.float32(1 - relative_margin) - np.float32(margin)
    clear = np.where((share >= LEAST_KNOWN) & (clear > 0), clear, np.float32(0))
    height, width = clear.shape
    small = Intrinsics(
        width, height, camera.fx / STEP, camera.fy / STEP, camera.cx / STEP, camera.cy / STEP
    )
    return clear, small
