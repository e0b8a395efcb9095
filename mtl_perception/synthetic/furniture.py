# SPDX-License-Identifier: Apache-2.0
"""Procedural furniture. Each piece stands on z = 0, its back on y = 0, its front towards +y."""

from dataclasses import dataclass, field

import numpy as np

from mtl_perception.synthetic.materials import (
    Color,
    banded,
    fabric,
    landscape,
    plaster,
    rug,
    wood,
)
from mtl_perception.synthetic.patches import Patch, box, leaning, pillow, quad, rounded_box
from mtl_perception.synthetic.soup import Soup


@dataclass(frozen=True, eq=False)
class Item:
    """One object of the room: its NYU40 class name and its surfaces."""

    class_name: str
    patches: list[Patch]
    soups: tuple[Soup, ...] = ()  # what is no patches: imported models
    T_room_item: np.ndarray = field(default_factory=lambda: np.eye(4))  # where its own frame is

    def placed(self, x: float, y: float, z: float = 0.0, yaw_deg: float = 0.0) -> "Item":
        """Return the item turned about the vertical, then moved."""
        c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
        T = np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1]])
        return self.moved(T)

    def moved(self, T_target_source: np.ndarray) -> "Item":
        """Return the item in another frame."""
        return Item(
            self.class_name,
            [p.moved(T_target_source) for p in self.patches],
            tuple(soup.moved(T_target_source) for soup in self.soups),
            T_target_source @ self.T_room_item,
        )


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
    """Cushion leaning back on y = 0."""
    return Item("pillow", leaning(pillow(0.42, 0.15, fabric(color)), lean_deg))


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


def carton(width: float, depth: float, height: float) -> Item:
    """Cardboard box with a strip of tape."""
    card = banded((176, 138, 92), (150, 112, 70), (0.44, 0.5))
    return Item("box", box((-width / 2, 0, 0), (width / 2, depth, height), card))


def floor_mat(width: float, depth: float, ground: Color, pattern: Color) -> Item:
    """Rug centred on the origin."""
    wool = rug(ground, pattern)
    return Item("floor mat", box((-width / 2, -depth / 2, 0), (width / 2, depth / 2, 0.012), wool))
