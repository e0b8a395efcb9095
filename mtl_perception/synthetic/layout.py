# SPDX-License-Identifier: Apache-2.0
"""Plans of rooms: what kind of room, how large, what stands where; all from the seed."""

from dataclasses import dataclass

import numpy as np

from mtl_perception.conventions import InvalidInput
from mtl_perception.synthetic.flats import Rectangle, plan_flat
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.kinds import KINDS, draw_kind, draw_size, furnished, style_of
from mtl_perception.synthetic.show_room import plan_show_room

SHOW_ROOM = "show room"
"""The demo's living room: never drawn, so that no network is trained on it."""

FLAT = "flat"
"""Two to four rooms joined by passages; not drawn, for it takes as long as its rooms."""


DOORS = (0.25, 0.6, 0.15)
"""How many rooms have none, one or two closed doors; of some, the door is never seen."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Furnished rooms; world frame: origin in a corner of the floor, z up, metres."""

    kind: str
    size: np.ndarray  # (3,) float64 width along x, depth along y, height along z
    items: list[Item]
    rooms: tuple[Rectangle, ...]  # floors that can be walked on
    passages: tuple[Rectangle, ...] = ()  # floors of the openings between them, through the walls


def plan_room(rng: np.random.Generator, kind: str = "") -> Plan:
    """Furnish a room.

    Args:
        rng: source of everything.
        kind: one of ``KINDS``, ``SHOW_ROOM``, ``FLAT``, or empty to draw one of ``KINDS``.

    Raises:
        InvalidInput: no such kind.
    """
    if kind == SHOW_ROOM:
        shown, items = plan_show_room(rng)
        return Plan(kind, shown, items, ((0.0, 0.0, float(shown[0]), float(shown[1])),))
    if kind == FLAT:
        flat = plan_flat(rng)
        return Plan(kind, np.array(flat.size), flat.items, flat.floors, flat.thresholds)
    if kind and kind not in KINDS:
        raise InvalidInput(f"room of kind {kind!r}; there are {[*KINDS, SHOW_ROOM, FLAT]}")
    drawn = kind or draw_kind(rng)
    size = draw_size(drawn, rng)
    style = style_of(drawn, size[2], rng)
    room = furnished(drawn, size, style, rng, doors=int(rng.choice(3, p=DOORS)))
    return Plan(drawn, np.array(size), room.items, ((0.0, 0.0, size[0], size[1]),))
