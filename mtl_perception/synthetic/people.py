# SPDX-License-Identifier: Apache-2.0
"""Simple human figures, standing or sitting, facing +y; clothed in many colours."""

from collections.abc import Sequence

import numpy as np

from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.materials import fabric, plaster
from mtl_perception.synthetic.palette import cloth_color, patterned, pick, tone
from mtl_perception.synthetic.patches import Material, Patch, Vector, ellipsoid, swept, tube

SKINS = ((236, 196, 170), (214, 164, 130), (176, 124, 92), (122, 82, 60), (84, 56, 42))
EYES, LIPS = plaster((30, 24, 22)), plaster((170, 84, 80))
HAIR = ((40, 30, 24), (92, 62, 40), (176, 140, 90), (150, 148, 146), (24, 22, 22), (140, 70, 40))


def person(rng: np.random.Generator, *, sitting: bool) -> Item:
    """Return a figure whose hips are above the origin; a sitting one needs a seat 0.45 m high."""
    size = rng.uniform(0.92, 1.08)
    skin, hair = plaster(pick(SKINS, rng), 0.02), fabric(pick(HAIR, rng), 0.25)
    top = patterned(rng)
    trousers = fabric(cloth_color(rng), 0.14)
    shoes = plaster(tone(rng, (0, 0.5), (0.05, 0.5)))
    hips = 0.56 if sitting else 0.9
    patches = _trunk(hips, top, skin, hair, rng)
    for side in (-1, 1):
        patches += _arm(side, hips, top, skin, sitting, rng)
        patches += _leg(side, hips, trousers, shoes, sitting, rng)
    item = Item("person", patches)
    stretch = np.diag([size, size, 1.0 if sitting else size, 1.0])
    return item.moved(stretch)


def _trunk(
    hips: float, top: Material, skin: Material, hair: Material, rng: np.random.Generator
) -> list[Patch]:
    girth = rng.uniform(0.9, 1.25)
    outline = np.array(
        [
            (-0.08, 0.0),
            (-0.07, 0.15),
            (0.05, 0.155),
            (0.2, 0.14),
            (0.38, 0.17),
            (0.5, 0.175),
            (0.56, 0.1),
            (0.58, 0.05),
        ]
    )
    flat = np.diag([1.0, 0.62 * girth, 1.0, 1.0])
    trunk = tube(
        (0, 0), list(hips + outline[:, 0]), list(outline[:, 1] * (1 + 0.4 * (girth - 1))), top, 18
    )
    z = hips + 0.74
    patches = [
        trunk.moved(flat),
        tube((0, 0), [hips + 0.56, z - 0.04], [0.055, 0.05], skin, 12),
        ellipsoid((0, 0.02, z), (0.078, 0.095, 0.115), skin, 16),
        ellipsoid((0, -0.005, z + 0.035), (0.086, 0.1, 0.1), hair, 16),
        ellipsoid((0, 0.115, z - 0.015), (0.012, 0.018, 0.02), skin, 8),
    ]
    for x in (-0.03, 0.03):
        patches.append(ellipsoid((x, 0.108, z + 0.015), (0.012, 0.008, 0.007), EYES, 8))
    patches.append(ellipsoid((0, 0.1, z - 0.06), (0.025, 0.012, 0.007), LIPS, 8))
    if rng.random() < 0.45:
        patches.append(ellipsoid((0, -0.05, z - 0.1), (0.09, 0.06, 0.16), hair, 12))
    return patches


def _limb(points: Sequence[Vector], radii: list[float], cloth: Material) -> Patch:
    """A limb bent softly at its middle joint."""
    a, b, c = (np.asarray(p) for p in points)
    line = [a, (a + b) / 2, (a + 6 * b + c) / 8, (b + c) / 2, c]
    thick = [float(r) for r in np.interp([0, 0.25, 0.5, 0.75, 1], [0, 0.5, 1], radii)]
    return swept([(float(x), float(y), float(z)) for x, y, z in line], thick, cloth, 12)


def _arm(
    side: int, hips: float, top: Material, skin: Material, sitting: bool, rng: np.random.Generator
) -> list[Patch]:
    shoulder = (0.19 * side, 0.0, hips + 0.48)
    elbow = (0.25 * side, rng.uniform(-0.06, 0.06), hips + 0.2)
    wrist = (0.22 * side, rng.uniform(0.0, 0.22), hips + rng.uniform(-0.05, 0.18))
    if sitting:
        wrist = (0.15 * side, 0.24, hips + 0.27)
    bare = rng.random() < 0.4
    x, y, z = (0.7 * e + 0.3 * w for e, w in zip(elbow, wrist, strict=True))
    sleeve = (x, y, z)
    patches = [_limb([shoulder, elbow, sleeve if bare else wrist], [0.06, 0.048, 0.036], top)]
    if bare:
        patches.append(_limb([elbow, sleeve, wrist], [0.036, 0.034, 0.026], skin))
    return [*patches, ellipsoid(wrist, (0.035, 0.045, 0.05), skin, 10)]


def _leg(
    side: int,
    hips: float,
    cloth: Material,
    shoes: Material,
    sitting: bool,
    rng: np.random.Generator,
) -> list[Patch]:
    hip = (0.09 * side, 0.0, hips - 0.02)
    if sitting:
        knee, foot = (0.11 * side, 0.42, hips - 0.02), (0.11 * side, 0.4, 0.07)
    else:
        step = rng.uniform(-0.08, 0.08)
        knee, foot = (0.1 * side, 0.5 * step + 0.01, 0.48), (0.1 * side, step, 0.07)
    leg = _limb([hip, knee, foot], [0.095, 0.072, 0.055], cloth)
    toe = (foot[0], foot[1] + 0.06, 0.043)
    return [leg, ellipsoid(toe, (0.045, 0.13, 0.042), shoes, 12)]
