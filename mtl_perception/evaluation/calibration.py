# SPDX-License-Identifier: Apache-2.0
"""Is a pixel labelled with confidence 0.8 right in 80 of 100 cases?"""

from dataclasses import dataclass

import numpy as np

from mtl_perception.conventions import UNLABELLED, InvalidInput


@dataclass(frozen=True)
class ReliabilityBin:
    """The pixels whose confidence is in one range."""

    low: float
    high: float
    pixels: int
    confidence: float  # mean; 0 without pixels
    accuracy: float  # share right; 0 without pixels


@dataclass(frozen=True)
class CalibrationMetrics:
    """Confidence against accuracy, over pixels that have a label and a known true class."""

    pixels: int
    ece: float  # expected calibration error: mean over pixels of |accuracy - confidence| by bin
    overconfidence: float  # mean confidence - accuracy
    log_loss: float  # mean of -ln(probability given to what came true: label right, or wrong)
    bins: tuple[ReliabilityBin, ...]  # of equal width, ascending


class CalibrationMeter:
    """Adds up confidences of any number of images."""

    BINS = 15
    """Of equal width over 0..1, as in Guo et al. 2017 (arXiv 1706.04599)."""

    def __init__(self) -> None:
        """Start with nothing counted."""
        self._sums = np.zeros((3, self.BINS))  # pixels, sum of confidence, right ones
        self._log_loss = 0.0

    def add(self, truth: np.ndarray, labels: np.ndarray, confidence: np.ndarray) -> None:
        """Count an image.

        Args:
            truth: (H, W) uint8 class ids, 255 = unknown.
            labels: (H, W) uint8 class ids, predicted, 255 = unlabelled.
            confidence: (H, W) float32 in [0, 1].

        Raises:
            InvalidInput: shapes differ, or a confidence is no probability.
        """
        if not truth.shape == labels.shape == confidence.shape:
            raise InvalidInput(
                f"truth {truth.shape}, labels {labels.shape}, confidence {confidence.shape}"
            )
        counted = (truth != UNLABELLED) & (labels != UNLABELLED)
        values = confidence[counted].astype(np.float64)
        if not ((values >= 0) & (values <= 1 + 1e-6)).all():  # NaN fails too
            raise InvalidInput("confidence outside of 0..1: not probabilities")
        row = np.minimum((values * self.BINS).astype(np.int64), self.BINS - 1)
        is_right = truth[counted] == labels[counted]
        # A certain network that is wrong must not outweigh all others: float32 has no more.
        probability = np.clip(np.where(is_right, values, 1 - values), 1e-6, 1)
        self._log_loss -= float(np.log(probability).sum())
        right = is_right.astype(np.float64)
        self._sums += [
            np.bincount(row, minlength=self.BINS),
            np.bincount(row, values, self.BINS),
            np.bincount(row, right, self.BINS),
        ]

    def metrics(self) -> CalibrationMetrics | None:
        """Return the agreement so far; None without any pixel."""
        pixels, confidence, right = self._sums
        total = pixels.sum()
        if total == 0:
            return None
        some = np.maximum(pixels, 1)
        return CalibrationMetrics(
            int(total),
            float(np.abs(confidence - right).sum() / total),
            float((confidence.sum() - right.sum()) / total),
            self._log_loss / float(total),
            tuple(
                ReliabilityBin(i / self.BINS, (i + 1) / self.BINS, int(n), float(c), float(a))
                for i, (n, c, a) in enumerate(
                    zip(pixels, confidence / some, right / some, strict=True)
                )
            ),
        )
