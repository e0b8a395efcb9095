# SPDX-License-Identifier: Apache-2.0
"""What hangs on walls and ceilings in many designs; backs on the wall plane y = 0."""

import numpy as np

from mtl_perception.synthetic import clutter
from mtl_perception.synthetic import coverings as c
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.materials import (
    abstract,
    fabric,
    landscape,
    plaster,
)
from mtl_perception.synthetic.palette import (
    Style,
    calm,
    darker,
    patterned,
    timber_like,
    tone,
    vivid,
)
from mtl_perception.synthetic.patches import (
    Material,
    Patch,
    box,
    drape,
    quad,
    rod,
    tube,
)
from mtl_perception.synthetic.prints import photograph, poster, street


def door(rng: np.random.Generator, style: Style, width: float, height: float) -> Item:
    """Closed door with a frame: flat, panelled or with a glass light."""
    leaf, w = timber_like(rng) if rng.random() < 0.5 else style.trim, width / 2
    kind = rng.random()
    rows = [(0.2, height - 0.15)]
    if kind < 0.5:
        rows = [(0.2, 0.9), (1.05, height - 0.15)]
        if kind < 0.2:
            rows = [(0.2, 0.6), (0.72, 1.2), (1.32, height - 0.15)]
    columns = [(-w + 0.12, w - 0.12)]
    if kind < 0.3:
        columns = [(-w + 0.12, -0.05), (0.05, w - 0.12)]
    if kind < 0.5:
        patches = _panelled(w, height, columns, rows, leaf)
    elif kind < 0.65:
        glass = photograph([tone(rng, (0, 0.3), (0.3, 0.9)) for _ in range(3)])
        patches = _panelled(w, height, columns, [(0.95, height - 0.15)], leaf)
        patches += clutter.plain_face(glass, w - 0.12, 0.0125, 0.95, height - 1.1)
    else:
        patches = box((-w, 0, 0.005), (w, 0.02, height), leaf)
    for x in (-w - 0.08, w):
        patches += box((x, 0, 0), (x + 0.08, 0.035, height + 0.08), style.trim)
    patches += box((-w, 0, height), (w, 0.035, height + 0.08), style.trim)
    grip = w - 0.09
    patches += box((grip, 0.02, 0.96), (grip + 0.03, 0.03, 1.12), style.metallic)
    patches.append(
        rod((grip + 0.015, 0.03, 1.04), (grip + 0.015, 0.065, 1.04), 0.009, style.metallic)
    )
    patches.append(rod((grip + 0.02, 0.06, 1.04), (grip - 0.1, 0.06, 1.04), 0.009, style.metallic))
    return Item("door", patches)


def _panelled(
    w: float,
    height: float,
    columns: list[tuple[float, float]],
    rows: list[tuple[float, float]],
    leaf: Material,
) -> list[Patch]:
    """A leaf of stiles and rails round panels that lie deeper; no surface hides another."""
    patches: list[Patch] = []
    sides = [-w, *(x for column in columns for x in column), w]
    for x0, x1 in zip(sides[::2], sides[1::2], strict=True):
        patches += box((x0, 0, 0.005), (x1, 0.02, height), leaf)
    levels = [0.005, *(z for row in rows for z in row), height]
    for x0, x1 in columns:
        for z0, z1 in zip(levels[::2], levels[1::2], strict=True):
            patches += box((x0, 0, z0), (x1, 0.02, z1), leaf)
        for z0, z1 in rows:
            patches.append(quad((x1, 0.012, z0), (x0 - x1, 0, 0), (0, 0, z1 - z0), leaf))
    return patches


def passage(width: float, height: float, wall: float, style: Style) -> tuple[Item, Item]:
    """Return the lined opening of a wall (its middle plane is y = 0) and its threshold."""
    w, t = width / 2, wall / 2
    patches: list[Patch] = []
    for x in (-w, w - 0.02):
        patches += box((x, -t, 0), (x + 0.02, t, height), style.trim)
    patches += box((-w + 0.02, -t, height - 0.02), (w - 0.02, t, height), style.trim)
    for y in (-t - 0.018, t):
        for x in (-w - 0.06, w - 0.01):
            patches += box((x, y, 0), (x + 0.07, y + 0.018, height + 0.06), style.trim)
        patches += box(
            (-w + 0.01, y, height - 0.01), (w - 0.01, y + 0.018, height + 0.06), style.trim
        )
    floor = quad((-w + 0.02, -t, 0), (width - 0.04, 0, 0), (0, wall, 0), style.wood)
    return Item("door", patches), Item("floor", [floor])


