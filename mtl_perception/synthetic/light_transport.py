# SPDX-License-Identifier: Apache-2.0
"""Ways that light takes: from lamps and windows, from the sun, from surface to surface."""

from typing import TYPE_CHECKING

import numpy as np
import open3d as o3d
from numba import njit

from mtl_perception.synthetic.light_points import LightPoints, surface_at
from mtl_perception.synthetic.mood import light_color
from mtl_perception.synthetic.patches import Patch

if TYPE_CHECKING:
    from mtl_perception.synthetic.room import Room

CHUNK = 4096  # light points whose rays are cast together
SUN_K = 5000.0
LAMPS_A_SIDE = 4.0  # of a patch of power 1, as a lamp shade has
MAX_LAMPS_A_SIDE = 6
OFF_SURFACE = 0.003  # metres from a surface at which its rays start


def from_emitter(
    patch: Patch, albedo: np.ndarray, points: LightPoints, room: "Room", rng: np.random.Generator
) -> np.ndarray:
    """Return (N, 3) light that arrives straight from one emitting patch.

    A patch is a grid of small lamps, more of them the more power it has.
    """
    spans = patch.spans()
    power = patch.emission * spans[0][-1] * spans[1][-1]
    side = int(np.clip(np.ceil(LAMPS_A_SIDE * power**0.5), 2, MAX_LAMPS_A_SIDE))
    cells = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1)
    fractions = (cells.reshape(-1, 2) + rng.random((side * side, 2))) / side
    lamp, facing = surface_at(patch, fractions[:, 0], fractions[:, 1])
    power /= len(lamp)
    color = albedo.mean(axis=(0, 1)) / albedo.mean()
    start = points.positions + np.float32(OFF_SURFACE) * points.normals
    arriving = np.zeros(len(start), np.float32)
    for source, out in zip(lamp + 0.006 * facing, facing, strict=True):
        rows, weights, bundle = _rays_to_lamp(
            source.astype(np.float32), out.astype(np.float32), start, points.normals
        )
        rays = o3d.core.Tensor.from_numpy(bundle)
        blocked = room.scene.test_occlusions(rays, tnear=0.0, tfar=1.0).numpy()
        arriving[rows] += np.where(blocked, 0, np.float32(power) * weights)
    return arriving[:, None] * color


@njit(cache=True)
def _rays_to_lamp(source, out, start, normals):  # type: ignore[no-untyped-def]
    """Return rows of points that face the lamp, light there of power 1, and rays to the lamp."""
    rows = np.empty(len(start), np.int32)
    weights = np.empty(len(start), np.float32)
    bundle = np.empty((len(start), 6), np.float32)
    count = 0
    for i in range(len(start)):
        x, y, z = (source[0] - start[i, 0], source[1] - start[i, 1], source[2] - start[i, 2])
        here = x * normals[i, 0] + y * normals[i, 1] + z * normals[i, 2]
        there = -(x * out[0] + y * out[1] + z * out[2])
        if here <= 0 or there <= 0:
            continue
        square = max(x * x + y * y + z * z, np.float32(0.01))
        rows[count] = i
        weights[count] = here * there / (np.float32(np.pi) * square * square)
        bundle[count, :3] = start[i]
        bundle[count, 3], bundle[count, 4], bundle[count, 5] = x, y, z
        count += 1
    return rows[:count], weights[:count], bundle[:count]


def from_sun(
    towards: np.ndarray, through: np.ndarray, points: LightPoints, room: "Room"
) -> np.ndarray:
    """Return (N, 3) light of a sun of power 1 where the ray towards it leaves through glass.

    ``through`` is (M + 1,) bool, of each triangle and, in its last row, of rays that hit nothing.
    """
    cosine = points.normals @ towards
    lit = np.flatnonzero(cosine > 0)
    start = points.positions[lit] + OFF_SURFACE * points.normals[lit]
    bundle = np.hstack([start, np.broadcast_to(towards, start.shape)]).astype(np.float32)
    triangle = room.scene.cast_rays(o3d.core.Tensor.from_numpy(bundle))["primitive_ids"].numpy()
    leaves = through[np.minimum(triangle, len(through) - 1)]
    arriving = np.zeros((len(points.positions), 3), np.float32)
    arriving[lit] = (leaves * cosine[lit])[:, None] * light_color(SUN_K)
    return arriving


