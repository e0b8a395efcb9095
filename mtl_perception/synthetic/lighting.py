# SPDX-License-Identifier: Apache-2.0
"""Light in a room: soft shadows of lamps and window, and three bounces between surfaces.

Everything reflects diffusely, so light does not depend on where the camera is: it is computed
once on a coarse lattice of points per patch (radiosity by gathering over the hemisphere) and
multiplied into the textures. Emission and radiosity are in units of the same arbitrary scale;
one exposure per room turns them into 0..255.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import open3d as o3d

from mtl_perception.synthetic.mood import Mood, light_color
from mtl_perception.synthetic.patches import Patch

if TYPE_CHECKING:
    from mtl_perception.synthetic.room import Room

SPACING = 0.06  # metres between light points on a patch
GATHER_RAYS = 96
LIGHT_SAMPLES = 24  # per emitting patch
BOUNCES = 3
CHUNK = 4096  # light points whose rays are cast together
GLOW = 2.2  # brightness of a lamp's or window's texture, before the tone curve
SUN_K = 5000.0


@dataclass(frozen=True, eq=False)
class LightPoints:
    """Light points of all patches, patch after patch, row after row."""

    positions: np.ndarray  # (N, 3) float32
    normals: np.ndarray  # (N, 3) float32 outward
    shapes: np.ndarray  # (P, 2) lattice rows and columns of each patch
    first: np.ndarray  # (P + 1,) first row of each patch


def light_patches(
    patches: list[Patch],
    shapes: np.ndarray,
    texel: float,
    room: "Room",
    patch_of_triangle: np.ndarray,
    panes: np.ndarray,
    mood: Mood,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Return each patch's texture as lit, (h, w, 3) uint8 RGB.

    Args:
        patches: all surfaces of the room; lamps and windows have an emission.
        shapes: (P, 2) texture rows and columns of each.
        texel: metres per texture element.
        room: the geometry; its texels are not read.
        patch_of_triangle: (M,) row of ``patches``.
        panes: (P,) bool: glass that the sun shines through.
        mood: sun, brightness of the picture, white balance.
        rng: of textures, light samples and dither.
    """
    albedo = [p.material(tuple(s), texel, rng) for p, s in zip(patches, shapes, strict=True)]
    points = _light_points(patches)
    tint = np.concatenate(
        [
            cv2.resize(a, tuple(map(int, s[::-1])), interpolation=cv2.INTER_AREA).reshape(-1, 3)
            for a, s in zip(albedo, points.shapes, strict=True)
        ]
    )
    emitting = np.flatnonzero([p.emission > 0 for p in patches])
    direct = np.zeros_like(tint)
    for lamp in emitting:
        direct += _from_emitter(patches[lamp], albedo[lamp], points, room, rng)
    if mood.sun > 0:
        power = mood.sun * max((patches[i].emission for i in np.flatnonzero(panes)), default=0.0)
        through = np.append(panes[patch_of_triangle], False)
        direct += power * _from_sun(np.array(mood.sun_direction, np.float32), through, points, room)
    seen = _hemisphere(points, room, patch_of_triangle, shapes, rng)
    # Rays from a point buried in furniture see only back faces: its darkness is nobody's.
    exposed = ((seen < len(tint)).mean(axis=1) > 0.2).astype(np.float32)
    arriving = direct
    for _ in range(BOUNCES):
        # Row N of the radiosity is what rays see that hit nothing: darkness.
        radiosity = np.vstack([tint * arriving, np.zeros((1, 3), np.float32)])
        arriving = direct + _mean_over_rays(radiosity, seen)
    gain = _exposure(tint * arriving, mood)
    images = []
    for i, patch in enumerate(patches):
        lattice = arriving[points.first[i] : points.first[i + 1]].reshape(*points.shapes[i], 3)
        free = exposed[points.first[i] : points.first[i + 1]].reshape(*points.shapes[i], 1)
        light = _enlarge(_smoothed(lattice, free), shapes[i])
        radiance = albedo[i] * (GLOW if patch.emission > 0 else gain * light)
        images.append(_develop(radiance, rng))
    return images


