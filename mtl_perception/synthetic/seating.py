# SPDX-License-Identifier: Apache-2.0
"""Things to sit and lie on. Chairs have their seat's centre on the vertical axis, facing +y."""

import numpy as np

from mtl_perception.synthetic import coverings as c
from mtl_perception.synthetic.furniture import Item, chair, sofa
from mtl_perception.synthetic.materials import fabric, plaster
from mtl_perception.synthetic.palette import METALS, Style, cloth_color, patterned, pick, vivid
from mtl_perception.synthetic.patches import (
    Material,
    Patch,
    box,
    ellipsoid,
    leaning,
    pillow,
    rod,
    rounded_box,
    tipped,
    tube,
)


def plain_chair(rng: np.random.Generator, style: Style) -> Item:
    """Chair of a dining table; one of several designs."""
    kind = rng.random()
    if kind < 0.3:
        return chair(style.timber, cloth_color(rng))
    if kind < 0.5:
        return _slatted_chair(rng, style)
    if kind < 0.65:
        return _padded_chair(rng, style)
    if kind < 0.85:
        return _shell_chair(rng, style)
    return _folding_chair(rng, style)


def _legs(half: float, depth: float, height: float, thick: float, wood: Material) -> list[Patch]:
    patches = []
    for x in (-half, half - thick):
        for y in (-depth, depth - thick):
            patches += box((x, y, 0), (x + thick, y + thick, height), wood)
    return patches


def _slatted_chair(rng: np.random.Generator, style: Style) -> Item:
    wood, seat = style.wood, rng.uniform(0.43, 0.48)
    half, top = rng.uniform(0.2, 0.24), rng.uniform(0.8, 1.05)
    patches = _legs(half, 0.21, seat, 0.045, wood)
    patches += box((-half, -0.22, seat - 0.04), (half, 0.22, seat), wood)
    if rng.random() < 0.6:
        patches += rounded_box(
            (-half + 0.01, -0.2, seat - 0.005),
            (half - 0.01, 0.225, seat + 0.04),
            0.018,
            plaster(cloth_color(rng), 0.03),
        )
    posts, upright = [], rng.random() < 0.4
    for x in (-half, half - 0.045):
        posts += box((x, -0.22, seat), (x + 0.045, -0.18, top), wood)
    if upright:
        posts += box((-half + 0.045, -0.215, top - 0.07), (half - 0.045, -0.185, top), wood)
        for x in np.linspace(-half + 0.09, half - 0.11, int(rng.integers(3, 6))):
            posts += box((x, -0.21, seat), (x + 0.02, -0.19, top - 0.07), wood)
    else:
        for z in np.linspace(seat + 0.14, top - 0.07, int(rng.integers(2, 5))):
            posts += box((-half + 0.045, -0.212, z), (half - 0.045, -0.188, z + 0.06), wood)
    return Item("chair", patches + tipped(posts, rng.uniform(0, 8), (0, -0.2, seat)))


def _padded_chair(rng: np.random.Generator, style: Style) -> Item:
    cloth = patterned(rng)
    half, top = rng.uniform(0.22, 0.25), rng.uniform(0.85, 1.1)
    patches = _legs(half, 0.22, 0.4, 0.04, style.wood)
    patches += rounded_box((-half, -0.23, 0.38), (half, 0.24, 0.5), 0.03, cloth)
    back = rounded_box((-half, -0.24, 0.42), (half, -0.16, top), 0.03, cloth)
    return Item("chair", patches + tipped(back, 6, (0, -0.2, 0.45)))


