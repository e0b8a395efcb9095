# SPDX-License-Identifier: Apache-2.0
"""Small things that lie and stand about. Each is centred on the vertical axis, on z = 0."""

from dataclasses import replace

import numpy as np

from mtl_perception.synthetic import coverings as c
from mtl_perception.synthetic.furniture import Item, book_pile
from mtl_perception.synthetic.materials import banded, fabric, plaster
from mtl_perception.synthetic.palette import METALS, cloth_color, darker, pick, tone, vivid
from mtl_perception.synthetic.patches import (
    Material,
    Patch,
    box,
    ellipsoid,
    leaning,
    quad,
    rod,
    rounded_box,
    swept,
    tipped,
    tube,
)
from mtl_perception.synthetic.prints import dark_screen, desktop, page, photograph, poster, spine

Pieces = list[Item]


def _ware(rng: np.random.Generator) -> Material:
    """Glazed china or plastic, one colour or with a band."""
    color = vivid(rng) if rng.random() < 0.6 else tone(rng, (0, 0.05), (0.85, 0.98))
    if rng.random() < 0.3:
        low = float(rng.uniform(0.2, 0.6))
        return banded(color, vivid(rng), (low, low + 0.25))
    return plaster(color, 0.02)


def cup(rng: np.random.Generator) -> Pieces:
    """Mug with a handle and a dark drink."""
    height, radius = rng.uniform(0.08, 0.11), rng.uniform(0.035, 0.045)
    ware = _ware(rng)
    wall = tube(
        (0, 0), [0, 0, height, height - 0.015], [0, radius * 0.9, radius, radius - 0.005], ware, 14
    )
    drink = tube((0, 0), [height - 0.015, height - 0.014], [radius, 0], plaster((60, 36, 22)), 14)
    handle = rod(
        (radius - 0.004, 0, 0.25 * height), (radius + 0.025, 0, 0.4 * height), 0.005, ware, 6
    )
    upper = rod(
        (radius + 0.025, 0, 0.4 * height), (radius + 0.025, 0, 0.65 * height), 0.005, ware, 6
    )
    back = rod(
        (radius + 0.025, 0, 0.65 * height), (radius - 0.004, 0, 0.8 * height), 0.005, ware, 6
    )
    return [Item("otherprop", [wall, drink, handle, upper, back])]


def bottle(rng: np.random.Generator) -> Pieces:
    """Bottle with a label and a cap."""
    height, radius = rng.uniform(0.16, 0.33), rng.uniform(0.028, 0.045)
    glass = plaster(tone(rng, (0.1, 0.9), (0.15, 0.9)), 0.04)
    label = poster([tone(rng, (0, 0.5), (0.6, 0.98)), vivid(rng), vivid(rng)])
    z = height * rng.uniform(0.55, 0.7)
    body = tube(
        (0, 0),
        [0, 0, z, 0.8 * height, height, height],
        [0, radius, radius, 0.013, 0.013, 0],
        glass,
        14,
    )
    wrap = tube((0, 0), [0.2 * height, 0.85 * z], [radius + 0.001] * 2, label, 14)
    cap = tube(
        (0, 0),
        [0.93 * height, height + 0.004, height + 0.004],
        [0.016, 0.016, 0],
        plaster(vivid(rng)),
        10,
    )
    return [Item("otherprop", [body, wrap, cap])]


def can(rng: np.random.Generator) -> Pieces:
    """Tin, jar or canister."""
    height, radius = rng.uniform(0.08, 0.22), rng.uniform(0.03, 0.07)
    label = poster([vivid(rng), vivid(rng), tone(rng, (0, 0.3), (0.7, 0.98))])
    metal = c.brushed(pick(METALS, rng))
    body = tube(
        (0, 0), [0, height], [radius, radius], label if rng.random() < 0.6 else _ware(rng), 16
    )
    lid = tube((0, 0), [height, height + 0.008, height + 0.008], [radius, radius, 0], metal, 16)
    base = tube((0, 0), [0, 0.001], [0, radius], metal, 16)
    return [Item("otherprop", [body, lid, base])]


def plate(rng: np.random.Generator) -> Pieces:
    """Plates on each other."""
    count, radius = int(rng.integers(1, 5)), rng.uniform(0.09, 0.14)
    ware = _ware(rng)
    patches = [
        tube((0, 0), [z, z + 0.004, z + 0.02, z + 0.008], [0, 0.6 * radius, radius, 0], ware, 18)
        for z in 0.008 * np.arange(count)
    ]
    return [Item("otherprop", patches)]


