# SPDX-License-Identifier: Apache-2.0
"""Floor, ceiling, walls with skirting, doors and windows of a room, and its ceiling lamps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtl_perception.synthetic import fixtures
from mtl_perception.synthetic.coverings import part_of
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.palette import Style
from mtl_perception.synthetic.patches import Material, Patch, quad
from mtl_perception.synthetic.placement import WALLS, Placement

SKIRTING = 0.012
"""Metres by which a skirting board stands before its wall."""

WAYS = ((-1.0, 0.0), (0.0, -1.0), (1.0, 0.0), (0.0, 1.0))
"""Which way each wall runs, left to right seen from inside the room."""


@dataclass(frozen=True)
class Passage:
    """An opening in a wall that one can walk through."""

    wall: int  # see placement.WALLS
    s: float  # its middle along the wall, metres
    width: float
    height: float


def shell(
    size: tuple[float, float, float],
    style: Style,
    rng: np.random.Generator,
    passages: Sequence[Passage] = (),
) -> list[Item]:
    """Return floor, ceiling and the four walls, with their passages, of a room."""
    w, d, h = size
    odd, skirting = int(rng.integers(4)), rng.random() < 0.8
    items = [
        Item("floor", [quad((0, 0, 0), (w, 0, 0), (0, d, 0), style.floor)]),
        Item("ceiling", [quad((0, d, h), (w, 0, 0), (0, -d, 0), style.overhead)]),
    ]
    corners = ((w, 0.0), (w, d), (0.0, d), (0.0, 0.0))
    for wall, (corner, way) in enumerate(zip(corners, WAYS, strict=True)):
        length = size[wall % 2]
        # Seen from inside, walls 0 and 1 run against their own axis.
        gaps = [
            (length - p.s if wall < 2 else p.s, p.width, p.height)
            for p in passages
            if p.wall == wall
        ]
        surface = style.other_wall if wall == odd else style.wall
        spans = [(a, b, 0.0) for a, b in _between(gaps, length)]
        spans += [(m - width / 2, m + width / 2, top) for m, width, top in gaps]
        seed = int(rng.integers(2**31))
        patches = []
        for a, b, z in spans:
            material = part_of(surface, (h, length), (z, h, a, b), seed) if gaps else surface
            start = np.append(np.add(corner, np.multiply(way, a)), z)
            patches.append(_upright(start, way, b - a, h - z, material))
            if skirting and z == 0:
                patches += _skirting(start, way, b - a, style)
        items.append(Item("wall", patches))
    return items


def _between(gaps: list[tuple[float, float, float]], length: float) -> list[tuple[float, float]]:
    """Return what is left of a wall from 0 to ``length`` between its gaps (middle, width, _)."""
    ends = [0.0]
    for middle, width, _ in sorted(gaps):
        ends += [middle - width / 2, middle + width / 2]
    return list(zip(ends[::2], [*ends[1::2], length], strict=True))


def _upright(
    start: np.ndarray, way: tuple[float, float], length: float, height: float, material: Material
) -> Patch:
    x, y, z = (float(v) for v in start)
    return quad((x, y, z), (way[0] * length, way[1] * length, 0), (0, 0, height), material)


def _skirting(
    start: np.ndarray, way: tuple[float, float], length: float, style: Style
) -> list[Patch]:
    inward = SKIRTING * np.array([way[1], -way[0]])
    before = start + (*inward, 0)
    x, y, _ = (float(v) for v in before)
    along = (way[0] * length, way[1] * length, 0.0)
    edge = quad((x, y, 0.08), along, (-float(inward[0]), -float(inward[1]), 0.0), style.trim)
    return [_upright(before, way, length, 0.08, style.trim), edge]


def openings(
    room: Placement,
    style: Style,
    *,
    doors: int,
    windows: int,
    walls: Sequence[int] = WALLS,
) -> None:
    """Put doors, which must open, and windows into some of the walls."""
    rng = room.rng
    for _ in range(doors):
        width, height = rng.uniform(0.75, 1.0), min(rng.uniform(1.95, 2.1), room.size[2] - 0.15)
        leaf = [fixtures.door(rng, style, width, height)]
        for _ in range(12):
            wall = int(rng.choice(walls))
            s = float(rng.uniform(0.6, room.along(wall) - 0.6))
            if room.put(leaf, room.at_wall(wall, s, 0.0, SKIRTING), front=0.8):
                break
    for _ in range(windows):
        piece = fixtures.dressed_window(rng, style)
        for _ in range(8):
            wall = int(rng.choice(walls))
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
