# SPDX-License-Identifier: Apache-2.0
"""What a network run returns: class scores on a coarse grid, and the depth and normals it has."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from mtl_perception.inference.framing import Axis
from mtl_perception.labels import LabelSet
from mtl_perception.prediction import Prediction


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """Class scores before softmax.

    A score in logits is ``scale * value`` plus an offset that softmax does not see, so a
    quantised tensor's zero point is not needed.
    """

    values: np.ndarray  # (h, w, C) int8 or float32, of any strides; must be finite to be read
    scale: float  # logits per unit of values
    x_axis: Axis  # image column -> grid column
    y_axis: Axis  # image row -> grid row


@dataclass(frozen=True, eq=False)
class NetworkOutput:
    """Everything that one run gave, as coarse as it came; ``post_processing`` does the rest.

    Depth and normals cover the whole of the image that the network was given, each with a grid of
    its own: cell i of n looks at its pixel (i + 0.5) * pixels / n - 0.5.
    """

    scores: ScoreMap
    depth: np.ndarray | None = None  # (h, w) float32 of any sign and strides; None: no such head
    normals: np.ndarray | None = None  # (h, w, 3) float32 of any length and strides; None: no head


@dataclass(frozen=True, eq=False)
class Decision:
    """How scores become labels and confidence."""

    channel_labels: np.ndarray  # (C,) uint8 label of each channel decided among. Channels of equal
    # label are one class, whose probability is their sum; 255 means a class that is not wanted
    channels: slice = field(default_factory=lambda: slice(None))  # which of the network's these are
    temperature: float = 1.0  # scores are divided by it; above 1 the confidence falls, labels stay
    confidence_threshold: float = 0.0  # less certain pixels become unlabelled


Reader = Callable[[np.ndarray, tuple[int, int], float], Prediction]
"""Image as the network is to see it, (H, W) of the prediction, metres per unit of the network's
depth; may be called from several threads, which take turns where they must."""


class Network(Protocol):
    """A loaded network file. One call at a time; its reader sees to that."""

    channels: int  # classes scored
    gives_depth: bool
    gives_normals: bool
    runtime: str  # what runs it, a key of runtimes.RUNTIMES
    device: str  # where: cpu, or the name of the GPU
    precision: str  # in which it computes: fp32, bf16, int8
    focal_px: float  # its depth is as a camera of this focal length would see it; 0: just metres
    temperature: float  # scores are divided by it for calibrated confidence; 1: as they come
    input_height: int  # images are best given this high, aspect kept; 0: at their own size
    label_sets: tuple[LabelSet, ...]  # of the channels, one behind the other; () if it cannot say

    def __call__(self, rgb: np.ndarray) -> NetworkOutput:
        """Run on one (H, W, 3) uint8 RGB image of any size."""
        ...


@runtime_checkable
class ReadingNetwork(Network, Protocol):
    """A network that makes predictions of its maps itself, where they are."""

    def reader(self, decision: Decision) -> Reader:
        """Return what reads images with it."""
        ...
