# SPDX-License-Identifier: Apache-2.0
"""The show room: one living room, varied a little by the seed; no drawn room is like it."""

import numpy as np

from mtl_perception.synthetic import fittings
from mtl_perception.synthetic import furniture as f
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.materials import Color, planks, plaster, tiles, wood
from mtl_perception.synthetic.patches import Patch, box, quad

WOODS: tuple[Color, ...] = ((176, 128, 82), (136, 90, 56), (206, 168, 118), (108, 70, 46))
WALLS: tuple[Color, ...] = ((226, 218, 200), (206, 216, 214), (224, 208, 190), (214, 218, 200))
CLOTHS: tuple[Color, ...] = ((92, 112, 130), (132, 74, 62), (106, 116, 86), (150, 130, 106))
ACCENTS: tuple[Color, ...] = ((196, 120, 52), (70, 110, 120), (170, 60, 60), (206, 176, 90))


def plan_show_room(rng: np.random.Generator) -> tuple[np.ndarray, list[Item]]:
    """Furnish the show room, which the demo walks through and no network is trained on.

    Returns:
        Its size (width, depth, height) in metres, and its items; the floor is the rectangle
        from (0, 0) to (width, depth) at z = 0, z points up.
    """
    width, depth, height = rng.uniform(4.5, 5.0), rng.uniform(3.9, 4.2), 2.5
    items = _shell(width, depth, height, rng)
    items += _openings(width, depth, rng)
    items += _lounge(width, depth, rng)
    items += _dining(depth, height, rng)
    items += _storage(depth, rng)
    items.append(fittings.ceiling_lamp(height).placed(width / 2, depth / 2))
    items.append(
        f.carton(0.42, 0.32, 0.3).placed(width - 0.3, depth - 0.32, 0, 90 + _tilt(rng, 12))
    )
    size = np.array([width, depth, height])
    T_world_plan = _reflection(size, rng)
    return size, [item.moved(T_world_plan) for item in items]