def bowl(rng: np.random.Generator) -> Pieces:
    """Bowl, perhaps with fruit."""
    radius, height = rng.uniform(0.08, 0.16), rng.uniform(0.05, 0.1)
    ware = _ware(rng)
    patches = [
        tube(
            (0, 0),
            [0, 0, 0.4 * height, height, 0.45 * height, 0.15 * height],
            [0, 0.45 * radius, 0.8 * radius, radius, 0.7 * radius, 0],
            ware,
            18,
        )
    ]
    if rng.random() < 0.6:
        color = tone(rng, (0.6, 0.95), (0.5, 0.95))
        for _ in range(int(rng.integers(3, 7))):
            r, turn = rng.uniform(0, 0.55 * radius), rng.uniform(0, 2 * np.pi)
            size = rng.uniform(0.028, 0.042)
            at = (r * np.cos(turn), r * np.sin(turn), 0.25 * height + size + rng.uniform(0, 0.03))
            patches.append(ellipsoid(at, (size, size, 0.95 * size), plaster(color, 0.08), 10))
    return [Item("otherprop", patches)]


def vase(rng: np.random.Generator) -> Pieces:
    """Vase, with or without flowers."""
    height = rng.uniform(0.15, 0.35)
    radius = height * rng.uniform(0.2, 0.35)
    ware = _ware(rng)
    patches = [
        tube(
            (0, 0),
            [0, 0, 0.35 * height, 0.8 * height, height, 0.9 * height],
            [0, 0.6 * radius, radius, 0.4 * radius, 0.55 * radius, 0],
            ware,
            16,
        )
    ]
    if rng.random() < 0.5:
        patches += _bunch(rng, height, 0.5 * height + 0.1, blossoms=True)
    return [Item("otherprop", patches)]


def _bunch(rng: np.random.Generator, foot: float, reach: float, blossoms: bool) -> list[Patch]:
    """Leaves, and blossoms at their tips, that spread from a point at height ``foot``."""
    green = fabric(tone(rng, (0.4, 0.8), (0.2, 0.6)), 0.2)
    if rng.random() < 0.9:
        green = fabric(
            (int(rng.integers(30, 100)), int(rng.integers(70, 150)), int(rng.integers(20, 80))), 0.2
        )
    flower = plaster(vivid(rng), 0.1)
    patches: list[Patch] = []
    for _ in range(int(rng.integers(8, 18))):
        turn, lean = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 1.1)
        length = reach * rng.uniform(0.6, 1.0)
        out = np.array([np.cos(turn) * np.sin(lean), np.sin(turn) * np.sin(lean), np.cos(lean)])
        side = np.array([-np.sin(turn), np.cos(turn), 0]) * length * rng.uniform(0.06, 0.16)
        fractions = np.linspace(0, 1, 5)
        middle = np.array([0, 0, foot]) + out * length * fractions[:, None]
        middle[:, 2] -= 0.35 * length * np.sin(lean) * fractions**2
        middle[:, 2] = np.maximum(middle[:, 2], 0.02)
        wide = np.sin(np.pi * np.clip(fractions, 0.06, 0.97))[:, None] * side
        sheet = np.stack([middle - wide, middle, middle + wide], axis=1)
        patches += _two_sided(sheet, green)
        if blossoms and rng.random() < 0.7:
            size = rng.uniform(0.015, 0.035)
            patches.append(ellipsoid(tuple(middle[-1]), (size, size, 0.7 * size), flower, 8))
    return patches


def _two_sided(sheet: np.ndarray, material: Material) -> list[Patch]:
    """Return a thin sheet as two surfaces, 1 mm apart."""
    below = np.ascontiguousarray(sheet[:, ::-1]) - (0.0, 0.0, 0.001)
    return [Patch(sheet, material), Patch(below, material)]


