# SPDX-License-Identifier: Apache-2.0
"""The look of one room: its colours and the materials that its pieces share."""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mtl_perception.synthetic import coverings as c
from mtl_perception.synthetic.materials import Color, fabric, planks, plaster, rug, wood
from mtl_perception.synthetic.patches import Material

Range = tuple[float, float]

WOODS: tuple[Color, ...] = (
    (176, 128, 82),
    (136, 90, 56),
    (206, 168, 118),
    (108, 70, 46),
    (222, 196, 154),
    (72, 48, 36),
    (150, 82, 50),
    (190, 140, 100),
)
METALS: tuple[Color, ...] = ((186, 188, 190), (150, 152, 156), (96, 98, 102), (40, 40, 44))


def tone(rng: np.random.Generator, saturation: Range, value: Range) -> Color:
    """Return a colour of any hue."""
    return _rgb(float(rng.random()), float(rng.uniform(*saturation)), float(rng.uniform(*value)))


def calm(rng: np.random.Generator, saturation: Range, value: Range) -> Color:
    """Return a colour of the hues that large surfaces mostly have: warm or bluish."""
    kind = rng.random()
    hue = rng.uniform(0.02, 0.15) if kind < 0.6 else rng.uniform(0.5, 0.67)
    if kind > 0.8:
        hue = rng.random()
    return _rgb(float(hue), float(rng.uniform(*saturation)), float(rng.uniform(*value)))


