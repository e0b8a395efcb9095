# SPDX-License-Identifier: Apache-2.0
"""The coarse maps of a network to what it says of every pixel of the image."""

import cv2
import numpy as np

from mtl_perception.inference.scores import NetworkOutput
from mtl_perception.inference.upsample import ScoreLabeller
from mtl_perception.prediction import Prediction


class PostProcessor:
    """Upsamples, decides, scales. May be called from any thread."""

    def __init__(
        self,
        channel_labels: np.ndarray,
        temperature: float = 1.0,
        confidence_threshold: float = 0.0,
        threads: int = 1,
    ) -> None:
        """Say what channels mean.

        Args:
            channel_labels: (C,) uint8 label of each channel. Channels of equal label are one
                class, whose probability is their sum; 255 means a class that is not wanted.
            temperature: scores are divided by it; above 1 the confidence falls, labels stay.
            confidence_threshold: less certain pixels become unlabelled.
            threads: to share the rows over.
        """
        self._labeller = ScoreLabeller(channel_labels, temperature, confidence_threshold, threads)

    def __call__(
        self, output: NetworkOutput, shape: tuple[int, int], depth_scale: float = 1.0
    ) -> Prediction:
        """Bring every map to image size: upsampled first, then decided on.

        Args:
            output: of one run.
            shape: (H, W) of the image that the axes of the scores speak of.
            depth_scale: metres per unit of the network's depth.
        """
        labels, confidence = self._labeller(output.scores, shape)
        depth = None if output.depth is None else _depth(output.depth, shape, depth_scale)
        normals = None if output.normals is None else _normals(output.normals, shape)
        return Prediction(labels, confidence, depth, normals)


def _depth(raw: np.ndarray, shape: tuple[int, int], scale: float) -> np.ndarray:
    """(h, w) of any sign to (H, W) metres; 0, which is unknown, where it is not finite."""
    depth = _resize(raw, shape)
    np.abs(depth, out=depth)
    depth *= np.float32(scale)
    return np.nan_to_num(depth, copy=False, nan=0.0, posinf=0.0)


def _normals(raw: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) of any length to (H, W, 3) of unit length, or zero."""
    normals = _resize(raw, shape)
    length = np.sqrt(np.einsum("ijk,ijk->ij", normals, normals))
    normals /= np.maximum(length, np.finfo(np.float32).tiny)[..., np.newaxis]
    return normals


def _resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    image = np.ascontiguousarray(image)
    return cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
