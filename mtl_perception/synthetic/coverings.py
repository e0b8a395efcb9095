# SPDX-License-Identifier: Apache-2.0
"""What covers walls, floors and counters: tiles, brick, wallpaper, carpet, parquet, stone."""

import cv2
import numpy as np

from mtl_perception.synthetic.materials import Color, _grain, linear, smooth_noise
from mtl_perception.synthetic.patches import Material


def _metres(shape: tuple[int, int], texel: float) -> tuple[np.ndarray, np.ndarray]:
    """Return row (h, 1) and column (1, w) positions in metres."""
    row, column = (np.arange(n, dtype=np.float32) * np.float32(texel) for n in shape)
    return row[:, None], column[None, :]


def _mixed(a: Color, b: Color, share: np.ndarray) -> np.ndarray:
    """Return (h, w, 3) colours between two, ``share`` (h, w) of the second."""
    return linear(a) + (linear(b) - linear(a)) * share[..., None].astype(np.float32)


def _shaded(color: np.ndarray, brightness: np.ndarray) -> np.ndarray:
    return np.clip(color * brightness[..., None], 0, 1).astype(np.float32)


def bricks(
    color: Color, joint: Color, size: tuple[float, float], tone: float, gap: float = 0.004
) -> Material:
    """Rows of bricks or tiles of ``size`` (height, width), every second row shifted by half."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        row, column = _metres(shape, texel)
        course = np.floor(row / size[0]).astype(int)
        along = column / size[1] + 0.5 * (course % 2)
        brick = np.floor(along).astype(int)
        tones = rng.uniform(-tone, tone, (course.max() + 1, brick.max() + 1)).astype(np.float32)
        edge = np.minimum(
            np.minimum(row % size[0], size[0] - row % size[0]),
            np.minimum(along % 1, 1 - along % 1) * size[1],
        )
        dirt = 0.05 * smooth_noise(shape, (0.1 / texel, 0.1 / texel), rng)
        face = _shaded(linear(color), 1 + tones[course, brick] + dirt)
        return np.where((edge < gap)[..., None], linear(joint), face).astype(np.float32)

    return material


def checkered(first: Color, second: Color, size: float) -> Material:
    """Square tiles of two colours in turn."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        row, column = _metres(shape, texel)
        odd = (np.floor(row / size) + np.floor(column / size)) % 2
        clouds = 1 + 0.06 * smooth_noise(shape, (0.15 / texel, 0.15 / texel), rng)
        joint = (row % size < 0.004) | (column % size < 0.004)
        return _shaded(_mixed(first, second, odd), clouds * np.where(joint, 0.6, 1.0))

    return material


def stripes(first: Color, second: Color, period: float, share: float = 0.5) -> Material:
    """Wallpaper or cloth with stripes that run along the rows' direction."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        _, column = _metres(shape, texel)
        band = np.broadcast_to(column / period % 1 < share, shape)
        grain = 1 + 0.05 * smooth_noise(shape, (0.01 / texel, 0.01 / texel), rng)
        return _shaded(_mixed(first, second, band), grain)

    return material


def dotted(ground: Color, figure: Color, period: float) -> Material:
    """Wallpaper or cloth with rows of flower-like figures."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        row, column = _metres(shape, texel)
        shift = 0.5 * (np.floor(row / period) % 2)
        y, x = row / period % 1 - 0.5, (column / period + shift) % 1 - 0.5
        petals = 0.2 + 0.08 * np.cos(rng.integers(3, 8) * np.arctan2(y, x))
        inside = np.hypot(x, y) < petals
        grain = 1 + 0.05 * smooth_noise(shape, (0.01 / texel, 0.01 / texel), rng)
        return _shaded(_mixed(ground, figure, inside), grain)

    return material


def swirls(ground: Color, figure: Color, period: float, share: float = 0.4) -> Material:
    """Damask-like blots: a threshold of smooth noise."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        field = smooth_noise(shape, (period / texel, period / texel), rng)
        field = field + 0.4 * smooth_noise(shape, (period / 3 / texel, period / 3 / texel), rng)
        level = 1.0 - 2.0 * share
        share_ = np.clip((field - level) / 0.06, 0, 1)
        grain = 1 + 0.06 * smooth_noise(shape, (0.01 / texel, 0.01 / texel), rng)
        return _shaded(_mixed(ground, figure, share_), grain)

    return material


def carpet(color: Color, second: Color, streak: float) -> Material:
    """Carpet: woolly grain, and streaks of a second colour where ``streak`` (metres) is not 0."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        wool = rng.standard_normal(shape, np.float32)
        worn = smooth_noise(shape, (0.8 / texel, 0.8 / texel), rng)
        share = np.zeros(shape, np.float32)
        if streak > 0:
            lines = smooth_noise(shape, (0.02 / texel, streak / texel), rng)
            share = np.clip(0.5 + 2 * lines, 0, 1)
        return _shaded(_mixed(color, second, share), 1 + 0.1 * wool + 0.08 * worn)

    return material