def open_leaf(rng: np.random.Generator, style: Style, width: float, height: float) -> Item:
    """Door leaf that stands open, hinged at the origin, closed along +x, turned towards +y."""
    leaf = timber_like(rng) if rng.random() < 0.5 else style.trim
    patches = box((0, 0, 0.006), (width, 0.038, height), leaf)
    for y in (-0.04, 0.05):
        patches += box((width - 0.14, y, 1.03), (width - 0.03, y + 0.012, 1.05), style.metallic)
    for y0, y1 in ((-0.04, 0.0), (0.038, 0.062)):
        patches += box((width - 0.05, y0, 1.03), (width - 0.03, y1, 1.05), style.metallic)
    return Item("door", patches)


def window(rng: np.random.Generator, style: Style, width: float, height: float) -> Item:
    """Window with one to three casements; its sill is at z = 0."""
    w = width / 2
    sky = tone(rng, (0.0, 0.35), (0.75, 1.0))
    kind = rng.random()
    if kind < 0.35:
        view = street(sky, [calm(rng, (0.05, 0.5), (0.3, 0.9)) for _ in range(4)])
    elif kind < 0.7:
        view = landscape(sky, tone(rng, (0.1, 0.4), (0.3, 0.6)), tone(rng, (0.2, 0.6), (0.2, 0.5)))
    else:
        view = photograph([sky, sky, darker(sky, 0.8), tone(rng, (0, 0.4), (0.3, 0.7))])
    glow = float(rng.uniform(2.0, 6.0))
    patches = [quad((w, 0.012, 0), (-width, 0, 0), (0, 0, height), view, emission=glow)]
    patches += box((-w - 0.06, 0, -0.04), (w + 0.06, rng.uniform(0.08, 0.16), 0.0), style.trim)
    posts = np.linspace(-w, w, int(rng.integers(1, 4)) + 1)
    for x in posts:
        a = min(max(x, -w + 0.02), w - 0.02)
        patches += box((a - 0.03, 0, 0), (a + 0.03, 0.045, height + 0.04), style.trim)
    bars = [0.0, height - 0.02] + ([height * 0.68] if rng.random() < 0.3 else [])
    for z in bars:
        patches += box((-w, 0, z), (w, 0.04, z + 0.05), style.trim)
    return Item("window", patches)


def dressed_window(rng: np.random.Generator, style: Style) -> list[Item]:
    """Window with what hangs before it; the floor is z = 0."""
    ceiling = style.ceiling
    width = rng.uniform(0.7, 2.2)
    sill = float(rng.choice([0.3, 0.85, 0.95, 1.1]))
    height = min(rng.uniform(0.9, 1.5), ceiling - sill - 0.25)
    items = [window(rng, style, width, height).placed(0, 0, sill)]
    kind = rng.random()
    top = min(sill + height + 0.15, ceiling - 0.06)
    if kind < 0.4:
        cloth = patterned(rng)
        low = 0.04 if rng.random() < 0.6 else sill - 0.12
        drawn = rng.uniform(0.15, 0.4) * width + 0.1
        for x in (-width / 2 - 0.22, width / 2 + 0.22 - drawn):
            sheets = drape(drawn, top, max(2, round(drawn / 0.12)), 0.06, cloth)
            items.append(Item("curtain", stretched(sheets, low, top)).placed(x, 0.165))
        bar = rod(
            (-width / 2 - 0.26, 0.19, top + 0.01),
            (width / 2 + 0.26, 0.19, top + 0.01),
            0.014,
            style.metallic,
        )
        items.append(Item("otherprop", [bar]))
    elif kind < 0.7:
        items.append(blinds(rng, width + 0.04, sill, sill + height + 0.05, rng.uniform(0.2, 1.0)))
    return items


def stretched(sheets: list[Patch], low: float, high: float) -> list[Patch]:
    """Scale hanging sheets to reach from ``low`` to ``high``."""
    z0 = min(float(p.grid[..., 2].min()) for p in sheets)
    z1 = max(float(p.grid[..., 2].max()) for p in sheets)
    T = np.eye(4)
    T[2, 2] = (high - low) / (z1 - z0)
    T[2, 3] = low - T[2, 2] * z0
    return [p.moved(T) for p in sheets]


