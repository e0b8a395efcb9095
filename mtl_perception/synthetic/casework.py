# SPDX-License-Identifier: Apache-2.0
"""Tables, desks, cabinets, shelves, dressers. Backs on y = 0 but for tables, which are centred."""

import numpy as np

from mtl_perception.synthetic import clutter
from mtl_perception.synthetic import coverings as c
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.materials import plaster
from mtl_perception.synthetic.palette import Style, pick, timber_like, vivid
from mtl_perception.synthetic.patches import Material, Patch, box, rod, tube
from mtl_perception.synthetic.placement import scatter
from mtl_perception.synthetic.prints import handwriting


def table(
    rng: np.random.Generator, style: Style, width: float, depth: float, height: float
) -> Item:
    """Table centred on the origin: four legs, a trestle, or a round top on a foot."""
    top = style.wood if rng.random() < 0.6 else timber_like(rng)
    leg = top if rng.random() < 0.6 else style.metallic
    w, d, thick = width / 2, depth / 2, rng.uniform(0.02, 0.05)
    kind = rng.random()
    if kind < 0.2:
        return _round_table(rng, min(width, depth) / 2, height, top, leg)
    patches = box((-w, -d, height - thick), (w, d, height), top)
    if kind < 0.75:
        t, inset = rng.uniform(0.035, 0.1), rng.uniform(0.0, 0.08)
        for x in (-w + inset, w - inset - t):
            for y in (-d + inset, d - inset - t):
                patches += box((x, y, 0), (x + t, y + t, height - thick), leg)
        if rng.random() < 0.5:
            a, b = w - inset - t / 2, d - inset - t / 2
            patches += box((-a, -b, height - thick - 0.07), (a, b, height - thick), leg)
    else:
        for x in (-w + 0.1, w - 0.16):
            patches += box((x, -d + 0.08, 0), (x + 0.06, d - 0.08, height - thick), leg)
        patches += box((-w + 0.16, -0.02, 0.3 * height), (w - 0.16, 0.02, 0.42 * height), leg)
    return Item("table", patches)


def _round_table(
    rng: np.random.Generator, radius: float, height: float, top: Material, leg: Material
) -> Item:
    plate = tube(
        (0, 0), [height - 0.03, height - 0.03, height, height], [0, radius, radius, 0], top, 32
    )
    foot = tube(
        (0, 0), [0, 0.02, 0.05, height - 0.03], [0.55 * radius, 0.55 * radius, 0.05, 0.04], leg, 20
    )
    return Item("table", [plate, foot])


def handle(x: float, y: float, z: float, upright: bool, metal: Material) -> list[Patch]:
    """Bar handle on a front at ``y``."""
    a, b = (0.006, 0.06) if upright else (0.06, 0.006)
    return box((x - a, y, z - b), (x + a, y + 0.025, z + b), metal)


def fronts(
    low: tuple[float, float],
    high: tuple[float, float],
    y: float,
    columns: int,
    rows: int,
    style: Style,
    rng: np.random.Generator,
) -> list[Patch]:
    """Doors or drawers, with handles, between two corners (x, z) of a case whose front is ``y``."""
    xs, zs = np.linspace(low[0], high[0], columns + 1), np.linspace(low[1], high[1], rows + 1)
    framed, knob = rng.random() < 0.35, rng.random() < 0.3
    patches: list[Patch] = []
    for i in range(columns):
        for j in range(rows):
            x0, x1, z0, z1 = xs[i] + 0.003, xs[i + 1] - 0.003, zs[j] + 0.003, zs[j + 1] - 0.003
            patches += box((x0, y, z0), (x1, y + 0.018, z1), style.front)
            if framed and min(x1 - x0, z1 - z0) > 0.2:
                for a, b in ((x0, x0 + 0.05), (x1 - 0.05, x1)):
                    patches += box((a, y + 0.018, z0), (b, y + 0.026, z1), style.front)
                for a, b in ((z0, z0 + 0.05), (z1 - 0.05, z1)):
                    patches += box(
                        (x0 + 0.05, y + 0.018, a), (x1 - 0.05, y + 0.026, b), style.front
                    )
            tall = z1 - z0 > 1.1 * (x1 - x0)
            x = (x1 - 0.05 if i % 2 == 0 else x0 + 0.05) if tall else (x0 + x1) / 2
            z = (z1 - 0.12 if z1 < 1.2 else z0 + 0.12) if tall else z1 - min(0.06, (z1 - z0) / 2)
            front = y + (0.026 if framed else 0.018)
            if knob:
                patches += box(
                    (x - 0.012, front, z - 0.012),
                    (x + 0.012, front + 0.02, z + 0.012),
                    style.metallic,
                )
            else:
                patches += handle(x, front, z, tall, style.metallic)
    return patches


