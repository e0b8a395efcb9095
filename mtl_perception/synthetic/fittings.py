# SPDX-License-Identifier: Apache-2.0
"""What is fixed to walls and ceiling, and what gives light; placed as furniture is."""

import numpy as np

from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.materials import Color, abstract, fabric, landscape, plaster, wood
from mtl_perception.synthetic.patches import Patch, box, drape, quad, tube


def floor_lamp(height: float, color: Color) -> Item:
    """Lamp on a pole with a lit fabric shade, about the vertical through the origin."""
    metal = plaster((60, 58, 54))
    pole = tube(
        (0, 0), [0, 0.02, 0.03, height - 0.25, height], [0.15, 0.15, 0.014, 0.014, 0.0], metal
    )
    return Item("lamp", [pole, *_shade(height - 0.3, 0.3, 0.21, 0.15, color)])


def table_lamp(color: Color) -> Item:
    """Small lamp with a round foot."""
    foot = tube((0, 0), [0, 0.02, 0.1, 0.2, 0.3], [0.07, 0.075, 0.06, 0.02, 0.012], plaster(color))
    return Item("lamp", [foot, *_shade(0.26, 0.18, 0.13, 0.09, (238, 226, 200))])


def _shade(z: float, height: float, lower: float, upper: float, color: Color) -> list[Patch]:
    cloth = fabric(color, 0.05)
    outside = tube((0, 0), [z, z + height], [lower, upper], cloth, emission=2.6)
    lid = tube((0, 0), [z + height, z + height + 0.002], [upper, 0.0], cloth, emission=2.6)
    base = tube((0, 0), [z - 0.002, z], [0.0, lower], cloth, emission=2.6)
    return [outside, lid, base]


def ceiling_lamp(ceiling: float) -> Item:
    """Milk-glass bowl under the ceiling."""
    angle = np.linspace(-np.pi / 2, 0, 6)
    glass = plaster((255, 244, 224), 0.0)
    heights = list(ceiling - 0.03 + 0.1 * np.sin(angle))
    bowl = tube((0, 0), heights, list(0.2 * np.cos(angle)), glass, emission=9.0)
    rim = tube((0, 0), [ceiling - 0.03, ceiling], [0.21, 0.21], plaster((200, 196, 188)))
    return Item("lamp", [bowl, rim])


def door(width: float, height: float, color: Color) -> Item:
    """Panelled door with frame and handle."""
    leaf, frame, w = wood(color, 0.15), plaster((226, 222, 212)), width / 2
    patches = box((-w, 0, 0), (w, 0.02, height), leaf)
    for z0, z1 in ((0.15, 0.9), (1.05, height - 0.15)):
        for x0, x1 in ((-w + 0.12, -0.05), (0.05, w - 0.12)):
            patches += box((x0, 0.02, z0), (x1, 0.032, z1), leaf)
    for x in (-w - 0.08, w):
        patches += box((x, 0, 0), (x + 0.08, 0.04, height + 0.08), frame)
    patches += box((-w, 0, height), (w, 0.04, height + 0.08), frame)
    patches += box((w - 0.09, 0.02, 1.0), (w - 0.07, 0.07, 1.02), plaster((180, 176, 165)))
    patches += box((w - 0.2, 0.06, 1.0), (w - 0.07, 0.075, 1.02), plaster((180, 176, 165)))
    return Item("door", patches)


def window(width: float, height: float) -> Item:
    """Window with two casements and a sill, showing daylight; its sill is at z = 0."""
    frame, w = plaster((236, 234, 228)), width / 2
    view = landscape((170, 205, 240), (120, 146, 130), (82, 112, 66))
    pane = quad((w, 0.015, 0), (-width, 0, 0), (0, 0, height), view, emission=4.2)
    patches = [pane, *box((-w - 0.08, 0, -0.04), (w + 0.08, 0.14, 0.0), frame)]
    for x in (-w - 0.05, -0.03, w - 0.01):
        patches += box((x, 0, 0), (x + 0.06, 0.05, height + 0.05), frame)
    for z in (0.0, height - 0.01):
        patches += box((-w, 0, z), (w, 0.05, z + 0.06), frame)
    return Item("window", patches)


def curtain(width: float, height: float, color: Color) -> Item:
    """Curtain from x = 0 to ``width``."""
    return Item("curtain", drape(width, height, 4, 0.07, fabric(color, 0.1)))


def picture(width: float, height: float, rng: np.random.Generator) -> Item:
    """Framed painting centred on the origin of the wall plane y = 0."""
    w, h = width / 2, height / 2
    if rng.random() < 0.5:
        art = landscape((196, 180, 150), (104, 120, 140), (70, 84, 60))
    else:
        art = abstract([(178, 70, 50), (226, 190, 110), (60, 92, 110), (235, 228, 212)])
    patches = box((-w, 0, -h), (w, 0.025, h), wood((70, 50, 34)))
    patches.append(
        quad((w - 0.03, 0.026, -h + 0.03), (-width + 0.06, 0, 0), (0, 0, height - 0.06), art)
    )
    return Item("picture", patches)
