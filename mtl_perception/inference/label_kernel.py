# SPDX-License-Identifier: Apache-2.0
"""Coarse class scores to labels and confidence of every pixel, compiled: upsample, then decide.

Array by array this takes 80 ms for a 640x480 image of 40 classes, whose upsampled scores are 49
MB. Here 16 neighbouring intervals of columns at a time are finished, from caches:

1. Classes that cannot matter there are left out: bilinear interpolation stays between the four
   cells, so no pixel's score is above the highest or below the lowest of its class.
2. Per phase of columns the scores become linear functions of the row.
3. Per row the best class is found, and then the sum of softmax, relative to the best.

Scores are in powers of two (times log2 e), which makes softmax cheap and changes no order.
"""

import numpy as np

from mtl_perception.conventions import UNLABELLED
from mtl_perception.inference.jit import jit, jit_inline
from mtl_perception.inference.lanes import (
    LANES,
    add,
    choose,
    divide,
    exp2,
    greatest,
    load,
    multiply_add,
    splat,
    store,
    store_bytes,
    subtract,
)

ROWS = 8
"""Image rows finished together, for which there is room in the caches."""

NEGLIGIBLE = np.float32(24)
"""Classes whose probability is 2^-24 of the best one's everywhere in a tile are left out."""

_LOWEST = np.float32(-3e38)


@jit
def _read_row(values, row, factor, cells, stride, score, low, high):
    """Read one grid row in logits, and each class's extremes by tile; tell whether it is finite.

    (C, h, w) of any type -> (C * stride,) float32 with the cells at the ends of the intervals.
    """
    zero = unlike = splat(np.float32(0))
    for c in range(len(values)):
        start = c * stride
        first, count = cells[0], cells[-1] + 1 - cells[0]
        source, target = values[c, row, first : first + count], score[start + 1 : start + 1 + count]
        for i in range(count):  # indexed by first + i this stays scalar code
            target[i] = np.float32(source[i]) * factor
        before, behind = target[0], target[count - 1]
        score[start] = before
        for i in range(start + 1 + count, start + stride):
            score[i] = behind
        for tile in range(len(low)):
            at = start + tile * LANES
            left, right = load(score, at), load(score, at + 1)
            unlike = add(unlike, subtract(left, left))  # NaN for what is not finite
            most, least = choose(right, left, right, left), choose(right, left, left, right)
            high[tile, c], low[tile, c] = greatest(most), -greatest(subtract(zero, least))
    finite = choose(unlike, splat(np.float32(-1)), zero, splat(np.float32(1)))
    return greatest(finite) == 0


@jit_inline
def _keep(low, high, low_below, high_below, kept):
    """List the classes that matter between two grid rows, in order; return how many they are."""
    sure = _LOWEST  # some class has this score or more, wherever in the tile
    for c in range(len(low)):
        sure = max(sure, min(low[c], low_below[c]))
    count = 0
    for c in range(len(low)):
        kept[count] = c
        count += max(high[c], high_below[c]) >= sure - NEGLIGIBLE
    return count


@jit_inline
def _corners(upper, lower, kept, count, stride, first, corner):
    """Write the bilinear function of each interval: (count, 4) lanes of a + t b + w (c + t d)."""
    for p in range(count):
        i = kept[p] * stride + first
        a, c = load(upper, i), load(lower, i)
        b, d = subtract(load(upper, i + 1), a), subtract(load(lower, i + 1), c)
        at = 4 * p * LANES
        store(corner, at, a)
        store(corner, at + LANES, b)
        store(corner, at + 2 * LANES, subtract(c, a))
        store(corner, at + 3 * LANES, subtract(d, b))


@jit_inline
def _lines(corner, count, t, line):
    """Fix the columns: write (count, 2) lanes of value + w slope, with ``t`` along the interval."""
    for p in range(count):
        at = 4 * p * LANES
        store(line, 2 * p * LANES, multiply_add(t, load(corner, at + LANES), load(corner, at)))
        slope = multiply_add(t, load(corner, at + 3 * LANES), load(corner, at + 2 * LANES))
        store(line, 2 * p * LANES + LANES, slope)


@jit_inline
def _score(line, p, w):
    at = 2 * p * LANES
    return multiply_add(w, load(line, at + LANES), load(line, at))


@jit_inline
def _best(line, count, w, label):
    """Return the greatest score and the label of the first class that has it."""
    best, winner = splat(_LOWEST), splat(np.float32(UNLABELLED))
    for p in range(count):
        score = _score(line, p, w)
        winner = choose(score, best, splat(label[p]), winner)
        best = choose(score, best, score, best)
    return best, winner


