# SPDX-License-Identifier: Apache-2.0
"""What surfaces look like: smooth noise, wood, plaster, fabric, paintings, the view outside.

Each function takes colours (RGB 0..255 as an eye sees them) and returns a ``Material``.
"""

import cv2
import numpy as np

from mtl_perception.synthetic.patches import Material

Color = tuple[int, int, int]


def linear(color: Color | np.ndarray) -> np.ndarray:
    """Return linear light (..., 3) float32 in [0, 1] of colours as shown on a screen."""
    return (np.asarray(color, np.float32) / 255) ** 2.2


def smooth_noise(
    shape: tuple[int, int], cell: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Return (h, w) float32 noise, about -1..1, that varies over ``cell`` = (rows, columns)."""
    knots = [max(2, int(np.ceil(n / max(c, 1.0))) + 1) for n, c in zip(shape, cell, strict=True)]
    lattice = rng.uniform(-1, 1, knots).astype(np.float32)
    return cv2.resize(lattice, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _tinted(color: Color, brightness: np.ndarray) -> np.ndarray:
    return np.clip(linear(color) * brightness[..., None], 0, 1).astype(np.float32)


def plaster(color: Color, roughness: float = 0.03) -> Material:
    """Painted wall or ceiling: even, slightly clouded, fine grain."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        clouds = smooth_noise(shape, (0.6 / texel, 0.6 / texel), rng)
        grain = smooth_noise(shape, (0.012 / texel, 0.012 / texel), rng)
        return _tinted(color, 1 + roughness * clouds + roughness * grain)

    return material


def fabric(color: Color, contrast: float = 0.16) -> Material:
    """Upholstery or curtain: woven threads and worn places."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        threads = smooth_noise(shape, (0.004 / texel, 0.03 / texel), rng)
        cross = smooth_noise(shape, (0.03 / texel, 0.004 / texel), rng)
        worn = smooth_noise(shape, (0.25 / texel, 0.25 / texel), rng)
        return _tinted(color, 1 + contrast * (0.5 * threads + 0.5 * cross + 0.5 * worn))

    return material


def wood(color: Color, contrast: float = 0.3) -> Material:
    """Wood with the grain along the longer side of the surface."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        upright = shape[0] >= shape[1]
        grain = _grain(shape if upright else shape[::-1], texel, rng)
        return _tinted(color, 1 + contrast * (grain if upright else grain.T))

    return material


def _grain(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
    """Return (h, w) brightness of grain that runs along the rows' direction (downwards)."""
    across = np.arange(shape[1], dtype=np.float32) * texel / 0.045
    bent = across + 1.2 * smooth_noise(shape, (0.7 / texel, 0.12 / texel), rng)
    rings = np.sin(2 * np.pi * bent)
    pores = smooth_noise(shape, (0.12 / texel, 0.005 / texel), rng)
    return 0.45 * rings + 0.55 * pores


def planks(color: Color, width: float = 0.14, length: float = 1.3) -> Material:
    """Floor boards in staggered rows, each with a tone of its own."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        row = np.arange(shape[0], dtype=np.float32)[:, None] * texel
        column = np.arange(shape[1], dtype=np.float32)[None, :] * texel
        board = np.floor(row / width).astype(int)
        along = column / length + rng.random(board.max() + 1, np.float32)[board]
        piece = np.floor(along).astype(int)
        tone = rng.uniform(-0.22, 0.22, (board.max() + 1, piece.max() + 1))[board, piece]
        grain = _grain(shape[::-1], texel, rng).T
        gap_row = np.minimum(row % width, width - row % width)
        gap_column = np.minimum(along % 1, 1 - along % 1) * length
        gap = np.clip(np.minimum(gap_row, gap_column) / 0.005, 0.35, 1)
        return _tinted(color, (1 + tone + 0.2 * grain) * gap)

    return material


def tiles(color: Color, joint: Color, size: float = 0.33) -> Material:
    """Square floor tiles with joints."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        row, column = (np.arange(n, dtype=np.float32) * texel / size for n in shape)
        tone = rng.uniform(-0.07, 0.07, (int(row[-1]) + 1, int(column[-1]) + 1))
        tone = tone[row.astype(int)][:, column.astype(int)]
        veins = smooth_noise(shape, (0.08 / texel, 0.08 / texel), rng)
        edge = np.minimum.outer(*(np.minimum(n % 1, 1 - n % 1) * size for n in (row, column)))
        tile = _tinted(color, 1 + tone + 0.05 * veins)
        return np.where((edge < 0.004)[..., None], linear(joint), tile).astype(np.float32)

    return material


def rug(ground: Color, pattern: Color) -> Material:
    """Rug: a border and a lattice of diamonds on a woolly ground."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        row, column = np.mgrid[: shape[0], : shape[1]].astype(np.float32) * texel
        to_edge = np.minimum.reduce(
            [row, row[::-1], column, column[:, ::-1]]  # metres to the nearest side
        )
        diamond = np.abs(row % 0.3 - 0.15) + np.abs(column % 0.3 - 0.15)
        figure = (np.abs(diamond - 0.11) < 0.018) & (to_edge > 0.13)
        figure |= (to_edge > 0.05) & (to_edge < 0.09)
        wool = 1 + 0.2 * smooth_noise(shape, (0.01 / texel, 0.01 / texel), rng)
        color = np.where(figure[..., None], linear(pattern), linear(ground))
        return np.clip(color * wool[..., None], 0, 1).astype(np.float32)

    return material


def landscape(sky: Color, far: Color, near: Color) -> Material:
    """A painting, or the view from a window: sky over two ridges of hills."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        height = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None]
        haze = 0.12 * smooth_noise(shape, (shape[0] / 3, shape[1] / 2), rng)
        image = _tinted(sky, 1.15 - 0.45 * height + haze)
        for color, level, bumps in ((far, 0.5, 3), (near, 0.3, 7)):
            ridge = smooth_noise((2, shape[1]), (2, shape[1] / bumps), rng)[:1]
            leaves = smooth_noise(shape, (0.02 / texel, 0.02 / texel), rng)
            hill = _tinted(color, 1 + 0.25 * leaves + 0.4 * height)
            image = np.where((height < level + 0.1 * ridge)[..., None], hill, image)
        return image

    return material


def abstract(colors: list[Color]) -> Material:
    """A painting of soft fields of colour with crisp borders."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        field = smooth_noise(shape, (shape[0] / 3, shape[1] / 3), rng)
        index = np.clip((field + 0.8) / 1.6 * len(colors), 0, len(colors) - 1).astype(int)
        brush = 1 + 0.12 * smooth_noise(shape, (0.006 / texel, 0.04 / texel), rng)
        return np.clip(linear(np.array(colors))[index] * brush[..., None], 0, 1).astype(np.float32)

    return material


def banded(color: Color, band: Color, rows: tuple[float, float]) -> Material:
    """Plain surface with one band between two fractions of its height: book spines, boxes."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        height = np.linspace(0, 1, shape[0])[:, None, None]
        inside = (height > rows[0]) & (height < rows[1])
        grain = 1 + 0.06 * smooth_noise(shape, (0.01 / texel, 0.01 / texel), rng)
        color_ = np.where(inside, linear(band), linear(color))
        return np.clip(color_ * grain[..., None], 0, 1).astype(np.float32)

    return material
