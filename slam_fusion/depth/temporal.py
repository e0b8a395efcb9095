# SPDX-License-Identifier: Apache-2.0
"""Keeping a network's depth at one scale from frame to frame, so that walls have one layer.

A network judges each image anew: its scale wavers by some percent, differently in different parts
of the image. The map holds the mean of what it said so far. Each new frame is bent towards the map
where both see the same, by a smooth field of factors, until it lies within the map's truncation
band: there the volume averages the two, instead of making a second surface. Bent all the way,
frames could not correct what the first of them got wrong.
"""

from typing import Protocol

import cv2
import numpy as np

from mtl_perception.conventions import Intrinsics
from slam_fusion.tsdf.volume_state import VolumeConfig

LOOK_WIDTH = 96
"""Columns of the look at the map."""

NODES = (4, 5)
"""Rows and columns of the lattice of factors; between them the field is bilinear."""

LEAST_PIXELS = 150
"""Of the look: with fewer the frame shows what the map does not know."""

STIFFNESS = 0.05  # of the lattice against differing from its mean, per pixel of the look
ROUNDS = 4
OWN_SHARE = 0.5
"""Part of the truncation distance by which a frame may stay away from the map."""

MOST = 0.35
"""Logarithm of the ratio beyond which map and frame see different surfaces there."""


class LooksAtMap(Protocol):
    """What ``SemanticVolume`` offers."""

    config: VolumeConfig

    def render_depth(self, camera: Intrinsics, T_world_camera: np.ndarray) -> np.ndarray:
        """Return (H, W) float32 metres, 0 where the map has no surface."""
        ...


def bent_to_map(
    predicted: np.ndarray, camera: Intrinsics, T_world_camera: np.ndarray, volume: LooksAtMap
) -> np.ndarray:
    """Return predicted depth, bent towards the map where the map knows what it shows.

    Args:
        predicted: (H, W) float32 metres, 0 = unknown.
        camera: of the image.
        T_world_camera: (4, 4) pose of its optical frame.
        volume: the map so far.

    Returns:
        (H, W) float32 metres; ``predicted`` itself while the map knows too little of the view.
    """
    small = camera.resized(LOOK_WIDTH, max(1, round(camera.height * LOOK_WIDTH / camera.width)))
    seen = volume.render_depth(small, T_world_camera)
    said = _sample(predicted, small)
    both = (seen > 0) & (said > 0)
    ratio = np.log(np.where(both, seen, 1) / np.where(both, said, 1))
    middle = float(np.median(ratio[both])) if both.any() else 0.0
    both &= np.abs(ratio - middle) < MOST
    if np.count_nonzero(both) < LEAST_PIXELS or abs(middle) > 2 * MOST:
        return predicted
    lattice = _fit(ratio, both, middle)
    field = cv2.resize(lattice, (camera.width, camera.height), interpolation=cv2.INTER_LINEAR)
    own = np.float32(OWN_SHARE * volume.config.truncation) / np.maximum(predicted, 1e-3)
    return predicted * np.exp(field - np.clip(field, -own, own))


def _sample(image: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """Nearest pixels: a mean over an edge would be a surface that is not there."""
    return cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_NEAREST)


def _fit(ratio: np.ndarray, both: np.ndarray, middle: float) -> np.ndarray:
    """Fit the lattice of log factors, (4, 5) float32, to the ratios where ``both``; robustly."""
    basis = _basis(ratio.shape)[both.ravel()]  # (pixels, nodes)
    values = ratio[both].astype(np.float64) - middle
    stiffness = STIFFNESS * len(values) * np.eye(basis.shape[1])
    nodes = np.zeros(basis.shape[1])
    for _ in range(ROUNDS):
        error = values - basis @ nodes
        width = max(1.4826 * float(np.median(np.abs(error))), 1e-4)
        weight = 1 / (1 + (error / width) ** 2)
        normal = basis.T @ (basis * weight[:, None]) + stiffness
        nodes = np.linalg.solve(normal, basis.T @ (weight * values))
    return (nodes + middle).reshape(NODES).astype(np.float32)


def _basis(shape: tuple[int, int]) -> np.ndarray:
    """(pixels, nodes) float64: how much of each node ``cv2.resize`` gives to each pixel."""
    count = NODES[0] * NODES[1]
    units = np.eye(count, dtype=np.float32).reshape(count, *NODES)
    images = [cv2.resize(unit, shape[::-1], interpolation=cv2.INTER_LINEAR) for unit in units]
    return np.stack([image.ravel() for image in images], axis=1).astype(np.float64)
