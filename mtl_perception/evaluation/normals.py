# SPDX-License-Identifier: Apache-2.0
"""Surface normals against true ones: the angle between them, degrees."""

from dataclasses import dataclass

import numpy as np

from mtl_perception.conventions import InvalidInput


@dataclass(frozen=True)
class NormalMetrics:
    """Angles over all pixels that have both normals, pooled over the images."""

    pixels: int
    missing: int  # pixels with a true normal that the prediction leaves unknown
    mean: float  # degrees
    median: float  # degrees, to 0.01
    rmse: float  # degrees
    within_11: float  # share of pixels below 11.25 degrees
    within_22: float  # below 22.5
    within_30: float  # below 30


class NormalMeter:
    """Adds up the angles of any number of images."""

    BINS_PER_DEGREE = 100  # of the histogram that the median is read from: memory stays bounded
    LIMITS = (11.25, 22.5, 30.0)

    def __init__(self) -> None:
        """Start with nothing counted."""
        self._histogram = np.zeros(180 * self.BINS_PER_DEGREE + 1, np.int64)
        self._sums = np.zeros(2)  # of angles and of their squares
        self._within = np.zeros(3, np.int64)
        self._missing = 0

    def add(self, truth: np.ndarray, normals: np.ndarray) -> float | None:
        """Count an image.

        Args:
            truth: (H, W, 3) float32 of any length, 0 = unknown.
            normals: (H, W, 3) float32 of any length, predicted; 0 or not finite = unknown.

        Returns:
            Mean angle of the image, degrees; None where no pixel has both normals.

        Raises:
            InvalidInput: shapes differ.
        """
        if truth.shape != normals.shape or truth.shape[2:] != (3,):
            raise InvalidInput(f"true normals {truth.shape} against predicted {normals.shape}")
        length = np.linalg.norm(truth, axis=2), np.linalg.norm(normals, axis=2)
        known = length[0] > 0
        both = known & np.isfinite(length[1]) & (length[1] > 0)
        self._missing += int(known.sum() - both.sum())
        if not both.any():
            return None
        t, n = truth[both].astype(np.float64), normals[both].astype(np.float64)
        # atan2 keeps small angles exact, where the arc cosine loses half of the digits.
        angles = np.degrees(
            np.arctan2(np.linalg.norm(np.cross(t, n), axis=1), np.einsum("ij,ij->i", t, n))
        )
        self._histogram += np.bincount(
            (angles * self.BINS_PER_DEGREE).astype(np.int64), minlength=len(self._histogram)
        )
        self._sums += angles.sum(), (angles**2).sum()
        self._within += [int((angles < limit).sum()) for limit in self.LIMITS]
        return float(angles.mean())

    def metrics(self) -> NormalMetrics | None:
        """Return the agreement so far; None where no pixel has both normals."""
        pixels = int(self._histogram.sum())
        if pixels == 0:
            return None
        middle = np.searchsorted(np.cumsum(self._histogram), pixels / 2)
        mean, square = self._sums / pixels
        return NormalMetrics(
            pixels,
            self._missing,
            float(mean),
            float((middle + 0.5) / self.BINS_PER_DEGREE),
            float(np.sqrt(square)),
            *(float(w) for w in self._within / pixels),
        )
