# SPDX-License-Identifier: Apache-2.0
"""The kinds of rooms: how often, how large, with how many windows, and how one is furnished."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mtl_perception.synthetic import fixtures, homes, workrooms
from mtl_perception.synthetic.palette import Style, draw_style
from mtl_perception.synthetic.placement import WALLS, Placement, bounds, footprint, transform
from mtl_perception.synthetic.shell import Passage, ceiling_lights, openings, shell


@dataclass(frozen=True)
class Kind:
    """How one kind of room is drawn."""

    furnish: Callable[[Placement, Style], None]
    share: float  # of the rooms drawn
    longer: tuple[float, float]  # metres of its longer side, from .. to
    shorter: tuple[float, float]
    windows: int  # at most
    wet: bool = False
    office: bool = False


KINDS: dict[str, Kind] = {
    "living room": Kind(homes.living, 0.19, (3.5, 6.0), (3.0, 4.5), 3),
    "kitchen": Kind(workrooms.kitchen, 0.21, (2.8, 5.0), (2.4, 3.8), 2, wet=True),
    "bedroom": Kind(homes.bedroom, 0.18, (2.9, 4.5), (2.6, 3.7), 2),
    "office": Kind(workrooms.office, 0.13, (2.9, 5.4), (2.5, 4.2), 3, office=True),
    "bathroom": Kind(homes.bathroom, 0.10, (2.4, 3.6), (2.2, 2.9), 1, wet=True),
    "dining room": Kind(homes.dining, 0.07, (3.2, 5.0), (2.9, 4.0), 2),
    "study": Kind(workrooms.study, 0.06, (2.8, 4.6), (2.5, 3.8), 2),
    "classroom": Kind(workrooms.classroom, 0.03, (5.0, 7.0), (4.5, 6.0), 3, office=True),
    "corridor": Kind(homes.corridor, 0.03, (3.5, 6.5), (2.2, 2.7), 1),
}


def draw_kind(rng: np.random.Generator) -> str:
    """Return the name of a kind, as often as its share says."""
    shares = np.array([k.share for k in KINDS.values()])
    return str(rng.choice([*KINDS], p=shares / shares.sum()))


def draw_size(kind: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return width, depth and height (metres) of a room of a kind."""
    made = KINDS[kind]
    longer, shorter = float(rng.uniform(*made.longer)), float(rng.uniform(*made.shorter))
    width, depth = (longer, shorter) if rng.random() < 0.5 else (shorter, longer)
    return width, depth, float(rng.uniform(2.3, 3.2))


def style_of(kind: str, ceiling: float, rng: np.random.Generator) -> Style:
    """Draw the look of a room of a kind."""
    return draw_style(rng, ceiling, wet=KINDS[kind].wet, office=KINDS[kind].office)


def furnished(
    kind: str,
    size: tuple[float, float, float],
    style: Style,
    rng: np.random.Generator,
    *,
    doors: int,
    passages: Sequence[Passage] = (),
    outer_walls: Sequence[int] = WALLS,
) -> Placement:
    """Return a room of a kind with all that stands in it; the frame is its own corner.

    Args:
        kind: one of ``KINDS``.
        size: width, depth, height in metres.
        style: its look.
        rng: source of chance.
        doors: closed doors in its outer walls.
        passages: openings to other rooms; the way through them is kept free.
        outer_walls: walls that may have doors and windows.
    """
    made = KINDS[kind]
    room = Placement(size, rng)
    room.items += shell(size, style, rng, passages)
    _hang_doors(room, passages, style)
    _keep_walkable(room)
    if outer_walls:
        windows = int(rng.integers(made.windows + 1))
        openings(room, style, doors=doors, windows=windows, walls=outer_walls)
    ceiling_lights(room, rng, office=made.office)
    made.furnish(room, style)
    return room


def _hang_doors(room: Placement, passages: Sequence[Passage], style: Style) -> None:
    """Keep the ways through passages free; hang doors that stand open into some of them."""
    rng = room.rng
    ways = [room.before_wall(p.wall, p.s, p.width + 0.16, 0.9, p.height + 0.1) for p in passages]
    for passage in passages:
        width, wide = passage.width - 0.05, passage.width / 2 - 0.02
        leaf = fixtures.open_leaf(rng, style, width, passage.height - 0.03)
        swing = transform(-wide, 0.02, 0, float(rng.uniform(80, 100)))
        if rng.random() < 0.5:  # hinged on the other side
            swing = np.diag([-1.0, 1, 1, 1]) @ swing
        hung, T = leaf.moved(swing), room.at_wall(passage.wall, passage.s, 0.0, 0.0)
        box = footprint(*bounds([hung]), T)
        others = (way for way, p in zip(ways, passages, strict=True) if p is not passage)
        if rng.random() < 0.5 and not any(box.overlaps(way) for way in others):
            room.take([hung], T)
    for way in ways:
        room.keep_free_box(way)


def _keep_walkable(room: Placement) -> None:
    """Keep the room's middle free at the height of a hand-held camera."""
    width, depth, _ = room.size
    room.keep_free(
        (width / 2 - 0.55, depth / 2 - 0.55, 1.0), (width / 2 + 0.55, depth / 2 + 0.55, 1.7)
    )
