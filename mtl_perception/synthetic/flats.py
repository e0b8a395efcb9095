# SPDX-License-Identifier: Apache-2.0
"""Flats: a rectangle cut into rooms, with passages through the walls between them."""

from dataclasses import dataclass, replace

import numpy as np

from mtl_perception.synthetic import fixtures
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.kinds import furnished, style_of
from mtl_perception.synthetic.palette import Style
from mtl_perception.synthetic.placement import transform
from mtl_perception.synthetic.shell import Passage

WALL = 0.12
"""Metres between two rooms."""

SMALLEST = 2.3
"""Metres of a room's shorter side, at least."""

Rectangle = tuple[float, float, float, float]
"""x0, y0, x1, y1 of a floor, metres."""


@dataclass(frozen=True, eq=False)
class Flat:
    """Furnished rooms side by side; the origin is the lowest corner of them all."""

    size: tuple[float, float, float]
    items: list[Item]
    floors: tuple[Rectangle, ...]
    thresholds: tuple[Rectangle, ...]


@dataclass(frozen=True)
class Joint:
    """A passage between two rooms, in the frame of the flat."""

    first: int  # the room on its lower side
    second: int
    axis: int  # 0: the wall between them is at constant x
    at: float  # where the first room ends, along ``axis``
    middle: float  # along the wall
    width: float
    height: float

    @property
    def floor(self) -> Rectangle:
        """Its rectangle, through the wall."""
        a, b = self.middle - self.width / 2, self.middle + self.width / 2
        if self.axis == 0:
            return self.at, a, self.at + WALL, b
        return a, self.at, b, self.at + WALL


def plan_flat(rng: np.random.Generator) -> Flat:
    """Draw a flat of two to four rooms, all of which can be reached from each other."""
    size = float(rng.uniform(5.2, 8.0)), float(rng.uniform(4.6, 6.5)), float(rng.uniform(2.4, 2.9))
    floors = _cut((0.0, 0.0, size[0], size[1]), int(rng.integers(2, 5)), rng)
    joints = _joints(floors, rng)
    kinds = _kinds(floors, rng)
    first_style = style_of(kinds[0], size[2], rng)
    entrance = int(rng.integers(len(floors)))
    items: list[Item] = []
    for number, (floor, kind) in enumerate(zip(floors, kinds, strict=True)):
        style = replace(style_of(kind, size[2], rng), trim=first_style.trim)
        x0, y0, x1, y1 = floor
        own = [_seen_from(j, number, floor) for j in joints if number in (j.first, j.second)]
        room = furnished(
            kind,
            (x1 - x0, y1 - y0, size[2]),
            style,
            rng,
            doors=int(number == entrance),
            passages=own,
            outer_walls=_outer_walls(floor, size),
        )
        items += [item.placed(x0, y0) for item in room.items]
    for joint in joints:
        items += _frame(joint, first_style)
    return Flat(size, items, tuple(floors), tuple(joint.floor for joint in joints))


def _cut(whole: Rectangle, count: int, rng: np.random.Generator) -> list[Rectangle]:
    """Cut a rectangle into up to ``count``, always the largest that is large enough, across."""
    rooms = [whole]
    while len(rooms) < count:
        x0, y0, x1, y1 = largest = max(rooms, key=lambda r: (r[2] - r[0]) * (r[3] - r[1]))
        axis = 0 if x1 - x0 >= y1 - y0 else 1
        low, high = (x0, x1) if axis == 0 else (y0, y1)
        spare = high - low - WALL - 2 * SMALLEST
        if spare < 0:
            break
        rooms.remove(largest)
        at = float(low + SMALLEST + spare * rng.uniform(0.1, 0.9))
        if axis == 0:
            rooms += [(x0, y0, at, y1), (at + WALL, y0, x1, y1)]
        else:
            rooms += [(x0, y0, x1, at), (x0, at + WALL, x1, y1)]
    return rooms


def _joints(rooms: list[Rectangle], rng: np.random.Generator) -> list[Joint]:
    """Join neighbours until all rooms are connected, and now and then once more."""
    found = []
    for i, a in enumerate(rooms):
        for j, b in enumerate(rooms):
            for axis in (0, 1):
                across = 1 - axis
                low = max(a[across], b[across])
                high = min(a[across + 2], b[across + 2])
                if abs(a[axis + 2] + WALL - b[axis]) < 1e-9 and high - low > 1.3:
                    found.append((i, j, axis, low, high))
    group = list(range(len(rooms)))
    joints = []
    for k in rng.permutation(len(found)):
        i, j, axis, low, high = found[int(k)]
        if group[i] == group[j] and rng.random() < 0.7:
            continue
        group = [group[i] if g == group[j] else g for g in group]
        widest = 1.0 if rng.random() < 0.7 else min(1.6, high - low - 0.3)
        width, height = float(rng.uniform(0.8, widest)), float(rng.uniform(1.98, 2.1))
        middle = float(rng.uniform(low + width / 2 + 0.12, high - width / 2 - 0.12))
        joints.append(Joint(i, j, axis, rooms[i][axis + 2], middle, width, height))
    return joints


def _kinds(rooms: list[Rectangle], rng: np.random.Generator) -> list[str]:
    """Give the smallest room to bathing or cooking, the others to living, sleeping, working."""
    order = np.argsort([(r[2] - r[0]) * (r[3] - r[1]) for r in rooms])
    small = ["bathroom", "kitchen", "corridor"] if len(rooms) > 2 else ["kitchen", "bedroom"]
    large = list(rng.permutation(["living room", "bedroom", "kitchen", "office", "dining room"]))
    kinds = [""] * len(rooms)
    for rank, room in enumerate(order):
        kinds[room] = str(rng.choice(small)) if rank == 0 else str(large.pop())
    return kinds


def _seen_from(joint: Joint, room: int, floor: Rectangle) -> Passage:
    """Return the passage as a room's own wall has it."""
    wall = {0: 1, 1: 2}[joint.axis] if room == joint.first else {0: 3, 1: 0}[joint.axis]
    return Passage(wall, joint.middle - floor[1 - joint.axis], joint.width, joint.height)


def _outer_walls(floor: Rectangle, size: tuple[float, float, float]) -> list[int]:
    x0, y0, x1, y1 = floor
    outside = (y0 == 0, x1 == size[0], y1 == size[1], x0 == 0)
    return [wall for wall, is_outer in enumerate(outside) if is_outer]


def _frame(joint: Joint, style: Style) -> list[Item]:
    """Lining, casing and threshold of a passage."""
    x0, y0, x1, y1 = joint.floor
    T = transform((x0 + x1) / 2, (y0 + y1) / 2, 0, 90.0 if joint.axis == 0 else 0.0)
    frame, threshold = fixtures.passage(joint.width, joint.height, WALL, style)
    return [frame.moved(T), threshold.moved(T)]