def hemisphere(
    points: LightPoints,
    room: "Room",
    patch_of_triangle: np.ndarray,
    texture_shapes: np.ndarray,
    count: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return (N, count) int32: the light point that each ray sees, N for none."""
    none = len(points.positions)
    k = np.arange(count)
    radius = np.sqrt((k + 0.5) / count)  # cosine-weighted: uniform on the unit disc
    golden = np.pi * (3 - 5**0.5) * k
    height = np.sqrt(1 - radius**2)
    seen = np.empty((none, count), np.int32)
    for begin in range(0, none, CHUNK):
        normal = points.normals[begin : begin + CHUNK]
        start = points.positions[begin : begin + CHUNK] + OFF_SURFACE * normal
        angle = golden + rng.uniform(0, 2 * np.pi, (len(normal), 1))
        helper = np.where(np.abs(normal[:, 2:]) < 0.9, (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
        tangent = np.cross(helper, normal)
        tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-12)
        bitangent = np.cross(normal, tangent)
        way = (
            (radius * np.cos(angle))[..., None] * tangent[:, None]
            + (radius * np.sin(angle))[..., None] * bitangent[:, None]
            + height[:, None] * normal[:, None]
        ).astype(np.float32)
        rays = np.concatenate([np.broadcast_to(start[:, None], way.shape), way], axis=2)
        hit = room.scene.cast_rays(o3d.core.Tensor.from_numpy(rays.astype(np.float32)))
        triangle = hit["primitive_ids"].numpy()
        front = (hit["primitive_normals"].numpy() * way).sum(axis=2) < 0
        known = front & (triangle < len(room.triangles))
        row = np.full(way.shape[:2], none, np.int32)
        row[known] = _point_at(
            triangle[known],
            hit["primitive_uvs"].numpy()[known],
            points,
            room,
            patch_of_triangle,
            texture_shapes,
        )
        seen[begin : begin + CHUNK] = row
    return seen


def _point_at(
    triangle: np.ndarray,
    uv: np.ndarray,
    points: LightPoints,
    room: "Room",
    patch_of_triangle: np.ndarray,
    texture_shapes: np.ndarray,
) -> np.ndarray:
    """Return the light point nearest to barycentric ``uv`` of each triangle.

    A triangle that is on no patch has -1 less the number of its point beyond those on patches.
    """
    of_patch = patch_of_triangle[triangle]
    row = points.on_patches - 1 - of_patch
    on = of_patch >= 0
    row[on] = _lattice_point(triangle[on], uv[on], points, room, of_patch[on], texture_shapes)
    return row


def _lattice_point(
    triangle: np.ndarray,
    uv: np.ndarray,
    points: LightPoints,
    room: "Room",
    patch: np.ndarray,
    texture_shapes: np.ndarray,
) -> np.ndarray:
    a, b, c = room.corners[triangle].transpose(1, 0, 2)
    texture = a + uv[:, :1] * (b - a) + uv[:, 1:] * (c - a)
    lattice = points.shapes[patch]
    cell = np.rint(texture / (texture_shapes[patch] - 1) * (lattice - 1)).astype(np.int64)
    cell = np.clip(cell, 0, lattice - 1)
    return points.first[patch] + cell[:, 0] * lattice[:, 1] + cell[:, 1]


def mean_over_rays(radiosity: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return (N, 3) mean of the rows of ``radiosity`` that the rays of each point see."""
    total = np.zeros((len(seen), 3), np.float32)
    for column in seen.T:
        total += radiosity[column]
    return total / seen.shape[1]