def parquet(color: Color, size: float = 0.4, strips: int = 5) -> Material:
    """Wooden squares of parallel strips, each turned against its neighbours."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        row, column = _metres(shape, texel)
        cell_row, cell_column = (
            np.floor(row / size).astype(int),
            np.floor(column / size).astype(int),
        )
        turned = (cell_row + cell_column) % 2 == 1
        across = np.where(turned, row % size, column % size) / size * strips
        strip = np.minimum(np.floor(across).astype(int), strips - 1)
        tones = rng.uniform(-0.2, 0.2, (cell_row.max() + 1, cell_column.max() + 1, strips))
        tone = tones[cell_row, cell_column, strip].astype(np.float32)
        gap = np.minimum(across % 1, 1 - across % 1) * size / strips < 0.0025
        grain = np.where(turned, _grain(shape[::-1], texel, rng).T, _grain(shape, texel, rng))
        return _shaded(linear(color), (1 + tone + 0.12 * grain) * np.where(gap, 0.6, 1.0))

    return material


def panels(color: Color, width: float) -> Material:
    """Upright boards with grooves between them."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        _, column = _metres(shape, texel)
        groove = np.broadcast_to(column % width < 0.008, shape)
        board = np.floor(column / width).astype(int)
        tone = rng.uniform(-0.06, 0.06, board.max() + 1).astype(np.float32)[board]
        grain = 0.1 * _grain(shape, texel, rng)
        return _shaded(linear(color), (1 + tone + grain) * np.where(groove, 0.55, 1.0))

    return material


def stone(color: Color, vein: Color, scale: float = 0.25, speckle: float = 0.0) -> Material:
    """Marble (veins) or granite (speckles) of a counter, a floor or a window sill."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        share = np.zeros(shape, np.float32)
        for size, strength in ((scale, 0.7), (scale / 2, 0.4), (scale / 5, 0.2)):
            field = smooth_noise(shape, (size / texel, size / texel), rng)
            share += strength * np.exp(-np.abs(field) / 0.05)
        field = smooth_noise(shape, (scale / texel, scale / texel), rng)
        share = np.clip(0.6 * share * (0.6 + field), 0, 1)
        if speckle > 0:
            grains = rng.standard_normal(shape, np.float32)
            share = np.clip(0.35 + speckle * cv2.blur(grains, (2, 2)), 0, 1)
        return _shaded(_mixed(color, vein, share), 1 + 0.04 * field)

    return material


def brushed(color: Color) -> Material:
    """Metal with fine parallel scratches and a soft sheen."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        scratches = smooth_noise(shape, (1.0, 0.5 / texel), rng)
        sheen = smooth_noise(shape, (0.5 / texel, 0.3 / texel), rng)
        return _shaded(linear(color), 1 + 0.06 * scratches + 0.14 * sheen)

    return material


def half_height(lower: Material, upper: Material, height: float) -> Material:
    """A wall with another covering up to ``height`` metres; its rows run upwards."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        rows = int(np.clip(round(height / texel), 1, shape[0] - 1))
        parts = [
            lower((rows, shape[1]), texel, rng),
            upper((shape[0] - rows, shape[1]), texel, rng),
        ]
        return np.concatenate(parts)

    return material


def worn(clean: Material, amount: float) -> Material:
    """Stains and scuffs on another covering."""

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        large = smooth_noise(shape, (0.4 / texel, 0.4 / texel), rng)
        small = smooth_noise(shape, (0.06 / texel, 0.06 / texel), rng)
        stain = np.clip(large + 0.5 * small - 0.5, 0, 1)
        return _shaded(clean(shape, texel, rng), 1 - amount * stain)

    return material


def part_of(
    whole: Material,
    size: tuple[float, float],
    area: tuple[float, float, float, float],
    seed: int,
) -> Material:
    """Return what a part of a larger surface looks like, so that patterns run on across parts.

    Args:
        whole: what covers the larger surface.
        size: its height and width, metres.
        area: the part: lowest and highest row, first and last column, metres.
        seed: the same for all parts of the surface.
    """

    def material(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        full = (int(np.ceil(size[0] / texel)) + 1, int(np.ceil(size[1] / texel)) + 1)
        image = whole(full, texel, np.random.default_rng(seed))
        z0, z1, u0, u1 = area
        rows = np.linspace(z0, z1, shape[0], dtype=np.float32)[:, None] / np.float32(texel)
        columns = np.linspace(u0, u1, shape[1], dtype=np.float32)[None] / np.float32(texel)
        v, u = (np.ascontiguousarray(np.broadcast_to(m, shape)) for m in (rows, columns))
        return cv2.remap(image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    return material
