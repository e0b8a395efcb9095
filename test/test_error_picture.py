# SPDX-License-Identifier: Apache-2.0
"""The picture of errors shows them where they are."""

import numpy as np
from test_evaluate import SQUARE, TWO_TRIANGLES, fake_surface

from mtl_perception.conventions import UNLABELLED
from slam_fusion.evaluation.error_picture import PANE, WORST, draw_errors, heat, verdict_colors
from slam_fusion.evaluation.evaluate import map_errors, truth_of_mesh

SQUARE_M = 2.0 * SQUARE  # metres


def sheet(z, label):
    return fake_surface(SQUARE_M + np.float32([0, 0, z]), [label] * 4, TWO_TRIANGLES)


def picture(surface, truth):
    points = truth_of_mesh(truth)
    image = draw_errors(surface, truth, points, map_errors(surface, points), np.empty((0, 4, 4)))
    assert image.dtype == np.uint8 and image.shape[1] == 3 * PANE[0]
    # Two viewpoints without a trajectory, under a head and over a scale.
    rows = image[36:-64].reshape(2, PANE[1], 3, PANE[0], 3).swapaxes(1, 2)
    return rows[1]  # the plan: the sheet seen from above, in three panes


def is_mostly(pane, color):
    """Whether what is drawn (not white) has one hue: light and shade scale it."""
    drawn = pane[(pane < 250).any(axis=2)].astype(float)
    directions = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    wanted = np.asarray(color) / np.linalg.norm(color)
    return len(drawn) > 10_000 and np.mean(directions @ wanted > 0.995) > 0.95


def test_a_map_that_is_right_is_dark_and_blue():
    distance, classes, lacking = picture(sheet(0.0, 3), sheet(0.0, 3))
    assert is_mostly(distance, heat(np.array([0.0]))[0]) and is_mostly(classes, (86, 155, 196))
    assert is_mostly(lacking, heat(np.array([0.0]))[0])


def test_a_map_that_is_far_off_is_bright_and_wrong_classes_are_red():
    distance, classes, lacking = picture(sheet(0.04, 4), sheet(0.0, 3))
    assert is_mostly(distance, heat(np.array([0.04]))[0]) and is_mostly(classes, (200, 60, 50))
    assert is_mostly(lacking, heat(np.array([0.04]))[0])


def test_no_label_and_no_truth_are_grey_not_wrong():
    points = truth_of_mesh(sheet(0.0, 3))
    assert np.ptp(verdict_colors(sheet(0.0, UNLABELLED), points, np.zeros(4)), axis=1).max() == 0
    assert np.ptp(verdict_colors(sheet(0.5, 3), points, np.full(4, 0.5)), axis=1).max() == 0


def test_heat_ends_at_the_worst():
    bright = heat(np.array([WORST, 10.0]))
    assert np.array_equal(bright[0], bright[1]) and bright[0].sum() > heat(np.zeros(1)).sum()
