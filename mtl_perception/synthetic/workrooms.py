# SPDX-License-Identifier: Apache-2.0
"""Rooms to work in: kitchen, office, study, classroom."""

import numpy as np

from mtl_perception.synthetic import casework, clutter, fixtures, seating
from mtl_perception.synthetic import kitchen_parts as k
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.homes import (
    STORAGE,
    chance,
    common,
    dining_group,
    fill_walls,
    seat_at_wall,
    small_table,
    work_place,
)
from mtl_perception.synthetic.palette import Style
from mtl_perception.synthetic.people import person
from mtl_perception.synthetic.placement import Placement, bounds, scatter


def kitchen(room: Placement, style: Style) -> None:
    """Rows of cabinets along one to three walls, refrigerator, table or island, clutter."""
    rng = room.rng
    upper = str(rng.choice(["cabinets", "cabinets", "cabinets", "shelves", ""]))
    wall = _row(room, style, list(range(4)), upper, sink=True, stove=True, long=True)
    if chance(rng, 0.75) and wall >= 0:
        _row(
            room,
            style,
            [(wall + 1) % 4, (wall + 3) % 4],
            upper,
            sink=False,
            stove=False,
            long=False,
        )
    if chance(rng, 0.4) and wall >= 0 and min(room.size[:2]) > 3:
        _row(room, style, [(wall + 2) % 4], upper, sink=False, stove=False, long=False)
    if chance(rng, 0.25) and min(room.size[:2]) > 3.4:
        _island(room, style)
    if chance(rng, 0.85):
        dining_group(room, style, small=chance(rng, 0.5))
    if chance(rng, 0.85):
        room.against_wall(k.refrigerator(rng, style), front=0.6, corner=0.5)
    if chance(rng, 0.2):
        room.against_wall(k.washing_machine(rng, style), front=0.5)
    if chance(rng, 0.3):
        room.against_wall(casework.open_shelves(rng, style), front=0.5)
    if chance(rng, 0.25):
        room.against_wall(casework.wardrobe(rng, style), front=0.5)
    if chance(rng, 0.3):
        room.on_wall(casework.wall_television(rng), (1.5, 1.8))
    if chance(rng, 0.3):
        room.on_wall(casework.whiteboard(rng), (1.4, 1.6))
    for _ in range(int(rng.integers(0, 4))):
        room.on_wall(fixtures.notices(rng), (1.15, 1.5))
    for _ in range(int(rng.integers(0, 3))):
        things = (*clutter.KITCHEN_THINGS, clutter.magazine)
        room.on_wall(casework.wall_shelf(rng, style, things), (1.2, 1.7))
    if chance(rng, 0.4):
        room.on_wall([k.dish_towel(rng)], (1.2, 1.5))
    if chance(rng, 0.6):
        room.against_wall([i.placed(0, 0.22) for i in clutter.bin_(rng)], front=0)
    fill_walls(room, style, (*STORAGE[1:], small_table, seat_at_wall), 0.4)
    common(room, style, pictures=3, floor_things=3)


def _row(
    room: Placement,
    style: Style,
    walls: list[int],
    upper: str,
    *,
    sink: bool,
    stove: bool,
    long: bool,
) -> int:
    """Fit the longest row that finds a place at one of the walls; return the wall or -1."""
    rng = room.rng
    for wall in rng.permutation(walls):
        wall = int(wall)
        full = room.along(wall) - 0.06
        for share in (1.0, 0.85, 0.7, 0.5, 0.35):
            length = min(full * share, rng.uniform(2.4, 5.0) if long else rng.uniform(0.6, 3.0))
            if length < 0.55 or (long and length < 1.4):
                continue
            row = k.kitchen_row(length, rng, style, sink=sink, stove=stove, upper=upper)
            row = [item.placed(-length / 2, 0) for item in row]
            for s in (
                length / 2 + 0.02,
                room.along(wall) - length / 2 - 0.02,
                room.along(wall) / 2,
            ):
                if room.put(row, room.at_wall(wall, s), front=0.45):
                    return wall
    return -1


def _island(room: Placement, style: Style) -> None:
    rng = room.rng
    items = k.island(rng, style)
    low, high = bounds(items[1:2])
    seats = np.random.default_rng(rng.integers(2**31))
    count = int(rng.integers(0, 4))
    kind = int(seats.integers(2**31))
    for x in np.linspace(low[0] + 0.3, high[0] - 0.3, count) if count else ():
        seat = seating.stool(np.random.default_rng(kind), style)
        items.append(seat.placed(float(x), float(low[1]) - rng.uniform(0.1, 0.3)))
    room.standing_free(items, middle=True, margin=1.0)


def office(room: Placement, style: Style) -> None:
    """Desks with computers, shelves, cabinets, a whiteboard, papers."""
    rng = room.rng
    for _ in range(int(rng.integers(2, 7))):
        work_place(room, style)
    if chance(rng, 0.6):
        room.on_wall(casework.whiteboard(rng), (1.35, 1.6))
    for _ in range(int(rng.integers(0, 3))):
        room.against_wall(casework.bookcase(rng, style), front=0.5)
    for _ in range(int(rng.integers(0, 3))):
        room.against_wall(filing_cabinet(rng, style), front=0.5)
    if chance(rng, 0.3):
        room.against_wall(casework.open_shelves(rng, style), front=0.5)
    if chance(rng, 0.4):
        meeting(room, style)
    if chance(rng, 0.25):
        room.against_wall(seating.couch(rng, style), front=0.4)
    if chance(rng, 0.3):
        room.against_wall(printer_stand(rng, style), front=0.4)
    for _ in range(int(rng.integers(0, 4))):
        room.on_wall(fixtures.notices(rng), (1.15, 1.55))
    if chance(rng, 0.5):
        room.against_wall([i.placed(0, 0.22) for i in clutter.bin_(rng)], front=0)
    fill_walls(room, style, (*STORAGE[:4], filing_cabinet, filing_cabinet, small_table), 0.55)
    common(room, style, pictures=3, floor_things=5)


