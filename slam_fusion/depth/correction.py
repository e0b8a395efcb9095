# SPDX-License-Identifier: Apache-2.0
"""Correcting a network's depth by the few points whose depth motion has told.

What a network gets wrong varies slowly: a wall is too near as a whole, the far end of a room too
far. So the logarithm of the right factor is a smooth function of the pixel and of the predicted
depth: a lattice with linear steps between its nodes, which keeps apart what lies behind each other
(the bilateral grid of Chen, Paris and Durand, SIGGRAPH 2007), fitted by robust least squares.
"""

from functools import cache

import cv2
import numpy as np

from slam_fusion.depth.tracks import Points

NODES = (6, 8, 3)
"""Rows, columns and depths of the lattice."""

LEAST_POINTS = 12
"""Fewer say too little."""

MOST = 0.5
"""Logarithm of a factor beyond which point and network see different surfaces."""

UNEVEN = 0.03  # what a factor differs between neighbouring points, beside the points' own errors
STIFFNESS = 100.0  # against steps between nodes of one depth,
DEPTH_STIFFNESS = 30.0  # between depths,
REST = 1.0  # and against any factor: where no point is near the network is believed
ROUNDS = 4


def corrected(predicted: np.ndarray, points: Points) -> np.ndarray:
    """Return predicted depth, bent to the points.

    Args:
        predicted: (H, W) float32 metres, 0 = unknown.
        points: of the same image.

    Returns:
        (H, W) float32 metres, 0 where ``predicted`` is; ``predicted`` itself if the points are
        too few.
    """
    height, width = predicted.shape
    columns = np.clip(np.rint(points.pixels[:, 0]).astype(int), 0, width - 1)
    rows = np.clip(np.rint(points.pixels[:, 1]).astype(int), 0, height - 1)
    said = predicted[rows, columns].astype(np.float64)
    ratio = np.log(points.depth / np.where(said > 0, said, points.depth))
    use = (said > 0) & (np.abs(ratio) < MOST)
    if np.count_nonzero(use) < LEAST_POINTS:
        return predicted
    near, far = np.log(np.percentile(said[use], (2, 98)))
    far = max(far, near + 0.05)
    x = (points.pixels[use, 0] + 0.5) / width
    y = (points.pixels[use, 1] + 0.5) / height
    basis = _basis(x, y, (np.log(said[use]) - near) / (far - near))
    lattice = _fit(basis, ratio[use], 1 / (UNEVEN**2 + points.error[use] ** 2))
    return predicted * np.exp(_sliced(lattice, predicted, near, far))


def _fit(basis: np.ndarray, ratio: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Fit the lattice to log ratios (N,) of inverse variance ``sure``; a fifth may be anything."""
    stiff = _stiffness()
    nodes, weight = np.zeros(len(stiff)), sure
    for _ in range(ROUNDS):
        normal = basis.T @ (basis * weight[:, None]) + stiff
        nodes = np.linalg.solve(normal, basis.T @ (weight * ratio))
        error = ratio - basis @ nodes
        width = max(1.4826 * float(np.median(np.abs(error))), 0.02)
        weight = sure / (1 + (error / (2 * width)) ** 2)  # Cauchy
    return nodes.reshape(NODES)


def _basis(x: np.ndarray, y: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return (N, nodes): what each node gives to places in 0..1 of the columns, rows, depths.

    Along rows and columns nodes are the centres of cells, as ``cv2.resize`` has them.
    """
    along_y, along_x = _hats(y * NODES[0] - 0.5, NODES[0]), _hats(x * NODES[1] - 0.5, NODES[1])
    along_t = _hats(t * (NODES[2] - 1), NODES[2])
    return np.einsum("ni,nj,nk->nijk", along_y, along_x, along_t).reshape(len(x), -1)


def _hats(place: np.ndarray, count: int) -> np.ndarray:
    """Return (N, count) shares of the two nodes on either side of each place, held at the ends."""
    inside = np.clip(place, 0, count - 1)
    return np.maximum(0, 1 - np.abs(inside[:, None] - np.arange(count)))


@cache
def _stiffness() -> np.ndarray:
    """Return (nodes, nodes): what steps between neighbours cost, and factors themselves."""
    number = np.arange(np.prod(NODES)).reshape(NODES)
    matrix = REST * np.eye(number.size)
    for axis, cost in enumerate((STIFFNESS, STIFFNESS, DEPTH_STIFFNESS)):
        low = np.delete(number, -1, axis).ravel()
        high = np.delete(number, 0, axis).ravel()
        for i, j in ((low, low), (high, high)):
            np.add.at(matrix, (i, j), cost)
        for i, j in ((low, high), (high, low)):
            np.add.at(matrix, (i, j), -cost)
    return matrix


def _sliced(lattice: np.ndarray, predicted: np.ndarray, near: float, far: float) -> np.ndarray:
    """Return the lattice's values (H, W) float32 at every pixel and its predicted depth."""
    height, width = predicted.shape
    depths = NODES[2] - 1
    logarithm = np.log(np.maximum(predicted, np.float32(1e-3)))
    place = (logarithm - np.float32(near)) * np.float32(depths / (far - near))
    place = np.clip(place, 0, depths)
    field = np.zeros_like(predicted)
    for k in range(NODES[2]):
        layer = cv2.resize(lattice[:, :, k].astype(np.float32), (width, height))
        field += np.maximum(0, 1 - np.abs(place - np.float32(k))) * layer
    return field
