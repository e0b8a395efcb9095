# SPDX-License-Identifier: Apache-2.0
"""The compiled pass of ``upsample``: interpolate, decide and sum up the softmax, tile by tile.

Each grid row is widened to the image's columns once; image rows then lie between two wide rows.
Pixels, not classes, fill the vector lanes, so that maximum and sum need no reduction across them.
"""

import numpy as np
from numba import njit

from mtl_perception.conventions import UNLABELLED

TILE = 128
"""Pixels of a row handled together: their scores of 32 classes fill half of an L1 cache."""

Neighbours = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Per pixel of an axis: cell before, cell after (int32), and the weight of the latter (float32)."""

# Sums in any order; scores are finite by construction.
_ANY_ORDER = {"reassoc", "contract", "arcp", "nsz", "nnan", "ninf"}

_inline = njit(inline="always", fastmath=_ANY_ORDER)


@_inline
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


@_inline
def _widen(cells: np.ndarray, factor: np.float32, columns: Neighbours, wide: np.ndarray) -> None:
    """Interpolate one grid row along x: (w, C) of any type -> (C, W) float32 logits."""
    left, right, along = columns
    line = np.empty(len(cells), np.float32)
    for c in range(len(wide)):
        for i in range(len(cells)):
            line[i] = np.float32(cells[i, c]) * factor
        for x in range(len(left)):
            a = line[left[x]]
            wide[c, x] = a + along[x] * (line[right[x]] - a)


@_inline
def _between(
    upper: np.ndarray, lower: np.ndarray, part: np.float32, x: int, n: int, score: np.ndarray
) -> None:
    """Interpolate ``n`` columns from ``x`` on along y: two (C, W) -> the start of (C, TILE)."""
    for c in range(len(score)):
        a, b = upper[c, x : x + n], lower[c, x : x + n]  # indexed by x + i it stays scalar code
        for i in range(n):
            score[c, i] = a[i] + part * (b[i] - a[i])


@_inline
def _first_greatest(score: np.ndarray, best: np.ndarray, winner: np.ndarray) -> None:
    """Find the first greatest of each column: (K, TILE) -> (TILE,) value and row number."""
    for i in range(TILE):
        best[i], winner[i] = score[0, i], 0
    for k in range(1, len(score)):
        for i in range(TILE):
            better = score[k, i] > best[i]
            best[i] = score[k, i] if better else best[i]
            winner[i] = k if better else winner[i]


@_inline
def _to_shares(score: np.ndarray, best: np.ndarray, total: np.ndarray) -> None:
    """Turn scores into exp(score - best), in place, and sum them up by column."""
    total[:] = 0
    for c in range(len(score)):
        for i in range(TILE):
            score[c, i] = _exp(score[c, i] - best[i])
            total[i] += score[c, i]
    best[:] = 1  # _exp(0): the share of the best channel


@_inline
def _merge(share: np.ndarray, group_of_channel: np.ndarray, mass: np.ndarray) -> None:
    """Add up the shares of each group of channels: (C, TILE) -> (G, TILE)."""
    mass[:] = 0
    for c in range(len(share)):
        group = mass[group_of_channel[c]]
        for i in range(TILE):
            group[i] += share[c, i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_ANY_ORDER)
def label_rows(
    values: np.ndarray,
    factor: np.float32,
    rows: Neighbours,
    columns: Neighbours,
    group_of_channel: np.ndarray,
    label_of_group: np.ndarray,
    threshold: np.float32,
    first_row: int,
    end_row: int,
    labels: np.ndarray,
    confidence: np.ndarray,
) -> None:
    """Label image rows ``first_row`` to ``end_row - 1``.

    Args:
        values: (h, w, C) scores of any type.
        factor: turns them into logits.
        rows: grid rows around each image row.
        columns: grid columns around each image column.
        group_of_channel: (C,) int32 class of each channel.
        label_of_group: (G,) uint8 label of each class; G < C when channels merge.
        threshold: below it a pixel is unlabelled.
        first_row: of the image.
        end_row: of the image, exclusive.
        labels: (H, W) uint8, written.
        confidence: (H, W) float32, written.
    """
    top, bottom, down = rows
    width, channels = labels.shape[1], values.shape[2]
    upper = np.empty((channels, width), np.float32)
    lower = np.empty((channels, width), np.float32)
    in_upper = in_lower = -1  # grid rows that they hold
    score = np.zeros((channels, TILE), np.float32)
    mass = np.empty((len(label_of_group), TILE), np.float32)
    best = np.empty(TILE, np.float32)
    total = np.empty(TILE, np.float32)
    winner = np.empty(TILE, np.int32)
    for y in range(first_row, end_row):
        if top[y] == in_lower:
            upper, lower, in_upper, in_lower = lower, upper, in_lower, in_upper
        if top[y] != in_upper:
            _widen(values[top[y]], factor, columns, upper)
            in_upper = top[y]
        if bottom[y] != in_lower:
            _widen(values[bottom[y]], factor, columns, lower)
            in_lower = bottom[y]
        for x in range(0, width, TILE):
            n = min(TILE, width - x)
            _between(upper, lower, down[y], x, n, score)
            _first_greatest(score, best, winner)
            _to_shares(score, best, total)
            if len(label_of_group) < channels:
                _merge(score, group_of_channel, mass)
                _first_greatest(mass, best, winner)
            for i in range(n):
                certainty = best[i] / total[i]
                label = label_of_group[winner[i]]
                known = label != UNLABELLED and certainty >= threshold
                labels[y, x + i] = label if known else UNLABELLED
                confidence[y, x + i] = certainty if known else np.float32(0)
