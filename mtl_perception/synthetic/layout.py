# SPDX-License-Identifier: Apache-2.0
"""Plans of rooms: what kind of room, how large, what stands where; all from the seed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mtl_perception.conventions import InvalidInput
from mtl_perception.synthetic import homes, workrooms
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.palette import Style, draw_style
from mtl_perception.synthetic.placement import Placement
from mtl_perception.synthetic.shell import ceiling_lights, openings, shell
from mtl_perception.synthetic.show_room import plan_show_room

Rectangle = tuple[float, float, float, float]
"""x0, y0, x1, y1 of a floor, metres."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A furnished room; world frame: origin in a corner of the floor, z up, metres."""

    kind: str
    size: np.ndarray  # (3,) float64 width along x, depth along y, height along z
    items: list[Item]
    rooms: tuple[Rectangle, ...]  # floors that can be walked


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


SHOW_ROOM = "show room"
"""The demo's living room: never drawn, so that no network is trained on it."""

KINDS: dict[str, Kind] = {
    "living room": Kind(homes.living, 0.16, (3.6, 6.5), (3.1, 4.8), 3),
    "kitchen": Kind(workrooms.kitchen, 0.24, (2.8, 5.5), (2.5, 4.2), 2, wet=True),
    "bedroom": Kind(homes.bedroom, 0.14, (3.0, 4.8), (2.7, 4.0), 2),
    "office": Kind(workrooms.office, 0.15, (3.0, 6.0), (2.6, 4.6), 3, office=True),
    "bathroom": Kind(homes.bathroom, 0.09, (2.4, 3.6), (2.2, 2.9), 1, wet=True),
    "dining room": Kind(homes.dining, 0.08, (3.3, 5.5), (3.0, 4.4), 2),
    "study": Kind(workrooms.study, 0.06, (2.8, 4.6), (2.5, 3.8), 2),
    "classroom": Kind(workrooms.classroom, 0.04, (5.0, 7.0), (4.5, 6.0), 3, office=True),
    "corridor": Kind(homes.corridor, 0.04, (3.5, 6.5), (2.2, 2.7), 1),
}


def plan_room(rng: np.random.Generator, kind: str = "") -> Plan:
    """Furnish a room.

    Args:
        rng: source of everything.
        kind: one of ``KINDS``, ``SHOW_ROOM``, or empty to draw one.

    Raises:
        InvalidInput: no such kind.
    """
    if kind == SHOW_ROOM:
        shown, items = plan_show_room(rng)
        return Plan(kind, shown, items, ((0.0, 0.0, float(shown[0]), float(shown[1])),))
    if kind and kind not in KINDS:
        raise InvalidInput(f"room of kind {kind!r}; there are {[*KINDS, SHOW_ROOM]}")
    shares = np.array([k.share for k in KINDS.values()])
    drawn = kind or str(rng.choice([*KINDS], p=shares / shares.sum()))
    made = KINDS[drawn]
    sides = [float(rng.uniform(*made.longer)), float(rng.uniform(*made.shorter))]
    width, depth = sides if rng.random() < 0.5 else sides[::-1]
    size = (width, depth, float(rng.uniform(2.3, 3.2)))
    style = draw_style(rng, size[2], wet=made.wet, office=made.office)
    room = Placement(size, rng)
    room.items += shell(size, style, rng)
    _keep_walkable(room)
    openings(
        room, style, doors=1 + (rng.random() < 0.25), windows=int(rng.integers(made.windows + 1))
    )
    ceiling_lights(room, rng, office=made.office)
    made.furnish(room, style)
    return Plan(drawn, np.array(size), room.items, ((0.0, 0.0, width, depth),))


def _keep_walkable(room: Placement) -> None:
    """Keep the room's middle free at the height of a hand-held camera."""
    width, depth, _ = room.size
    room.keep_free(
        (width / 2 - 0.55, depth / 2 - 0.55, 1.0), (width / 2 + 0.55, depth / 2 + 0.55, 1.7)
    )
