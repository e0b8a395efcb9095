# SPDX-License-Identifier: Apache-2.0
"""Toilet, wash basins, bath tub with its curtain, towels. Backs on y = 0."""

import numpy as np

from mtl_perception.synthetic import clutter
from mtl_perception.synthetic import coverings as c
from mtl_perception.synthetic.casework import fronts
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.kitchen_parts import tap
from mtl_perception.synthetic.materials import fabric, plaster
from mtl_perception.synthetic.palette import Style, cloth_color, patterned, tone
from mtl_perception.synthetic.patches import (
    Material,
    Patch,
    box,
    drape,
    ellipsoid,
    quad,
    rod,
    rounded_box,
    tube,
)
from mtl_perception.synthetic.placement import scatter


def ceramic(rng: np.random.Generator) -> Material:
    """White, or an old-fashioned tint."""
    tint = (0, 0.03) if rng.random() < 0.85 else (0.1, 0.3)
    return plaster(tone(rng, tint, (0.86, 0.98)), 0.01)


def toilet(rng: np.random.Generator, style: Style) -> list[Item]:
    """Toilet with a cistern; its lid is down or up."""
    white = ceramic(rng)
    stretch = np.diag([1.0, 1.28, 1.0, 1.0])
    stretch[1, 3] = 0.42
    bowl = tube((0, 0), [0, 0.05, 0.2, 0.37, 0.39], [0.11, 0.1, 0.12, 0.18, 0.185], white, 22)
    seat = tube((0, 0), [0.39, 0.415, 0.415], [0.19, 0.19, 0.0], white, 22)
    patches = [bowl.moved(stretch)]
    lid = ellipsoid((0, 0, 0), (0.19, 0.235, 0.018), white, 20)
    if rng.random() < 0.65:
        patches.append(seat.moved(stretch))
        T = np.eye(4)
        T[:3, 3] = (0, 0.42, 0.42)
    else:
        ring = tube((0, 0), [0.39, 0.41, 0.41, 0.38], [0.19, 0.19, 0.12, 0.11], white, 22)
        water = tube((0, 0), [0.3, 0.301], [0.14, 0], plaster((150, 160, 165)), 22)
        patches += [ring.moved(stretch), water.moved(stretch)]
        T = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0.21], [0, 1, 0, 0.62], [0, 0, 0, 1]])
    patches.append(lid.moved(T))
    patches += box((-0.1, 0.02, 0), (0.1, 0.25, 0.36), white)
    patches += rounded_box((-0.19, 0, 0.4), (0.19, 0.17, 0.76), 0.02, white)
    patches += rounded_box((-0.2, -0.0, 0.76), (0.2, 0.18, 0.79), 0.01, white)
    return [Item("toilet", patches)]


def wash_stand(rng: np.random.Generator, style: Style) -> list[Item]:
    """Wash basin in a cabinet's counter or on a pedestal, with things beside the tap."""
    white = ceramic(rng)
    if rng.random() < 0.4:
        return [_pedestal(white, style)]
    width, depth, top = rng.uniform(0.6, 1.4), 0.5, rng.uniform(0.8, 0.88)
    w = width / 2
    body = box((-w, 0, 0.1), (w, depth - 0.05, top - 0.04), style.body)
    body += box((-w + 0.03, 0, 0), (w - 0.03, depth - 0.1, 0.1), plaster((60, 58, 56)))
    body += fronts(
        (-w, 0.12), (w, top - 0.05), depth - 0.05, max(2, round(width / 0.45)), 1, style, rng
    )
    counter = box((-w, 0, top - 0.04), (w, depth, top), style.counter)
    bowl = [
        tube(
            (0, 0.27),
            [top, top + 0.09, top + 0.1, top + 0.09, top + 0.02],
            [0.13, 0.19, 0.2, 0.185, 0.0],
            white,
            22,
        ),
        *tap(0, 0.05, top, style),
    ]
    items = [Item("cabinet", body), Item("counter", counter), Item("sink", bowl)]
    for x0, x1 in ((-w, -0.24), (0.24, w)):
        if x1 - x0 > 0.12:
            drawn = clutter.choose(
                (clutter.bottle, clutter.cup, clutter.can, clutter.candle), 2, rng
            )
            items += scatter(drawn, (x0, 0.02, x1, 0.4, top), rng)
    return items


def _pedestal(white: Material, style: Style) -> Item:
    foot = tube((0, 0.16), [0, 0.04, 0.6, 0.7], [0.12, 0.09, 0.08, 0.12], white, 18)
    basin = rounded_box((-0.28, 0, 0.68), (0.28, 0.44, 0.84), 0.06, white)
    hollow = quad((-0.22, 0.11, 0.8405), (0.44, 0, 0), (0, 0.27, 0), plaster((196, 200, 204)))
    return Item("sink", [foot, *basin, hollow, *tap(0, 0.07, 0.84, style)])