def blinds(rng: np.random.Generator, width: float, low: float, high: float, drawn: float) -> Item:
    """Slatted or roller blind before a window, let down by ``drawn`` (0..1) from ``high``."""
    w, y = width / 2, 0.17
    bottom = high - drawn * (high - low)
    color = tone(rng, (0, 0.3), (0.6, 0.97))
    patches = box((-w, y - 0.03, high - 0.05), (w, y + 0.03, high), plaster(color))
    if rng.random() < 0.35:
        patches += box(
            (-w + 0.01, y - 0.002, bottom), (w - 0.01, y + 0.002, high - 0.05), fabric(color, 0.05)
        )
    else:
        pitch, lean = rng.uniform(0.035, 0.06), np.radians(rng.uniform(20, 70))
        dy, dz = 0.5 * pitch * np.cos(lean), 0.55 * pitch * np.sin(lean)
        slat = plaster(color, 0.02)
        for z in np.arange(bottom + 0.03, high - 0.06, pitch):
            patches.append(
                quad((w - 0.01, y - dy, z - dz), (-2 * w + 0.02, 0, 0), (0, 2 * dy, 2 * dz), slat)
            )
            patches.append(
                quad(
                    (-w + 0.01, y - dy, z - dz - 0.002),
                    (2 * w - 0.02, 0, 0),
                    (0, 2 * dy, 2 * dz),
                    slat,
                )
            )
    patches += box(
        (-w + 0.01, y - 0.012, bottom), (w - 0.01, y + 0.012, bottom + 0.02), plaster(color)
    )
    return Item("blinds", patches)


def art(rng: np.random.Generator) -> Material:
    """What hangs in a frame."""
    kind = rng.random()
    colors = [vivid(rng) for _ in range(int(rng.integers(3, 6)))]
    if kind < 0.3:
        return landscape(
            tone(rng, (0, 0.4), (0.6, 1)),
            tone(rng, (0.1, 0.6), (0.3, 0.7)),
            tone(rng, (0.1, 0.7), (0.1, 0.5)),
        )
    if kind < 0.55:
        return abstract(colors)
    if kind < 0.8:
        return photograph(colors)
    if kind < 0.9:
        return c.swirls(colors[0], colors[1], 0.12)
    return poster(colors)


def picture(rng: np.random.Generator) -> list[Item]:
    """Framed picture, often with a mount; its middle on the origin."""
    w, h = rng.uniform(0.12, 0.55), rng.uniform(0.12, 0.42)
    rim = rng.uniform(0.015, 0.05)
    frame = timber_like(rng)
    patches = box((-w, 0, -h), (w, 0.02, h), frame)
    if rng.random() < 0.5 and min(w, h) > 0.16:
        patches += clutter.plain_face(
            plaster((240, 238, 230)), w - rim, 0.0205, -h + rim, 2 * (h - rim)
        )
        rim += rng.uniform(0.03, 0.07)
    patches += clutter.plain_face(art(rng), w - rim, 0.021, -h + rim, 2 * (h - rim))
    return [Item("picture", patches)]


def wall_poster(rng: np.random.Generator) -> list[Item]:
    """Poster without a frame."""
    w, h = rng.uniform(0.2, 0.45), rng.uniform(0.28, 0.6)
    colors = [vivid(rng) for _ in range(4)]
    face = poster(colors) if rng.random() < 0.6 else photograph(colors)
    return [Item("picture", box((-w, 0, -h), (w, 0.003, h), face))]


def notices(rng: np.random.Generator) -> list[Item]:
    """Sheets pinned to the wall side by side."""
    items = []
    for i in range(int(rng.integers(1, 7))):
        x, z = (i % 3 - 1) * 0.27, (i // 3) * 0.34
        sheet = box((-0.105, 0, -0.148), (0.105, 0.003, 0.148), clutter.note(rng))
        items.append(
            Item("paper", sheet).placed(
                x + rng.uniform(-0.02, 0.02), 0, z + rng.uniform(-0.015, 0.015)
            )
        )
    return items


def reflection(rng: np.random.Generator) -> Material:
    """What a mirror is taken to show: blurred light and dark parts of a room."""
    ground = tone(rng, (0, 0.15), (0.55, 0.85))
    return photograph([ground, darker(ground, 0.8), darker(ground, 1.15), darker(ground, 0.6)])


def mirror(rng: np.random.Generator, style: Style) -> list[Item]:
    """Mirror in a frame, its middle on the origin."""
    w, h = rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.55)
    rim = rng.uniform(0.005, 0.05)
    patches = box(
        (-w, 0, -h), (w, 0.018, h), style.metallic if rng.random() < 0.5 else timber_like(rng)
    )
    patches += clutter.plain_face(reflection(rng), w - rim, 0.0185, -h + rim, 2 * (h - rim))
    return [Item("mirror", patches)]


