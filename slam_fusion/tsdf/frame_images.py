# SPDX-License-Identifier: Apache-2.0
"""A frame's images as the kernels take them."""

from typing import NamedTuple

import numpy as np

from slam_fusion.frame import Frame


class FrameImages(NamedTuple):
    """Flat, row by row; empty for none."""

    depth: np.ndarray  # (P,) float32
    shares: np.ndarray  # (P,) uint8
    color: np.ndarray  # (P, 3) uint8
    labels: np.ndarray  # (P,) uint8
    confidence: np.ndarray  # (P,) float32

    @classmethod
    def of(cls, frame: Frame, shares: np.ndarray | None) -> "FrameImages":
        """View the images of a frame, and what its pixels weigh."""
        return cls(
            flat(frame.depth, np.float32),
            flat(shares, np.uint8),
            flat(frame.color, np.uint8, 3),
            flat(frame.labels, np.uint8),
            flat(frame.confidence, np.float32),
        )


def flat(image: np.ndarray | None, dtype: type, *channels: int) -> np.ndarray:
    """Flatten an image, without a copy where it can be.

    The view is contiguous, aligned and read-only, whatever came: numba compiles the kernels anew,
    for many seconds, for each kind of array that it meets.
    """
    if image is None:
        flat: np.ndarray = np.empty((0, *channels), dtype)
    else:
        flat = np.require(image, requirements=["C", "A"]).reshape(-1, *channels)
        flat = flat.view()  # the caller's own array stays writable
    flat.flags.writeable = False
    return flat


def float32s(*numbers: float) -> tuple[np.float32, ...]:
    """Return the numbers in single precision, as the kernels take them."""
    return tuple(np.float32(number) for number in numbers)
