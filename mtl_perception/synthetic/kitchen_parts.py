# SPDX-License-Identifier: Apache-2.0
"""Kitchen rows: base cabinets under a counter, sink, stove, wall cabinets; refrigerators."""

import numpy as np

from mtl_perception.synthetic import clutter
from mtl_perception.synthetic import coverings as c
from mtl_perception.synthetic.casework import fronts, handle
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.materials import fabric, plaster
from mtl_perception.synthetic.palette import Style, cloth_color, patterned, tone
from mtl_perception.synthetic.patches import Patch, box, quad, rod, tube
from mtl_perception.synthetic.placement import scatter

DEPTH, TOP = 0.6, 0.9
"""Metres of a counter from the wall and above the floor."""


def kitchen_row(
    length: float, rng: np.random.Generator, style: Style, *, sink: bool, stove: bool, upper: str
) -> list[Item]:
    """Row of units along a wall, from x = 0 to ``length``.

    Args:
        length: metres of wall.
        rng: source of chance.
        style: the room's look.
        sink: whether one unit has a sink.
        stove: whether one unit is a stove.
        upper: "cabinets", "shelves" or "" above the counter.
    """
    count = max(1, round(length / 0.6))
    edges = np.linspace(0, length, count + 1)
    units = list(range(count))
    at_sink = units.pop(int(rng.integers(len(units)))) if sink and units else -1
    at_stove = units.pop(int(rng.integers(len(units)))) if stove and units else -1
    base: list[Patch] = box((0, 0, 0), (length, DEPTH - 0.08, 0.1), plaster((52, 50, 48)))
    items: list[Item] = []
    for i in range(count):
        x0, x1 = edges[i], edges[i + 1]
        if i == at_stove:
            items += _stove(x0, x1, rng, style)
            continue
        if i == at_sink:  # hollow, for the basin hangs into it
            base += box((x0, 0, 0.1), (x1, DEPTH - 0.03, TOP - 0.2), style.body)
            for x in (x0, x1 - 0.016):
                base += box((x, 0, TOP - 0.2), (x + 0.016, DEPTH - 0.03, TOP - 0.04), style.body)
        else:
            base += box((x0, 0, 0.1), (x1, DEPTH - 0.03, TOP - 0.04), style.body)
        rows = 3 if rng.random() < 0.3 and i != at_sink else 1
        base += fronts(
            (x0, 0.11), (x1, TOP - 0.05), DEPTH - 0.03, 1 if x1 - x0 < 0.62 else 2, rows, style, rng
        )
    items.append(Item("cabinet", base))
    counter, basin = _counter(edges, at_stove, at_sink, rng, style)
    items += [counter, *basin]
    free = [(edges[i], edges[i + 1]) for i in range(count) if i not in (at_stove, at_sink)]
    items += _on_counter(free, rng)
    splash = rng.uniform(0.4, 0.58)
    for x in np.arange(0.2, length - 0.2, 0.28):
        if rng.random() < 0.12:
            sheet = box((x - 0.1, 0.003, 0), (x + 0.1, 0.006, 0.28), clutter.note(rng))
            items.append(Item("paper", sheet).placed(0, 0, TOP + rng.uniform(0.08, 0.14)))
    items.append(
        Item("wall", [quad((length, 0.002, TOP), (-length, 0, 0), (0, 0, splash), style.splash)])
    )
    if upper == "cabinets":
        items += _wall_cabinets(edges, at_stove, rng, style)
    elif upper == "shelves":
        items += _wall_boards(length, rng, style)
    return items


def _counter(
    edges: np.ndarray, at_stove: int, at_sink: int, rng: np.random.Generator, style: Style
) -> tuple[Item, list[Item]]:
    """Counter in pieces around the stove and the basin."""
    patches: list[Patch] = []
    basin: list[Item] = []
    for i in range(len(edges) - 1):
        x0, x1 = edges[i], edges[i + 1]
        if i == at_stove:
            continue
        if i != at_sink:
            patches += box((x0, 0, TOP - 0.04), (x1, DEPTH + 0.02, TOP), style.counter)
            continue
        a, b, u, v = x0 + 0.07, x1 - 0.07, 0.12, 0.5
        for low, high in (
            ((x0, 0), (x1, u)),
            ((x0, v), (x1, DEPTH + 0.02)),
            ((x0, u), (a, v)),
            ((b, u), (x1, v)),
        ):
            patches += box((*low, TOP - 0.04), (*high, TOP), style.counter)
        basin = [_basin(a, b, u, v, style)]
    return Item("counter", patches), basin