def plant(rng: np.random.Generator, reach: float = 0.3) -> Pieces:
    """Plant in a pot; its leaves reach about ``reach`` metres."""
    height = reach * rng.uniform(0.4, 0.6)
    radius = 0.6 * height
    pot = tube(
        (0, 0),
        [0, 0, height, height, 0.9 * height],
        [0, 0.75 * radius, radius, 0.9 * radius, 0.88 * radius],
        _ware(rng) if rng.random() < 0.5 else plaster((176, 96, 62), 0.06),
        16,
    )
    soil = tube(
        (0, 0),
        [0.9 * height, 0.9 * height + 0.001],
        [0.9 * radius, 0],
        plaster((52, 38, 28), 0.2),
        16,
    )
    return [Item("otherprop", [pot, soil, *_bunch(rng, 0.9 * height, reach, rng.random() < 0.2)])]


def floor_plant(rng: np.random.Generator) -> Pieces:
    """Large plant that stands on the floor."""
    return plant(rng, rng.uniform(0.6, 1.0))


def laptop(rng: np.random.Generator) -> Pieces:
    """Open laptop; its screen faces +y."""
    w, d = rng.uniform(0.3, 0.38) / 2, 0.24
    shell = plaster(tone(rng, (0, 0.05), (0.1, 0.8)))
    base = box((-w, -0.1, 0), (w, d - 0.1, 0.014), shell)
    keys = quad((-w + 0.02, 0.0, 0.0145), (2 * w - 0.04, 0, 0), (0, 0.1, 0), _keys(rng))
    lid = box((-w, -0.112, 0.012), (w, -0.1, 0.012 + d * 0.95), shell)
    face = quad(
        (w - 0.01, -0.0995, 0.025),
        (-2 * w + 0.02, 0, 0),
        (0, 0, d * 0.95 - 0.025),
        _shown(rng, 0.6),
    )
    return [Item("otherprop", [*base, keys, *tipped([*lid, face], 15, (0, -0.1, 0.012))])]


def _keys(rng: np.random.Generator) -> Material:
    dark = rng.random() < 0.7
    return c.checkered(
        (34, 34, 38) if dark else (225, 225, 222), (44, 44, 48) if dark else (205, 205, 202), 0.019
    )


def _shown(rng: np.random.Generator, on: float) -> Material:
    """What a screen shows: nothing, windows, or a photograph."""
    kind = rng.random()
    if kind > on:
        return dark_screen()
    if kind < 0.65 * on:
        return desktop(tone(rng, (0.2, 0.8), (0.2, 0.8)), tone(rng, (0, 0.1), (0.7, 1.0)))
    return photograph([tone(rng, (0.2, 0.9), (0.2, 0.95)) for _ in range(4)])


def monitor(rng: np.random.Generator) -> Pieces:
    """Computer screen on a foot, facing +y."""
    w, h = rng.uniform(0.4, 0.68), 0.0
    h, lift = 0.6 * w, rng.uniform(0.08, 0.16)
    shell = plaster(tone(rng, (0, 0.04), (0.06, 0.3) if rng.random() < 0.8 else (0.7, 0.9)))
    patches = box((-0.11, -0.1, 0), (0.11, 0.09, 0.015), shell)
    patches += box((-0.025, -0.05, 0.012), (0.025, -0.03, lift + 0.5 * h), shell)
    patches += box((-w / 2, -0.03, lift), (w / 2, 0.01, lift + h), shell)
    rim = 0.014
    patches.append(
        quad(
            (w / 2 - rim, 0.011, lift + rim),
            (-w + 2 * rim, 0, 0),
            (0, 0, h - 2 * rim),
            _shown(rng, 0.65),
            emission=0.0,
        )
    )
    return [Item("otherprop", patches)]


def keyboard(rng: np.random.Generator) -> Pieces:
    """Keyboard."""
    shell = plaster(tone(rng, (0, 0.05), (0.06, 0.9)))
    top = quad((-0.21, -0.06, 0.0205), (0.42, 0, 0), (0, 0.12, 0), _keys(rng))
    return [Item("otherprop", [*box((-0.22, -0.07, 0), (0.22, 0.07, 0.02), shell), top])]


def papers(rng: np.random.Generator) -> Pieces:
    """A few sheets on each other."""
    patches = []
    for i in range(int(rng.integers(1, 5))):
        sheet = Item("paper", box((-0.105, -0.148, 0), (0.105, 0.148, 0.002), page()))
        x, y = rng.uniform(-0.04, 0.04, 2)
        patches += sheet.placed(x, y, 0.002 * i, rng.uniform(-30, 30)).patches
    return [Item("paper", patches)]


