# SPDX-License-Identifier: Apache-2.0
"""Which grid cells an image's pixels lie between, for bilinear upsampling.

The image is cut into intervals: the pixels between two neighbouring cell centres. They share their
cells and differ in how far along they are. Before the first and behind the last centre both cells
are the same one. The pixels of all intervals that come k-th in theirs are a phase: column phases
are what fills the 16 lanes of the kernels, with no pixel gathered from anywhere.

Kernels take these as plain tuples: numba's cache would remember where their classes are defined,
and be unreadable once they are not.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from mtl_perception.inference.framing import Axis
from mtl_perception.inference.lanes import LANES


class Rows(NamedTuple):
    """The n intervals of image rows."""

    cells: np.ndarray  # (n + 1,) int64 grid row at both ends of each interval
    start: np.ndarray  # (n + 1,) int64 first image row of each interval, and the image's height
    part: np.ndarray  # (H,) float32 weight of the second cell


class Columns(NamedTuple):
    """The intervals of image columns, their count rounded up to whole lanes: n."""

    cells: np.ndarray  # (n + 1,) int64 grid column at both ends of each interval
    part: np.ndarray  # (phases * n,) float32 weight of the second cell; 0 where no pixel is
    place: np.ndarray  # (W,) int64 phase * n + interval of each pixel


class Neighbours(NamedTuple):
    """The cells around each pixel along one axis."""

    before: np.ndarray  # (pixels,) int64
    after: np.ndarray  # (pixels,) int64
    part: np.ndarray  # (pixels,) float32 weight of the cell after


@lru_cache(maxsize=64)
def rows_of(axis: Axis, pixels: int) -> Rows:
    """Return the intervals of the rows of an image that is ``pixels`` high."""
    interval, part = _intervals(axis, pixels)
    count = axis.last - axis.first + 2
    return Rows(_cells(axis, count), np.searchsorted(interval, np.arange(count + 1)), part)


@lru_cache(maxsize=64)
def columns_of(axis: Axis, pixels: int) -> Columns:
    """Return the intervals of the columns of an image that is ``pixels`` wide."""
    interval, part = _intervals(axis, pixels)
    count = -(-(axis.last - axis.first + 2) // LANES) * LANES
    phase = np.arange(pixels) - np.searchsorted(interval, interval)
    place = phase * count + interval
    by_phase = np.zeros((phase.max() + 1) * count, np.float32)
    by_phase[place] = part
    return Columns(_cells(axis, count), by_phase, place)


@lru_cache(maxsize=64)
def neighbours_of(axis: Axis, pixels: int) -> Neighbours:
    """Return the cells around the pixels of an image side that is ``pixels`` long."""
    interval, part = _intervals(axis, pixels)
    cells = _cells(axis, axis.last - axis.first + 2)
    return Neighbours(cells[interval], cells[interval + 1], part)


def _intervals(axis: Axis, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return interval and weight of the second cell of each pixel, (pixels,) int64 and float32."""
    position = np.arange(pixels) * axis.step + axis.origin
    below = np.floor(position)
    last = axis.last - axis.first + 1
    interval = np.clip(below - axis.first + 1, 0, last).astype(np.int64)
    inside = (interval > 0) & (interval < last)
    return interval, np.where(inside, position - below, 0).astype(np.float32)


def _cells(axis: Axis, intervals: int) -> np.ndarray:
    return np.clip(np.arange(intervals + 1) - 1 + axis.first, axis.first, axis.last)
