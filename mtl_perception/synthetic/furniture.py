# SPDX-License-Identifier: Apache-2.0
"""Procedural furniture. Each piece stands on z = 0, its back on y = 0, its front towards +y."""

from dataclasses import dataclass

import numpy as np

from mtl_perception.synthetic.materials import (
    Color,
    abstract,
    banded,
    fabric,
    landscape,
    plaster,
    rug,
    wood,
)
from mtl_perception.synthetic.patches import Patch, box, drape, pillow, quad, rounded_box, tube


@dataclass(frozen=True, eq=False)
class Item:
    """One object of the room: its NYU40 class name and its surfaces."""

    class_name: str
    patches: list[Patch]

    def placed(self, x: float, y: float, z: float = 0.0, yaw_deg: float = 0.0) -> "Item":
        """Return the item turned about the vertical, then moved."""
        c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
        T = np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1]])
        return self.moved(T)

    def moved(self, T_target_source: np.ndarray) -> "Item":
        """Return the item in another frame."""
        return Item(self.class_name, [p.moved(T_target_source) for p in self.patches])


def table(width: float, depth: float, height: float, color: Color) -> Item:
    """Four-legged table centred on the origin."""
    top, w, d = wood(color), width / 2, depth / 2
    patches = box((-w, -d, height - 0.035), (w, d, height), top)
    patches += box((-w + 0.06, -d + 0.06, height - 0.1), (w - 0.06, d - 0.06, height - 0.035), top)
    for x in (-w + 0.03, w - 0.09):
        for y in (-d + 0.03, d - 0.09):
            patches += box((x, y, 0), (x + 0.06, y + 0.06, height - 0.035), top)
    return Item("table", patches)


def chair(color: Color, seat_color: Color) -> Item:
    """Wooden chair with a padded seat and a slatted back; its seat's centre is the origin."""
    frame, patches = wood(color), []
    for x in (-0.21, 0.17):
        patches += box((x, 0.16, 0), (x + 0.04, 0.2, 0.44), frame)
        patches += box((x, -0.22, 0), (x + 0.04, -0.18, 0.92), frame)
    patches += box((-0.21, -0.2, 0.4), (0.21, 0.2, 0.44), frame)
    patches += rounded_box((-0.205, -0.18, 0.43), (0.205, 0.21, 0.49), 0.028, fabric(seat_color))
    for z in (0.58, 0.7, 0.82):
        patches += box((-0.17, -0.212, z), (0.17, -0.188, z + 0.07), frame)
    return Item("chair", patches)


def sofa(width: float, color: Color) -> Item:
    """Two-seat sofa with arms."""
    cloth, w = fabric(color), width / 2
    patches = rounded_box((-w, 0.02, 0.06), (w, 0.86, 0.34), 0.05, cloth)
    patches += rounded_box((-w, 0.0, 0.1), (w, 0.24, 0.82), 0.09, cloth)
    for x in (-w, w - 0.2):
        patches += rounded_box((x, 0.02, 0.08), (x + 0.2, 0.88, 0.6), 0.08, cloth)
        patches += rounded_box(
            (x + 0.03, 0.05, 0), (x + 0.09, 0.11, 0.08), 0.02, wood((60, 42, 30))
        )
        patches += rounded_box(
            (x + 0.03, 0.75, 0), (x + 0.09, 0.81, 0.08), 0.02, wood((60, 42, 30))
        )
    for x0, x1 in ((-w + 0.2, -0.005), (0.005, w - 0.2)):
        patches += rounded_box((x0, 0.2, 0.32), (x1, 0.88, 0.47), 0.06, cloth)
        patches += rounded_box((x0 + 0.01, 0.18, 0.45), (x1 - 0.01, 0.36, 0.8), 0.08, cloth)
    return Item("sofa", patches)


def sofa_pillow(color: Color, lean_deg: float) -> Item:
    """Cushion leaning back."""
    lean = np.radians(lean_deg)
    T = np.eye(4)
    T[1:3, 1:3] = [[np.cos(lean), -np.sin(lean)], [np.sin(lean), np.cos(lean)]]
    return Item("pillow", [p.moved(T) for p in pillow(0.42, 0.15, fabric(color))])


