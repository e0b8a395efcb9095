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
        if min(h, w) < 8:  # the edge of a cover
            return image
        if rng.random() < 0.5:
            low, high = int(0.3 * h), int(0.8 * h)
            left = int(w * rng.uniform(0, 0.15))
            inner = (high - low, w - 2 * left)
            image[low:high, left : w - left] = photograph(colors)(inner, texel, rng)
        for _ in range(int(rng.integers(0, 3))):
            color = tuple(float(c) for c in palette[rng.integers(len(palette))])
            at = int(rng.integers(w)), int(rng.integers(h))
            if rng.random() < 0.5:
                cv2.circle(image, at, int(max(2, min(h, w) * rng.uniform(0.05, 0.3))), color, -1)
            else:
                to = at[0] + int(w * rng.uniform(0.1, 0.5)), at[1] + int(h * rng.uniform(0.05, 0.3))
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


def spine(color: Color, ink: Color) -> Material:
    """A book's spine: bands and a title along it."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        h, w = shape
        image = np.tile(linear(color), (h, w, 1)).astype(np.float32)
        dye = linear(ink)
        for _ in range(int(rng.integers(0, 3))):
            y = int(h * rng.uniform(0.05, 0.95))
            image[y : y + max(1, h // 20)] = dye
        low, high = int(0.25 * h), int(h * rng.uniform(0.5, 0.85))
        left, right = int(0.3 * w), max(int(0.7 * w), int(0.3 * w) + 1)
        letters = rng.random((high - low + 1) // 2 + 1) < 0.75
        rows = low + np.flatnonzero(np.repeat(letters, 2)[: high - low])
        image[rows, left:right] = dye
        return image

    return material


def handwriting(ground: Color, ink: Color) -> Material:
    """A board with lines of writing, boxes and arrows."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        h, w = shape
        image = np.tile(linear(ground), (h, w, 1)).astype(np.float32)
        color = tuple(float(c) for c in linear(ink))
        for _ in range(int(rng.integers(3, 12))):
            x, y = w * rng.uniform(0.05, 0.8), h * rng.uniform(0.1, 0.95)
            if rng.random() < 0.3:
                to = (int(x + w * rng.uniform(0.05, 0.2)), int(y + h * rng.uniform(0.05, 0.2)))
                cv2.rectangle(image, (int(x), int(y)), to, color, 1)
                continue
            count, size = int(rng.integers(12, 60)), rng.uniform(0.01, 0.03) / texel
            steps = np.cumsum(rng.uniform(0.1, 0.5, count)) * size
            line = np.stack([x + steps, y + size * rng.uniform(-0.5, 0.5, count)], axis=1)
            cv2.polylines(image, [line.astype(np.int32)], False, color, 1)
        haze = 1 + 0.03 * smooth_noise(shape, (0.3 / texel, 0.3 / texel), rng)
        return np.clip(image * haze[..., None], 0, 1).astype(np.float32)

    return material


def street(sky: Color, walls: list[Color]) -> Material:
    """The view from a window on a street: houses with rows of windows under the sky."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        h, w = shape
        haze = 1 + 0.1 * smooth_noise(shape, (h / 3, w / 2), rng)
        image = np.clip(linear(sky) * haze[..., None], 0, 1).astype(np.float32)
        x = 0
        while x < w:
            width, top = int(w * rng.uniform(0.15, 0.5)) + 2, int(h * rng.uniform(0.35, 0.9))
            wall = linear(walls[rng.integers(len(walls))]) * rng.uniform(0.7, 1.1)
            image[:top, x : x + width] = wall
            pitch = max(4, int(rng.uniform(0.08, 0.16) / texel))
            for y in range(pitch // 2, top - pitch, pitch):
                for left in range(x + pitch // 2, min(x + width, w) - pitch, pitch):
                    image[y : y + pitch // 2, left : left + pitch // 2] = 0.35 * wall
            x += width
        return np.clip(cv2.blur(image, (3, 3)), 0, 1)

    return material