def case(
    name: str,
    width: float,
    depth: float,
    height: float,
    columns: int,
    rows: int,
    style: Style,
    rng: np.random.Generator,
) -> Item:
    """Closed case with a grid of doors or drawers, on a plinth or legs."""
    w, foot = width / 2, float(rng.choice([0.0, 0.07, 0.14]))
    patches = box((-w, 0, foot), (w, depth - 0.02, height), style.body)
    if foot > 0.1:
        for x in (-w + 0.02, w - 0.06):
            for y in (0.02, depth - 0.08):
                patches += box((x, y, 0), (x + 0.04, y + 0.04, foot), style.metallic)
    elif foot > 0:
        patches += box((-w + 0.02, 0, 0), (w - 0.02, depth - 0.06, foot), plaster((46, 42, 40)))
    patches += fronts(
        (-w, foot + 0.01), (w, height - 0.02), depth - 0.02, columns, rows, style, rng
    )
    return Item(name, patches)


def dresser(rng: np.random.Generator, style: Style) -> list[Item]:
    """Chest of drawers with things on it."""
    width, height, depth = rng.uniform(0.6, 1.5), rng.uniform(0.7, 1.2), rng.uniform(0.4, 0.52)
    columns = 1 if width < 0.85 else 2
    body = case("dresser", width, depth, height, columns, int(rng.integers(3, 6)), style, rng)
    top = (-width / 2, 0.03, width / 2, depth - 0.03, height)
    return [
        body,
        *scatter(clutter.choose(clutter.SHELF_THINGS, int(rng.integers(1, 9)), rng), top, rng),
    ]


def sideboard(rng: np.random.Generator, style: Style) -> list[Item]:
    """Low cabinet with things on it."""
    width, height, depth = rng.uniform(0.8, 2.0), rng.uniform(0.45, 0.95), rng.uniform(0.35, 0.5)
    body = case(
        "cabinet",
        width,
        depth,
        height,
        max(2, round(width / 0.5)),
        int(rng.integers(1, 3)),
        style,
        rng,
    )
    top = (-width / 2, 0.03, width / 2, depth - 0.03, height)
    return [
        body,
        *scatter(clutter.choose(clutter.SHELF_THINGS, int(rng.integers(1, 9)), rng), top, rng),
    ]


def wardrobe(rng: np.random.Generator, style: Style) -> list[Item]:
    """Tall cabinet with doors."""
    width, height = rng.uniform(0.8, 2.2), rng.uniform(1.8, min(2.3, style.ceiling - 0.02))
    body = case(
        "cabinet", width, rng.uniform(0.5, 0.62), height, max(2, round(width / 0.5)), 1, style, rng
    )
    return [body]


def night_stand(rng: np.random.Generator, style: Style) -> list[Item]:
    """Night stand with a drawer or two."""
    width, height, depth = rng.uniform(0.36, 0.55), rng.uniform(0.42, 0.65), rng.uniform(0.34, 0.45)
    body = case("night stand", width, depth, height, 1, int(rng.integers(1, 4)), style, rng)
    return [body]


def bookcase(rng: np.random.Generator, style: Style) -> list[Item]:
    """Bookshelf: boards full of books, now and then something else."""
    width, height = rng.uniform(0.5, 1.4), rng.uniform(1.0, min(2.25, style.ceiling - 0.02))
    depth, boards = rng.uniform(0.26, 0.34), max(2, round(height / rng.uniform(0.3, 0.42)))
    wood = timber_like(rng)
    zs = np.linspace(0.05, height - 0.025, boards + 1)
    case_ = _open_case(width, depth, height, zs, wood, rng.random() < 0.8)
    items = [Item("bookshelf", case_)]
    for z, above in zip(zs[:-1], zs[1:], strict=True):
        items += _filled(rng, width - 0.06, depth, z + 0.025, above - z - 0.03, books=0.8)
    return items


