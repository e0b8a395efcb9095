# SPDX-License-Identifier: Apache-2.0
"""Surfaces that are no patches: triangles of a model, each with its own material."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

MAX_BLOCK = 24
"""Texels along the sides of a triangle's texture at most."""


@dataclass(frozen=True, eq=False)
class SoupMaterial:
    """A plain colour or a picture."""

    color: np.ndarray  # (3,) float32 linear albedo; the picture's mean where there is one
    image: np.ndarray | None = None  # (h, w, 3) float32 linear albedo, repeated endlessly


@dataclass(frozen=True, eq=False)
class Soup:
    """Triangles that need not touch each other; counter-clockwise seen from outside."""

    corners: np.ndarray  # (M, 3, 3) float64 metres
    normals: np.ndarray  # (M, 3, 3) float64 unit, outward, of each corner
    uv: np.ndarray  # (M, 3, 2) float64 picture coordinates, v up, 1 = the picture's size
    material: np.ndarray  # (M,) int64 row of ``materials``
    materials: tuple[SoupMaterial, ...]

    def __len__(self) -> int:
        """Count of triangles."""
        return len(self.corners)

    def moved(self, T_target_source: np.ndarray) -> "Soup":
        """Return the soup in another frame; a reflection keeps the outside outside."""
        R = T_target_source[:3, :3]
        normals = self.normals @ np.linalg.inv(R)
        normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-12)
        moved = replace(self, corners=self.corners @ R.T + T_target_source[:3, 3], normals=normals)
        return moved.turned(np.full(len(self), np.linalg.det(R) < 0))

    def turned(self, which: np.ndarray) -> "Soup":
        """Return the soup with the corners of some triangles (M,) bool in reverse order."""
        order = np.where(which[:, None], (0, 2, 1), (0, 1, 2))[..., None]
        return replace(
            self,
            corners=np.take_along_axis(self.corners, order, 1),
            normals=np.take_along_axis(self.normals, order, 1),
            uv=np.take_along_axis(self.uv, order, 1),
        )

    def divided(self, edge: float) -> "Soup":
        """Halve triangles at their longest edge until no edge is longer than ``edge`` metres."""
        rows = np.concatenate([self.corners, self.normals, self.uv], axis=2)
        material, done = self.material, []
        while len(rows):
            lengths = np.linalg.norm(rows[..., :3] - np.roll(rows[..., :3], -1, axis=1), axis=2)
            long = lengths.max(axis=1) > edge
            done.append((rows[~long], material[~long]))
            rows, material = rows[long], np.repeat(material[long], 2)
            turn = (lengths[long].argmax(axis=1)[:, None] + np.arange(3)) % 3
            a, b, c = np.take_along_axis(rows, turn[..., None], axis=1).transpose(1, 0, 2)
            middle = (a + b) / 2
            halves = np.stack([np.stack([a, middle, c], 1), np.stack([middle, b, c], 1)], axis=1)
            rows = halves.reshape(-1, 3, 8)
        parts = np.concatenate([part for part, _ in done])
        return Soup(
            parts[..., :3],
            parts[..., 3:6],
            parts[..., 6:],
            np.concatenate([material for _, material in done]),
            self.materials,
        )

    def blocks(self, texel: float) -> np.ndarray:
        """Return (M,) sides of the square textures: 2 for a plain colour, more for a picture."""
        edges = np.linalg.norm(self.corners - np.roll(self.corners, -1, axis=1), axis=2).max(axis=1)
        pictured = np.array([m.image is not None for m in self.materials], bool)[self.material]
        fine = np.clip(np.ceil(edges / texel) + 1, 2, MAX_BLOCK)
        return np.where(pictured, fine, 2).astype(np.int64)

    def albedo(self) -> np.ndarray:
        """Return (M, 3) mean linear albedo of each triangle's material."""
        return np.array([m.color for m in self.materials], np.float32)[self.material]


def merged(soups: Sequence[Soup]) -> Soup | None:
    """Return one soup of all triangles, in order; None where there are none."""
    if not soups:
        return None
    first = np.cumsum([0] + [len(soup.materials) for soup in soups[:-1]])
    return Soup(
        np.concatenate([soup.corners for soup in soups]),
        np.concatenate([soup.normals for soup in soups]),
        np.concatenate([soup.uv for soup in soups]),
        np.concatenate([soup.material + n for soup, n in zip(soups, first, strict=True)]),
        tuple(material for soup in soups for material in soup.materials),
    )


def painted(soup: Soup, sides: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Return the radiance of every texel of the triangles' textures, (T, 3) float32.

    A texture is a square whose first row runs from corner 0 to corner 1 and whose first column
    from corner 0 to corner 2; its other half repeats the diagonal.

    Args:
        soup: the triangles.
        sides: (M,) texels along each square.
        light: (M, 3, 3) light that arrives at each corner.
    """
    first = np.append(0, np.cumsum(sides**2))
    out = np.zeros((int(first[-1]), 3), np.float32)
    for side in np.unique(sides):
        rows = np.flatnonzero(sides == side)
        across, down = np.meshgrid(*[np.linspace(0, 1, side)] * 2)
        total = np.maximum(across + down, 1)
        b, c = across / total, down / total
        weights = np.stack([1 - b - c, b, c], -1).reshape(-1, 3)
        arriving = np.einsum("tk,mkc->mtc", weights, light[rows])
        uv = np.einsum("tk,mkc->mtc", weights, soup.uv[rows])
        at = first[rows, None] + np.arange(side * side)
        out[at.ravel()] = (_albedo_at(soup, rows, uv) * arriving).reshape(-1, 3)
    return out


def _albedo_at(soup: Soup, rows: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Return (N, T, 3) linear albedo of triangles ``rows`` at ``uv`` (N, T, 2)."""
    albedo = np.repeat(soup.albedo()[rows][:, None], uv.shape[1], axis=1)
    for number in np.unique(soup.material[rows]):
        image = soup.materials[number].image
        if image is None:
            continue
        mine = soup.material[rows] == number
        height, width = image.shape[:2]
        column = np.floor((uv[mine, :, 0] % 1) * width).astype(int) % width
        row = np.floor((1 - uv[mine, :, 1] % 1) * height).astype(int) % height
        albedo[mine] = image[row, column]
    return albedo