def bookshelf(width: float, height: float, shelves: int, color: Color) -> Item:
    """Open case with a back wall; the books are items of their own."""
    board, w = wood(color, 0.22), width / 2
    patches = box((-w, 0, 0), (-w + 0.025, 0.3, height), board)
    patches += box((w - 0.025, 0, 0), (w, 0.3, height), board)
    patches += box((-w + 0.025, 0, 0), (w - 0.025, 0.012, height), board)
    for z in shelf_heights(height, shelves):
        patches += box((-w + 0.025, 0.012, z), (w - 0.025, 0.295, z + 0.025), board)
    return Item("bookshelf", patches)


def shelf_heights(height: float, shelves: int) -> np.ndarray:
    """Under sides of a bookshelf's boards, the lowest and the highest included."""
    return np.linspace(0.06, height - 0.025, shelves + 1)


BOOK_COLORS: tuple[Color, ...] = (
    (120, 38, 34),
    (36, 62, 96),
    (52, 92, 68),
    (190, 160, 90),
    (86, 58, 96),
    (206, 200, 186),
    (176, 92, 48),
    (50, 52, 56),
)


def book_row(length: float, rng: np.random.Generator) -> Item:
    """Books side by side on a shelf, spines at y = 0.24, from x = 0 to about ``length``."""
    patches, x = [], 0.0
    while (thickness := rng.uniform(0.02, 0.05)) + x < length:
        height, depth = rng.uniform(0.19, 0.28), rng.uniform(0.19, 0.25)
        color, band = (BOOK_COLORS[i] for i in rng.choice(len(BOOK_COLORS), 2, replace=False))
        spine = banded(color, band, (0.7, 0.78))
        patches += box((x, 0.015, 0), (x + thickness - 0.001, depth, height), spine)
        x += thickness
    return Item("books", patches)


def book_pile(rng: np.random.Generator) -> Item:
    """Three books lying on each other."""
    patches, z = [], 0.0
    for w in (0.26, 0.23, 0.2):
        thickness = rng.uniform(0.02, 0.04)
        color, band = (BOOK_COLORS[i] for i in rng.choice(len(BOOK_COLORS), 2, replace=False))
        turn = Item(
            "books",
            box((-w / 2, -w / 3, 0), (w / 2, w / 3, thickness), banded(color, band, (0.8, 0.9))),
        )
        patches += turn.placed(0, 0, z, rng.uniform(-20, 20)).patches
        z += thickness
    return Item("books", patches)


def cabinet(width: float, depth: float, height: float, doors: int, color: Color) -> Item:
    """Cabinet on a plinth with flat doors and knobs."""
    face, w = wood(color, 0.22), width / 2
    patches = box((-w + 0.02, 0, 0), (w - 0.02, depth - 0.04, 0.08), plaster((45, 40, 36)))
    patches += box((-w, 0, 0.08), (w, depth - 0.02, height), face)
    edges = np.linspace(-w, w, doors + 1)
    for i, (x0, x1) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        patches += box((x0 + 0.006, depth - 0.02, 0.09), (x1 - 0.006, depth, height - 0.03), face)
        knob = x1 - 0.05 if i % 2 == 0 else x0 + 0.03
        z = 0.62 * height
        patches += box(
            (knob, depth, z), (knob + 0.02, depth + 0.02, z + 0.08), plaster((170, 165, 150))
        )
    return Item("cabinet", patches)


def television(width: float) -> Item:
    """Flat screen on a foot."""
    height, shell = 0.57 * width, plaster((26, 26, 28))
    screen = landscape((70, 92, 120), (50, 60, 78), (22, 30, 34))
    w = width / 2
    patches = box((-0.22, 0.02, 0), (0.22, 0.2, 0.015), shell)
    patches += box((-0.04, 0.08, 0.01), (0.04, 0.11, 0.12), shell)
    patches += box((-w, 0.07, 0.08), (w, 0.115, 0.08 + height), shell)
    low, high = (w - 0.015, 0.116, 0.1), (-width + 0.03, 0, 0)
    patches.append(quad(low, high, (0, 0, height - 0.04), screen))
    return Item("television", patches)


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


def carton(width: float, depth: float, height: float) -> Item:
    """Cardboard box with a strip of tape."""
    card = banded((176, 138, 92), (150, 112, 70), (0.44, 0.5))
    return Item("box", box((-width / 2, 0, 0), (width / 2, depth, height), card))


def floor_mat(width: float, depth: float, ground: Color, pattern: Color) -> Item:
    """Rug centred on the origin."""
    wool = rug(ground, pattern)
    return Item("floor mat", box((-width / 2, -depth / 2, 0), (width / 2, depth / 2, 0.012), wool))
