# SPDX-License-Identifier: Apache-2.0
"""Maximum of the 5x5 neighbours of every pixel, and where its gradient goes (numba).

Numbers come as the bits of bfloat16 or float32, channels last, each image row as one line of W * C
numbers in which neighbours are C apart. A float's bits, with all but the sign flipped where the
sign is set, order as whole numbers as the float does; the flip undoes itself. Below such a number,
in whole numbers twice as wide, stands how early a neighbour comes: so one maximum says both what is
largest and where it was first.
"""

import numpy as np
from numba import njit

REACH = 2
"""Neighbours on either side."""


@njit(cache=True, nogil=True)
def maximum_forward(source, target, early_x, early_y, columns, wide):
    """Write the maximum of every window, as far as it lies in the image.

    Args:
        source: (B, H, W * C) int16 or int32, bits of floats.
        target: (B, H, W * C) likewise, what to write.
        early_x: (B, H, W * C) uint8, what to write: 4 where the maximum of the five along the row
            is the leftmost one, 0 where it is the rightmost.
        early_y: (B, H, W * C) uint8, what to write: likewise of these maxima along the column.
        columns: W.
        wide: (1,) of whole numbers twice as wide as ``source``'s; only its type counts.
    """
    images, rows, length = source.shape
    gap = length // columns
    bits = 8 * source.itemsize
    number, sign, flip = wide.dtype.type, bits - 1, (1 << (bits - 1)) - 1
    least = np.iinfo(wide.dtype).min
    line = np.full(length + 2 * REACH * gap, least, wide.dtype)  # both ends lie beyond the image
    inside = line[REACH * gap : REACH * gap + length]
    ring = np.empty((5, length), wide.dtype)  # the maxima along the latest five rows
    for n in range(images):
        ring[:] = least
        for y in range(rows + REACH):
            newest = ring[y % 5]
            if y < rows:
                numbers, places = source[n, y], early_x[n, y]
                for i in range(length):
                    v = number(numbers[i])
                    inside[i] = number((v ^ ((v >> sign) & flip)) << bits)
                a, b = line[:length], line[gap : gap + length]
                c, d = line[2 * gap : 2 * gap + length], line[3 * gap : 3 * gap + length]
                e = line[4 * gap : 4 * gap + length]
                for i in range(length):
                    best = max(number(a[i] + 4), number(b[i] + 3))
                    best = max(best, number(c[i] + 2))
                    best = max(max(best, number(d[i] + 1)), e[i])
                    places[i] = best & 7
                    newest[i] = number((best >> bits) << bits)
            else:
                newest[:] = least
            if y >= REACH:
                written, places = target[n, y - REACH], early_y[n, y - REACH]
                a, b, c = ring[(y + 1) % 5], ring[(y + 2) % 5], ring[(y + 3) % 5]
                d = ring[(y + 4) % 5]
                for i in range(length):
                    best = max(number(a[i] + 4), number(b[i] + 3))
                    best = max(best, number(c[i] + 2))
                    best = max(max(best, number(d[i] + 1)), newest[i])
                    places[i] = best & 7
                    v = number(best >> bits)
                    written[i] = v ^ ((v >> sign) & flip)


@njit(cache=True, nogil=True)
def maximum_backward(source, target, early_x, early_y, columns):
    """Write the sum of the gradients of all maxima that each pixel was.

    Args:
        source: (B, H, W * C) int16 or int32, bits of the gradient of the maxima.
        target: (B, H, W * C) likewise, what to write.
        early_x: (B, H, W * C) uint8 of ``maximum_forward``.
        early_y: likewise.
        columns: W.
    """
    images, rows, length = source.shape
    gap = length // columns
    up = 32 - 8 * source.itemsize
    zero = np.float32(0)
    bits = np.empty(length, np.int32)
    sums = bits.view(np.float32)
    beyond = np.full(length, 255, np.uint8)  # no place of a window
    middle = np.zeros(length + 2 * REACH * gap, np.float32)  # of the row maxima of one row
    places = np.full(length + 2 * REACH * gap, 255, np.uint8)
    inner = slice(REACH * gap, REACH * gap + length)
    inside, places_inside = middle[inner], places[inner]
    for n in range(images):
        for y in range(rows):
            # In the windows of row y + k - 2, k = 0..4, row y comes k early.
            g0, e0 = source[n, max(y - 2, 0)], early_y[n, y - 2] if y >= 2 else beyond
            g1, e1 = source[n, max(y - 1, 0)], early_y[n, y - 1] if y >= 1 else beyond
            g2, e2 = source[n, y], early_y[n, y]
            g3 = source[n, min(y + 1, rows - 1)]
            e3 = early_y[n, y + 1] if y + 1 < rows else beyond
            g4 = source[n, min(y + 2, rows - 1)]
            e4 = early_y[n, y + 2] if y + 2 < rows else beyond
            for i in range(length):
                v0 = np.int32(np.int32(g0[i]) << up).view(np.float32)
                v1 = np.int32(np.int32(g1[i]) << up).view(np.float32)
                v2 = np.int32(np.int32(g2[i]) << up).view(np.float32)
                v3 = np.int32(np.int32(g3[i]) << up).view(np.float32)
                v4 = np.int32(np.int32(g4[i]) << up).view(np.float32)
                total = v0 if e0[i] == 0 else zero
                total += v1 if e1[i] == 1 else zero
                total += v2 if e2[i] == 2 else zero
                total += v3 if e3[i] == 3 else zero
                total += v4 if e4[i] == 4 else zero
                inside[i] = total
            places_inside[:] = early_x[n, y]
            written = target[n, y]
            m0, m1 = middle[:length], middle[gap : gap + length]
            m2, m3 = middle[2 * gap : 2 * gap + length], middle[3 * gap : 3 * gap + length]
            m4 = middle[4 * gap : 4 * gap + length]
            e0, e1 = places[:length], places[gap : gap + length]
            e2, e3 = places[2 * gap : 2 * gap + length], places[3 * gap : 3 * gap + length]
            e4 = places[4 * gap : 4 * gap + length]
            for i in range(length):
                total = m0[i] if e0[i] == 0 else zero
                total += m1[i] if e1[i] == 1 else zero
                total += m2[i] if e2[i] == 2 else zero
                total += m3[i] if e3[i] == 3 else zero
                total += m4[i] if e4[i] == 4 else zero
                sums[i] = total
            if up:  # to the nearest bfloat16, ties to even
                for i in range(length):
                    b = bits[i]
                    written[i] = np.int32(b + 0x7FFF + ((b >> 16) & 1)) >> 16
            else:
                written[:] = bits