def magazine(rng: np.random.Generator) -> Pieces:
    """A magazine or a book lying flat, its cover in bold colours."""
    w, d, h = rng.uniform(0.14, 0.22), rng.uniform(0.2, 0.29), rng.uniform(0.005, 0.04)
    cover = poster([vivid(rng), vivid(rng), tone(rng, (0, 0.3), (0.7, 1.0))])
    sides = box((-w / 2, -d / 2, 0), (w / 2, d / 2, h - 0.001), plaster((226, 222, 210)))
    top = quad((-w / 2, -d / 2, h), (w, 0, 0), (0, d, 0), cover)
    return [Item("books", [*sides, top])]


def piled_books(rng: np.random.Generator) -> Pieces:
    """Books lying on each other."""
    return [book_pile(rng)]


def row_of_books(length: float, depth: float, space: float, rng: np.random.Generator) -> Item:
    """Return books side by side from x = 0 to ``length``, backs at y = 0.015.

    They are at most ``depth`` deep and ``space`` high; sets look alike, some stand askew.
    """
    patches: list[Patch] = []
    x, left_of_set = 0.0, 0
    while True:
        if left_of_set == 0:
            left_of_set = int(rng.integers(1, 7))
            color, ink = _cover_color(rng), vivid(rng)
            tall, deep = rng.uniform(0.55, 0.98) * min(space, 0.34), rng.uniform(0.6, 0.95) * depth
            thickness = rng.uniform(0.012, 0.05)
        left_of_set -= 1
        thick = thickness * rng.uniform(0.8, 1.2)
        height = tall * rng.uniform(0.94, 1.0)
        if x + thick > length:
            break
        patches += _book(x, thick, deep * rng.uniform(0.92, 1.0), height, spine(color, ink))
        x += thick
    return Item("books", patches)


def _cover_color(rng: np.random.Generator) -> tuple[int, int, int]:
    kind = rng.random()
    if kind < 0.3:
        return tone(rng, (0, 0.12), (0.7, 0.98))
    return tone(rng, (0.2, 0.9), (0.1, 0.5) if kind < 0.7 else (0.4, 0.9))


def _book(x: float, thick: float, depth: float, height: float, cover: Material) -> list[Patch]:
    """A standing book: its spine faces +y, its pages show on top."""
    body = box((x, 0.015, 0), (x + thick - 0.001, depth, height), cover)
    body[0] = replace(body[0], material=plaster((232, 226, 208), 0.06))
    return body


def carton(rng: np.random.Generator) -> Pieces:
    """Cardboard box or package."""
    w, d, h = rng.uniform(0.12, 0.42), rng.uniform(0.1, 0.32), rng.uniform(0.06, 0.35)
    if rng.random() < 0.6:
        card = banded((int(rng.integers(160, 196)), 138, 92), (150, 112, 70), (0.44, 0.5))
    else:
        card = poster([vivid(rng), vivid(rng), vivid(rng)])
    return [Item("box", box((-w / 2, -d / 2, 0), (w / 2, d / 2, h), card))]


def package(rng: np.random.Generator) -> Pieces:
    """Small printed box: cereals, tea, tissues."""
    w, d, h = rng.uniform(0.06, 0.2), rng.uniform(0.04, 0.1), rng.uniform(0.08, 0.3)
    card = poster([vivid(rng), vivid(rng), tone(rng, (0, 0.3), (0.7, 1.0))])
    return [Item("box", box((-w / 2, -d / 2, 0), (w / 2, d / 2, h), card))]


def bag(rng: np.random.Generator) -> Pieces:
    """Backpack or handbag, slumped a little."""
    w, d, h = rng.uniform(0.26, 0.42), rng.uniform(0.14, 0.22), rng.uniform(0.24, 0.46)
    cloth = fabric(cloth_color(rng))
    other = fabric(cloth_color(rng)) if rng.random() < 0.4 else cloth
    patches = rounded_box((-w / 2, -d / 2, 0), (w / 2, d / 2, h), 0.45 * d, cloth)
    patches += rounded_box(
        (-0.36 * w, 0.3 * d, 0.02), (0.36 * w, 0.75 * d, 0.55 * h), 0.2 * d, other
    )
    loop = [(-0.08, h - 0.02), (-0.06, h + 0.07), (0.06, h + 0.07), (0.08, h - 0.02)]
    for (x0, z0), (x1, z1) in zip(loop[:-1], loop[1:], strict=True):
        patches.append(rod((x0, 0, z0), (x1, 0, z1), 0.011, other, 6))
    return [Item("bag", patches)]


