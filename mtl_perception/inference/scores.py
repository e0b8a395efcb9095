# SPDX-License-Identifier: Apache-2.0
"""What a network run returns: class scores on a coarse grid, depth where it has that head."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mtl_perception.inference.framing import Axis
from mtl_perception.labels import LabelSet


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """Class scores before softmax.

    A score in logits is ``scale * value`` plus an offset that softmax does not see, so a
    quantised tensor's zero point is not needed.
    """

    values: np.ndarray  # (h, w, C) int8 or float32, finite, of any strides
    scale: float  # logits per unit of values
    x_axis: Axis  # image column -> grid column
    y_axis: Axis  # image row -> grid row


@dataclass(frozen=True, eq=False)
class NetworkOutput:
    """Everything that one run gave."""

    scores: ScoreMap
    depth: np.ndarray | None = None  # (H, W) float32 metres, image size; None: no such head
    normals: np.ndarray | None = None  # (H, W, 3) float32 unit, image size; None: no such head


class Network(Protocol):
    """A loaded network file. One call at a time; ``predictor.Predictor`` sees to that."""

    channels: int  # classes scored
    gives_depth: bool
    label_sets: tuple[LabelSet, ...]  # of the channels, one behind the other; () if it cannot say

    def __call__(self, rgb: np.ndarray) -> NetworkOutput:
        """Run on one (H, W, 3) uint8 RGB image of any size."""
        ...