def _basin(x0: float, x1: float, y0: float, y1: float, style: Style) -> Item:
    steel = c.brushed((176, 178, 180))
    low, w, d, h = TOP - 0.18, x1 - x0, y1 - y0, 0.18
    patches = [
        quad((x0, y0, low), (w, 0, 0), (0, d, 0), steel),
        quad((x1, y0, low), (-w, 0, 0), (0, 0, h), steel).moved(np.eye(4)),
        quad((x0, y1, low), (w, 0, 0), (0, 0, h), steel),
        quad((x0, y0, low), (0, d, 0), (0, 0, h), steel),
        quad((x1, y1, low), (0, -d, 0), (0, 0, h), steel),
    ]
    rim = 0.012
    for a, b in (
        ((x0 - rim, y0 - rim), (x1 + rim, y0)),
        ((x0 - rim, y1), (x1 + rim, y1 + rim)),
        ((x0 - rim, y0), (x0, y1)),
        ((x1, y0), (x1 + rim, y1)),
    ):
        patches += box((*a, TOP), (*b, TOP + 0.003), steel)
    return Item("sink", patches + tap((x0 + x1) / 2, y0 - 0.05, TOP, style))


def tap(x: float, y: float, z: float, style: Style) -> list[Patch]:
    """Mixer tap whose spout points to +y."""
    chrome = c.brushed((196, 198, 200))
    points = [
        (x, y, z),
        (x, y, z + 0.22),
        (x, y + 0.06, z + 0.27),
        (x, y + 0.15, z + 0.25),
        (x, y + 0.17, z + 0.2),
    ]
    patches = [rod(a, b, 0.012, chrome, 8) for a, b in zip(points[:-1], points[1:], strict=True)]
    return [*patches, rod((x, y, z + 0.1), (x + 0.07, y, z + 0.13), 0.007, chrome, 6)]


def _stove(x0: float, x1: float, rng: np.random.Generator, style: Style) -> list[Item]:
    """Stove: oven below, hob on top, with a pot at times."""
    w, middle = x1 - x0, (x0 + x1) / 2
    skin = (
        c.brushed((170, 172, 174))
        if rng.random() < 0.5
        else plaster(tone(rng, (0, 0.05), (0.1, 0.95)))
    )
    patches = box((x0 + 0.002, 0, 0.1), (x1 - 0.002, DEPTH, TOP - 0.01), skin)
    patches += box(
        (x0 + 0.05, DEPTH, 0.22), (x1 - 0.05, DEPTH + 0.008, 0.62), plaster((22, 22, 24))
    )
    patches += handle(middle, DEPTH + 0.005, 0.68, False, c.brushed((190, 192, 194)))
    for x in np.linspace(x0 + 0.1, x1 - 0.1, 4):
        patches.append(
            rod((x, DEPTH, 0.79), (x, DEPTH + 0.025, 0.79), 0.018, plaster((40, 40, 42)), 10)
        )
    patches += box(
        (x0 + 0.002, 0.02, TOP - 0.01),
        (x1 - 0.002, DEPTH + 0.01, TOP + 0.004),
        plaster((26, 26, 28)),
    )
    for x in (x0 + 0.27 * w, x0 + 0.73 * w):
        for y in (0.18, 0.44):
            ring = tube(
                (x, y),
                [TOP + 0.004, TOP + 0.007, TOP + 0.007],
                [0.085, 0.085, 0],
                plaster((70, 68, 66)),
                18,
            )
            patches.append(ring)
    items = [Item("otherfurniture", patches)]
    if rng.random() < 0.6:
        items.append(pot(rng).placed(x0 + 0.3 * w, 0.2, TOP + 0.008))
    return items