def heap_of_clothes(rng: np.random.Generator) -> Pieces:
    """Crumpled or folded garments."""
    patches = []
    count = int(rng.integers(1, 4))
    for i in range(count):
        r = rng.uniform(0.12, 0.24)
        side = np.linspace(-1, 1, 17)
        y, x = np.meshgrid(side, side, indexing="ij")
        bumps = np.zeros_like(x)
        for _ in range(4):
            kx, ky, phase = rng.uniform(1, 6, 3)
            bumps += rng.uniform(0.1, 0.4) * np.sin(kx * x + ky * y + phase)
        dome = np.clip((1 - x**4) * (1 - y**4), 0, 1) ** 0.5
        z = dome * (0.06 + 0.03 * i + 0.03 * np.clip(bumps, -1, 2)) + 0.003 * (i + 1)
        dx, dy = rng.uniform(-0.08, 0.08, 2)
        grid = np.stack([r * x + dx, r * y + dy, z], axis=2)
        patches.append(Patch(grid, fabric(cloth_color(rng), 0.2)))
    return [Item("clothes", patches)]


def bin_(rng: np.random.Generator) -> Pieces:
    """Waste bin."""
    height, radius = rng.uniform(0.28, 0.65), rng.uniform(0.12, 0.19)
    kind = rng.random()
    skin = c.brushed(pick(METALS, rng)) if kind < 0.4 else plaster(tone(rng, (0, 0.6), (0.08, 0.9)))
    body = tube(
        (0, 0),
        [0, 0, height, height, 0.1],
        [0, 0.85 * radius, radius, 0.96 * radius, 0.8 * radius],
        skin,
        18,
    )
    inner = tube((0, 0), [0.1, 0.101], [0.8 * radius, 0], plaster((40, 40, 42)), 18)
    if kind < 0.5:
        lid = ellipsoid((0, 0, height), (radius, radius, 0.25 * radius), plaster((40, 40, 44)), 16)
        return [Item("otherfurniture", [body, lid])]
    return [Item("otherfurniture", [body, inner])]


def speaker(rng: np.random.Generator) -> Pieces:
    """Loudspeaker, radio or computer case."""
    w, d, h = rng.uniform(0.12, 0.25), rng.uniform(0.14, 0.3), rng.uniform(0.15, 0.45)
    shell = plaster(tone(rng, (0, 0.3), (0.05, 0.4)))
    patches = box((-w / 2, -d / 2, 0), (w / 2, d / 2, h), shell)
    r = min(0.3 * w, 0.2 * h)
    for z in (0.3 * h, 0.7 * h):
        disc = tube((0, 0), [0, 0.004, 0.005], [r, r, 0], fabric((30, 30, 32)), 16)
        T = np.array([[1.0, 0, 0, 0], [0, 0, 1, d / 2 - 0.001], [0, -1, 0, z], [0, 0, 0, 1]])
        patches.append(disc.moved(T))
    return [Item("otherprop", patches)]


def toy(rng: np.random.Generator) -> Pieces:
    """A toy animal of balls, or a ball."""
    color = fabric(vivid(rng))
    r = rng.uniform(0.05, 0.12)
    patches = [ellipsoid((0, 0, r), (r, r, r), color, 14)]
    if rng.random() < 0.7:
        patches.append(ellipsoid((0, 0.2 * r, 2.3 * r), (0.7 * r, 0.7 * r, 0.7 * r), color, 12))
        for x in (-0.5 * r, 0.5 * r):
            patches.append(ellipsoid((x, 0, 2.95 * r), (0.25 * r, 0.2 * r, 0.3 * r), color, 8))
            patches.append(
                ellipsoid((1.6 * x, 0.7 * r, 0.3 * r), (0.3 * r, 0.5 * r, 0.3 * r), color, 8)
            )
    return [Item("otherprop", patches)]


def shoes(rng: np.random.Generator) -> Pieces:
    """A pair of shoes."""
    leather, sole = plaster(cloth_color(rng), 0.05), plaster((40, 36, 32))
    patches = []
    for x in (-0.06, 0.06):
        patches += box((x - 0.04, -0.13, 0), (x + 0.04, 0.13, 0.018), sole)
        patches.append(ellipsoid((x, 0.05, 0.046), (0.042, 0.09, 0.045), leather, 10))
        patches.append(ellipsoid((x, -0.06, 0.066), (0.042, 0.075, 0.065), leather, 10))
    return [Item("clothes", patches)]


