# SPDX-License-Identifier: Apache-2.0
"""Floor, ceiling, walls with skirting, doors and windows of a room, and its ceiling lamps."""

import numpy as np

from mtl_perception.synthetic import fixtures
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.palette import Style
from mtl_perception.synthetic.patches import quad
from mtl_perception.synthetic.placement import Placement

SKIRTING = 0.012
"""Metres by which a skirting board stands before its wall."""


def shell(size: tuple[float, float, float], style: Style, rng: np.random.Generator) -> list[Item]:
    """Return floor, ceiling and the four walls of a room of ``size`` metres."""
    w, d, h = size
    odd, skirting = int(rng.integers(4)), rng.random() < 0.8
    walls = []
    for i, (origin, along) in enumerate(
        (
            ((w, 0, 0), (-w, 0, 0)),
            ((w, d, 0), (0, -d, 0)),
            ((0, d, 0), (w, 0, 0)),
            ((0, 0, 0), (0, d, 0)),
        )
    ):
        material = style.other_wall if i == odd else style.wall
        patches = [quad(origin, along, (0, 0, h), material)]
        if skirting:
            inward = np.add(origin, SKIRTING * np.cross(along, (0, 0, 1)) / np.linalg.norm(along))
            x, y, z = map(float, inward)
            patches.append(quad((x, y, z), along, (0, 0, 0.08), style.trim))
            low = np.subtract(origin, inward)
            patches.append(
                quad((x, y, 0.08), along, (float(low[0]), float(low[1]), 0.0), style.trim)
            )
        walls.append(Item("wall", patches))
    return [
        Item("floor", [quad((0, 0, 0), (w, 0, 0), (0, d, 0), style.floor)]),
        Item("ceiling", [quad((0, d, h), (w, 0, 0), (0, -d, 0), style.overhead)]),
        *walls,
    ]


def openings(room: Placement, style: Style, *, doors: int, windows: int) -> None:
    """Put doors, which must open, and windows into walls."""
    rng = room.rng
    for _ in range(doors):
        width, height = rng.uniform(0.75, 1.0), min(rng.uniform(1.95, 2.1), room.size[2] - 0.15)
        leaf = [fixtures.door(rng, style, width, height)]
        for _ in range(12):
            wall = int(rng.integers(4))
            s = float(rng.uniform(0.6, room.along(wall) - 0.6))
            if room.put(leaf, room.at_wall(wall, s, 0.0, SKIRTING), front=0.8):
                break
    for _ in range(windows):
        piece = fixtures.dressed_window(rng, style)
        for _ in range(8):
            wall = int(rng.integers(4))
            reach = max(float(abs(p.grid[..., 0]).max()) for item in piece for p in item.patches)
            if room.along(wall) < 2 * reach + 0.1:
                continue
            s = float(rng.uniform(reach + 0.03, room.along(wall) - reach - 0.03))
            if room.put(piece, room.at_wall(wall, s, 0.0, 0.001)):
                break


def ceiling_lights(room: Placement, rng: np.random.Generator, *, office: bool) -> None:
    """Hang one to six lamps in a regular grid."""
    width, depth, height = room.size
    kinds = ["bowl", "bowl", "pendant", "panel", "spot"]
    kind = "panel" if office and rng.random() < 0.7 else str(rng.choice(kinds))
    if kind == "pendant" and height < 2.5:
        kind = "bowl"
    columns, rows = 1, 1
    if kind in ("spot", "panel"):
        columns, rows = max(1, round(width / 2.4)), max(1, round(depth / 2.6))
    lamp = fixtures.ceiling_light(rng, height, kind)  # all of one make
    for i in range(columns):
        for j in range(rows):
            x, y = width * (i + 0.5) / columns, depth * (j + 0.5) / rows
            room.put([lamp.placed(x, y)], np.eye(4))