def pot(rng: np.random.Generator) -> Item:
    """Cooking pot with a lid and handles."""
    r, h = rng.uniform(0.08, 0.12), rng.uniform(0.09, 0.18)
    skin = (
        c.brushed((180, 182, 184))
        if rng.random() < 0.6
        else plaster(tone(rng, (0, 0.9), (0.1, 0.8)))
    )
    body = tube((0, 0), [0, 0, h, h + 0.02, h + 0.03], [0, r, r, 0.5 * r, 0], skin, 18)
    knob = rod((0, 0, h + 0.02), (0, 0, h + 0.05), 0.012, plaster((30, 30, 32)))
    side = rod((-r - 0.04, 0, 0.75 * h), (r + 0.04, 0, 0.75 * h), 0.009, plaster((30, 30, 32)))
    return Item("otherprop", [body, knob, side])


def microwave(rng: np.random.Generator) -> list[Item]:
    """Microwave oven, facing +y."""
    w, d, h = rng.uniform(0.44, 0.52) / 2, 0.34, rng.uniform(0.26, 0.32)
    skin = plaster(tone(rng, (0, 0.04), (0.12, 0.95)))
    patches = box((-w, -d / 2, 0), (w, d / 2, h), skin)
    patches += box(
        (-w + 0.02, d / 2, 0.04), (w - 0.13, d / 2 + 0.008, h - 0.03), plaster((20, 20, 22))
    )
    patches += box(
        (w - 0.11, d / 2, 0.04), (w - 0.02, d / 2 + 0.006, h - 0.03), plaster((60, 60, 64))
    )
    return [Item("otherprop", patches)]


def kettle(rng: np.random.Generator) -> list[Item]:
    """Electric kettle or coffee pot."""
    h, r = rng.uniform(0.2, 0.27), rng.uniform(0.07, 0.085)
    skin = (
        c.brushed((180, 182, 184))
        if rng.random() < 0.5
        else plaster(tone(rng, (0, 0.8), (0.08, 0.95)))
    )
    grip = plaster((32, 32, 34))
    body = tube(
        (0, 0), [0, 0, 0.03, 0.85 * h, h, h + 0.01], [0, r, r, 0.75 * r, 0.4 * r, 0], skin, 16
    )
    points = [
        (0.7 * r, 0, 0.85 * h),
        (1.7 * r, 0, 0.8 * h),
        (1.6 * r, 0, 0.25 * h),
        (0.9 * r, 0, 0.15 * h),
    ]
    bars = [rod(a, b, 0.011, grip, 6) for a, b in zip(points[:-1], points[1:], strict=True)]
    return [Item("otherprop", [body, *bars])]


def toaster(rng: np.random.Generator) -> list[Item]:
    """Toaster."""
    skin = (
        c.brushed((184, 186, 188))
        if rng.random() < 0.5
        else plaster(tone(rng, (0, 0.9), (0.1, 0.95)))
    )
    patches = box((-0.15, -0.09, 0), (0.15, 0.09, 0.19), skin)
    for y in (-0.035, 0.035):
        patches += box((-0.11, y - 0.014, 0.19), (0.11, y + 0.014, 0.1905), plaster((20, 18, 18)))
    patches += box((0.15, -0.02, 0.12), (0.17, 0.02, 0.14), plaster((30, 30, 32)))
    return [Item("otherprop", patches)]


def coffee_machine(rng: np.random.Generator) -> list[Item]:
    """Coffee machine with a jug."""
    dark = plaster(tone(rng, (0, 0.3), (0.06, 0.5)))
    patches = box((-0.1, -0.13, 0), (0.1, 0.12, 0.03), dark)
    patches += box((-0.1, -0.13, 0.03), (0.1, -0.03, 0.3), dark)
    patches += box((-0.1, -0.03, 0.22), (0.1, 0.12, 0.34), dark)
    patches.append(
        tube(
            (0, 0.04), [0.031, 0.06, 0.15, 0.16], [0.055, 0.07, 0.06, 0], plaster((70, 50, 40)), 14
        )
    )
    return [Item("otherprop", patches)]


