# SPDX-License-Identifier: Apache-2.0
"""Coarse class scores to full-size labels and confidence, in one pass over the pixels.

Scores are upsampled bilinearly, then the best class is taken: edges run between the grid's cells
instead of along them. Done array by array this moves 39 MB per 640x480 image of 32 classes; the
kernel keeps one pixel's scores in cache, and leaves out what does not matter (see ``_exp``).
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from mtl_perception.conventions import UNLABELLED
from mtl_perception.inference.framing import Axis
from mtl_perception.inference.scores import ScoreMap

REORDER = {"reassoc", "contract", "arcp", "nsz", "nnan", "ninf"}
"""Float liberties of the kernel: sums in any order; scores are finite by construction."""

Neighbours = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Per pixel of an axis: cell before, cell after (int32), and the weight of the latter (float32)."""

Winner = tuple[np.int32, np.float32, np.float32]
"""Index of the best, its share before normalising, and the sum of all shares."""


class ScoreLabeller:
    """Turns score maps into labels and confidence. May be called from any thread.

    The rows of an image are shared out over own threads, with the GIL free: no OpenMP, whose
    idle threads spin and so take the cores from the network's own.
    """

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
        wanted = np.unique(channel_labels)
        self._label_of_group = wanted
        self._group_of_channel = np.searchsorted(wanted, channel_labels).astype(np.int32)
        self._merges = len(wanted) < len(channel_labels)
        if not self._merges:  # channel order decides ties, as argmax does
            self._label_of_group = channel_labels
        self._temperature = temperature
        self._threshold = np.float32(confidence_threshold)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "labels")

    def __call__(self, scores: ScoreMap, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Label every pixel of an image.

        Args:
            scores: of ``C`` channels.
            shape: (H, W) of the image that the axes of ``scores`` speak of.

        Returns:
            labels: (H, W) uint8, 255 where the winner is not wanted or not certain enough.
            confidence: (H, W) float32 probability of the label, 0 where 255.
        """
        height, width = shape
        labels, confidence = np.empty(shape, np.uint8), np.empty(shape, np.float32)
        factor = np.float32(scores.scale / self._temperature)
        rows, columns = _neighbours(scores.y_axis, height), _neighbours(scores.x_axis, width)
        edges = [height * i // self._threads for i in range(self._threads + 1)]

        def label_band(i: int) -> None:
            _label_rows(
                scores.values,
                factor,
                rows,
                columns,
                self._group_of_channel,
                self._label_of_group,
                self._merges,
                self._threshold,
                edges[i],
                edges[i + 1],
                labels,
                confidence,
            )

        for _ in self._pool.map(label_band, range(self._threads)):
            pass  # waits, and raises what a band raised
        return labels, confidence


def _neighbours(axis: Axis, pixels: int) -> Neighbours:
    """Return the cells around each pixel; cells of padding are never among them."""
    position = np.clip(np.arange(pixels) * axis.step + axis.origin, axis.first, axis.last)
    low = position.astype(np.int32)
    return low, np.minimum(low + 1, axis.last).astype(np.int32), (position - low).astype(np.float32)


@njit(inline="always", fastmath=REORDER)
def _exp(x: np.float32) -> np.float32:
    """Return exp(x) for x <= 0 within 2e-7 absolute, in operations that vectorise.

    exp(x) = exp(x/32)^32 with four terms of the series after the 1: far from 0, where the
    series is coarse, exp itself is small. Below -20 it stays at exp(-20) = 2e-9.
    """
    y = max(x, np.float32(-20.0)) * np.float32(1 / 32)
    p = y * np.float32(1 / 24) + np.float32(1 / 6)
    p = p * y + np.float32(1 / 2)
    p = p * y + np.float32(1)
    p = p * y + np.float32(1)
    p = p * p  # 2
    p = p * p  # 4
    p = p * p  # 8
    p = p * p  # 16
    return p * p  # 32


@njit(cache=True, nogil=True, error_model="numpy", fastmath=REORDER)
def _label_rows(
    values: np.ndarray,
    factor: np.float32,
    rows: Neighbours,
    columns: Neighbours,
    group_of_channel: np.ndarray,
    label_of_group: np.ndarray,
    merges: bool,
    threshold: np.float32,
    first_row: int,
    end_row: int,
    labels: np.ndarray,
    confidence: np.ndarray,
) -> None:
    """Label image rows ``first_row`` to ``end_row - 1``; shapes as in ``ScoreLabeller``."""
    top, bottom, down = rows
    left, right, along = columns
    width, channels = values.shape[1], values.shape[2]
    row = np.empty((width, channels), np.float32)
    score = np.empty(channels, np.float32)
    groups = np.zeros(len(label_of_group), np.float32)
    for y in range(first_row, end_row):
        above, below, part = values[top[y]], values[bottom[y]], down[y]
        for i in range(width):
            for c in range(channels):
                a, b = np.float32(above[i, c]), np.float32(below[i, c])
                row[i, c] = (a + part * (b - a)) * factor
        for x in range(labels.shape[1]):
            before, after, part = row[left[x]], row[right[x]], along[x]
            best = np.float32(-3e38)
            for c in range(channels):
                score[c] = before[c] + part * (after[c] - before[c])
                best = max(best, score[c])
            if merges:
                winner, mass, total = _best_group(score, best, group_of_channel, groups)
            else:
                winner, mass, total = _best_channel(score, best)
            certainty = mass / total
            label = label_of_group[winner]
            if label == UNLABELLED or certainty < threshold:
                label, certainty = np.uint8(UNLABELLED), np.float32(0)
            labels[y, x] = label
            confidence[y, x] = certainty


@njit(inline="always", fastmath=REORDER)
def _best_channel(score: np.ndarray, best: np.float32) -> Winner:
    """Return the first channel whose score is ``best``, its exp(score - best) = 1, and the sum."""
    winner, total = np.int32(len(score)), np.float32(0)
    for c in range(len(score)):  # a minimum vectorises, an early exit does not
        winner = min(winner, np.int32(c) if score[c] == best else np.int32(len(score)))
    for c in range(len(score)):
        total += _exp(score[c] - best)
    return winner, np.float32(1), total


@njit(inline="always", fastmath=REORDER)
def _best_group(
    score: np.ndarray, best: np.float32, group_of_channel: np.ndarray, groups: np.ndarray
) -> Winner:
    """Return the group with the greatest sum of exp(score - best), that sum, and the whole sum."""
    for c in range(len(score)):
        score[c] = _exp(score[c] - best)
    groups[:] = 0
    for c in range(len(score)):
        groups[group_of_channel[c]] += score[c]
    winner, total = np.int32(0), np.float32(0)
    for g in range(len(groups)):
        total += groups[g]
        if groups[g] > groups[winner]:
            winner = np.int32(g)
    return winner, groups[winner], total