def _rgb(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return int(255 * red), int(255 * green), int(255 * blue)


def pick(colors: tuple[Color, ...], rng: np.random.Generator, spread: int = 12) -> Color:
    """Return one of the colours, a little changed."""
    shift = rng.integers(-spread, spread + 1, 3)
    red, green, blue = np.clip(np.array(colors[rng.integers(len(colors))]) + shift, 0, 255)
    return int(red), int(green), int(blue)


def vivid(rng: np.random.Generator) -> Color:
    """Colour of a thing meant to be seen: a cup, a toy, a cover."""
    return tone(rng, (0.1, 0.95), (0.25, 0.98))


def cloth_color(rng: np.random.Generator) -> Color:
    """Colour of upholstery, linen and clothes: from white over muted to black."""
    return tone(rng, (0.0, 0.75), (0.1, 0.95))


def paint_color(rng: np.random.Generator) -> Color:
    """Colour of a painted wall: mostly light, sometimes strong."""
    if rng.random() < 0.75:
        return calm(rng, (0.0, 0.22), (0.72, 0.97))
    return calm(rng, (0.15, 0.65), (0.35, 0.9))


def darker(color: Color, factor: float) -> Color:
    """Return a colour scaled towards black (below 1) or up to white."""
    red, green, blue = (min(255, int(v * factor)) for v in color)
    return red, green, blue


def patterned(rng: np.random.Generator) -> Material:
    """Cloth of a cushion, a bed cover, a curtain: plain or with a pattern."""
    first, second = cloth_color(rng), cloth_color(rng)
    kind = rng.random()
    if kind < 0.5:
        return fabric(first, float(rng.uniform(0.06, 0.2)))
    if kind < 0.66:
        return c.stripes(first, second, float(rng.uniform(0.03, 0.2)), float(rng.uniform(0.2, 0.6)))
    if kind < 0.8:
        return c.dotted(first, second, float(rng.uniform(0.05, 0.2)))
    if kind < 0.92:
        return c.swirls(first, second, float(rng.uniform(0.05, 0.15)))
    return c.checkered(first, second, float(rng.uniform(0.04, 0.12)))


def carpet_like(rng: np.random.Generator) -> Material:
    """What a loose rug is made of."""
    first, second = cloth_color(rng), cloth_color(rng)
    kind = rng.random()
    if kind < 0.4:
        return rug(first, second)
    if kind < 0.6:
        return c.swirls(first, second, float(rng.uniform(0.1, 0.3)))
    if kind < 0.75:
        return c.stripes(first, second, float(rng.uniform(0.06, 0.3)))
    return c.carpet(first, second, float(rng.choice([0.0, 0.3])))


def _wall(rng: np.random.Generator, wet: bool) -> Material:
    paint = plaster(paint_color(rng), float(rng.uniform(0.01, 0.06)))
    kind = rng.random()
    if wet and kind < 0.8:
        tiled = tiled_wall(rng)
        return tiled if kind < 0.4 else c.half_height(tiled, paint, float(rng.uniform(1.1, 2.1)))
    if kind < 0.68:
        return paint
    first = paint_color(rng)
    second = darker(first, float(rng.uniform(0.75, 0.95)))
    if kind < 0.76:
        return c.stripes(first, second, float(rng.uniform(0.06, 0.4)))
    if kind < 0.83:
        return c.dotted(first, second, float(rng.uniform(0.08, 0.3)))
    if kind < 0.88:
        return c.swirls(first, second, float(rng.uniform(0.08, 0.25)))
    if kind < 0.93:
        return c.bricks(
            pick(((150, 82, 62), (224, 220, 212), (176, 140, 110)), rng),
            pick(((190, 184, 174), (120, 112, 104)), rng),
            (0.075, 0.24),
            0.18,
            0.006,
        )
    board = c.panels(pick(WOODS, rng), float(rng.uniform(0.08, 0.2)))
    return board if rng.random() < 0.4 else c.half_height(board, paint, 1.0)


def tiled_wall(rng: np.random.Generator) -> Material:
    """Wall tiles of a bathroom or above a counter."""
    color = tone(rng, (0.0, 0.4), (0.55, 0.97))
    joint = pick(((232, 232, 228), (150, 148, 144), (90, 88, 86)), rng)
    height = float(rng.choice([0.05, 0.1, 0.15, 0.2, 0.3]))
    width = height * float(rng.choice([1.0, 2.0]))
    return c.bricks(color, joint, (height, width), float(rng.uniform(0.01, 0.08)), 0.003)


def _floor(rng: np.random.Generator, wet: bool, office: bool) -> Material:
    kind = rng.random()
    stone_color = calm(rng, (0.0, 0.35), (0.3, 0.9))
    if wet or kind < 0.22:
        size = float(rng.uniform(0.15, 0.6))
        if rng.random() < 0.2:
            return c.checkered(stone_color, tone(rng, (0.0, 0.3), (0.15, 0.9)), size)
        joint = darker(stone_color, float(rng.choice([0.55, 0.75, 1.25])))
        return c.bricks(stone_color, joint, (size, size), float(rng.uniform(0.02, 0.1)))
    if kind < (0.75 if office else 0.42):
        color = calm(rng, (0.0, 0.5), (0.2, 0.75))
        return c.carpet(color, darker(color, 0.45), float(rng.choice([0.0, 0.15, 0.5])))
    if kind < 0.8:
        return planks(
            pick(WOODS, rng), float(rng.uniform(0.07, 0.24)), float(rng.uniform(0.8, 2.0))
        )
    if kind < 0.92:
        return c.parquet(pick(WOODS, rng), float(rng.uniform(0.25, 0.5)), int(rng.integers(3, 8)))
    return c.stone(stone_color, darker(stone_color, 0.6), float(rng.uniform(0.15, 0.5)))


@dataclass(frozen=True, eq=False)
class Style:
    """Materials and colours that recur in a room, and how high it is."""

    ceiling: float  # metres
    wall: Material
    other_wall: Material  # of one wall that differs in some rooms
    floor: Material
    overhead: Material  # of the ceiling
    trim: Material  # skirting, door and window frames
    timber: Color
    second_timber: Color
    metal: Color
    front: Material  # doors of cabinets
    body: Material  # their sides
    counter: Material
    splash: Material  # tiles above a counter
    cloth: Color
    accent: Color

    @property
    def wood(self) -> Material:
        """The room's main wood."""
        return wood(self.timber, 0.25)

    @property
    def metallic(self) -> Material:
        """Legs, handles and frames."""
        return c.brushed(self.metal)


def timber_like(rng: np.random.Generator) -> Material:
    """What a piece of furniture is made of: wood, painted wood or laminate."""
    kind = rng.random()
    if kind < 0.55:
        return wood(pick(WOODS, rng), float(rng.uniform(0.12, 0.32)))
    if kind < 0.8:
        return plaster(tone(rng, (0.0, 0.08), (0.8, 0.97)), 0.015)
    if kind < 0.9:
        return plaster(calm(rng, (0.0, 0.3), (0.1, 0.7)), 0.02)
    return plaster(vivid(rng), 0.02)


def _counter(rng: np.random.Generator) -> Material:
    kind = rng.random()
    if kind < 0.35:
        dark = tone(rng, (0.0, 0.3), (0.08, 0.35))
        return c.stone(dark, darker(dark, 2.2), 0.2, 0.3)
    if kind < 0.6:
        light = tone(rng, (0.0, 0.2), (0.6, 0.95))
        return c.stone(light, darker(light, 0.6), 0.25, float(rng.choice([0.0, 0.3])))
    if kind < 0.8:
        return wood(pick(WOODS, rng))
    return plaster(tone(rng, (0.0, 0.15), (0.2, 0.95)), 0.02)


def draw_style(
    rng: np.random.Generator, ceiling: float, *, wet: bool = False, office: bool = False
) -> Style:
    """Draw the look of a room.

    Args:
        rng: source of chance.
        ceiling: metres above the floor.
        wet: a kitchen or bathroom: tiles are likely.
        office: carpet is likely.
    """
    main = _wall(rng, wet)
    stains: Callable[[Material], Material] = lambda m: c.worn(m, float(rng.uniform(0.05, 0.3)))  # noqa: E731
    floor = _floor(rng, wet, office)
    front = timber_like(rng)
    return Style(
        ceiling=ceiling,
        wall=stains(main) if rng.random() < 0.2 else main,
        other_wall=_wall(rng, wet) if rng.random() < 0.3 else main,
        floor=stains(floor) if rng.random() < 0.4 else floor,
        overhead=plaster(tone(rng, (0.0, 0.06), (0.85, 0.98)), float(rng.uniform(0.01, 0.04)))
        if rng.random() < 0.85
        else c.panels(pick(WOODS, rng), 0.12),
        trim=plaster(tone(rng, (0.0, 0.08), (0.8, 0.96)))
        if rng.random() < 0.6
        else wood(pick(WOODS, rng), 0.15),
        timber=pick(WOODS, rng),
        second_timber=pick(WOODS, rng),
        metal=pick(METALS, rng, 6),
        front=front,
        body=front if rng.random() < 0.6 else plaster(tone(rng, (0.0, 0.05), (0.75, 0.95)), 0.01),
        counter=_counter(rng),
        splash=tiled_wall(rng),
        cloth=cloth_color(rng),
        accent=vivid(rng),
    )