def bath(rng: np.random.Generator, style: Style) -> list[Item]:
    """Bath tub along the wall, with or without a shower curtain."""
    white = ceramic(rng)
    length, depth, h, t = (
        rng.uniform(1.5, 1.75),
        rng.uniform(0.68, 0.8),
        rng.uniform(0.5, 0.6),
        0.06,
    )
    w = length / 2
    skirt = white if rng.random() < 0.6 else style.splash
    patches: list[Patch] = []
    for low, high in (
        ((-w, 0), (w, t)),
        ((-w, depth - t), (w, depth)),
        ((-w, t), (-w + t, depth - t)),
        ((w - t, t), (w, depth - t)),
    ):
        patches += box((*low, 0), (*high, h - 0.03), skirt)
        patches += box((*low, h - 0.03), (*high, h), white)
    patches.append(quad((-w + t, t, 0.12), (length - 2 * t, 0, 0), (0, depth - 2 * t, 0), white))
    chrome = c.brushed((196, 198, 200))
    patches.append(rod((-w + 0.12, 0.01, h + 0.15), (-w + 0.12, 0.15, h + 0.13), 0.015, chrome))
    items = [Item("bathtub", patches)]
    if rng.random() < 0.75:
        items += _shower_curtain(rng, w, depth, h, min(2.05, style.ceiling - 0.1))
    return items


def _shower_curtain(
    rng: np.random.Generator, w: float, depth: float, rim: float, top: float
) -> list[Item]:
    cloth = patterned(rng) if rng.random() < 0.7 else fabric((236, 236, 232), 0.06)
    width = rng.uniform(0.35, 1.0) * 2 * w
    folds = max(4, round(width / 0.14))
    sheets = drape(width, top, folds, 0.05, cloth)
    start = rng.choice([-w, w - width])
    hung = Item("shower curtain", _raised(sheets, 0.25)).placed(float(start), depth + 0.005)
    bar = rod(
        (-w, depth + 0.03, top + 0.02),
        (w, depth + 0.03, top + 0.02),
        0.012,
        c.brushed((190, 192, 194)),
    )
    return [hung, Item("otherprop", [bar])]


def _raised(sheets: list[Patch], bottom: float) -> list[Patch]:
    """Lift the lower edge of a curtain."""
    top = max(float(p.grid[..., 2].max()) for p in sheets)
    low = min(float(p.grid[..., 2].min()) for p in sheets)
    T = np.eye(4)
    T[2, 2] = (top - bottom) / (top - low)
    T[2, 3] = top - T[2, 2] * top
    return [p.moved(T) for p in sheets]


def shower(rng: np.random.Generator, style: Style) -> list[Item]:
    """Shower tray behind a curtain."""
    white = ceramic(rng)
    side, top = rng.uniform(0.8, 1.0), min(2.05, style.ceiling - 0.1)
    w = side / 2
    tray = Item("bathtub", box((-w, 0, 0), (w, side, 0.12), white))
    chrome = c.brushed((190, 192, 194))
    pole = rod((0, 0.03, 0.9), (0, 0.03, top - 0.05), 0.012, chrome)
    head = tube((0, 0.15), [top - 0.08, top - 0.06, top - 0.05], [0.09, 0.09, 0], chrome, 16)
    arm = rod((0, 0.03, top - 0.06), (0, 0.15, top - 0.055), 0.01, chrome)
    return [tray, Item("otherprop", [pole, head, arm]), *_shower_curtain(rng, w, side, 0.1, top)]


def towel_rail(rng: np.random.Generator, style: Style) -> list[Item]:
    """Towels over a bar; the bar is at z = 0."""
    w = rng.uniform(0.2, 0.4)
    bar = [rod((-w - 0.04, 0.06, 0), (w + 0.04, 0.06, 0), 0.01, style.metallic)]
    bar += [rod((x, 0.0, 0), (x, 0.06, 0), 0.01, style.metallic) for x in (-w - 0.03, w + 0.03)]
    cloth = patterned(rng) if rng.random() < 0.4 else fabric(cloth_color(rng), 0.12)
    h = rng.uniform(0.35, 0.75)
    towel = box((-w, 0.072, -h), (w, 0.085, 0.012), cloth)
    towel += box((-w, 0.04, -0.8 * h), (w, 0.05, 0.012), cloth)
    towel += box((-w, 0.05, 0.002), (w, 0.072, 0.014), cloth)
    return [Item("otherprop", bar), Item("towel", towel)]


def folded_towels(rng: np.random.Generator) -> list[Item]:
    """Folded towels on each other."""
    items: list[Patch] = []
    for i in range(int(rng.integers(1, 5))):
        cloth = fabric(cloth_color(rng), 0.14)
        items += rounded_box((-0.17, -0.12, 0.06 * i), (0.17, 0.12, 0.06 * i + 0.058), 0.022, cloth)
    return [Item("towel", items)]


def laundry_basket(rng: np.random.Generator) -> list[Item]:
    """Basket with clothes in it."""
    h, r = rng.uniform(0.35, 0.6), rng.uniform(0.18, 0.24)
    weave = c.checkered((190, 160, 110), (150, 120, 80), 0.02)
    body = tube((0, 0), [0, 0, h, h, h - 0.12], [0, 0.9 * r, r, 0.95 * r, 0.9 * r], weave, 20)
    heap = clutter.heap_of_clothes(rng)[0]
    scale = np.diag([0.55 * r / 0.2, 0.55 * r / 0.2, 1.0, 1.0])
    scale[2, 3] = h - 0.12
    inner = tube((0, 0), [h - 0.12, h - 0.119], [0.92 * r, 0], fabric(cloth_color(rng)), 20)
    return [Item("otherprop", [body]), Item("clothes", [inner, *heap.moved(scale).patches])]