def _open_case(
    width: float, depth: float, height: float, zs: np.ndarray, wood: Material, back: bool
) -> list[Patch]:
    w = width / 2
    patches = box((-w, 0, 0), (-w + 0.025, depth, height), wood)
    patches += box((w - 0.025, 0, 0), (w, depth, height), wood)
    if back:
        patches += box((-w + 0.025, 0, zs[0]), (w - 0.025, 0.01, height), wood)
    for z in zs:
        patches += box((-w + 0.025, 0.01, z), (w - 0.025, depth - 0.005, z + 0.025), wood)
    return patches


def _filled(
    rng: np.random.Generator, width: float, depth: float, z: float, space: float, books: float
) -> list[Item]:
    """What stands on one board of ``width``: a row of books, or things that are low enough."""
    if rng.random() < books and space > 0.2:
        length = width * rng.uniform(0.35, 0.98)
        row = clutter.row_of_books(length, depth - 0.02, space - 0.01, rng)
        row = row.placed(-width / 2 + rng.uniform(0, width - length), 0, z)
        return [row] if row.patches else []
    things = clutter.choose(clutter.SHELF_THINGS, int(rng.integers(1, 7)), rng)
    placed = scatter(things, (-width / 2, 0.03, width / 2, depth, z), rng)
    return [item for item in placed if _top(item) < z + space]


def _top(item: Item) -> float:
    return max(float(patch.grid[..., 2].max()) for patch in item.patches)


def open_shelves(rng: np.random.Generator, style: Style) -> list[Item]:
    """Standing rack of boards on posts, for storage."""
    width, height, depth = rng.uniform(0.7, 1.4), rng.uniform(1.0, 2.0), rng.uniform(0.3, 0.45)
    w, post = width / 2, style.metallic
    patches: list[Patch] = []
    for x in (-w, w - 0.03):
        for y in (0.0, depth - 0.03):
            patches += box((x, y, 0), (x + 0.03, y + 0.03, height), post)
    zs = np.linspace(0.12, height - 0.05, int(rng.integers(3, 6)))
    board, items = timber_like(rng), []
    for z in zs:
        patches += box((-w + 0.002, 0.002, z), (w - 0.002, depth - 0.002, z + 0.02), board)
    for z, above in zip(zs, [*zs[1:], 9.0], strict=True):
        items += _filled(rng, width - 0.06, depth, z + 0.02, above - z - 0.03, books=0.25)
    return [Item("shelves", patches), *items]


def wall_shelf(rng: np.random.Generator, style: Style, things: tuple) -> list[Item]:
    """Board on the wall with things on it; the board's top is at z = 0."""
    width, depth = rng.uniform(0.6, 1.6), rng.uniform(0.18, 0.28)
    board = timber_like(rng) if rng.random() < 0.7 else plaster(vivid(rng))
    patches = box((-width / 2, 0, -0.025), (width / 2, depth, 0.0), board)
    for x in (-0.4 * width, 0.4 * width):
        patches += box((x, 0, -0.13), (x + 0.015, 0.02, -0.025), style.metallic)
        patches.append(
            rod(
                (x + 0.007, 0.01, -0.12), (x + 0.007, depth - 0.03, -0.03), 0.006, style.metallic, 6
            )
        )
    if rng.random() < 0.4:
        row = clutter.row_of_books(width * rng.uniform(0.4, 0.9), depth, 0.34, rng)
        row = row.placed(-width / 2 + 0.02, 0)
        return [Item("shelves", patches), *([row] if row.patches else [])]
    drawn = clutter.choose(things, int(rng.integers(1, 6)), rng)
    return [
        Item("shelves", patches),
        *scatter(drawn, (-width / 2, 0.01, width / 2, depth, 0.0), rng),
    ]