@jit_inline
def _softmax_sum(line, count, w, best):
    """Return the sum of all shares, where that of the best class is 1."""
    total = splat(np.float32(0))
    for p in range(count):
        total = add(total, exp2(subtract(_score(line, p, w), best)))
    return total


@jit_inline
def _best_merged(line, count, w, best, group, label_of_group, mass):
    """As ``_best``, of groups of classes: their shares add up."""
    for g in range(len(label_of_group)):
        store(mass, g * LANES, splat(np.float32(0)))
    for p in range(count):
        at = group[p] * LANES
        store(mass, at, add(load(mass, at), exp2(subtract(_score(line, p, w), best))))
    most, winner = splat(np.float32(-1)), splat(np.float32(UNLABELLED))
    for g in range(len(label_of_group)):
        share = load(mass, g * LANES)
        winner = choose(share, most, splat(label_of_group[g]), winner)
        most = choose(share, most, share, most)
    return most, winner


@jit
def label_strips(
    values,
    factor,
    rows,
    columns,
    group_of_channel,
    label_of_group,
    threshold,
    labels,
    confidence,
    first,
    end,
):
    """Label the image rows of the intervals ``first`` to ``end - 1``.

    Args:
        values: (C, h, w) scores of any type and strides.
        factor: float32, turns them into powers of two.
        rows: ``upsample.Rows`` of the image, as a plain tuple.
        columns: ``upsample.Columns`` of the image, likewise.
        group_of_channel: (C,) int64 class of each channel.
        label_of_group: (G,) float32 label of each class; G < C when channels merge.
        threshold: float32; below it a pixel is unlabelled.
        labels: (H, W) uint8, written.
        confidence: (H, W) float32, written.
        first: interval of rows.
        end: interval of rows, exclusive.

    Returns:
        Whether all scores that were read are finite; if not, what was written means nothing.
    """
    (grid_rows, start, row_part), (grid_columns, part, place) = rows, columns
    channels, merged = len(values), len(label_of_group) < len(values)
    width = len(grid_columns) - 1  # intervals
    tiles, stride, phases = width // LANES, width + LANES, len(part) // width
    upper = np.zeros(channels * stride, np.float32)
    lower = np.zeros(channels * stride, np.float32)
    low, high = np.empty((2, tiles, channels), np.float32)
    low_below, high_below = np.empty((2, tiles, channels), np.float32)
    kept = np.empty(channels + 1, np.int64)
    kept_group, kept_label = np.empty(channels, np.int64), np.empty(channels, np.float32)
    corner = np.empty(channels * 4 * LANES, np.float32)
    line = np.empty(channels * 2 * LANES, np.float32)
    mass = np.empty(len(label_of_group) * LANES, np.float32)
    plane_label = np.empty(ROWS * len(part), np.uint8)
    plane_sure = np.empty(ROWS * len(part), np.float32)
    nothing = splat(np.float32(UNLABELLED))
    finite = _read_row(values, grid_rows[first], factor, grid_columns, stride, upper, low, high)
    for strip in range(first, end):
        below = grid_rows[strip + 1]
        finite &= _read_row(
            values, below, factor, grid_columns, stride, lower, low_below, high_below
        )
        for top in range(start[strip], start[strip + 1], ROWS):
            bottom = min(top + ROWS, start[strip + 1])
            for tile in range(tiles):
                count = _keep(low[tile], high[tile], low_below[tile], high_below[tile], kept)
                for p in range(count):
                    kept_group[p] = group_of_channel[kept[p]]
                    kept_label[p] = label_of_group[kept_group[p]]
                _corners(upper, lower, kept, count, stride, tile * LANES, corner)
                for phase in range(phases):
                    at = phase * width + tile * LANES
                    _lines(corner, count, load(part, at), line)
                    for y in range(top, bottom):
                        w = splat(row_part[y])
                        best, winner = _best(line, count, w, kept_label)
                        total = _softmax_sum(line, count, w, best)
                        share = splat(np.float32(1))
                        if merged:
                            share, winner = _best_merged(
                                line, count, w, best, kept_group, label_of_group, mass
                            )
                        sure = divide(share, total)
                        winner = choose(splat(threshold), sure, nothing, winner)
                        known = choose(nothing, winner, sure, splat(np.float32(0)))
                        store_bytes(plane_label, (y - top) * len(part) + at, winner)
                        store(plane_sure, (y - top) * len(part) + at, known)
            for y in range(top, bottom):
                line_start = (y - top) * len(part)
                for x in range(labels.shape[1]):
                    labels[y, x] = plane_label[line_start + place[x]]
                    confidence[y, x] = plane_sure[line_start + place[x]]
        upper, lower = lower, upper
        low, low_below, high, high_below = low_below, low, high_below, high
    return finite
