# SPDX-License-Identifier: Apache-2.0
"""Maximum of five neighbours along a line, and where its gradient goes (numba).

Numbers come as the bits of bfloat16 or float32. A float's bits, with all but the sign flipped
where the sign is set, order as whole numbers as the float does; the flip undoes itself.
"""

import numpy as np
from numba import njit

REACH = 2
"""Neighbours on either side."""

BLOCK = 4096
"""Numbers that are worked on at a time: what belongs to them stays in the nearest cache."""


@njit(cache=True, nogil=True)
def rows_forward(source, target, along, gap):
    """Write the maximum over places i - 2 gap .. i + 2 gap of each line, as far as there are.

    Args:
        source: (N, L) int16 or int32, bits of floats.
        target: (N, L) likewise, what to write.
        along: (N, L) uint8, what to write: 0..4, which of the five was first largest.
        gap: distance of neighbours; divides L.
    """
    sign = source.itemsize * 8 - 1
    flip = (1 << sign) - 1
    least = -(1 << sign)
    length = source.shape[1]
    best = np.empty(BLOCK, source.dtype)
    for n in range(source.shape[0]):
        line, out, place = source[n], target[n], along[n]
        for start in range(0, length, BLOCK):
            stop = min(start + BLOCK, length)
            best[:] = least
            for d in range(2 * REACH + 1):
                shift = (d - REACH) * gap
                first = max(start, -shift)
                last = max(first, min(stop, length - shift))  # none, where all are beyond an end
                # Slices, and no branch inside: so the compiler works on many numbers at once.
                there, here = line[first + shift : last + shift], best[first - start : last - start]
                which = place[first:last]
                for i in range(here.shape[0]):
                    key = there[i] ^ ((there[i] >> sign) & flip)
                    old = here[i]
                    which[i] = d if key > old else which[i]
                    here[i] = key if key > old else old
            written = out[start:stop]
            for i in range(written.shape[0]):
                written[i] = best[i] ^ ((best[i] >> sign) & flip)


@njit(cache=True, nogil=True)
def rows_backward(source, target, along, gap):
    """Write the sum of the gradients of all maxima that each place was.

    Args:
        source: (N, L) int16 or int32, bits of the gradient of the maxima.
        target: (N, L) likewise, what to write.
        along: (N, L) uint8 of ``rows_forward``.
        gap: as there.
    """
    is_half = source.itemsize == 2
    length = source.shape[1]
    total = np.empty(BLOCK, np.float32)
    bits = np.empty(BLOCK, np.int32)
    values = bits.view(np.float32)
    for n in range(source.shape[0]):
        line, out, place = source[n], target[n], along[n]
        for start in range(0, length, BLOCK):
            stop = min(start + BLOCK, length)
            total[:] = 0
            for d in range(2 * REACH + 1):
                shift = (d - REACH) * gap
                first = max(start, shift)
                last = max(first, min(stop, length + shift))
                there = line[first - shift : last - shift]
                which = place[first - shift : last - shift]
                here = bits[first - start : last - start]
                for i in range(here.shape[0]):
                    one = np.int32(there[i]) << (16 if is_half else 0)
                    here[i] = one if which[i] == d else 0
                sums = total[first - start : last - start]
                terms = values[first - start : last - start]
                for i in range(sums.shape[0]):
                    sums[i] += terms[i]
            values[:] = total
            written = out[start:stop]
            if is_half:  # to the nearest bfloat16, ties to even
                for i in range(written.shape[0]):
                    written[i] = (bits[i] + 0x7FFF + ((bits[i] >> 16) & 1)) >> 16
            else:
                written[:] = bits[: written.shape[0]]
