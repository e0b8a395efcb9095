# SPDX-License-Identifier: Apache-2.0
"""Random changes of an image's colours, as cameras and lamps make them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Photometric:
    """How far colours may change; zeros leave them alone."""

    brightness: float = 0.3  # factor exp(+-)
    contrast: float = 0.3  # factor exp(+-) about the image's mean
    gamma: float = 0.25  # exponent exp(+-)
    balance: float = 0.12  # factor exp(+-) of each channel
    saturation: float = 0.4  # factor exp(+-) of the distance from grey
    blur: float = 1.2  # largest standard deviation, pixels
    blur_chance: float = 0.3
    noise: float = 8.0  # largest standard deviation, grey levels of 255
    noise_chance: float = 0.4


def distort(
    images: Sequence[np.ndarray], limits: Photometric, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return images (H, W, 3) uint8 RGB with changed colours, the same change for all of them."""
    curves = _curves(float(images[0].mean()), limits, rng)
    mix = _saturation_matrix(np.exp(_within(limits.saturation, rng)))
    blur = (
        rng.uniform(min(0.3, limits.blur), limits.blur)
        if rng.random() < limits.blur_chance
        else 0.0
    )
    noise = rng.uniform(0, limits.noise) if rng.random() < limits.noise_chance else 0.0
    return [_changed(image, curves, mix, blur, noise, rng) for image in images]


def _within(limit: float, rng: np.random.Generator, size: int | None = None) -> np.ndarray:
    return np.asarray(rng.uniform(-limit, limit, size))


def _sometimes(chance: float, low: float, high: float, rng: np.random.Generator) -> float:
    return float(rng.uniform(low, high)) if rng.random() < chance else 0.0


def _curves(mean: float, limits: Photometric, rng: np.random.Generator) -> np.ndarray:
    """Return (1, 256, 3) uint8: new value of each old one, by channel."""
    levels = np.arange(256)[:, None] / 255
    gain = np.exp(_within(limits.brightness, rng) + _within(limits.balance, rng, 3))
    contrast = np.exp(_within(limits.contrast, rng))
    curve = levels ** np.exp(_within(limits.gamma, rng)) * gain
    curve = (curve - mean / 255) * contrast + mean / 255
    return np.clip(curve * 255 + 0.5, 0, 255).astype(np.uint8)[None]


def _saturation_matrix(factor: float) -> np.ndarray:
    """Return (3, 3) that moves colours from or to the grey of the same luma."""
    luma = np.array([0.299, 0.587, 0.114])
    return factor * np.eye(3) + (1 - factor) * np.tile(luma, (3, 1))


def _changed(
    image: np.ndarray,
    curves: np.ndarray,
    mix: np.ndarray,
    blur: float,
    noise: float,
    rng: np.random.Generator,
) -> np.ndarray:
    image = cv2.transform(cv2.LUT(np.ascontiguousarray(image), curves), mix)
    if blur > 0:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    if noise > 0:
        grain = rng.standard_normal(image.shape, np.float32) * np.float32(noise)
        image = np.clip(image + grain + np.float32(0.5), 0, 255).astype(np.uint8)
    return image
