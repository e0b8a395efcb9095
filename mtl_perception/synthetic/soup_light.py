# SPDX-License-Identifier: Apache-2.0
"""Light on triangle soups: straight at their corners, reflected at the middles of small cells."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from mtl_perception.synthetic.soup import Soup

CELL = 0.12
"""Metres: corners that are nearer and face about the same way share their reflected light."""

NEAREST = 4
"""Cells that the reflected light of a corner is mixed from."""


@dataclass(frozen=True, eq=False)
class SoupPoints:
    """Where light is computed on a soup."""

    corner: np.ndarray  # (M, 3) row of the point at each corner
    positions: np.ndarray  # (V, 3) metres
    normals: np.ndarray  # (V, 3) unit
    cell: np.ndarray  # (V,) row of the cell that each point is in
    cell_positions: np.ndarray  # (C, 3)
    cell_normals: np.ndarray  # (C, 3)

    def cell_of_triangle(self) -> np.ndarray:
        """Return (M,) row of the cell that a triangle's first corner is in."""
        return self.cell[self.corner[:, 0]]

    def cell_means(self, values: np.ndarray) -> np.ndarray:
        """Return (C, 3) means of values (V, 3) at the points."""
        return _means(values, self.cell, len(self.cell_positions))

    def spread(self, values: np.ndarray, free: np.ndarray) -> np.ndarray:
        """Return (V, 3): values (C, 3) of the nearest cells, mixed; only cells that are free."""
        rows = np.flatnonzero(free) if free.any() else np.arange(len(values))
        tree = cKDTree(_place(self.cell_positions[rows], self.cell_normals[rows]))
        k = min(NEAREST, len(rows))
        distance, near = tree.query(_place(self.positions, self.normals), k=k)
        distance, near = distance.reshape(-1, k), near.reshape(-1, k)
        weight = 1 / (distance**2 + 0.02)
        weight /= weight.sum(axis=1, keepdims=True)
        return (weight[..., None] * values[rows][near]).sum(axis=1).astype(np.float32)


def soup_points(soup: Soup) -> SoupPoints:
    """Return one point for corners of equal place and normal, and the cells of the points."""
    positions, normals = soup.corners.reshape(-1, 3), soup.normals.reshape(-1, 3)
    key = np.hstack([np.rint(positions / 1e-3), np.rint(normals / 0.1)]).astype(np.int64)
    point = _groups(key)
    count = int(point.max()) + 1
    positions, normals = _means(positions, point, count), _unit(_means(normals, point, count))
    # The sign of each component of the normal: eight ways to face.
    key = np.hstack([np.floor(positions / CELL), normals > 0]).astype(np.int64)
    cell = _groups(key)
    cells = int(cell.max()) + 1
    # A cell is seen from one of its points: their mean may lie inside the thing.
    _, first = np.unique(cell, return_index=True)
    return SoupPoints(
        point.reshape(-1, 3),
        positions.astype(np.float32),
        normals.astype(np.float32),
        cell,
        positions[first].astype(np.float32),
        _unit(_means(normals, cell, cells)).astype(np.float32),
    )


def _groups(key: np.ndarray) -> np.ndarray:
    """Return (N,) the number of each row's group; equal rows have equal numbers."""
    return np.unique(key, axis=0, return_inverse=True)[1].reshape(-1)


def _means(values: np.ndarray, group: np.ndarray, count: int) -> np.ndarray:
    total = np.stack([np.bincount(group, v, count) for v in values.T], axis=1)
    return total / np.maximum(np.bincount(group, minlength=count), 1)[:, None]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _place(positions: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Return (N, 6) coordinates in which what is near and faces the same way is near."""
    return np.hstack([positions / CELL, 1.5 * normals])