def cutting_board(rng: np.random.Generator) -> list[Item]:
    """Board lying flat, a knife block beside it."""
    from mtl_perception.synthetic.palette import timber_like

    patches = box((-0.16, -0.11, 0), (0.16, 0.11, 0.02), timber_like(rng))
    return [Item("otherprop", patches)]


def paper_roll(rng: np.random.Generator) -> list[Item]:
    """Kitchen paper on a stand."""
    roll = tube(
        (0, 0), [0.012, 0.012, 0.24, 0.24], [0, 0.055, 0.055, 0], fabric((240, 240, 238), 0.04), 16
    )
    foot = tube((0, 0), [0, 0.012, 0.012], [0.07, 0.07, 0], plaster((80, 70, 60)), 16)
    return [
        Item(
            "otherprop", [roll, foot, rod((0, 0, 0.24), (0, 0, 0.3), 0.008, plaster((80, 70, 60)))]
        )
    ]


COUNTER_THINGS = (
    *clutter.KITCHEN_THINGS,
    microwave,
    kettle,
    toaster,
    coffee_machine,
    cutting_board,
    paper_roll,
    lambda rng: [pot(rng)],
    clutter.papers,
    clutter.magazine,
)


def _on_counter(free: list[tuple[float, float]], rng: np.random.Generator) -> list[Item]:
    items = []
    busy = rng.uniform(0.6, 1.1)
    for x0, x1 in free:
        if rng.random() < busy:
            drawn = clutter.choose(COUNTER_THINGS, int(rng.integers(2, 11)), rng)
            items += scatter(drawn, (x0, 0.02, x1, 0.52, TOP), rng, turn_deg=25, tries=8)
    return items


def _wall_cabinets(
    edges: np.ndarray, at_stove: int, rng: np.random.Generator, style: Style
) -> list[Item]:
    z0, z1, depth = rng.uniform(1.42, 1.55), rng.uniform(2.05, 2.25), rng.uniform(0.3, 0.37)
    patches: list[Patch] = []
    items = []
    for i in range(len(edges) - 1):
        x0, x1 = edges[i], edges[i + 1]
        if i == at_stove:
            items.append(_hood(x0, x1, z0, z1, rng))
        elif rng.random() < 0.9:
            patches += box((x0, 0, z0), (x1, depth - 0.02, z1), style.body)
            patches += fronts(
                (x0, z0), (x1, z1), depth - 0.02, 1 if x1 - x0 < 0.62 else 2, 1, style, rng
            )
    return [*items, Item("cabinet", patches)] if patches else items


def _hood(x0: float, x1: float, z0: float, z1: float, rng: np.random.Generator) -> Item:
    steel = c.brushed((184, 186, 188))
    x = (x0 + x1) / 2
    patches = box((x0 + 0.01, 0, z0 + 0.1), (x1 - 0.01, 0.45, z0 + 0.16), steel)
    patches += box((x - 0.12, 0, z0 + 0.16), (x + 0.12, 0.24, z1 + 0.1), steel)
    return Item("otherstructure", patches)


def _wall_boards(length: float, rng: np.random.Generator, style: Style) -> list[Item]:
    items = []
    for z in (1.42, 1.78)[: int(rng.integers(1, 3))]:
        board = box((0.05, 0, z - 0.03), (length - 0.05, 0.24, z), style.front)
        things = scatter(
            clutter.choose(
                (*clutter.KITCHEN_THINGS, clutter.magazine, clutter.photo_frame),
                int(3 * length),
                rng,
            ),
            (0.06, 0.01, length - 0.06, 0.24, z),
            rng,
            turn_deg=20,
        )
        items += [Item("shelves", board), *[t for t in things if _height(t) < 0.33]]
    return items


def _height(item: Item) -> float:
    zs = [patch.grid[..., 2] for patch in item.patches]
    return max(float(z.max()) for z in zs) - min(float(z.min()) for z in zs)


