# SPDX-License-Identifier: Apache-2.0
"""Textured surface patches: the only shape that a synthetic room is made of.

A patch is a grid of points. A table top is a grid of one cell, the side of a lamp a strip of
cells bent round, a curtain a wavy sheet. Its outward side is where
``cross(next column, next row)`` points.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

Material = Callable[[tuple[int, int], float, np.random.Generator], np.ndarray]
"""``material((h, w), texel, rng)``: (h, w, 3) float32 linear albedo in [0, 1]; texel metres."""


Vector = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Patch:
    """A grid of surface points with a material."""

    grid: np.ndarray  # (R + 1, C + 1, 3) float64 metres
    material: Material
    emission: float = 0.0  # radiosity of a lamp or window; 0 for what only reflects

    def moved(self, T_target_source: np.ndarray) -> "Patch":
        """Return the patch in another frame; a reflection keeps the outward side outward."""
        grid = self.grid @ T_target_source[:3, :3].T + T_target_source[:3, 3]
        (a, b, c), (d, e, f), (g, h, i) = T_target_source[:3, :3].tolist()
        if a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) < 0:  # determinant
            grid = grid[:, ::-1]
        return replace(self, grid=np.ascontiguousarray(grid))

    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        """Distance in metres of every row and of every column from the first: (R+1,), (C+1,)."""
        rows = np.linalg.norm(np.diff(self.grid, axis=0), axis=2).mean(axis=1)
        columns = np.linalg.norm(np.diff(self.grid, axis=1), axis=2).mean(axis=0)
        return np.append(0.0, np.cumsum(rows)), np.append(0.0, np.cumsum(columns))


def quad(
    origin: Vector, column_edge: Vector, row_edge: Vector, material: Material, emission: float = 0.0
) -> Patch:
    """Return a flat parallelogram, outward along ``cross(column_edge, row_edge)``."""
    start, across, up = (np.asarray(v, np.float64) for v in (origin, column_edge, row_edge))
    return Patch(
        np.array([[start, start + across], [start + up, start + up + across]]), material, emission
    )


def box(low: Vector, high: Vector, material: Material) -> list[Patch]:
    """Return the six outward faces of an axis-aligned box."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    w, d, h = x1 - x0, y1 - y0, z1 - z0
    faces = [
        ((x0, y0, z1), (w, 0, 0), (0, d, 0)),
        ((x0, y1, z0), (w, 0, 0), (0, -d, 0)),
        ((x1, y0, z0), (0, d, 0), (0, 0, h)),
        ((x0, y1, z0), (0, -d, 0), (0, 0, h)),
        ((x1, y1, z0), (-w, 0, 0), (0, 0, h)),
        ((x0, y0, z0), (w, 0, 0), (0, 0, h)),
    ]
    return [quad(origin, across, up, material) for origin, across, up in faces]


def rounded_box(low: Vector, high: Vector, radius: float, material: Material) -> list[Patch]:
    """Return a box with round edges and corners, as upholstery has."""
    inner_low, inner_high = np.add(low, radius), np.subtract(high, radius)
    patches = []
    for face in box(low, high, material):
        grid = _refined(face.grid, radius)
        core = np.clip(grid, inner_low, inner_high)
        away = grid - core
        away /= np.linalg.norm(away, axis=2, keepdims=True)
        patches.append(replace(face, grid=core + radius * away))
    return patches


def _refined(corners: np.ndarray, margin: float, steps: int = 4) -> np.ndarray:
    """Split a one-cell grid finely within ``margin`` of its sides, coarsely between them."""
    rows, columns = (
        _stations(float(np.linalg.norm(edge - corners[0, 0])), margin, steps)
        for edge in (corners[1, 0], corners[0, 1])
    )
    across, up = corners[0, 1] - corners[0, 0], corners[1, 0] - corners[0, 0]
    return corners[0, 0] + rows[:, None, None] * up + columns[None, :, None] * across


def _stations(length: float, margin: float, steps: int) -> np.ndarray:
    # tan spacing makes equal arcs once the margin is bent onto a circle.
    bend = margin * (1 - np.tan(np.linspace(np.pi / 4, 0, steps + 1))) / length
    return np.concatenate([bend, 1 - bend[::-1]])


def tube(
    centre: tuple[float, float],
    heights: list[float],
    radii: list[float],
    material: Material,
    sides: int = 20,
    emission: float = 0.0,
) -> Patch:
    """Return a surface of revolution about the vertical line through ``centre``.

    ``heights`` and ``radii`` give its outline from bottom to top, which is seen from outside.
    """
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=1)
    grid = np.asarray(radii)[:, None, None] * ring
    grid = grid + np.array([centre[0], centre[1], 0.0])
    grid[:, :, 2] = np.asarray(heights)[:, None]
    return Patch(grid, material, emission)


