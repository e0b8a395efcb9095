# SPDX-License-Identifier: Apache-2.0
"""How a real camera's colours depart from the ideal: exposure, white balance, blur, noise, JPEG."""

from dataclasses import dataclass

import cv2
import numpy as np

SCREEN_GAMMA = 2.2
MIDDLE_GREY = 0.2  # mean linear light, 0..1, that auto-exposure aims at
MAX_METERING = 2.0  # stops that auto-exposure may add or take away


@dataclass(frozen=True)
class ColorNoise:
    """How a real camera departs from the ideal; the defaults are an ideal camera."""

    vignetting: float = 0.0  # darkening in the image's corners, 0..1
    grain: float = 0.0  # standard deviation of sensor noise, grey levels of 255
    seed: int = 0
    metering: float = 0.0  # part of the auto-exposure to middle grey that takes place, 0..1
    exposure: float = 0.0  # stops brighter (or darker) than the metering wants
    warmth: float = 0.0  # stops of red more, and of blue less: error of the white balance
    tint: float = 0.0  # stops of green more
    gamma: float = 1.0  # exponent of the tone curve besides the screen's; > 1 is darker
    defocus: float = 0.0  # standard deviation of the blur, pixels
    jpeg: int = 0  # quality 1..100 of a compression that the image went through; 0 = none


def random_noise(rng: np.random.Generator) -> ColorNoise:
    """Draw a camera as cheap RGB-D sensors, webcams and phones are: most fair, some poor."""
    return ColorNoise(
        vignetting=rng.uniform(0, 0.4),
        grain=rng.uniform(0, 2.5) if rng.random() < 0.7 else rng.uniform(2.5, 7),
        seed=int(rng.integers(2**31)),
        metering=rng.uniform(0.2, 1),
        exposure=float(np.clip(rng.normal(0.25, 0.4), -1.0, 1.2)),
        warmth=float(np.clip(rng.normal(0, 0.14), -0.4, 0.4)),
        tint=float(np.clip(rng.normal(0, 0.06), -0.15, 0.15)),
        gamma=float(np.exp(np.clip(rng.normal(0, 0.12), -0.3, 0.3))),
        defocus=rng.uniform(0.4, 1.4) if rng.random() < 0.3 else 0.0,
        jpeg=int(rng.integers(45, 92)) if rng.random() < 0.4 else 0,
    )


def photograph(color: np.ndarray, noise: ColorNoise) -> np.ndarray:
    """Return what a camera with these imperfections makes of an ideal image.

    Args:
        color: (H, W, 3) float32 RGB 0..255, as a screen shows it.
        noise: the imperfections; the same seed gives the same grain.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    if noise.defocus > 0:
        color = cv2.GaussianBlur(color, (0, 0), noise.defocus)
    color = _exposed(color, noise)
    if noise.vignetting > 0:
        height, width = color.shape[:2]
        y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
        color = color * (1 - noise.vignetting * (x**2 + y**2) / 2)[..., None].astype(np.float32)
    if noise.grain > 0:
        rng = np.random.default_rng(noise.seed)
        color = color + np.float32(noise.grain) * rng.standard_normal(color.shape, np.float32)
    image = np.clip(color + 0.5, 0, 255).astype(np.uint8)
    return _compressed(image, noise.jpeg) if noise.jpeg else image


def _exposed(color: np.ndarray, noise: ColorNoise) -> np.ndarray:
    """Scale linear light per channel and bend the tone curve; both are one power on the screen."""
    stops = noise.exposure
    if noise.metering > 0:
        mean = np.mean((color[::4, ::4] / 255) ** SCREEN_GAMMA)
        wanted = np.log2(MIDDLE_GREY / max(float(mean), 1e-4))
        stops += noise.metering * float(np.clip(wanted, -MAX_METERING, MAX_METERING))
    channels = stops + np.array([noise.warmth, noise.tint, -noise.warmth])
    if noise.gamma == 1.0 and not channels.any():
        return color
    gains = (2.0 ** (channels / SCREEN_GAMMA)).astype(np.float32)
    screen = np.clip(color * gains / np.float32(255), 0, 1)
    if noise.gamma != 1.0:
        screen = np.power(screen, np.float32(noise.gamma))
    return screen * np.float32(255)


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
