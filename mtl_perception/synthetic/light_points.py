# SPDX-License-Identifier: Apache-2.0
"""Where light is computed: a lattice of points on every patch."""

from dataclasses import dataclass

import cv2
import numpy as np

from mtl_perception.synthetic.patches import Patch


@dataclass(frozen=True, eq=False)
class LightPoints:
    """Light points of all patches, patch after patch, row after row."""

    positions: np.ndarray  # (N, 3) float32
    normals: np.ndarray  # (N, 3) float32 outward
    shapes: np.ndarray  # (P, 2) lattice rows and columns of each patch
    first: np.ndarray  # (P + 1,) first row of each patch

    @property
    def on_patches(self) -> int:
        """Count of points on patches; the rest, if any, follow them."""
        return int(self.first[-1])

    def extended(self, positions: np.ndarray, normals: np.ndarray) -> "LightPoints":
        """Return these points and then others (K, 3), which are on no patch."""
        return LightPoints(
            np.concatenate([self.positions, positions]).astype(np.float32),
            np.concatenate([self.normals, normals]).astype(np.float32),
            self.shapes,
            self.first,
        )

    def lattice(self, patch: int, values: np.ndarray) -> np.ndarray:
        """Return the rows of (N, C) ``values`` on one patch, (h, w, C)."""
        rows = values[self.first[patch] : self.first[patch + 1]]
        return rows.reshape(*self.shapes[patch], values.shape[1])

    def gathered(self, images: list[np.ndarray]) -> np.ndarray:
        """Average an (h, w, 3) image of each patch about the points on it: (on_patches, 3)."""
        return np.concatenate(
            [
                resized(image, shape, cv2.INTER_AREA).reshape(-1, 3)
                for image, shape in zip(images, self.shapes, strict=True)
            ]
        )


def light_points(patches: list[Patch], spacing: float) -> LightPoints:
    """Return points about ``spacing`` metres apart, at least four on a patch."""
    spans = [patch.spans() for patch in patches]
    shapes = np.array([[max(2, round(s[-1] / spacing) + 1) for s in pair] for pair in spans])
    positions, normals = [], []
    for patch, shape in zip(patches, shapes, strict=True):
        # Kept off the borders, where another surface often touches.
        rows, columns = (np.clip(np.linspace(0, 1, n), 0.3 / n, 1 - 0.3 / n) for n in shape)
        position, normal = surface_at(patch, *np.meshgrid(rows, columns, indexing="ij"))
        positions.append(position.reshape(-1, 3))
        normals.append(normal.reshape(-1, 3))
    first = np.append(0, np.cumsum(shapes.prod(axis=1)))
    return LightPoints(
        np.concatenate(positions).astype(np.float32),
        np.concatenate(normals).astype(np.float32),
        shapes,
        first,
    )


def surface_at(patch: Patch, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points and unit outward normals (..., 3) at fractions 0..1 of the patch's spans."""
    spans = patch.spans()
    r = np.interp(row, spans[0] / spans[0][-1], np.arange(len(spans[0])))
    c = np.interp(column, spans[1] / spans[1][-1], np.arange(len(spans[1])))
    r0 = np.minimum(r.astype(int), len(spans[0]) - 2)
    c0 = np.minimum(c.astype(int), len(spans[1]) - 2)
    fr, fc = (r - r0)[..., None], (c - c0)[..., None]
    g00, g01 = patch.grid[r0, c0], patch.grid[r0, c0 + 1]
    g10, g11 = patch.grid[r0 + 1, c0], patch.grid[r0 + 1, c0 + 1]
    position = (1 - fr) * ((1 - fc) * g00 + fc * g01) + fr * ((1 - fc) * g10 + fc * g11)
    along_column = (1 - fr) * (g01 - g00) + fr * (g11 - g10)
    along_row = (1 - fc) * (g10 - g00) + fc * (g11 - g01)
    normal = np.cross(along_column, along_row)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return position, normal / np.maximum(length, 1e-12)


def resized(image: np.ndarray, shape: np.ndarray, interpolation: int) -> np.ndarray:
    """Return an image of ``shape`` = (rows, columns)."""
    return cv2.resize(image, (int(shape[1]), int(shape[0])), interpolation=interpolation)
