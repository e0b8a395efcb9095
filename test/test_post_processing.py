# SPDX-License-Identifier: Apache-2.0
"""Coarse maps of a network become labels, confidence, depth and normals of the image."""

import numpy as np
import pytest

from mtl_perception.inference.dense_outputs import to_output
from mtl_perception.inference.post_processing import PostProcessor
from mtl_perception.models import ModelUnsupported


def process(shape: tuple[int, int], depth_scale: float = 1.0, **maps: np.ndarray) -> object:
    """Run (C, h, w) maps that cover an image of ``shape``."""
    channel_labels = np.arange(len(maps["labels"]), dtype=np.uint8)
    return PostProcessor(channel_labels, threads=2)(to_output(maps, shape), shape, depth_scale)


def test_scores_that_are_not_finite_are_an_error() -> None:
    labels = np.zeros((4, 8, 8), np.float32)
    labels[1, 2, 3] = np.nan
    with pytest.raises(ModelUnsupported, match="not finite"):
        process((32, 32), labels=labels)


def test_depth_that_is_not_finite_is_unknown_and_the_rest_is_scaled_metres() -> None:
    depth = np.full((1, 8, 8), -2.0, np.float32)
    depth[0, :4] = np.inf
    prediction = process((32, 32), 0.5, labels=np.zeros((4, 8, 8), np.float32), depth=depth)
    assert set(np.unique(prediction.depth)) == {0.0, 1.0}