def candle(rng: np.random.Generator) -> Pieces:
    """Candle, or a small figure."""
    height, radius = rng.uniform(0.06, 0.2), rng.uniform(0.02, 0.045)
    wax = plaster(vivid(rng), 0.03)
    return [
        Item("otherprop", [tube((0, 0), [0, 0, height, height], [0, radius, radius, 0], wax, 12)])
    ]


def photo_frame(rng: np.random.Generator) -> Pieces:
    """Standing photograph in a frame, facing +y."""
    w, h = rng.uniform(0.1, 0.22), rng.uniform(0.12, 0.25)
    colors = [vivid(rng) for _ in range(4)]
    frame = box((-w / 2, -0.01, 0), (w / 2, 0.01, h), plaster(darker(vivid(rng), 0.6)))
    art = quad(
        (w / 2 - 0.015, 0.0105, 0.015), (-w + 0.03, 0, 0), (0, 0, h - 0.03), photograph(colors)
    )
    return [Item("picture", tipped([*frame, art], 10)).placed(0, 0, 0.002)]


def basket(rng: np.random.Generator) -> Pieces:
    """Open basket or tub with something in it."""
    w, d, h = rng.uniform(0.2, 0.45), rng.uniform(0.15, 0.3), rng.uniform(0.1, 0.28)
    first = tone(rng, (0.2, 0.5), (0.4, 0.8))
    skin = c.checkered(first, darker(first, 0.75), 0.02) if rng.random() < 0.5 else _ware(rng)
    t, filling = 0.012, fabric(cloth_color(rng), 0.25)
    patches: list[Patch] = []
    for low, high in (
        ((-w / 2, -d / 2), (w / 2, -d / 2 + t)),
        ((-w / 2, d / 2 - t), (w / 2, d / 2)),
        ((-w / 2, -d / 2 + t), (-w / 2 + t, d / 2 - t)),
        ((w / 2 - t, -d / 2 + t), (w / 2, d / 2 - t)),
    ):
        patches += box((*low, 0), (*high, h), skin)
    inner = (w / 2 - t, d / 2 - t)
    patches += box((-inner[0], -inner[1], 0), (*inner, h * rng.uniform(0.3, 0.9)), filling)
    return [Item("otherprop", patches)]


def fan(rng: np.random.Generator) -> Pieces:
    """Table fan, facing +y."""
    r, metal = rng.uniform(0.12, 0.2), plaster(vivid(rng))
    z = 1.6 * r
    T = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, z], [0, 0, 0, 1]])
    wires = c.checkered((60, 60, 64), (150, 152, 154), 0.015)
    cage = tube((0, 0), [0, 0.02, 0.07, 0.09], [0.3 * r, r, r, 0], wires, 20)
    foot = tube((0, 0), [0, 0.02, 0.025], [0.7 * r, 0.7 * r, 0], metal, 18)
    return [Item("otherprop", [foot, rod((0, 0, 0.02), (0, 0, z), 0.015, metal), cage.moved(T)])]


def globe(rng: np.random.Generator) -> Pieces:
    """Globe on a foot."""
    r = rng.uniform(0.1, 0.16)
    land = c.swirls((60, 110, 170), (150, 150, 90), 0.1)
    foot = tube((0, 0), [0, 0.02, 0.025], [0.6 * r, 0.6 * r, 0], plaster((60, 40, 30)), 18)
    pole = rod((0, 0, 0.02), (0, 0, 0.08), 0.01, plaster((60, 40, 30)))
    return [Item("otherprop", [foot, pole, ellipsoid((0, 0, 0.07 + r), (r, r, r), land, 18)])]


def storage_tub(rng: np.random.Generator) -> Pieces:
    """Plastic tub with a lid of another colour."""
    w, d, h = rng.uniform(0.2, 0.5), rng.uniform(0.15, 0.35), rng.uniform(0.1, 0.3)
    patches = box((-w / 2, -d / 2, 0), (w / 2, d / 2, h - 0.03), plaster(vivid(rng), 0.02))
    low, high = (-w / 2 - 0.008, -d / 2 - 0.008, h - 0.03), (w / 2 + 0.008, d / 2 + 0.008, h)
    return [Item("otherprop", [*patches, *box(low, high, plaster(vivid(rng), 0.02))])]


