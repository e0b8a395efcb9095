# SPDX-License-Identifier: Apache-2.0
"""Printed and shown images: posters, book covers, sheets of text, screens. All made up."""

import cv2
import numpy as np

from mtl_perception.synthetic.materials import Color, linear, smooth_noise
from mtl_perception.synthetic.patches import Material


def _lines_of_text(
    image: np.ndarray,
    box: tuple[int, int, int, int],
    line: int,
    ink: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Draw rows of word-like bars into ``box`` (top, left, bottom, right) of an image."""
    top, left, bottom, right = box
    for y in range(top, bottom - line // 2, max(line, 2)):
        x, end = left, left + int((right - left) * rng.uniform(0.6, 1.0))
        while x < end:
            word = int(rng.uniform(0.6, 3.0) * line) + 1
            image[y : y + max(line // 2, 1), x : min(x + word, end)] = ink
            x += word + max(line // 2, 1)


def page(ground: Color = (244, 242, 236), ink: Color = (60, 60, 66)) -> Material:
    """A sheet of text, now and then with a figure."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        h, w = shape
        image = np.tile(linear(ground), (h, w, 1)).astype(np.float32)
        if min(h, w) < 8:  # the edge of a sheet
            return image
        edge = min(h, w) // 10 + 1
        line = max(2, round(0.012 / texel))
        split = edge + int((h - 2 * edge) * rng.uniform(0.2, 1.0))
        # Row 0 is the sheet's lower border.
        if split < h - 2 * edge:
            figure = smooth_noise((h - edge - split, w - 2 * edge), (6, 6), rng)[..., None]
            image[split : h - edge, edge : w - edge] = linear(ink) * (1.4 + figure)
        _lines_of_text(image, (edge, edge, split, w - edge), line, linear(ink), rng)
        return np.clip(image, 0, 1)

    return material


def poster(colors: list[Color]) -> Material:
    """A poster, cover or package: fields, discs, a heading and lines of text in bold colours."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        h, w = shape
        palette = linear(np.array(colors))
        image = np.tile(palette[0], (h, w, 1)).astype(np.float32)
        for _ in range(int(rng.integers(1, 4))):
            color = tuple(float(c) for c in palette[rng.integers(len(palette))])
            at = int(rng.integers(w)), int(rng.integers(h))
            if rng.random() < 0.5:
                cv2.circle(image, at, int(max(2, min(h, w) * rng.uniform(0.1, 0.45))), color, -1)
            else:
                to = int(rng.integers(w)), int(rng.integers(h))
                cv2.rectangle(image, at, to, color, -1)
        ink = palette[-1]
        line = max(2, h // 12)
        _lines_of_text(image, (int(0.82 * h), w // 10, int(0.95 * h), w - w // 10), line, ink, rng)
        small = max(2, h // 30)
        _lines_of_text(image, (h // 12, w // 10, h // 4, w - w // 10), small, ink, rng)
        return np.clip(image, 0, 1)

    return material


def photograph(colors: list[Color]) -> Material:
    """Something like a photograph: blurred shapes over a horizon."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        h, w = shape
        palette = linear(np.array(colors))
        height = np.linspace(0, 1, h, dtype=np.float32)[:, None, None]
        low, high = palette[rng.integers(len(palette), size=2)]
        image = low + (high - low) * np.broadcast_to(height, (h, w, 1))
        image = np.ascontiguousarray(image, np.float32)
        for _ in range(int(rng.integers(4, 12))):
            color = tuple(
                float(c) for c in palette[rng.integers(len(palette))] * rng.uniform(0.5, 1.2)
            )
            axes = int(max(1, w * rng.uniform(0.03, 0.25))), int(max(1, h * rng.uniform(0.03, 0.3)))
            at = int(rng.integers(w)), int(rng.integers(h))
            cv2.ellipse(image, at, axes, float(rng.uniform(0, 180)), 0, 360, color, -1)
        blur = max(1, min(h, w) // 30)
        image = cv2.blur(image, (blur, blur))
        light = 1 + 0.3 * smooth_noise(shape, (h / 3, w / 3), rng)
        return np.clip(image * light[..., None], 0, 1).astype(np.float32)

    return material


def desktop(ground: Color, window: Color) -> Material:
    """A computer's screen: a ground with windows full of text."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        h, w = shape
        image = np.tile(linear(ground), (h, w, 1)).astype(np.float32)
        ink = linear((40, 60, 90))
        for _ in range(int(rng.integers(1, 4))):
            y0, x0 = int(rng.integers(max(h // 2, 1))), int(rng.integers(max(w // 2, 1)))
            y1, x1 = int(y0 + h * rng.uniform(0.3, 0.6)), int(x0 + w * rng.uniform(0.3, 0.6))
            image[y0:y1, x0:x1] = linear(window)
            image[max(y1 - 3, 0) : y1, x0:x1] = linear((90, 110, 140))
            _lines_of_text(image, (y0 + 2, x0 + 2, min(y1 - 4, h), min(x1, w) - 2), 4, ink, rng)
        return image

    return material


def dark_screen() -> Material:
    """A screen that is off: near black with a faint gradient of what it mirrors."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        sheen = smooth_noise(shape, (shape[0] / 2, shape[1] / 2), rng)
        color = linear((30, 32, 36)) * (1 + 0.5 * sheen[..., None])
        return np.clip(color, 0, 1).astype(np.float32)

    return material