def clock(rng: np.random.Generator) -> list[Item]:
    """Round wall clock, its middle on the origin."""
    r = rng.uniform(0.1, 0.18)
    rim = tube((0, 0), [0, 0.03, 0.035], [r, r, 0.93 * r], plaster(vivid(rng)), 24)
    face = tube((0, 0), [0.028, 0.0285], [0.93 * r, 0], plaster((244, 243, 238)), 24)
    T = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    hands = [
        rod(
            (0, 0.033, 0),
            (0.7 * r * np.cos(a), 0.033, 0.7 * r * np.sin(a)),
            0.004,
            plaster((30, 30, 30)),
            4,
        )
        for a in rng.uniform(0, 2 * np.pi, 2)
    ]
    return [Item("otherprop", [rim.moved(T), face.moved(T), *hands])]


def radiator(rng: np.random.Generator) -> list[Item]:
    """Ribbed radiator a hand above the floor."""
    w, h = rng.uniform(0.4, 0.8), rng.uniform(0.45, 0.6)
    skin = plaster(tone(rng, (0, 0.04), (0.86, 0.97)), 0.01)
    patches = box((-w, 0.03, 0.12), (w, 0.06, 0.12 + h), skin)
    for x in np.arange(-w + 0.02, w - 0.03, 0.09):
        patches += box((x, 0.06, 0.14), (x + 0.05, 0.1, 0.1 + h), skin)
    patches.append(rod((w - 0.03, 0.05, 0.0), (w - 0.03, 0.05, 0.13), 0.01, skin))
    return [Item("otherfurniture", patches)]


def coat_hooks(rng: np.random.Generator, style: Style) -> list[Item]:
    """Board with hooks and garments; the board is at z = 0."""
    count = int(rng.integers(2, 6))
    w = 0.13 * count
    items = [Item("otherprop", box((-w, 0, -0.04), (w, 0.02, 0.04), timber_like(rng)))]
    for x in np.linspace(-w + 0.1, w - 0.1, count):
        items[0].patches.append(rod((x, 0.02, 0), (x, 0.07, 0.02), 0.008, style.metallic, 6))
        if rng.random() < 0.75:
            items.append(
                garment(rng, "bag" if rng.random() < 0.15 else "clothes").placed(x, 0.022, -0.01)
            )
    return items


def garment(rng: np.random.Generator, name: str) -> Item:
    """Coat, towel or bag on a hook: a flat bundle that widens downwards."""
    h, w = rng.uniform(0.5, 1.0), rng.uniform(0.08, 0.11)
    if name == "bag":
        h, w = 0.45, 0.11
    heights = -h * np.array([1.0, 0.97, 0.6, 0.2, 0.03, 0.0])
    radii = w * np.array([0.0, 1.0, 0.95, 0.8, 0.3, 0.0])
    body = tube((0, 0), list(heights), list(radii), patterned(rng), 14)
    flat = np.diag([1.0, 0.5, 1.0, 1.0])
    flat[1, 3] = 0.055
    return Item(name, [body.moved(flat)])


def ceiling_light(rng: np.random.Generator, ceiling: float, kind: str) -> Item:
    """Lamp that hangs from the ceiling: "bowl", "pendant", "panel", "spot" or "tube"."""
    glow = plaster((255, 246, 232) if rng.random() < 0.6 else (236, 244, 255), 0.0)
    dark = plaster(tone(rng, (0, 0.6), (0.1, 0.95)))
    power = float(rng.uniform(5, 11))
    if kind == "pendant":
        r, h, z = (
            rng.uniform(0.12, 0.25),
            rng.uniform(0.15, 0.25),
            ceiling - rng.uniform(0.45, 0.65),
        )
        shade = tube(
            (0, 0), [z, z + h, z + h + 0.01], [r, rng.uniform(0.3, 0.9) * r, 0.0], dark, 24
        )
        inner = tube((0, 0), [z + 0.02, z + 0.021], [0.0, 0.92 * r], glow, 24, emission=power)
        return Item(
            "lamp", [shade, inner, rod((0, 0, z + h), (0, 0, ceiling - 0.001), 0.006, dark, 6)]
        )
    if kind == "panel":
        w, d = (0.3, 0.3) if rng.random() < 0.5 else (0.6, 0.15)
        frame = box((-w, -d, ceiling - 0.03), (w, d, ceiling - 0.001), plaster((232, 232, 230)))
        face = quad(
            (-w + 0.02, d - 0.02, ceiling - 0.031),
            (2 * w - 0.04, 0, 0),
            (0, -2 * d + 0.04, 0),
            glow,
            0.8 * power,
        )
        return Item("lamp", [*frame, face])
    if kind == "spot":
        rim = tube((0, 0), [ceiling - 0.02, ceiling - 0.001], [0.07, 0.07], dark, 16)
        face = tube(
            (0, 0), [ceiling - 0.021, ceiling - 0.02], [0.0, 0.07], glow, 16, emission=3 * power
        )
        return Item("lamp", [rim, face])
    angle = np.linspace(-np.pi / 2, 0, 6)
    r = rng.uniform(0.15, 0.25)
    heights = list(ceiling - 0.03 + 0.5 * r * np.sin(angle))
    bowl = tube((0, 0), heights, list(r * np.cos(angle)), glow, emission=power)
    rim = tube((0, 0), [ceiling - 0.03, ceiling - 0.001], [r + 0.01, r + 0.01], dark)
    return Item("lamp", [bowl, rim])


