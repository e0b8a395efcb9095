# SPDX-License-Identifier: Apache-2.0
"""Which voxel blocks a depth image touches, and a table from block keys to buffer rows.

A block key is the (3,) int32 block coordinate: floor(voxel index / 16). Packed, it is one int64
of three 21-bit fields, whose numeric order is the lexicographic order of the coordinates.
"""

import numpy as np

from slam_fusion.tsdf.jit import jit

BLOCK_SIDE = 16
"""Voxels along a block's side."""

KEY_LIMIT = 1 << 20
"""Block coordinates lie in -KEY_LIMIT..KEY_LIMIT-1: at 2 cm voxels, 335 km either way."""

EMPTY = np.int64(-1)
"""Marks a free slot of a table; no packed key is negative."""

MIXER = np.uint64(0x9E3779B97F4A7C15)
"""2**64 / golden ratio: Fibonacci hashing."""

_MASK = (1 << 21) - 1


@jit
def pack_key(x: int, y: int, z: int) -> int:
    """Pack one block coordinate into a non-negative int64."""
    return (
        (np.int64(x) + KEY_LIMIT) << np.int64(42)
        | (np.int64(y) + KEY_LIMIT) << np.int64(21)
        | (np.int64(z) + KEY_LIMIT)
    )


def pack_keys(keys: np.ndarray) -> np.ndarray:
    """Pack (B, 3) int32 block coordinates into (B,) int64."""
    x, y, z = (keys[:, axis].astype(np.int64) + KEY_LIMIT for axis in range(3))
    return x << 42 | y << 21 | z


def unpack_keys(packed: np.ndarray) -> np.ndarray:
    """Unpack (B,) int64 into (B, 3) int32 block coordinates."""
    fields = np.stack([packed >> 42, (packed >> 21) & _MASK, packed & _MASK], axis=1)
    return (fields - KEY_LIMIT).astype(np.int32)


@jit
def slot_of(table: np.ndarray, key: int) -> int:
    """Return where a packed key is in an open-addressing table, or the free slot it would take.

    Args:
        table: (2**n,) int64 packed keys, -1 where free; at least one slot is free.
        key: packed key.
    """
    mask = len(table) - 1
    slot = np.int64((np.uint64(key) * MIXER) >> np.uint64(32)) & mask
    while table[slot] != key and table[slot] != EMPTY:
        slot = (slot + 1) & mask
    return slot


@jit
def make_table(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hash packed keys.

    Args:
        packed: (B,) int64 distinct packed keys.

    Returns:
        (2**n,) int64 keys for ``slot_of`` and (2**n,) int32 rows of ``packed``, at most half full.
    """
    size = 16
    while size < 2 * len(packed):
        size *= 2
    table, rows = np.full(size, EMPTY), np.zeros(size, np.int32)
    for row in range(len(packed)):
        slot = slot_of(table, packed[row])
        table[slot] = packed[row]
        rows[slot] = row
    return table, rows


@jit
def rehash(table: np.ndarray) -> np.ndarray:
    """Return a table twice as large with the same keys."""
    larger = np.full(2 * len(table), EMPTY)
    for key in table:
        if key != EMPTY:
            larger[slot_of(larger, key)] = key
    return larger


@jit
def ray_through(T: np.ndarray, x: float, y: float) -> tuple[float, float, float]:
    """Turn the ray (x, y, 1) of a camera by the rotation in a (3, 4) transform."""
    return (
        T[0, 0] * x + T[0, 1] * y + T[0, 2],
        T[1, 0] * x + T[1, 1] * y + T[1, 2],
        T[2, 0] * x + T[2, 1] * y + T[2, 2],
    )


@jit
def touched_blocks(
    depth: np.ndarray,
    camera: tuple[float, float, float, float],
    T_blocks_camera: np.ndarray,
    depth_range: tuple[float, float],
    truncation: float,
    samples: int,
    stride: int,
) -> np.ndarray:
    """Find the blocks within the truncation distance, along the ray, of the measured surface.

    Args:
        depth: (H, W) float32 metres.
        camera: fx, fy, cx, cy in pixels.
        T_blocks_camera: (3, 4) float64, metres in the camera to blocks in the world.
        depth_range: least and most metres that count; others, and NaN, are unknown.
        truncation: metres before and behind the surface.
        samples: points per ray, at least 2, close enough together not to jump over a block.
        stride: every ``stride``-th pixel of every ``stride``-th row is looked at.

    Returns:
        (B,) int64 packed keys, ascending.
    """
    fx, fy, cx, cy = camera
    nearest, farthest = depth_range
    T = T_blocks_camera
    table, count = np.full(1024, EMPTY), 0
    last = np.full(samples, EMPTY)  # keys of the pixel before: most pixels add nothing new
    step = 2 * truncation / (samples - 1)
    height, width = depth.shape
    for v in range(0, height, stride):
        ray_y = (v - cy) / fy
        for u in range(0, width, stride):
            d = depth[v, u]
            if not (d >= nearest and d <= farthest):
                continue
            dx, dy, dz = ray_through(T, (u - cx) / fx, ray_y)
            for sample in range(samples):
                along = d - truncation + sample * step
                key = pack_key(
                    int(np.floor(T[0, 3] + along * dx)),
                    int(np.floor(T[1, 3] + along * dy)),
                    int(np.floor(T[2, 3] + along * dz)),
                )
                if key == last[sample]:
                    continue
                last[sample] = key
                slot = slot_of(table, key)
                if table[slot] != key:
                    table[slot] = key
                    count += 1
                    if 2 * count > len(table):
                        table = rehash(table)
    return np.sort(table[table != EMPTY])
