# SPDX-License-Identifier: Apache-2.0
"""The coarse maps of a network to what it says of every pixel: upsampled first, then decided on."""

import math
from dataclasses import replace
from functools import partial
from threading import Lock

import numpy as np

from mtl_perception.inference.crew import Crew
from mtl_perception.inference.framing import spanning
from mtl_perception.inference.label_kernel import label_strips
from mtl_perception.inference.map_kernel import depth_rows, normal_rows
from mtl_perception.inference.scores import Decision, Network, NetworkOutput
from mtl_perception.inference.upsample import columns_of, neighbours_of, rows_of
from mtl_perception.models import ModelUnsupported
from mtl_perception.prediction import Prediction


class CoarseReader:
    """Reads images with a network that gives coarse maps, as ``scores.Reader``."""

    def __init__(self, network: Network, decision: Decision, threads: int) -> None:
        """Say which network, how its scores become labels, and on how many threads."""
        self._network, self._channels = network, decision.channels
        self._post_process = PostProcessor(decision, threads)
        self._turn = Lock()

    def __call__(self, rgb: np.ndarray, shape: tuple[int, int], depth_scale: float) -> Prediction:
        """Read one image.

        Args:
            rgb: (h, w, 3) uint8 RGB as the network is to see it.
            shape: (H, W) of the prediction.
            depth_scale: metres per unit of the network's depth.

        Raises:
            InvalidInput: an image of a size that the network does not take.
            ModelUnsupported: scores that are not finite.
        """
        with self._turn:
            output = self._network(rgb)
        scores = output.scores
        chosen = replace(
            scores,
            values=scores.values[..., self._channels],
            x_axis=scores.x_axis.before_resize(shape[1], rgb.shape[1]),
            y_axis=scores.y_axis.before_resize(shape[0], rgb.shape[0]),
        )
        return self._post_process(replace(output, scores=chosen), shape, depth_scale)


class PostProcessor:
    """Upsamples, decides, scales, on several threads. May be called from any thread."""

    def __init__(self, decision: Decision, threads: int = 1) -> None:
        """Prepare.

        Args:
            decision: how scores become labels; ``channels`` of it are cut out already.
            threads: to share the rows over.
        """
        labels = decision.channel_labels
        wanted, group = np.unique(labels, return_inverse=True)
        if len(wanted) == len(labels):  # nothing merges: keep the order of the channels
            wanted, group = labels, np.arange(len(labels))
        self._group_of_channel = group.astype(np.int64)
        self._label_of_group = wanted.astype(np.float32)
        self._powers = math.log2(math.e) / decision.temperature
        self._threshold = np.float32(decision.confidence_threshold)
        self._crew = Crew(threads)

    def __call__(
        self, output: NetworkOutput, shape: tuple[int, int], depth_scale: float = 1.0
    ) -> Prediction:
        """Bring every map to image size.

        Args:
            output: of one run.
            shape: (H, W) of the image that the axes of the scores speak of.
            depth_scale: metres per unit of the network's depth.

        Returns:
            What ``interpolate(align_corners=False)``, argmax and softmax of torch give: labels but
            for ties within rounding, confidence within 1e-5, depth and normals within rounding.
            Of equal scores the first channel's label is taken.

        Raises:
            ModelUnsupported: scores that are not finite.
        """
        rows = rows_of(output.scores.y_axis, shape[0])
        labels, confidence = np.empty(shape, np.uint8), np.empty(shape, np.float32)
        depth = None if output.depth is None else np.empty(shape, np.float32)
        normals = None if output.normals is None else np.empty((*shape, 3), np.float32)
        write_labels = partial(
            label_strips,
            output.scores.values.transpose(2, 0, 1),
            np.float32(output.scores.scale * self._powers),
            tuple(rows),
            tuple(columns_of(output.scores.x_axis, shape[1])),
            self._group_of_channel,
            self._label_of_group,
            self._threshold,
            labels,
            confidence,
        )
        others = []
        if output.depth is not None:
            raw, scale = output.depth, np.float32(depth_scale)
            others.append(partial(depth_rows, raw, scale, *_around(raw, shape), depth))
        if output.normals is not None:
            raw = output.normals.transpose(2, 0, 1)
            others.append(partial(normal_rows, raw, *_around(output.normals, shape), normals))

        def process(first: int, end: int) -> bool:
            finite = write_labels(first, end)
            for write in others:
                write(rows.start[first], rows.start[end])
            return finite

        if not self._crew.share_out(process, len(rows.start) - 1):
            raise ModelUnsupported("the network's scores are not finite: weights out of range?")
        return Prediction(labels, confidence, depth, normals)


def _around(values: np.ndarray, shape: tuple[int, int]) -> tuple:
    return tuple(
        tuple(neighbours_of(spanning(pixels, cells), pixels))
        for cells, pixels in zip(values.shape[:2], shape, strict=True)
    )
