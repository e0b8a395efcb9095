# SPDX-License-Identifier: Apache-2.0
"""What the runtimes of ONNX graphs share: pixels in, normalised; maps out, checked."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import cv2
import numpy as np

from mtl_perception.inference.dense_outputs import MEAN, MIN_SIDE, READ, STD, check_size, to_output
from mtl_perception.inference.network_graph import NetworkGraph
from mtl_perception.inference.scores import NetworkOutput
from mtl_perception.models import ModelUnsupported

_LEVELS = np.arange(256, dtype=np.float32)[:, np.newaxis] / 255
_TABLES = ((_LEVELS - np.array(MEAN, np.float32)) / np.array(STD, np.float32)).T.copy()  # (3, 256)


def normalise(rgb: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 as the (1, 3, H, W) float32 that networks take.

    By table: a quarter of a millisecond for 640x480, so it needs no place in the graph.
    """
    x = np.empty((1, 3, *rgb.shape[:2]), np.float32)
    for plane, table, target in zip(cv2.split(rgb), _TABLES, x[0], strict=True):
        cv2.LUT(plane, table, target)
    return x


class GraphNetwork(ABC):
    """A joint network: RGB image in, scores, depth and normals out.

    Attributes:
        channels: classes scored, over all label sets.
        gives_depth, gives_normals: whether it has those heads.
        runtime, device, precision: what runs it, where, and in which numbers.
        label_sets: meaning of the channels, one set behind the other.
        focal_px, temperature, input_height: what the file says of itself.
    """

    runtime: str

    def __init__(self, graph: NetworkGraph, device: str, precision: str) -> None:
        """Take over what the graph says of itself; subclasses have prepared it by then.

        Raises:
            ModelUnsupported: the graph fails on an image, or gives other maps than it says.
        """
        self._graph = graph
        self.device, self.precision = device, precision
        self.channels = graph.channels["labels"]
        self.gives_depth, self.gives_normals = (
            "depth" in graph.channels,
            "normals" in graph.channels,
        )
        metadata = graph.metadata
        self.label_sets = metadata.label_sets
        self.focal_px, self.temperature = metadata.focal_px, metadata.temperature
        self.input_height = metadata.input_height
        self._wanted = [task for task in READ if task in graph.channels]
        # A graph that cannot run is found now, not at the first image.
        self(np.zeros((2 * MIN_SIDE, 2 * MIN_SIDE, 3), np.uint8))

    def __call__(self, rgb: np.ndarray) -> NetworkOutput:
        """Run on one image.

        Args:
            rgb: (H, W, 3) uint8 RGB.

        Raises:
            InvalidInput: an image too small or too large.
            ModelUnsupported: the graph contradicts itself, or its scores are not finite.
        """
        check_size(rgb)
        maps = dict(zip(self._wanted, self.run(normalise(rgb)), strict=True))
        for task, values in maps.items():
            if values.ndim != 4 or values.shape[:2] != (1, self._graph.channels[task]):
                raise ModelUnsupported(
                    f"{self._graph.path}: gives {task} {values.shape}, but says "
                    f"(1, {self._graph.channels[task]}, h, w)"
                )
        return to_output({task: values[0] for task, values in maps.items()}, rgb.shape[:2])

    @abstractmethod
    def run(self, x: np.ndarray) -> Sequence[np.ndarray]:
        """Return the maps of the tasks that are read, (1, C, h, w) float32, the caller's to keep.

        Args:
            x: (1, 3, H, W) float32, normalised.

        Raises:
            ModelUnsupported: the graph fails on it.
        """
