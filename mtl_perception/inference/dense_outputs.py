# SPDX-License-Identifier: Apache-2.0
"""What joint networks take and give, whatever runs them: an image in, one coarse map per task out.

The networks see the whole image, normalised as for ImageNet. Their maps lie as in torch's
``interpolate(mode="bilinear", align_corners=False)``: cell i of n looks at pixel
(i + 0.5) * pixels / n - 0.5.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mtl_perception.conventions import InvalidInput
from mtl_perception.inference.framing import spanning
from mtl_perception.inference.scores import NetworkOutput, ScoreMap
from mtl_perception.models import ModelUnsupported

MEAN = (0.485, 0.456, 0.406)
"""Of ImageNet's red, green and blue in 0..1."""

STD = (0.229, 0.224, 0.225)
"""Their standard deviations."""

MIN_SIDE = 32
"""Sides below it leave nothing of the image at the coarsest scale."""

MAX_PIXELS = 1 << 23
"""Largest image, 3840x2160 and a little: the maps inside a network take 300 bytes per pixel."""

READ = ("labels", "depth", "normals")
"""Tasks that become part of a prediction; contours, parts and saliency have no reader yet."""

CHANNELS = {"depth": 1, "normals": 3}
"""Channels of the tasks that are read besides ``labels``."""


def check_size(rgb: np.ndarray) -> None:
    """Refuse images that the networks cannot see anything in, or that would take all memory.

    Raises:
        InvalidInput: with the size that came.
    """
    height, width = rgb.shape[:2]
    if min(height, width) < MIN_SIDE or height * width > MAX_PIXELS:
        raise InvalidInput(
            f"rgb: {width}x{height} image, want sides of at least {MIN_SIDE} and at most "
            f"{MAX_PIXELS} pixels in all"
        )


def check_tasks(channels: Mapping[str, int], path: Path) -> None:
    """Refuse networks whose maps nobody here could read.

    Args:
        channels: of each task's map.
        path: for the message.

    Raises:
        ModelUnsupported: no scores, or a task with an odd count of channels.
    """
    if channels.get("labels", 0) < 1:
        raise ModelUnsupported(f"{path}: no class scores (labels) among its tasks {list(channels)}")
    for task, count in CHANNELS.items():
        if channels.get(task, count) != count:
            raise ModelUnsupported(f"{path}: {task} has {channels[task]} channels, want {count}")


def to_output(maps: Mapping[str, np.ndarray], shape: tuple[int, int]) -> NetworkOutput:
    """Bring the maps of a network to what ``scores.Network`` returns.

    Args:
        maps: (C, h, w) float32 by task, of any strides: ``labels``; ``depth`` and ``normals``
            where the network has them; others are not read.
        shape: (H, W) of the image that the network saw.
    """
    values = maps["labels"].transpose(1, 2, 0)
    y_axis, x_axis = (spanning(m, n) for n, m in zip(values.shape[:2], shape, strict=True))
    return NetworkOutput(
        ScoreMap(values, 1.0, x_axis, y_axis),
        maps["depth"][0] if "depth" in maps else None,
        maps["normals"].transpose(1, 2, 0) if "normals" in maps else None,
    )
