# SPDX-License-Identifier: Apache-2.0
"""Bringing a network's depth to the scale of measured depth."""

from dataclasses import dataclass

import cv2
import numpy as np

STEP = 4
"""Every so many pixels of a row, and every so many rows, enter the fit."""

LEAST_PIXELS = 200
"""Fewer pixels that both know decide nothing."""

ROUNDS = 8
SCALE_RANGE = (0.2, 5.0)  # beyond it the two images are of different things
LEAST_SPREAD = 0.15
"""Depth that varies less than this (standard deviation over mean) cannot tell scale from shift."""


@dataclass(frozen=True)
class Alignment:
    """``scale * predicted + shift`` is the measured depth, in metres."""

    scale: float
    shift: float  # metres
    error: float  # median relative error of the aligned depth where both are known
    pixels: int  # that both know, of those looked at


def align(predicted: np.ndarray, measured: np.ndarray) -> Alignment | None:
    """Fit scale and shift of a predicted depth image to a measured one, robustly.

    Least squares of the relative error, reweighted by Cauchy's function (a fifth of the pixels
    may be anything), on a coarse grid of pixels. Where the measured depth hardly varies, only
    the scale is fitted.

    Args:
        predicted: (H, W) float32, 0 = unknown.
        measured: (H, W) float32 metres, 0 = unknown.

    Returns:
        The alignment; None when fewer than ``LEAST_PIXELS`` pixels of the grid are known to both
        or no scale in ``SCALE_RANGE`` fits.
    """
    x = predicted[::STEP, ::STEP].ravel().astype(np.float64)
    y = measured[::STEP, ::STEP].ravel().astype(np.float64)
    both = (x > 0) & (y > 0) & np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if len(x) < LEAST_PIXELS:
        return None
    ratio = float(np.median(y / x))
    scale, shift = ratio, 0.0
    with_shift = x.std() > LEAST_SPREAD * x.mean()
    for _ in range(ROUNDS):
        error = (scale * x + shift - y) / y
        width = max(1.4826 * float(np.median(np.abs(error))), 1e-4)
        weight = 1 / (1 + (error / width) ** 2) / y**2
        scale, shift = _weighted_line(x, y, weight, with_shift)
    if not SCALE_RANGE[0] * ratio <= scale <= SCALE_RANGE[1] * ratio:
        scale, shift = ratio, 0.0  # a slope that the bulk of the ratios contradicts
    if not SCALE_RANGE[0] <= scale <= SCALE_RANGE[1]:
        return None
    error = np.abs(scale * x + shift - y) / y
    return Alignment(scale, shift, float(np.median(error)), len(x))


def _weighted_line(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, with_shift: bool
) -> tuple[float, float]:
    if not with_shift:
        return float((weight * x * y).sum() / (weight * x * x).sum()), 0.0
    total = weight.sum()
    mean_x, mean_y = (weight * x).sum() / total, (weight * y).sum() / total
    dx = x - mean_x
    scale = float((weight * dx * (y - mean_y)).sum() / (weight * dx * dx).sum())
    return scale, float(mean_y - scale * mean_x)


def aligned_to(predicted: np.ndarray, measured: np.ndarray, alignment: Alignment) -> np.ndarray:
    """Return predicted depth, aligned, and bent smoothly to what is measured near by.

    What scale and shift leave over is spread from the pixels that both know to their
    surroundings, so that filled holes join their rims without a step.

    Args:
        predicted: (H, W) float32, 0 = unknown.
        measured: (H, W) float32 metres, 0 = unknown.
        alignment: of the two.

    Returns:
        (H, W) float32 metres; 0 where ``predicted`` is unknown.
    """
    line = np.float32(alignment.scale) * predicted + np.float32(alignment.shift)
    line = np.where((predicted > 0) & (line > 0), line, np.float32(0))
    both = (line > 0) & (measured > 0)
    left_over = np.log(np.where(both, measured, 1) / np.where(both, line, 1))
    # A pixel that is off by more than a third shows another surface: it says nothing here.
    known = (both & (np.abs(left_over) < 0.3)).astype(np.float32)
    return line * np.exp(_spread(left_over * known, known))


def _spread(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean of the known values around each pixel, fading to 0 where none is near."""
    height, width = values.shape
    small = (max(1, width // 8), max(1, height // 8))
    sums = cv2.resize(values, small, interpolation=cv2.INTER_AREA)
    counts = cv2.resize(known, small, interpolation=cv2.INTER_AREA)
    sums, counts = (cv2.GaussianBlur(image, (0, 0), 2.0) for image in (sums, counts))
    # The 0.02 is as much as a little of "nothing is off": what is far from all knowledge stays.
    mean = sums / (counts + np.float32(0.02))
    return cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)