def _smoothed(lattice: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Average (h, w, 3) light over 3 x 3 points, leaving out those inside other furniture."""
    weight = free + np.float32(1e-4)
    total = cv2.blur(weight[..., 0], (3, 3))[..., None]
    return cv2.blur(lattice * weight, (3, 3)) / total


def _exposure(radiosity: np.ndarray, mood: Mood) -> np.ndarray:
    """Return (3,) gains that show the bright fifth as bright as the mood wants, nearly white.

    Much of the furniture's surface faces other furniture and is dark: the bright fifth counts.
    """
    brightness = radiosity.mean(axis=1)
    typical = max(float(np.percentile(brightness, 80)), 1e-9)
    bright = radiosity[brightness >= typical]
    cast = bright.mean(axis=0) / bright.mean() if len(bright) else np.ones(3)
    gain = -np.log(1 - mood.screen**2.2) / typical
    return (gain * np.maximum(cast, 0.1) ** -mood.adaptation).astype(np.float32)


def _develop(radiance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tone curve with a soft shoulder; dithered, so that even walls show no steps."""
    screen = 255 * (1 - np.exp(-radiance)) ** (1 / 2.2)
    return np.clip(screen + rng.random(screen.shape[:2], np.float32)[..., None], 0, 255).astype(
        np.uint8
    )


def _light_points(patches: list[Patch]) -> LightPoints:
    shapes = np.array([[max(2, round(s[-1] / SPACING) + 1) for s in p.spans()] for p in patches])
    positions, normals = [], []
    for patch, shape in zip(patches, shapes, strict=True):
        # Kept off the borders, where another surface often touches.
        rows, columns = (np.clip(np.linspace(0, 1, n), 0.3 / n, 1 - 0.3 / n) for n in shape)
        position, normal = surface_at(patch, *np.meshgrid(rows, columns, indexing="ij"))
        positions.append(position.reshape(-1, 3))
        normals.append(normal.reshape(-1, 3))
    first = np.append(0, np.cumsum(shapes.prod(axis=1)))
    return LightPoints(
        np.concatenate(positions).astype(np.float32),
        np.concatenate(normals).astype(np.float32),
        shapes,
        first,
    )


def surface_at(patch: Patch, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points and unit outward normals (..., 3) at fractions 0..1 of the patch's spans."""
    spans = patch.spans()
    r = np.interp(row, spans[0] / spans[0][-1], np.arange(len(spans[0])))
    c = np.interp(column, spans[1] / spans[1][-1], np.arange(len(spans[1])))
    r0 = np.minimum(r.astype(int), len(spans[0]) - 2)
    c0 = np.minimum(c.astype(int), len(spans[1]) - 2)
    fr, fc = (r - r0)[..., None], (c - c0)[..., None]
    g00, g01 = patch.grid[r0, c0], patch.grid[r0, c0 + 1]
    g10, g11 = patch.grid[r0 + 1, c0], patch.grid[r0 + 1, c0 + 1]
    position = (1 - fr) * ((1 - fc) * g00 + fc * g01) + fr * ((1 - fc) * g10 + fc * g11)
    along_column = (1 - fr) * (g01 - g00) + fr * (g11 - g10)
    along_row = (1 - fc) * (g10 - g00) + fc * (g11 - g01)
    normal = np.cross(along_column, along_row)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return position, normal / np.maximum(length, 1e-12)


def _from_emitter(
    patch: Patch, albedo: np.ndarray, points: LightPoints, room: "Room", rng: np.random.Generator
) -> np.ndarray:
    """Return (N, 3) light that arrives straight from one emitting patch."""
    side = int(np.ceil(LIGHT_SAMPLES**0.5))
    cells = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1)
    fractions = (cells.reshape(-1, 2) + rng.random((side * side, 2))) / side
    lamp, facing = surface_at(patch, fractions[:, 0], fractions[:, 1])
    spans = patch.spans()
    power = patch.emission * spans[0][-1] * spans[1][-1] / len(lamp)
    color = albedo.mean(axis=(0, 1)) / albedo.mean()
    start = points.positions + 0.003 * points.normals
    arriving = np.zeros(len(start), np.float32)
    for source, out in zip((lamp + 0.006 * facing).astype(np.float32), facing, strict=True):
        way = source - start
        square = np.maximum((way**2).sum(axis=1), 0.01)
        cosines = np.maximum((way * points.normals).sum(axis=1), 0) * np.maximum(-way @ out, 0)
        lit = np.flatnonzero(cosines > 0)
        rays = o3d.core.Tensor.from_numpy(np.hstack([start[lit], way[lit]]).astype(np.float32))
        blocked = room.scene.test_occlusions(rays, tnear=0.0, tfar=1.0).numpy()
        arriving[lit] += np.where(blocked, 0, power * cosines[lit] / (np.pi * square[lit] ** 2))
    return arriving[:, None] * color


def _from_sun(
    towards: np.ndarray, through: np.ndarray, points: LightPoints, room: "Room"
) -> np.ndarray:
    """Return (N, 3) light of a sun of power 1 where the ray towards it leaves through glass.

    ``through`` is (M + 1,) bool, of each triangle and, in its last row, of rays that hit nothing.
    """
    cosine = points.normals @ towards
    lit = np.flatnonzero(cosine > 0)
    start = points.positions[lit] + 0.003 * points.normals[lit]
    bundle = np.hstack([start, np.broadcast_to(towards, start.shape)]).astype(np.float32)
    triangle = room.scene.cast_rays(o3d.core.Tensor.from_numpy(bundle))["primitive_ids"].numpy()
    leaves = through[np.minimum(triangle, len(through) - 1)]
    arriving = np.zeros((len(points.positions), 3), np.float32)
    arriving[lit] = (leaves * cosine[lit])[:, None] * light_color(SUN_K)
    return arriving


def _hemisphere(
    points: LightPoints,
    room: "Room",
    patch_of_triangle: np.ndarray,
    texture_shapes: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return (N, GATHER_RAYS) int32: the light point that each ray sees, N for none."""
    none = len(points.positions)
    k = np.arange(GATHER_RAYS)
    radius = np.sqrt((k + 0.5) / GATHER_RAYS)  # cosine-weighted: uniform on the unit disc
    golden = np.pi * (3 - 5**0.5) * k
    height = np.sqrt(1 - radius**2)
    seen = np.empty((none, GATHER_RAYS), np.int32)
    for begin in range(0, none, CHUNK):
        normal = points.normals[begin : begin + CHUNK]
        start = points.positions[begin : begin + CHUNK] + 0.003 * normal
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
    """Return the light point nearest to barycentric ``uv`` of each triangle."""
    a, b, c = room.corners[triangle].transpose(1, 0, 2)
    texture = a + uv[:, :1] * (b - a) + uv[:, 1:] * (c - a)
    patch = patch_of_triangle[triangle]
    lattice = points.shapes[patch]
    cell = np.rint(texture / (texture_shapes[patch] - 1) * (lattice - 1)).astype(np.int64)
    cell = np.clip(cell, 0, lattice - 1)
    return points.first[patch] + cell[:, 0] * lattice[:, 1] + cell[:, 1]


def _mean_over_rays(radiosity: np.ndarray, seen: np.ndarray) -> np.ndarray:
    total = np.zeros((len(seen), 3), np.float32)
    for column in seen.T:
        total += radiosity[column]
    return total / seen.shape[1]


def _enlarge(lattice: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Interpolate (lh, lw, 3) to (h, w, 3); first and last rows and columns stay in place."""
    rows, columns = (_hats(n, m) for n, m in zip(lattice.shape[:2], shape, strict=True))
    wide = np.einsum("ab,rbc->rac", columns, lattice)
    return np.einsum("ab,bxc->axc", rows, wide).astype(np.float32)


def _hats(knots: int, samples: int) -> np.ndarray:
    """(samples, knots) float32 weights of linear interpolation."""
    at = np.linspace(0, knots - 1, samples)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(knots))).astype(np.float32)