def filing_cabinet(rng: np.random.Generator, style: Style) -> list[Item]:
    """Narrow cabinet of drawers with papers or boxes on top."""
    w, h, d = rng.uniform(0.4, 0.9), rng.uniform(0.65, 1.35), rng.uniform(0.42, 0.6)
    body = casework.case("cabinet", w, d, h, 1, int(rng.integers(2, 5)), style, rng)
    drawn = clutter.choose(
        (clutter.carton, clutter.papers, clutter.plant, clutter.piled_books), 3, rng
    )
    return [body, *scatter(drawn[: int(rng.integers(0, 4))], (-w / 2, 0, w / 2, d, h), rng)]


def printer_stand(rng: np.random.Generator, style: Style) -> list[Item]:
    """Printer on a small cabinet."""
    body = casework.case("cabinet", 0.6, 0.5, 0.6, 1, 2, style, rng)
    machine = clutter.printer(rng)[0].placed(0, 0.25, 0.6)
    return [body, machine]


def meeting(room: Placement, style: Style) -> bool:
    """A table with chairs for a talk."""
    return dining_group(room, style, small=chance(room.rng, 0.6))


def study(room: Placement, style: Style) -> None:
    """One desk among many books, an armchair."""
    rng = room.rng
    work_place(room, style)
    for _ in range(int(rng.integers(2, 5))):
        room.against_wall(casework.bookcase(rng, style), front=0.5, corner=0.5)
    if chance(rng, 0.6):
        room.standing_free([seating.armchair(rng, style)], tilt_deg=60, margin=0.7)
    if chance(rng, 0.4):
        room.against_wall(seating.couch(rng, style), front=0.4)
    if chance(rng, 0.5):
        room.against_wall(casework.sideboard(rng, style), front=0.5)
    for _ in range(int(rng.integers(0, 4))):
        room.standing_free(clutter.piled_books(rng), tilt_deg=90, margin=0.3)
    fill_walls(room, style, (*STORAGE, small_table, seat_at_wall), 0.5)
    common(room, style, pictures=4, floor_things=4)


def classroom(room: Placement, style: Style) -> None:
    """Rows of tables that face a whiteboard."""
    rng = room.rng
    front_wall = 0
    board = casework.whiteboard(rng)
    for _ in range(8):
        s = room.along(front_wall) / 2 + rng.uniform(-0.8, 0.8)
        if room.put(board, room.at_wall(front_wall, s, 1.5, 0.001)):
            break
    width, depth, _ = room.size
    seed, top = int(rng.integers(2**31)), (rng.uniform(1.1, 1.4), rng.uniform(0.5, 0.7))
    for y in np.arange(1.7, depth - 1.1, rng.uniform(1.35, 1.6)):
        for x in np.arange(0.9, width - 0.85, top[0] + rng.uniform(0.4, 0.7)):
            _pupils(room, style, float(x), float(y), top, seed)
    if chance(rng, 0.6):
        room.on_wall(casework.wall_television(rng), (1.6, 1.9))
    for _ in range(int(rng.integers(0, 3))):
        room.against_wall(casework.open_shelves(rng, style), front=0.4)
    if chance(rng, 0.5):
        room.against_wall(filing_cabinet(rng, style), front=0.4)
    for _ in range(int(rng.integers(1, 5))):
        room.on_wall(
            fixtures.wall_poster(rng) if chance(rng, 0.5) else fixtures.notices(rng), (1.2, 1.6)
        )
    common(room, style, pictures=1, floor_things=5)


def _pupils(
    room: Placement, style: Style, x: float, y: float, top: tuple[float, float], seed: int
) -> None:
    """One table of the class, with two chairs behind it and somebody on some of them."""
    rng = room.rng
    make = np.random.default_rng(seed)  # all tables and chairs are of one make
    items = [casework.table(make, style, top[0], top[1], 0.72)]
    half = bounds(items)[1]
    chair_seed = int(make.integers(2**31))
    for side in (-0.28, 0.28):
        out = float(half[1]) + rng.uniform(0.0, 0.2)
        if chance(rng, 0.1):
            continue
        taken = chance(rng, 0.12)
        place = (side * top[0], out + (0.22 if taken else 0.1), 0, 180 + rng.uniform(-15, 15))
        items.append(seating.plain_chair(np.random.default_rng(chair_seed), style).placed(*place))
        if taken:
            items.append(person(rng, sitting=True).placed(*place))
    things = clutter.choose(clutter.DESK_THINGS, int(rng.integers(0, 7)), rng)
    items += scatter(
        things,
        (-0.65 * half[0], -0.65 * half[1], 0.65 * half[0], 0.65 * half[1], float(half[2])),
        rng,
    )
    T = np.eye(4)
    T[:2, 3] = x, y
    room.put(items, T)