def pillow(size: float, thickness: float, material: Material) -> list[Patch]:
    """Return a cushion lying on z = 0, centred on the vertical axis, puffed up to ``thickness``."""
    side = np.linspace(-1, 1, 13)
    y, x = np.meshgrid(side, side, indexing="ij")
    puff = (thickness / 2) * ((1 - x**4) * (1 - y**4)) ** 0.5
    # Full sides pull the outline in between the corners.
    waist = 1 - 0.06 * (1 - x**2) * y**2, 1 - 0.06 * (1 - y**2) * x**2
    xy = (x * waist[1] * size / 2, y * waist[0] * size / 2)
    upper = np.stack([*xy, thickness / 2 + puff], axis=2)
    lower = np.stack([*xy, thickness / 2 - puff], axis=2)[:, ::-1]
    return [Patch(upper, material), Patch(lower, material)]


def drape(width: float, height: float, folds: int, depth: float, material: Material) -> list[Patch]:
    """Return a curtain in the plane y = 0 .. ``depth``, hanging from ``height`` to the floor."""
    s = np.linspace(0, 1, folds * 8 + 1)
    wave = depth / 2 * (1 - np.cos(2 * np.pi * folds * s))
    bottom = np.stack([s * width, wave, np.full_like(s, 0.04)], axis=1)
    top = np.stack([s * width, 0.6 * wave, np.full_like(s, height)], axis=1)
    back = np.stack([bottom, top])
    front = back[:, ::-1] + (0.0, 0.008, 0.0)
    return [Patch(back, material), Patch(np.ascontiguousarray(front), material)]


def rod(start: Vector, end: Vector, radius: float, material: Material, sides: int = 8) -> Patch:
    """Return a round bar between two points, closed at both ends."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    length = float(np.linalg.norm(b - a))
    upward = (b - a) / length
    aside = np.cross(upward, (1.0, 0, 0) if abs(upward[0]) < 0.9 else (0, 1.0, 0))
    aside /= np.linalg.norm(aside)
    T = np.eye(4)
    T[:3] = np.stack([aside, np.cross(upward, aside), upward, a], axis=1)
    return tube((0, 0), [0, 0, length, length], [0, radius, radius, 0], material, sides).moved(T)


def swept(points: list[Vector], radii: list[float], material: Material, sides: int = 10) -> Patch:
    """Return a closed round bar along a line of points, as thick as ``radii`` there."""
    line = np.asarray(points, np.float64)
    way = np.gradient(line, axis=0)
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    # The side least along the line is a steady direction to start every ring from.
    side = np.eye(3)[np.argmin(np.abs(way).max(axis=0))]
    u = np.cross(way, side)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(way, u)
    angle = np.linspace(0, 2 * np.pi, sides + 1)[:, None]
    rings = [
        p + r * (np.cos(angle) * a + np.sin(angle) * b)
        for p, r, a, b in zip(line, radii, u, v, strict=True)
    ]
    ends = [np.broadcast_to(p, rings[0].shape) for p in (line[0], line[-1])]
    return Patch(np.stack([ends[0], *rings, ends[1]]), material)


def ellipsoid(centre: Vector, radii: Vector, material: Material, sides: int = 12) -> Patch:
    """Return an ellipsoid with axes along x, y and z."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, sides // 2 + 1)
    ball = tube((0, 0), list(np.sin(angle)), list(np.cos(angle)), material, sides)
    T = np.diag([*radii, 1.0])
    T[:3, 3] = centre
    return ball.moved(T)


def tipped(patches: list[Patch], degrees: float, pivot: Vector = (0, 0, 0)) -> list[Patch]:
    """Return patches turned about the line along x through ``pivot``; y turns towards z."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    T = np.eye(4)
    T[1:3, 1:3] = [[c, -s], [s, c]]
    T[:3, 3] = np.asarray(pivot) - T[:3, :3] @ np.asarray(pivot)
    return [patch.moved(T) for patch in patches]


def leaning(patches: list[Patch], degrees: float) -> list[Patch]:
    """Return what lay on z = 0 tilted up by ``degrees``, leaning back on y = 0, down on z = 0."""
    tilted = tipped(patches, 180 - degrees)
    T = np.eye(4)
    T[1:3, 3] = -np.min([p.grid[..., 1:].min(axis=(0, 1)) for p in tilted], axis=0)
    return [patch.moved(T) for patch in tilted]