def _reflection(size: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    T = np.eye(4)
    for axis in (0, 1):
        if rng.random() < 0.5:
            T[axis, axis], T[axis, 3] = -1.0, size[axis]
    return T


def _pick(colors: tuple[Color, ...], rng: np.random.Generator) -> Color:
    red, green, blue = np.clip(colors[rng.integers(len(colors))] + rng.integers(-8, 9, 3), 0, 255)
    return int(red), int(green), int(blue)


def _tilt(rng: np.random.Generator, degrees: float) -> float:
    return float(rng.uniform(-degrees, degrees))


def _shell(w: float, d: float, h: float, rng: np.random.Generator) -> list[Item]:
    paint = plaster(_pick(WALLS, rng))
    boards = (
        planks(_pick(WOODS, rng)) if rng.random() < 0.7 else tiles((196, 186, 170), (120, 114, 106))
    )
    walls: list[tuple[Patch, Patch]] = []
    for origin, along in (
        ((w, 0, 0), (-w, 0, 0)),
        ((w, d, 0), (0, -d, 0)),
        ((0, d, 0), (w, 0, 0)),
        ((0, 0, 0), (0, d, 0)),
    ):
        inward = np.add(origin, 0.012 * np.cross(along, (0, 0, 1)) / np.linalg.norm(along))
        skirting = quad(
            (inward[0], inward[1], inward[2]),
            along,
            (0, 0, 0.09),
            plaster((232, 228, 220)),
        )
        walls.append((quad(origin, along, (0, 0, h), paint), skirting))
    return [
        Item("floor", [quad((0, 0, 0), (w, 0, 0), (0, d, 0), boards)]),
        Item("ceiling", [quad((0, d, h), (w, 0, 0), (0, -d, 0), plaster((238, 236, 230)))]),
        *(Item("wall", list(surfaces)) for surfaces in walls),
    ]


def _openings(w: float, d: float, rng: np.random.Generator) -> list[Item]:
    y = d / 2 - 0.15 + _tilt(rng, 0.1)
    cloth = _pick(ACCENTS, rng)
    return [
        fittings.window(1.5, 1.25).placed(0, y, 0.95, -90),
        fittings.curtain(0.5, 2.35, cloth).placed(0.06, y - 0.62, 0, -90),
        fittings.curtain(0.5, 2.35, cloth).placed(0.06, y + 1.12, 0, -90),
        fittings.door(0.85, 2.03, _pick(WOODS, rng)).placed(w, 0.7 * d + _tilt(rng, 0.08), 0, 90),
    ]


def _lounge(w: float, d: float, rng: np.random.Generator) -> list[Item]:
    x = w - 1.55 + _tilt(rng, 0.08)
    cloth, accent, timber = _pick(CLOTHS, rng), _pick(ACCENTS, rng), _pick(WOODS, rng)
    tv_x = w - 1.75 + _tilt(rng, 0.1)
    return [
        f.sofa(1.9, cloth).placed(x, 0.04),
        f.sofa_pillow(accent, 68).placed(x - 0.5, 0.34, 0.46, _tilt(rng, 12)),
        f.sofa_pillow(_pick(ACCENTS, rng), 66).placed(x + 0.5, 0.34, 0.46, _tilt(rng, 12)),
        f.floor_mat(1.9, 1.3, (176, 160, 138), accent).placed(x, 1.65),
        f.table(0.9, 0.5, 0.42, timber).placed(x + _tilt(rng, 0.1), 1.55, 0.012, _tilt(rng, 5)),
        f.book_pile(rng).placed(x + 0.1, 1.55, 0.432, _tilt(rng, 40)),
        fittings.floor_lamp(1.55, (240, 226, 196)).placed(w - 0.27, 0.3),
        f.cabinet(1.5, 0.42, 0.5, 3, timber).placed(tv_x, d, 0, 180),
        f.television(1.1).placed(tv_x, d - 0.02, 0.5, 180 + _tilt(rng, 4)),
        fittings.picture(0.9, 0.6, rng).placed(x, 0, 1.55),
    ]


def _dining(d: float, h: float, rng: np.random.Generator) -> list[Item]:
    x, y = 1.3 + _tilt(rng, 0.05), d / 2 - 0.15
    timber, seat = _pick(WOODS, rng), _pick(CLOTHS, rng)
    items = [
        f.table(0.85, 1.25, 0.75, timber).placed(x, y),
        f.book_pile(rng).placed(x - 0.1, y + 0.3, 0.75, _tilt(rng, 80)),
        f.carton(0.24, 0.18, 0.12).placed(x + 0.12, y - 0.35, 0.75, _tilt(rng, 60)),
    ]
    for side, row in ((1, -0.3), (1, 0.32), (-1, 0.0)):
        out = x + side * (0.52 + rng.uniform(0.0, 0.12))
        items.append(f.chair(timber, seat).placed(out, y + row, 0, side * 90 + _tilt(rng, 14)))
    return items


def _storage(d: float, rng: np.random.Generator) -> list[Item]:
    timber, height, shelves, x = _pick(WOODS, rng), 1.9, 5, 0.8
    items = [f.bookshelf(0.95, height, shelves, timber).placed(x, d, 0, 180)]
    for z in f.shelf_heights(height, shelves)[:-1] + 0.025:
        length = rng.uniform(0.35, 0.85)
        row = f.book_row(length, rng).placed(-0.44 + rng.uniform(0, 0.86 - length), 0)
        items.append(row.placed(x, d, z, 180))
    items += [
        f.cabinet(0.9, 0.42, 0.8, 2, _pick(WOODS, rng)).placed(0.85, 0),
        fittings.table_lamp(_pick(ACCENTS, rng)).placed(0.6, 0.22, 0.8),
        fittings.picture(0.45, 0.6, rng).placed(1.05, 0, 1.5),
        f.carton(0.26, 0.2, 0.16).placed(1.1, 0.1, 0.8, _tilt(rng, 15)),
    ]
    stand = Item("night stand", box((-0.2, 0, 0), (0.2, 0.38, 0.45), wood(timber)))
    return [*items, stand.placed(1.75, 0)]