def standing_lamp(rng: np.random.Generator, style: Style) -> list[Item]:
    """Lamp on a pole with a lit shade, about the vertical."""
    height, r = rng.uniform(1.3, 1.7), rng.uniform(0.14, 0.24)
    foot = tube(
        (0, 0),
        [0, 0.02, 0.03, height - 0.2, height - 0.05],
        [0.15, 0.15, 0.014, 0.014, 0],
        style.metallic,
    )
    return [Item("lamp", [foot, *shade(rng, height - 0.3, 0.3, r)])]


def table_lamp(rng: np.random.Generator) -> list[Item]:
    """Lamp for a night stand or desk."""
    h, r = rng.uniform(0.18, 0.32), rng.uniform(0.09, 0.15)
    body = plaster(vivid(rng), 0.02) if rng.random() < 0.7 else c.brushed((150, 130, 90))
    bulge = rng.uniform(0.03, 0.08)
    foot = tube(
        (0, 0), [0, 0.02, 0.4 * h, 0.8 * h, h + 0.06], [0.06, 0.065, bulge, 0.02, 0.012], body
    )
    return [Item("lamp", [foot, *shade(rng, h, rng.uniform(0.14, 0.22), r)])]


def shade(rng: np.random.Generator, z: float, height: float, radius: float) -> list[Patch]:
    """Cloth shade, lit or not."""
    cloth = fabric(tone(rng, (0, 0.35), (0.7, 0.98)), 0.05)
    glow = 2.6 if rng.random() < 0.6 else 0.0
    upper = radius * rng.uniform(0.55, 1.0)
    return [
        tube((0, 0), [z, z + height], [radius, upper], cloth, emission=glow),
        tube((0, 0), [z + height, z + height + 0.002], [upper, 0.0], cloth, emission=glow),
        tube((0, 0), [z - 0.002, z], [0.0, radius], cloth, emission=glow),
    ]


def desk_lamp(rng: np.random.Generator) -> list[Item]:
    """Jointed lamp on a desk."""
    metal = plaster(vivid(rng))
    patches = [tube((0, 0), [0, 0.02, 0.02], [0.08, 0.08, 0], metal, 18)]
    patches += [
        rod((0, 0, 0.02), (-0.1, 0, 0.22), 0.009, metal),
        rod((-0.1, 0, 0.22), (0.08, 0, 0.4), 0.009, metal),
    ]
    patches.append(tube((0.1, 0), [0.3, 0.4, 0.41], [0.08, 0.03, 0], metal, 16))
    return [Item("lamp", patches)]


def column(rng: np.random.Generator, style: Style) -> list[Item]:
    """Square column or chimney breast against the wall, floor to ceiling."""
    w, d = rng.uniform(0.12, 0.4), rng.uniform(0.15, 0.4)
    return [
        Item("otherstructure", box((-w, 0, 0), (w, d, style.ceiling - 0.001), style.other_wall))
    ]


def fireplace(rng: np.random.Generator, style: Style) -> list[Item]:
    """Fireplace with a mantel and something on it."""
    from mtl_perception.synthetic.placement import scatter

    w, h, d = rng.uniform(0.55, 0.75), rng.uniform(0.95, 1.15), 0.3
    brick = c.bricks((150, 86, 66), (190, 184, 174), (0.07, 0.22), 0.18, 0.005)
    skin = brick if rng.random() < 0.5 else style.counter
    patches = box((-w, 0, 0), (w, d, h - 0.06), skin)
    patches += box((-0.5 * w, d, 0.05), (0.5 * w, d + 0.004, 0.62 * h), plaster((24, 22, 20), 0.2))
    patches += box((-w - 0.06, 0, h - 0.06), (w + 0.06, d + 0.08, h), style.wood)
    things = clutter.choose(
        (clutter.vase, clutter.photo_frame, clutter.candle), int(rng.integers(1, 5)), rng
    )
    return [
        Item("otherstructure", patches),
        *scatter(things, (-w, 0.05, w, d, h), rng, turn_deg=15),
    ]
