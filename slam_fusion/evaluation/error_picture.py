# SPDX-License-Identifier: Apache-2.0
"""A picture of where a map is wrong: too far off, of another class, or not there at all."""

from dataclasses import replace

import cv2
import numpy as np
from scipy.spatial import cKDTree

from mtl_perception.conventions import UNLABELLED
from slam_fusion.evaluation.evaluate import LABEL_REACH, MapErrors, Truth
from slam_fusion.frame import Surface
from slam_fusion.output import viewpoints
from slam_fusion.output.legend import draw_text
from slam_fusion.output.render import choose_views, render

WORST = 0.05
"""Errors are coloured up to this, metres; larger ones are of the last colour."""

PANE = (720, 540)
"""Width and height of each view, pixels."""

_RIGHT, _WRONG = (86, 155, 196), (200, 60, 50)  # blue and red: told apart by most eyes
_UNLABELLED, _NO_TRUTH = (170, 170, 170), (225, 225, 225)
_TITLES = ("distance to the true surface", "classes", "true surface: distance to the map")


def draw_errors(
    surface: Surface, truth: Surface, points: Truth, errors: MapErrors, T_world_camera: np.ndarray
) -> np.ndarray:
    """Draw a row per viewpoint: the map's errors, its classes, and what it lacks of the truth.

    Args:
        surface: mesh of the map.
        truth: the true mesh.
        points: of the same truth.
        errors: from ``evaluate.map_errors`` of ``surface`` and ``points``.
        T_world_camera: (N, 4, 4) poses of the recording; see ``render.render_views``.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    # A vertex of the truth is as far from the map as the nearest point that was measured.
    gap = errors.gap[cKDTree(points.seen).query(truth.positions, workers=-1)[1]]
    coloured = replace(surface, colors=heat(errors.error))
    lacking = replace(truth, colors=heat(gap))
    verdicts = verdict_colors(surface, points, errors.error)
    lens = viewpoints.camera(*PANE)
    rows = []
    for view in choose_views(surface, T_world_camera):
        view = replace(view, intrinsics=lens)
        rows.append(
            np.hstack([*render(coloured, view, verdicts), render(lacking, view, lacking.colors)[0]])
        )
    return np.vstack([_head(rows[0].shape[1]), *rows, _scale(rows[0].shape[1])])


def heat(distance: np.ndarray) -> np.ndarray:
    """Return (N, 3) uint8 RGB of (N,) distances in metres: from dark, 0, to bright, ``WORST``."""
    level = np.clip(np.rint(255 * distance / WORST), 0, 255).astype(np.uint8)
    return cv2.applyColorMap(level[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]


def verdict_colors(surface: Surface, truth: Truth, error: np.ndarray) -> np.ndarray:
    """Return (N, 3) uint8 RGB per vertex: its label is right, wrong, none, or of no known class.

    Args:
        surface: of the map, N vertices.
        truth: points with their classes; the nearest one counts.
        error: (N,) metres to the true surface; beyond ``LABEL_REACH`` nothing is known.
    """
    nearest = cKDTree(truth.seen).query(surface.positions, workers=-1)[1]
    true = np.where(error <= LABEL_REACH, truth.seen_labels[nearest], UNLABELLED)
    colors = np.array([_WRONG, _RIGHT], np.uint8)[(surface.labels == true).astype(int)]
    colors[surface.labels == UNLABELLED] = _UNLABELLED
    colors[true == UNLABELLED] = _NO_TRUTH
    return colors


def _head(width: int) -> np.ndarray:
    head = np.full((36, width, 3), 255, np.uint8)
    for number, title in enumerate(_TITLES):
        draw_text(head, title, (number * PANE[0] + 12, 26))
    return head


def _scale(width: int) -> np.ndarray:
    """What the colours mean: a bar for distances, chips for classes."""
    image = np.full((64, width, 3), 255, np.uint8)
    bar = heat(np.linspace(0, WORST, 360))
    for left in (12, 2 * PANE[0] + 12):
        image[10:34, left : left + 360] = bar
        draw_text(image, f"0 to {100 * WORST:g} cm and more", (left, 57))
    chips = (("right", _RIGHT), ("wrong", _WRONG), ("unlabelled", _UNLABELLED))
    for number, (name, color) in enumerate((*chips, ("no truth", _NO_TRUTH))):
        left = PANE[0] + 12 + 170 * number
        cv2.rectangle(image, (left, 12), (left + 28, 36), color, cv2.FILLED)
        draw_text(image, name, (left + 36, 32))
    return image
