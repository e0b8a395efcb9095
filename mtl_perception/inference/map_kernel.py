# SPDX-License-Identifier: Apache-2.0
"""Coarse depth and normals to those of every pixel, compiled: upsample, then scale."""

import numpy as np

from mtl_perception.inference.jit import jit, jit_inline


@jit_inline
def _between(upper, lower, part, line):
    """Interpolate two grid rows along y: (w,) each -> (w,) float32."""
    for i in range(len(line)):
        line[i] = upper[i] + part * (lower[i] - upper[i])


@jit_inline
def _pixel(line, left, right, part):
    return line[left] + part * (line[right] - line[left])


@jit
def depth_rows(values, scale, rows, columns, depth, first, end):
    """Write the depth of image rows ``first`` to ``end - 1``.

    Args:
        values: (h, w) float32 of any sign.
        scale: float32 metres per unit of ``values``.
        rows: ``upsample.Neighbours`` of the image's rows, as a plain tuple.
        columns: ``upsample.Neighbours`` of its columns, likewise.
        depth: (H, W) float32 metres, written; 0, which is unknown, where it is not finite.
        first: image row.
        end: image row, exclusive.
    """
    (above, below, down), (before, after, along) = rows, columns
    line = np.empty(values.shape[1], np.float32)
    for y in range(first, end):
        _between(values[above[y]], values[below[y]], down[y], line)
        row = depth[y]
        for x in range(len(row)):
            metres = abs(_pixel(line, before[x], after[x], along[x])) * scale
            row[x] = metres if metres < np.inf else np.float32(0)


@jit_inline
def _to_unit(nx, ny, nz):
    """Scale to unit length, in place, what has a direction; the rest becomes zero."""
    for x in range(len(nx)):
        length = np.sqrt(nx[x] * nx[x] + ny[x] * ny[x] + nz[x] * nz[x])
        known = (length > 0) & (length < np.inf)
        shrink = np.float32(1) / length
        nx[x] = nx[x] * shrink if known else np.float32(0)
        ny[x] = ny[x] * shrink if known else np.float32(0)
        nz[x] = nz[x] * shrink if known else np.float32(0)


@jit
def normal_rows(values, rows, columns, normals, first, end):
    """Write the normals of image rows ``first`` to ``end - 1``.

    Args:
        values: (3, h, w) float32 of any length.
        rows: ``upsample.Neighbours`` of the image's rows, as a plain tuple.
        columns: ``upsample.Neighbours`` of its columns, likewise.
        normals: (H, W, 3) float32 of unit length, written; zero where there is no direction.
        first: image row.
        end: image row, exclusive.
    """
    (above, below, down), (before, after, along) = rows, columns
    line = np.empty(values.shape[2], np.float32)
    wide = np.empty((3, normals.shape[1]), np.float32)
    for y in range(first, end):
        for k in range(3):
            upper, lower = values[k, above[y]], values[k, below[y]]
            _between(upper, lower, down[y], line)
            row = wide[k]
            for x in range(len(row)):
                row[x] = _pixel(line, before[x], after[x], along[x])
        _to_unit(wide[0], wide[1], wide[2])
        for x in range(normals.shape[1]):
            for k in range(3):
                normals[y, x, k] = wide[k, x]
