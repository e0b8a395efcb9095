# SPDX-License-Identifier: Apache-2.0
"""Light in a room: soft shadows of lamps and window, and three bounces between surfaces.

Everything reflects diffusely, so light does not depend on where the camera is: it is computed
once on lattices of points per patch and multiplied into the textures. What comes straight from
lamps, window and sun has shadows and gets a fine lattice; what surfaces pass on to each other
(radiosity by gathering over the hemisphere) is smooth and gets a coarse one. Emission and
radiosity are in units of the same arbitrary scale; one exposure per room turns them into 0..255.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numba import njit

from mtl_perception.synthetic.light_points import LightPoints, light_points, resized
from mtl_perception.synthetic.light_transport import (
    from_emitter,
    from_sun,
    hemisphere,
    mean_over_rays,
)
from mtl_perception.synthetic.mood import Mood
from mtl_perception.synthetic.patches import Patch
from mtl_perception.synthetic.soup import Soup, painted
from mtl_perception.synthetic.soup_light import soup_points

if TYPE_CHECKING:
    from mtl_perception.synthetic.room import Room

SPACING = 0.06  # metres between points of direct light
GATHER_SPACING = 0.16  # metres between points of reflected light
GATHER_RAYS = 128
BOUNCES = 3
GLOW = 2.2  # brightness of a lamp's or window's texture, before the tone curve


@dataclass(frozen=True, eq=False)
class Surfaces:
    """All that light falls on; triangles of the room are the patches' and then the soup's."""

    patches: list[Patch]  # lamps and windows have an emission
    shapes: np.ndarray  # (P, 2) texture rows and columns of each
    panes: np.ndarray  # (P,) bool: glass that the sun shines through
    patch_of_triangle: np.ndarray  # (M,) of those of patches
    soup: Soup | None  # imported models
    sides: np.ndarray  # (S,) texels along the square texture of each of its triangles


def light_room(
    surfaces: Surfaces, texel: float, room: "Room", mood: Mood, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return each patch's texture as lit, (h, w, 3) uint8 RGB, then the soup's, (T, 1, 3).

    Args:
        surfaces: what there is.
        texel: metres per texture element.
        room: the geometry; its texels are not read.
        mood: sun, brightness of the picture, white balance.
        rng: of textures, light samples and dither.
    """
    patches, shapes = surfaces.patches, surfaces.shapes
    albedo = [p.material(tuple(s), texel, rng) for p, s in zip(patches, shapes, strict=True)]
    fine, coarse = (light_points(patches, spacing) for spacing in (SPACING, GATHER_SPACING))
    tint = coarse.gathered(albedo)
    on_triangle, glass = surfaces.patch_of_triangle, surfaces.panes[surfaces.patch_of_triangle]
    soup, points = surfaces.soup, None
    if soup is not None:
        points = soup_points(soup)
        fine = fine.extended(points.positions, points.normals)
        coarse = coarse.extended(points.cell_positions, points.cell_normals)
        corner_tint = np.zeros((len(points.positions), 3), np.float32)
        corner_tint[points.corner] = soup.albedo()[:, None]
        tint = np.vstack([tint, points.cell_means(corner_tint)]).astype(np.float32)
        on_triangle = np.append(on_triangle, -1 - points.cell_of_triangle())
        glass = np.append(glass, np.zeros(len(soup), bool))
    direct = _direct(surfaces, albedo, fine, room, glass, mood, rng)
    sources = coarse.gathered([fine.lattice(i, direct) for i in range(len(patches))])
    if points is not None:
        sources = np.vstack([sources, points.cell_means(direct[fine.on_patches :])])
    seen = hemisphere(coarse, room, on_triangle, shapes, GATHER_RAYS, rng)
    # Rays from a point buried in furniture see only back faces: its darkness is nobody's.
    free = ((seen < len(tint)).mean(axis=1, keepdims=True) > 0.2).astype(np.float32)
    reflected = np.zeros_like(tint)
    for _ in range(BOUNCES):
        # Row N of the radiosity is what rays see that hit nothing: darkness.
        radiosity = np.vstack([tint * (sources + reflected), np.zeros((1, 3), np.float32)])
        reflected = mean_over_rays(radiosity.astype(np.float32), seen)
    gain = _exposure(tint * (sources + reflected), mood)
    images = []
    for i, patch in enumerate(patches):
        light = _light_on(i, fine, direct, coarse, reflected, free)
        shown = GLOW if patch.emission > 0 else gain * _enlarge(light, shapes[i])
        images.append(_develop(albedo[i] * shown, rng))
    if soup is not None and points is not None:
        on = coarse.on_patches
        light = direct[fine.on_patches :] + points.spread(reflected[on:], free[on:, 0] > 0)
        radiance = painted(soup, surfaces.sides, light[points.corner])
        images.append(_develop((gain * radiance)[:, None], rng))
    return images


def _direct(
    surfaces: Surfaces,
    albedo: list[np.ndarray],
    points: LightPoints,
    room: "Room",
    glass: np.ndarray,
    mood: Mood,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return (N, 3) light that arrives without having been reflected."""
    arriving = np.zeros_like(points.positions)
    patches = surfaces.patches
    for i in np.flatnonzero([p.emission > 0 for p in patches]):
        arriving += from_emitter(patches[i], albedo[i], points, room, rng)
    if mood.sun > 0:
        panes = [patches[i].emission for i in np.flatnonzero(surfaces.panes)]
        towards = np.array(mood.sun_direction, np.float32)
        power = mood.sun * max(panes, default=0.0)
        arriving += power * from_sun(towards, np.append(glass, False), points, room)
    return arriving


def _light_on(
    patch: int,
    fine: LightPoints,
    direct: np.ndarray,
    coarse: LightPoints,
    reflected: np.ndarray,
    free: np.ndarray,
) -> np.ndarray:
    """Return all light on the fine lattice of one patch, (h, w, 3)."""
    open_ = coarse.lattice(patch, free)
    smooth = _smoothed(coarse.lattice(patch, reflected), open_)
    shape = fine.shapes[patch]
    open_fine = resized(open_, shape, cv2.INTER_NEAREST)[..., None]
    return _smoothed(fine.lattice(patch, direct), open_fine) + _enlarge(smooth, shape)


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


def _enlarge(lattice: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Interpolate (lh, lw, 3) to (h, w, 3); first and last rows and columns stay in place."""
    return _interpolated(np.ascontiguousarray(lattice, np.float32), int(shape[0]), int(shape[1]))


@njit(cache=True)
def _interpolated(lattice, height, width):  # type: ignore[no-untyped-def]
    out = np.empty((height, width, 3), np.float32)
    last_row, last_column = lattice.shape[0] - 1, lattice.shape[1] - 1
    for r in range(height):
        at = r * last_row / (height - 1)
        r0 = min(int(at), last_row - 1)
        fr = np.float32(at - r0)
        for c in range(width):
            at = c * last_column / (width - 1)
            c0 = min(int(at), last_column - 1)
            fc = np.float32(at - c0)
            for i in range(3):
                upper = lattice[r0, c0, i] * (1 - fc) + lattice[r0, c0 + 1, i] * fc
                lower = lattice[r0 + 1, c0, i] * (1 - fc) + lattice[r0 + 1, c0 + 1, i] * fc
                out[r, c, i] = upper * (1 - fr) + lower * fr
    return out
