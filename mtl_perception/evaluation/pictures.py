# SPDX-License-Identifier: Apache-2.0
"""What eyes need to judge an image: truth, prediction and error side by side."""

from dataclasses import dataclass

import cv2
import numpy as np

from mtl_perception.conventions import UNLABELLED
from mtl_perception.data.sample import Sample
from mtl_perception.evaluation.evaluate import Predicted
from mtl_perception.labels import LabelSet

WRONG, UNKNOWN = (220, 30, 40), (60, 60, 75)
GAP = 6
"""White pixels between panels."""

DEPTH_ERROR_RANGE = 0.3
"""Relative error of depth at which the colour of errors is full."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One panel of a row."""

    title: str
    pixels: np.ndarray  # (H, W, 3) uint8 RGB


def pictures(
    sample: Sample, predicted: Predicted, label_set: LabelSet | None
) -> dict[str, list[Picture]]:
    """Return a row of panels for each task that truth and prediction have in common.

    Args:
        sample: image and truth.
        predicted: what was said of it.
        label_set: colours of the labels; None = there are none.
    """
    rows = {}
    if label_set and sample.labels is not None and predicted.labels is not None:
        rows["labels"] = _label_row(sample, predicted.labels, label_set)
    if sample.depth is not None and predicted.depth is not None:
        rows["depth"] = _depth_row(sample, predicted.depth)
    if sample.normals is not None and predicted.normals is not None:
        rows["normals"] = _normal_row(sample, predicted.normals)
    return rows


def beside(row: list[Picture], height: int = 240) -> np.ndarray:
    """Return the panels of a row as one (height, W, 3) uint8 RGB picture."""
    shown: list[np.ndarray] = []
    for picture in row:
        width = round(picture.pixels.shape[1] * height / picture.pixels.shape[0])
        if shown:
            shown.append(np.full((height, GAP, 3), 255, np.uint8))
        shown.append(cv2.resize(picture.pixels, (width, height), interpolation=cv2.INTER_AREA))
    return np.hstack(shown)


def depth_colors(depth: np.ndarray, near: float, far: float) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB of depth in metres: bright is near; unknown is grey."""
    share = np.clip((depth - near) / max(far - near, 1e-6), 0, 1)
    colors = _inferno(1 - share)
    colors[~(depth > 0)] = UNKNOWN
    return colors


def _label_row(sample: Sample, labels: np.ndarray, label_set: LabelSet) -> list[Picture]:
    truth = sample.labels
    assert truth is not None
    gray = cv2.cvtColor(sample.color, cv2.COLOR_RGB2GRAY)
    error = np.repeat(gray[..., None] // 2 + 60, 3, axis=2).astype(np.float32)
    wrong = (labels != truth) & (truth != UNLABELLED)
    error[wrong] = 0.35 * error[wrong] + 0.65 * np.array(WRONG, np.float32)
    error[truth == UNLABELLED] = UNKNOWN
    return [
        Picture("image", sample.color),
        Picture("true labels", label_set.colorize(truth)),
        Picture("predicted labels", label_set.colorize(labels)),
        Picture("wrong in red, no truth dark", error.astype(np.uint8)),
    ]


def _depth_row(sample: Sample, depth: np.ndarray) -> list[Picture]:
    truth = sample.depth
    assert truth is not None
    known = truth[truth > 0]
    near, far = np.percentile(known, [1, 99]) * (0.9, 1.1) if known.size else (0.0, 1.0)
    return [
        Picture("image", sample.color),
        Picture(
            f"true depth, {near:.1f} to {far:.1f} m bright to dark", depth_colors(truth, near, far)
        ),
        Picture("predicted depth", depth_colors(depth, near, far)),
        Picture(
            f"red too far, blue too near, full at {DEPTH_ERROR_RANGE:.0%}",
            _depth_error(truth, depth),
        ),
    ]


def _depth_error(truth: np.ndarray, depth: np.ndarray) -> np.ndarray:
    known = (truth > 0) & np.isfinite(depth) & (depth > 0)
    relative = np.zeros(truth.shape, np.float32)
    relative[known] = np.clip((depth[known] / truth[known] - 1) / DEPTH_ERROR_RANGE, -1, 1)
    far, near = np.maximum(relative, 0), np.maximum(-relative, 0)
    white = np.float32(245)
    error = np.stack([1 - near, 1 - near - far, 1 - far], axis=-1) * white
    error = np.clip(error, 0, 255).astype(np.uint8)
    error[~known] = UNKNOWN
    return error


def _normal_row(sample: Sample, normals: np.ndarray) -> list[Picture]:
    truth = sample.normals
    assert truth is not None
    known = (np.linalg.norm(truth, axis=2) > 0) & (np.linalg.norm(normals, axis=2) > 0)
    cosine = np.clip((truth * normals).sum(axis=2), -1, 1)
    share = np.clip(np.degrees(np.arccos(cosine)) / 45, 0, 1)
    error = _inferno(share)
    error[~known] = UNKNOWN
    return [
        Picture("image", sample.color),
        Picture("true normals", _normal_colors(truth)),
        Picture("predicted normals", _normal_colors(normals)),
        Picture("angle, bright at 45 degrees", error),
    ]


def _normal_colors(normals: np.ndarray) -> np.ndarray:
    """Red right, green up, blue towards the camera; no normal is grey."""
    colors = ((normals * np.array([1, -1, -1], np.float32) + 1) * 127.5).astype(np.uint8)
    colors[~(np.linalg.norm(normals, axis=2) > 0)] = UNKNOWN
    return colors


def _inferno(share: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB of values in 0..1: dark to bright."""
    levels = (255 * share).astype(np.uint8)
    return cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1].copy()
