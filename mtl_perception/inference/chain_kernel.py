# SPDX-License-Identifier: Apache-2.0
"""The finest stage of a Nekrasov decoder, compiled: all of it that no matrix product is.

Operator by operator its eight pools, products and sums read and write 20 MB each for a 640x480
image, a quarter of the network's time. Channels do not meet there: here 16 of them at a time go
through the whole stage, row after row, from caches.
"""

import numpy as np

from mtl_perception.inference.jit import jit, jit_inline
from mtl_perception.inference.lanes import (
    LANES,
    add,
    choose,
    load,
    multiply,
    multiply_add,
    repeat,
    splat,
    store,
    subtract,
)

POOLS = 4
"""Of one chain."""

HALF = 2
"""Rows and columns on each side of a pixel that its 5x5 pool sees."""

TOGETHER = 4
"""Pixels of a row for which a weight is loaded once."""

_SIZE = 2 * HALF + 1
_SUMS = 2 * POOLS * HALF // 2 + 1  # rows whose sum is not complete


@jit_inline
def _greater(a, b):
    return choose(a, b, a, b)


@jit_inline
def _relu6(value):
    six = splat(np.float32(6))
    value = _greater(value, splat(np.float32(0)))
    return choose(value, six, six, value)


@jit_inline
def _read_coarse(coarse, lane, cells):
    """Lay 16 planes side by side: (C, h, w) -> (h, w * 16) float32."""
    for y in range(coarse.shape[1]):
        for k in range(LANES):
            for x in range(coarse.shape[2]):
                cells[y, x * LANES + k] = coarse[lane + k, y, x]


@jit_inline
def _resize(above, below, down, mixed, columns, line):
    """Write one row of the resized coarse map: first between two rows, then between cells."""
    (before, after, along), w = columns, splat(down)
    for at in range(0, len(mixed), LANES):
        a = load(above, at)
        store(mixed, at, multiply_add(w, subtract(load(below, at), a), a))
    for x in range(len(before)):
        a = load(mixed, before[x] * LANES)
        b = load(mixed, after[x] * LANES)
        value = multiply_add(splat(along[x]), subtract(b, a), a)
        store(line, (x + HALF) * LANES, value)


@jit_inline
def _add_lateral(fine, y, lateral, channels, lane, line):
    """Add the 1x1 convolution of a row of the fine map, and clip to 0..6."""
    inputs, height, width = fine.shape
    for x in range(0, width, TOGETHER):
        at = (x + HALF) * LANES
        a, b = load(line, at), load(line, at + LANES)
        c, d = load(line, at + 2 * LANES), load(line, at + 3 * LANES)
        for i in range(inputs):
            weight = load(lateral, i * channels + lane)
            place = (i * height + y) * width + x
            a = multiply_add(repeat(fine, place), weight, a)
            b = multiply_add(repeat(fine, place + 1), weight, b)
            c = multiply_add(repeat(fine, place + 2), weight, c)
            d = multiply_add(repeat(fine, place + 3), weight, d)
        store(line, at, _relu6(a))
        store(line, at + LANES, _relu6(b))
        store(line, at + 2 * LANES, _relu6(c))
        store(line, at + 3 * LANES, _relu6(d))


@jit_inline
def _pool_row(line, width, pooled, start):
    """Write the maximum of each pixel and its neighbours in the row."""
    a, b = load(line, 0), load(line, LANES)
    c, d = load(line, 2 * LANES), load(line, 3 * LANES)
    for x in range(width):
        e = load(line, (x + 4) * LANES)
        store(pooled, start + x * LANES, _greater(_greater(_greater(a, b), _greater(c, d)), e))
        a, b, c, d = b, c, d, e


@jit_inline
def _pool_column(pooled, starts, at):
    """Return the maximum of five rows."""
    a, b, c, d, e = starts
    first = _greater(load(pooled, a + at), load(pooled, b + at))
    second = _greater(load(pooled, c + at), load(pooled, d + at))
    return _greater(_greater(first, second), load(pooled, e + at))