def _shell_chair(rng: np.random.Generator, style: Style) -> Item:
    """One bent shell on metal or wooden legs."""
    skin = plaster(vivid(rng), 0.02) if rng.random() < 0.7 else style.wood
    seat, half = rng.uniform(0.42, 0.46), rng.uniform(0.2, 0.24)
    outline = np.array(
        [
            (0.23, -0.02),
            (0.18, 0.0),
            (0.0, -0.015),
            (-0.14, 0.0),
            (-0.2, 0.06),
            (-0.23, 0.2),
            (-0.27, 0.4),
        ]
    )
    x = np.linspace(-half, half, 7)
    bend = 0.03 * (x / half) ** 2
    lines = [
        (y + bend, seat + z + 0 * x) if z > 0.1 else (y + 0 * x, seat + z + bend)
        for y, z in outline
    ]
    sheet = np.stack([np.stack([x, *line], axis=1) for line in lines])[:, ::-1]
    lower = np.ascontiguousarray(sheet[:, ::-1]) + (0.0, -0.004, -0.012)
    legs = [
        rod(
            (0.5 * x, 0.5 * y, seat - 0.02),
            (x, y, 0.012),
            0.012,
            style.metallic if rng.random() < 0.5 else style.wood,
            8,
        )
        for x in (-half, half)
        for y in (-0.2, 0.2)
    ]
    brace = box((-0.6 * half, -0.12, seat - 0.04), (0.6 * half, 0.12, seat - 0.02), style.metallic)
    return Item(
        "chair", [Patch(np.ascontiguousarray(sheet), skin), Patch(lower, skin), *legs, *brace]
    )


def _folding_chair(rng: np.random.Generator, style: Style) -> Item:
    metal, pad = c.brushed(pick(METALS, rng)), plaster(cloth_color(rng), 0.03)
    patches = [
        rod((x, s * 0.22, 0.012), (x, -s * 0.18, 0.86 if s > 0 else 0.44), 0.013, metal)
        for x in (-0.2, 0.2)
        for s in (1, -1)
    ]
    patches += box((-0.19, -0.18, 0.43), (0.19, 0.2, 0.455), pad)
    patches += box((-0.2, -0.19, 0.68), (0.2, -0.165, 0.85), pad)
    return Item("chair", patches)


def office_chair(rng: np.random.Generator, style: Style) -> Item:
    """Swivel chair on five castors."""
    cloth = fabric(cloth_color(rng) if rng.random() < 0.6 else (40, 40, 44))
    metal = plaster((44, 44, 48)) if rng.random() < 0.6 else style.metallic
    seat, half, top = rng.uniform(0.44, 0.52), rng.uniform(0.22, 0.25), rng.uniform(0.85, 1.2)
    patches: list[Patch] = [rod((0, 0, 0.08), (0, 0, seat - 0.05), 0.025, metal, 10)]
    turn = rng.uniform(0, 2 * np.pi)
    for angle in turn + 2 * np.pi * np.arange(5) / 5:
        tip = (0.27 * np.cos(angle), 0.27 * np.sin(angle))
        patches.append(rod((0, 0, 0.11), (*tip, 0.07), 0.018, metal, 6))
        patches.append(ellipsoid((*tip, 0.03), (0.03, 0.03, 0.03), plaster((30, 30, 32)), 8))
    patches += rounded_box((-half, -0.22, seat - 0.07), (half, 0.24, seat + 0.02), 0.035, cloth)
    back = rounded_box((-half + 0.02, -0.27, seat + 0.1), (half - 0.02, -0.2, top), 0.03, cloth)
    back.append(rod((0, -0.27, seat + 0.15), (0, -0.1, seat - 0.06), 0.018, metal, 8))
    patches += tipped(back, rng.uniform(2, 10), (0, -0.22, seat))
    if rng.random() < 0.6:
        for x in (-half - 0.03, half + 0.03):
            patches.append(rod((x, 0, seat - 0.04), (x, 0, seat + 0.19), 0.013, metal, 8))
            patches += rounded_box(
                (x - 0.03, -0.14, seat + 0.18), (x + 0.03, 0.12, seat + 0.21), 0.01, metal
            )
    return Item("chair", patches)


def stool(rng: np.random.Generator, style: Style) -> Item:
    """Round stool, low or for a bar, with or without a low back."""
    height = rng.uniform(0.44, 0.5) if rng.random() < 0.5 else rng.uniform(0.62, 0.76)
    pad = plaster(cloth_color(rng), 0.03) if rng.random() < 0.6 else style.wood
    patches = [
        tube(
            (0, 0),
            [height - 0.05, height - 0.05, height - 0.01, height],
            [0, 0.17, 0.175, 0],
            pad,
            18,
        )
    ]
    leg = style.metallic if rng.random() < 0.5 else style.wood
    patches += [
        rod((0.1 * a, 0.1 * b, height - 0.04), (0.17 * a, 0.17 * b, 0.012), 0.014, leg)
        for a in (-1, 1)
        for b in (-1, 1)
    ]
    z = 0.35 * height
    patches += [rod((-0.15, y, z), (0.15, y, z), 0.01, leg, 6) for y in (-0.15, 0.15)]
    return Item("chair", patches)