def refrigerator(rng: np.random.Generator, style: Style) -> list[Item]:
    """Refrigerator, one door or two, perhaps with notes on it."""
    w, d, h = rng.uniform(0.55, 0.9) / 2, rng.uniform(0.58, 0.72), rng.uniform(1.3, 2.0)
    kind = rng.random()
    skin = (
        plaster(tone(rng, (0, 0.03), (0.88, 0.98)), 0.01)
        if kind < 0.5
        else c.brushed((168, 170, 172))
        if kind < 0.8
        else plaster(tone(rng, (0, 0.7), (0.1, 0.8)), 0.01)
    )
    patches = box((-w, 0, 0.03), (w, d - 0.06, h), skin)
    seam = h * rng.uniform(0.3, 0.7)
    metal = c.brushed((190, 192, 194))
    doors = [(-w, 0.05, w, seam - 0.005), (-w, seam + 0.005, w, h)]
    if w > 0.38:
        doors = [(-w, 0.05, -0.004, h), (0.004, 0.05, w, h)]
    for x0, z0, x1, z1 in doors:
        patches += box((x0, d - 0.055, z0), (x1, d, z1), skin)
        x = x1 - 0.05 if x0 < -0.1 else x0 + 0.05
        patches += handle(x, d, (z0 + z1) / 2, True, metal)
    items = [Item("refridgerator", patches)]
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(2, 9))):
            x, z = rng.uniform(-w + 0.1, w - 0.2), rng.uniform(0.6, h - 0.25)
            note = box(
                (x, d, z),
                (x + rng.uniform(0.05, 0.11), d + 0.002, z + rng.uniform(0.06, 0.16)),
                clutter.note(rng),
            )
            items.append(Item("paper", note))
    if rng.random() < 0.4:
        top = scatter(
            clutter.choose(
                (clutter.carton, clutter.package, clutter.bowl), int(rng.integers(1, 4)), rng
            ),
            (-w, 0.02, w, d - 0.08, h),
            rng,
        )
        items += top
    return items


def island(rng: np.random.Generator, style: Style) -> list[Item]:
    """Free-standing block with a counter, centred on the origin."""
    w, d = rng.uniform(1.1, 1.9) / 2, rng.uniform(0.7, 0.95) / 2
    patches = box((-w + 0.04, -d + 0.1, 0.0), (w - 0.04, d - 0.04, TOP - 0.04), style.body)
    patches += fronts((-w + 0.04, 0.1), (w - 0.04, TOP - 0.06), d - 0.04, 3, 1, style, rng)
    top = Item("counter", box((-w, -d, TOP - 0.04), (w, d, TOP), style.counter))
    things = clutter.choose((*COUNTER_THINGS, clutter.bowl), int(rng.integers(2, 7)), rng)
    return [Item("cabinet", patches), top, *scatter(things, (-w, -d, w, d, TOP), rng)]


def washing_machine(rng: np.random.Generator, style: Style) -> list[Item]:
    """Washing machine with a round window."""
    skin = plaster(tone(rng, (0, 0.03), (0.85, 0.97)), 0.01)
    patches = box((-0.3, 0, 0.0), (0.3, 0.56, 0.85), skin)
    for radius, reach, color in ((0.19, 0.03, (150, 152, 156)), (0.145, 0.034, (40, 44, 52))):
        disc = tube((0, 0), [0, reach, reach], [radius, radius, 0], plaster(color), 24)
        T = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0.56], [0, -1, 0, 0.42], [0, 0, 0, 1]])
        patches.append(disc.moved(T))
    patches += box((-0.28, 0.56, 0.72), (-0.08, 0.566, 0.82), plaster((210, 212, 214)))
    return [Item("otherfurniture", patches)]


def dish_towel(rng: np.random.Generator) -> Item:
    """Small towel hanging flat, its top on the origin."""
    w, h = rng.uniform(0.18, 0.3) / 2, rng.uniform(0.3, 0.5)
    cloth = patterned(rng) if rng.random() < 0.6 else fabric(cloth_color(rng))
    return Item("towel", box((-w, 0.005, -h), (w, 0.02, 0), cloth))