@jit_inline
def _five_rows(base, y, height, stride):
    """Return where the rows around ``y`` start; those beyond the edges are the last ones again."""
    a, b = max(y - 2, 0) % _SIZE, max(y - 1, 0) % _SIZE
    d, e = min(y + 1, height - 1) % _SIZE, min(y + 2, height - 1) % _SIZE
    return (
        base + a * stride,
        base + b * stride,
        base + y % _SIZE * stride,
        base + d * stride,
        base + e * stride,
    )


@jit
def finest_stage(fine, coarse, rows, columns, lateral, factors, gains, heads, first, end):
    """Compute what the heads' 3x3 convolutions take.

    With x = relu6(lateral fine + resized coarse) and the chain t0 = x, ti = factor_i pool(ti-1),
    that is relu6(gain (x + t1 + t2 + t3 + t4)) for each head.

    Args:
        fine: (c, h, w + less than 4) float32, the encoder's map at a quarter of the image, its
            width brought to a multiple of TOGETHER by anything finite.
        coarse: (C, h', w') float32, what the decoder knows at an eighth.
        rows: ``upsample.Neighbours`` of the fine rows, as a plain tuple.
        columns: ``upsample.Neighbours`` of the fine columns, likewise.
        lateral: (c * C,) float32 weights of the 1x1 convolution, input by input.
        factors: (4 * C,) float32, one for each pool and channel.
        gains: (T * C,) float32, one for each head and channel.
        heads: (T * h * w * C,) float32, or uint16 for the bits of bf16, written: an image for each
            head, pixel by pixel.
        first: group of 16 channels.
        end: group of 16 channels, exclusive.
    """
    height, width, channels = len(rows[0]), len(columns[0]), len(coarse)
    stride, image = width * LANES, height * width * channels
    (above, below, down) = rows
    cells = np.empty((coarse.shape[1], coarse.shape[2] * LANES), np.float32)
    mixed = np.empty(cells.shape[1], np.float32)
    line = np.empty((fine.shape[2] + 2 * HALF) * LANES, np.float32)
    pooled = np.empty(POOLS * _SIZE * stride, np.float32)
    total = np.empty(_SUMS * stride, np.float32)
    for group in range(first, end):
        lane = group * LANES
        _read_coarse(coarse, lane, cells)
        line[: HALF * LANES] = -np.inf
        for r in range(height + POOLS * HALF):
            if r < height:
                _resize(cells[above[r]], cells[below[r]], down[r], mixed, columns, line)
                _add_lateral(fine, r, lateral, channels, lane, line)
                line[(width + HALF) * LANES :] = -np.inf
                for x in range(width):
                    at = r % _SUMS * stride + x * LANES
                    store(total, at, load(line, (x + HALF) * LANES))
                _pool_row(line, width, pooled, r % _SIZE * stride)
            for i in range(POOLS):
                y = r - HALF * (i + 1)
                if y < 0 or y >= height:
                    continue
                base = i * _SIZE * stride
                starts = _five_rows(base, y, height, stride)
                sums, factor = y % _SUMS * stride, load(factors, i * channels + lane)
                for at in range(0, stride, LANES):
                    top = multiply(_pool_column(pooled, starts, at), factor)
                    store(line, at + HALF * LANES, top)
                    store(total, sums + at, add(load(total, sums + at), top))
                if i + 1 < POOLS:
                    _pool_row(line, width, pooled, base + (_SIZE + y % _SIZE) * stride)
                    continue
                for head in range(len(gains) // channels):
                    gain = load(gains, head * channels + lane)
                    start = head * image + y * width * channels + lane
                    for x in range(width):
                        value = _relu6(multiply(load(total, sums + x * LANES), gain))
                        store(heads, start + x * channels, value)