def vacuum_cleaner(rng: np.random.Generator) -> Pieces:
    """Vacuum cleaner with a hose that stands up."""
    shell, dark = plaster(vivid(rng), 0.02), plaster((40, 40, 44))
    patches = rounded_box((-0.15, -0.22, 0.02), (0.15, 0.2, 0.24), 0.07, shell)
    hose: list[tuple[float, float, float]] = [
        (0, 0.18, 0.16),
        (0.05, 0.32, 0.35),
        (0.1, 0.3, 0.75),
        (0.12, 0.36, 0.4),
        (0.12, 0.4, 0.05),
    ]
    patches.append(swept(hose, [0.02] * 5, dark, 8))
    patches += box((0.0, 0.36, 0), (0.25, 0.44, 0.05), dark)
    return [Item("otherprop", patches)]


def guitar(rng: np.random.Generator) -> Pieces:
    """Guitar that leans back on y = 0."""
    wood_ = plaster(tone(rng, (0.4, 0.9), (0.3, 0.8)), 0.08)
    lower = tube((0, 0), [0, 0.09, 0.09], [0.2, 0.2, 0], wood_, 24)
    upper = tube((0, 0.27), [0, 0.09, 0.09], [0.15, 0.15, 0], wood_, 24)
    hole = tube((0, 0.17), [0.09, 0.091], [0.045, 0], plaster((24, 20, 18)), 18)
    neck = box((-0.025, 0.38, 0.06), (0.025, 0.95, 0.085), plaster((60, 40, 28)))
    patches = leaning([lower, upper, hole, *neck], 72)
    return [Item("otherprop", patches)]


TABLE_THINGS = (
    *(cup, cup, bottle, plate, bowl, vase, papers, magazine, magazine, package, laptop, can),
    *(basket, toy, candle, plant),
)
KITCHEN_THINGS = (
    *(bottle, bottle, can, can, cup, plate, bowl, package, package, plant, vase),
    *(basket, storage_tub),
)
DESK_THINGS = (
    *(papers, papers, magazine, cup, piled_books, laptop, photo_frame, bottle, speaker),
    *(plant, fan, basket, globe, storage_tub, can),
)
SHELF_THINGS = (
    *(vase, photo_frame, plant, can, bowl, toy, candle, package, speaker, carton),
    *(basket, globe, storage_tub, fan, piled_books),
)
FLOOR_THINGS = (
    *(carton, carton, bag, bag, heap_of_clothes, shoes, toy, bin_, papers, piled_books),
    *(basket, storage_tub, storage_tub, vacuum_cleaner, speaker, plant),
)


def choose(makers: tuple, count: int, rng: np.random.Generator) -> list:
    """Return ``count`` makers drawn with replacement."""
    return [makers[int(i)] for i in rng.integers(len(makers), size=count)]


def plain_face(
    material: Material, w: float, y: float, z: float, height: float, glow: float = 0.0
) -> list[Patch]:
    """Return an upright rectangle that faces +y, from -w to w."""
    return [quad((w, y, z), (-2 * w, 0, 0), (0, 0, height), material, glow)]


def screen_face(
    rng: np.random.Generator, w: float, y: float, z: float, height: float, on: float
) -> list[Patch]:
    """Return the face of a screen that is ``on`` with this chance."""
    return plain_face(_shown(rng, on), w, y, z, height)


def note(rng: np.random.Generator) -> Material:
    """What is pinned up: a page, a coloured slip, a picture."""
    kind = rng.random()
    if kind < 0.5:
        return page(tone(rng, (0, 0.4), (0.85, 1.0)))
    if kind < 0.7:
        return plaster(vivid(rng))
    return poster([vivid(rng), vivid(rng), tone(rng, (0, 0.3), (0.7, 1.0))])


def printer(rng: np.random.Generator) -> Pieces:
    """Printer with a sheet in its tray."""
    skin = plaster(tone(rng, (0, 0.05), (0.1, 0.95)))
    patches = box((-0.23, -0.19, 0), (0.23, 0.19, 0.2), skin)
    patches += box((-0.2, -0.16, 0.2), (0.2, 0.1, 0.24), skin)
    patches += box((-0.16, 0.19, 0.06), (0.16, 0.3, 0.07), plaster((50, 50, 54)))
    return [Item("otherprop", patches)]