def armchair(rng: np.random.Generator, style: Style) -> Item:
    """Upholstered chair with arms; its back is on y = 0."""
    cloth = patterned(rng)
    w, d = rng.uniform(0.36, 0.46), rng.uniform(0.76, 0.9)
    seat, top, arm = rng.uniform(0.38, 0.46), rng.uniform(0.75, 1.05), rng.uniform(0.55, 0.66)
    patches = rounded_box((-w, 0.02, 0.08), (w, d - 0.02, 0.3), 0.05, cloth)
    patches += rounded_box((-w + 0.01, 0.0, 0.1), (w - 0.01, 0.22, top), 0.08, cloth)
    for x in (-w, w - 0.15):
        patches += rounded_box((x, 0.02, 0.08), (x + 0.15, d, arm), 0.06, cloth)
        for y in (0.05, d - 0.1):
            patches += box((x + 0.04, y, 0), (x + 0.09, y + 0.05, 0.1), style.wood)
    patches += rounded_box((-w + 0.14, 0.18, 0.28), (w - 0.14, d, seat), 0.05, cloth)
    return Item("chair" if rng.random() < 0.7 else "sofa", patches)


def couch(rng: np.random.Generator, style: Style) -> list[Item]:
    """Sofa with cushions; its back is on y = 0."""
    if rng.random() < 0.3:
        width, body = rng.uniform(1.5, 2.2), sofa(1.9, cloth_color(rng))
        body = body.moved(np.diag([width / 1.9, 1, 1, 1]))
        seat = 0.48
    else:
        width, seat = rng.uniform(1.4, 2.5), rng.uniform(0.38, 0.48)
        body = _couch_body(rng, style, width, seat)
    items = [body]
    most = int((width - 0.5) / 0.46)
    for x in np.linspace(-width / 2 + 0.47, width / 2 - 0.47, int(rng.integers(1, most + 1))):
        if rng.random() < 0.7:
            items.append(cushion(rng, 0.42).placed(x, 0.35, seat - 0.01, rng.uniform(-6, 6)))
    return items


def _couch_body(rng: np.random.Generator, style: Style, width: float, seat: float) -> Item:
    cloth = patterned(rng) if rng.random() < 0.4 else fabric(cloth_color(rng))
    if rng.random() < 0.2:
        cloth = plaster(cloth_color(rng), 0.05)  # leather
    w, d = width / 2, rng.uniform(0.8, 1.0)
    arm, arm_z, top = rng.uniform(0.1, 0.26), rng.uniform(0.5, 0.66), rng.uniform(0.7, 0.95)
    patches = rounded_box((-w, 0.02, 0.07), (w, d - 0.03, seat - 0.1), 0.04, cloth)
    patches += rounded_box((-w, 0.0, 0.1), (w, 0.22, top), 0.07, cloth)
    for x in (-w, w - arm):
        patches += rounded_box((x, 0.02, 0.08), (x + arm, d, arm_z), 0.045, cloth)
        for y in (0.06, d - 0.12):
            patches += box((x + 0.02, y, 0), (x + 0.07, y + 0.05, 0.09), style.wood)
    edges = np.linspace(-w + arm, w - arm, int(rng.integers(1, 4)) + 1)
    for x0, x1 in zip(edges[:-1], edges[1:], strict=True):
        patches += rounded_box((x0 + 0.004, 0.2, seat - 0.12), (x1 - 0.004, d, seat), 0.045, cloth)
        patches += rounded_box(
            (x0 + 0.01, 0.18, seat - 0.02), (x1 - 0.01, 0.36, top - 0.02), 0.07, cloth
        )
    return Item("sofa", patches)


def cushion(rng: np.random.Generator, size: float) -> Item:
    """Cushion leaning back on y = 0."""
    return Item("pillow", leaning(pillow(size, 0.15, patterned(rng)), rng.uniform(62, 75)))