def desk(rng: np.random.Generator, style: Style) -> tuple[list[Item], float]:
    """Desk with its back on y = 0 and a computer or papers on it; and its depth."""
    width, depth, height = rng.uniform(1.0, 1.8), rng.uniform(0.55, 0.8), rng.uniform(0.71, 0.77)
    w, top = width / 2, timber_like(rng)
    leg = style.metallic if rng.random() < 0.5 else top
    patches = box((-w, 0, height - 0.03), (w, depth, height), top)
    left = rng.random() < 0.5
    if rng.random() < 0.5:
        pedestal = case("desk", 0.42, depth - 0.06, height - 0.03, 1, 3, style, rng)
        patches += pedestal.placed(-w + 0.22 if left else w - 0.22, 0.02).patches
        x = w - 0.05 if left else -w
        patches += box((x, 0.03, 0), (x + 0.05, depth - 0.03, height - 0.03), leg)
    else:
        for x in (-w + 0.02, w - 0.07):
            for y in (0.03, depth - 0.08):
                patches += box((x, y, 0), (x + 0.05, y + 0.05, height - 0.03), leg)
    items = [Item("desk", patches)]
    x = rng.uniform(-0.2, 0.2) * width
    things = []
    if rng.random() < 0.75:
        screen = clutter.monitor(rng)[0]
        items.append(screen.placed(x, 0.16, height, rng.uniform(-8, 8)))
        items.append(clutter.keyboard(rng)[0].placed(x, depth - 0.16, height, rng.uniform(-6, 6)))
        sides = [(-w, x - 0.38), (x + 0.38, w)]
    else:
        sides = [(-w, w)]
    for x0, x1 in sides:
        if x1 - x0 > 0.2:
            things += scatter(
                clutter.choose(clutter.DESK_THINGS, int(rng.integers(1, 9)), rng),
                (x0, 0.02, x1, depth - 0.02, height),
                rng,
                turn_deg=30,
            )
    return items + things, depth


def media_stand(rng: np.random.Generator, style: Style) -> list[Item]:
    """Low cabinet with a television."""
    width, height, depth = rng.uniform(1.0, 1.9), rng.uniform(0.38, 0.65), rng.uniform(0.38, 0.48)
    body = case("cabinet", width, depth, height, max(2, round(width / 0.5)), 1, style, rng)
    size = rng.uniform(0.7, min(1.3, width))
    screen = television(rng, size).placed(0, 0.0, height, rng.uniform(-4, 4))
    sides = [(-width / 2, -0.3), (0.3, width / 2)] if rng.random() < 0.3 else []
    extra = []
    for x0, x1 in sides:
        extra += scatter([clutter.can], (x0, depth - 0.16, x1, depth, height), rng)
    return [body, screen, *extra]


def television(rng: np.random.Generator, width: float) -> Item:
    """Flat screen on a foot, on or off; it faces +y."""
    height, shell, w = 0.58 * width, plaster((26, 26, 28)), width / 2
    patches = box((-0.22, 0.06, 0), (0.22, 0.26, 0.015), shell)
    patches += box((-0.04, 0.12, 0.01), (0.04, 0.15, 0.12), shell)
    patches += box((-w, 0.12, 0.08), (w, 0.165, 0.08 + height), shell)
    patches += clutter.screen_face(rng, w - 0.015, 0.166, 0.1, height - 0.04, 0.5)
    return Item("television", patches)


def wall_television(rng: np.random.Generator) -> list[Item]:
    """Flat screen on the wall, its middle on the origin."""
    w = rng.uniform(0.8, 1.5) / 2
    h = 0.58 * w
    patches = box((-w, 0.0, -h), (w, 0.06, h), plaster((24, 24, 26)))
    patches += clutter.screen_face(rng, w - 0.015, 0.061, -h + 0.015, 2 * h - 0.03, 0.6)
    return [Item("television", patches)]


def whiteboard(rng: np.random.Generator) -> list[Item]:
    """Board to write on, its middle on the origin."""
    w, h = rng.uniform(0.9, 2.4) / 2, rng.uniform(0.8, 1.2) / 2
    ink = pick(((30, 60, 150), (40, 40, 44), (170, 40, 40)), rng)
    written, white = rng.random() < 0.6, (245, 246, 247)
    face = handwriting(white, ink) if written else plaster(white, 0.02)
    patches = box((-w, 0, -h), (w, 0.018, h), c.brushed((190, 192, 194)))
    patches += [p for p in clutter.plain_face(face, w - 0.02, 0.0185, -h + 0.02, 2 * h - 0.04)]
    patches += box((-0.5 * w, 0.018, -h - 0.02), (0.5 * w, 0.08, -h), c.brushed((180, 182, 184)))
    return [Item("whiteboard", patches)]