def ottoman(rng: np.random.Generator, style: Style) -> Item:
    """Upholstered block or bench without a back."""
    w, d, h = rng.uniform(0.4, 1.1), rng.uniform(0.4, 0.6), rng.uniform(0.36, 0.46)
    cloth = patterned(rng) if rng.random() < 0.6 else plaster(cloth_color(rng), 0.04)
    patches = rounded_box((-w / 2, -d / 2, 0.08), (w / 2, d / 2, h), 0.04, cloth)
    patches += [p for p in _legs(w / 2 - 0.04, d / 2 - 0.04, 0.1, 0.05, style.wood)]
    return Item("otherfurniture", patches)


def bed(rng: np.random.Generator, style: Style) -> list[Item]:
    """Bed with pillows and a cover; its head is on y = 0."""
    width = float(rng.choice([0.9, 1.0, 1.2, 1.4, 1.6, 1.8])) + rng.uniform(-0.05, 0.05)
    w, d = width / 2, rng.uniform(1.95, 2.15)
    frame = style.wood if rng.random() < 0.6 else patterned(rng)
    low, seat, head = rng.uniform(0.15, 0.3), rng.uniform(0.42, 0.6), rng.uniform(0.8, 1.3)
    patches = box((-w, 0, 0.1 if rng.random() < 0.5 else 0.0), (w, d, low), frame)
    patches += box((-w - 0.03, 0, 0), (w + 0.03, 0.05, head), frame)
    if rng.random() < 0.4:
        patches += box((-w - 0.03, d, 0), (w + 0.03, d + 0.04, rng.uniform(0.4, 0.75)), frame)
    for x in (-w + 0.02, w - 0.09):
        patches += box((x, d - 0.1, 0), (x + 0.07, d - 0.03, low), style.wood)
    sheet = fabric(cloth_color(rng) if rng.random() < 0.4 else (236, 234, 228), 0.08)
    patches += rounded_box((-w + 0.02, 0.05, low - 0.01), (w - 0.02, d - 0.01, seat), 0.05, sheet)
    patches += _cover(rng, w, d, seat)
    items = [Item("bed", patches)]
    rows = 1 if rng.random() < 0.6 else 2
    places = [0.0] if width < 1.25 else [-w / 2, w / 2]
    for row in range(rows):
        for x in places:
            wide = min(0.7, width / len(places) - 0.1)
            puffed = [
                p.moved(np.diag([wide / 0.5, 0.9, 1.0, 1.0]))
                for p in pillow(0.5, 0.16, patterned(rng))
            ]
            place = (x + rng.uniform(-0.03, 0.03), 0.07 + 0.2 * row, seat - 0.015)
            if rows == 1 and rng.random() < 0.5:  # lying flat
                place = (place[0], 0.34, seat - 0.005)
            else:
                puffed = leaning(puffed, 55)
            items.append(Item("pillow", puffed).placed(*place, rng.uniform(-4, 4)))
    return items


def _cover(rng: np.random.Generator, w: float, d: float, seat: float) -> list[Patch]:
    """A duvet with soft folds that hangs over the sides."""
    cloth = patterned(rng)
    start, hang = rng.uniform(0.55, 1.1), rng.uniform(0.12, 0.3)
    thick, rough = rng.uniform(0.02, 0.07), rng.uniform(0.0, 0.05)
    u = np.concatenate([[-w - 0.025], np.linspace(-w - 0.01, w + 0.01, 23), [w + 0.025]])
    v = np.concatenate([[start], np.linspace(start + 0.03, d + 0.005, 22), [d + 0.02]])
    y, x = np.meshgrid(v, u, indexing="ij")
    waves = np.zeros_like(x)
    for _ in range(5):
        kx, ky = rng.uniform(-14, 14, 2)
        waves += np.sin(kx * x + ky * y + rng.uniform(0, 6))
    z = seat + thick + rough * np.abs(waves) / 2
    z[0, :] = seat - 0.005
    z[:, [0, -1]] = seat - hang
    z[-1, :] = seat - hang
    z[:1, [0, -1]] = seat - hang
    return [Patch(np.stack([x, y, z], axis=2), cloth)]
