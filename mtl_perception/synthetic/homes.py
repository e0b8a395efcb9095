# SPDX-License-Identifier: Apache-2.0
"""Rooms to live in: living room, dining room, bedroom, bathroom, corridor."""

from collections.abc import Callable

import numpy as np

from mtl_perception.synthetic import bathroom_parts as bathroom_
from mtl_perception.synthetic import casework, clutter, fixtures, seating
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.palette import Style, carpet_like
from mtl_perception.synthetic.patches import box, tube
from mtl_perception.synthetic.people import person
from mtl_perception.synthetic.placement import Placement, bounds, scatter, transform


def chance(rng: np.random.Generator, share: float) -> bool:
    """Return true in a ``share`` of cases."""
    return bool(rng.random() < share)


def living(room: Placement, style: Style) -> None:
    """Sofas round a low table, television, shelves, perhaps a place to dine."""
    rng = room.rng
    _lounge(room, style)
    if chance(rng, 0.8):
        room.against_wall(casework.media_stand(rng, style), front=0.6, tries=100)
    if chance(rng, 0.3):
        room.on_wall(casework.wall_television(rng), (1.3, 1.6))
    if chance(rng, 0.2):
        room.against_wall(fixtures.fireplace(rng, style), front=0.7, corner=0)
    for _ in range(int(rng.integers(0, 3))):
        room.against_wall(casework.bookcase(rng, style), front=0.5)
    if chance(rng, 0.4):
        room.against_wall(casework.sideboard(rng, style), front=0.5)
    if chance(rng, 0.35) and min(room.size[:2]) > 3.6:
        dining_group(room, style, small=True)
    for _ in range(int(rng.integers(0, 3))):
        room.standing_free([seating.armchair(rng, style)], tilt_deg=40, margin=0.7, tries=8)
    fill_walls(room, style, (*STORAGE[:3], small_table, seat_at_wall), 0.8)
    common(room, style, pictures=4, floor_things=3)


def _lounge(room: Placement, style: Style) -> None:
    rng = room.rng
    couch = seating.couch(rng, style)
    low, high = bounds(couch)
    reach = float(high[1])
    gap = rng.uniform(0.28, 0.5)
    width, depth = rng.uniform(0.6, 1.25), rng.uniform(0.45, 0.75)
    low_table = casework.table(rng, style, width, depth, rng.uniform(0.34, 0.5))
    top = float(bounds([low_table])[1][2])
    half = bounds([low_table])[1]
    y = reach + gap + float(half[1])
    group = [*couch]
    if chance(rng, 0.85):
        a, b = 0.65 * half[0], 0.65 * half[1]
        things = clutter.choose(clutter.TABLE_THINGS, int(rng.integers(1, 8)), rng)
        loose = scatter(things, (-a, -b, a, b, top), rng)
        turn = transform(rng.uniform(-0.15, 0.15), y, 0.013, rng.uniform(-5, 5))
        group += [item.moved(turn) for item in (low_table, *loose)]
    elif chance(rng, 0.6):
        group.append(seating.ottoman(rng, style).placed(0, y, 0.013))
    if chance(rng, 0.6):
        w = rng.uniform(0.7, 1.2) * (high[0] - low[0]) / 2
        far = min(reach + gap + 1.2, reach + 1.9)
        mat = box((-w, 0.75 * reach, 0.0005), (w, far, 0.012), carpet_like(rng))
        group.append(Item("floor mat", mat))
    ends = [high[0] + 0.28, low[0] - 0.28] if chance(rng, 0.5) else [low[0] - 0.28, high[0] + 0.28]
    if chance(rng, 0.5):
        group += [i.placed(float(ends[0]), 0.3) for i in fixtures.standing_lamp(rng, style)]
    if chance(rng, 0.5):
        beside = float(ends[1])
        group.append(casework.table(rng, style, 0.42, 0.42, 0.5).placed(beside, 0.4))
        group += [i.placed(beside, 0.4, 0.5) for i in fixtures.table_lamp(rng)]
    if room.against_wall(group, front=0.15, corner=0.1, tries=100) is None:
        room.against_wall(couch, front=0.4, tries=200)
    if chance(rng, 0.35):
        room.against_wall(seating.couch(rng, style), front=0.4)


def dining_group(room: Placement, style: Style, *, small: bool = False) -> bool:
    """A table with chairs, where there is space for one; smaller tables are tried too."""
    most = int(room.rng.integers(1, 3 if small else 4))
    for count in range(most, 0, -1):
        group = _table_with_chairs(count, room.rng, style)
        reach = float(np.abs(bounds(group)[0][:2]).min())
        if room.standing_free(group, middle=not small, margin=reach, tries=60) is not None:
            return True
    return False


def _table_with_chairs(count: int, rng: np.random.Generator, style: Style) -> list[Item]:
    """Return a table with up to ``count`` chairs, all alike, on either side, and things on it."""
    width = 0.62 * count + rng.uniform(0.05, 0.5)
    depth, height = rng.uniform(0.65, 1.0), rng.uniform(0.7, 0.78)
    top = casework.table(rng, style, width, depth, height)
    x1, y1, z1 = (float(v) for v in bounds([top])[1])
    make = int(rng.integers(2**31))
    items: list[Item] = [top]
    for side in (-1, 1):
        for x in (np.arange(count) - (count - 1) / 2) * 0.62:
            if chance(rng, 0.15):
                continue
            taken = chance(rng, 0.06)
            out = y1 + 0.12 + (rng.uniform(0.1, 0.2) if taken else rng.uniform(-0.12, 0.2))
            turn = rng.uniform(-14, 14) if taken or chance(rng, 0.8) else rng.uniform(-60, 60)
            place = (float(x), side * out, 0, (0 if side < 0 else 180) + turn)
            items.append(seating.plain_chair(np.random.default_rng(make), style).placed(*place))
            if taken:
                items.append(person(rng, sitting=True).placed(*place))
    if chance(rng, 0.25):
        cover = box((-0.8 * x1, -0.15, z1), (0.8 * x1, 0.15, z1 + 0.003), carpet_like(rng))
        items.append(Item("otherprop", cover))
    things = clutter.choose(clutter.TABLE_THINGS, int(rng.integers(1, 13)), rng)
    area = (-0.68 * x1, -0.68 * y1, 0.68 * x1, 0.68 * y1, z1 + 0.003)
    return [*items, *scatter(things, area, rng)]


def dining(room: Placement, style: Style) -> None:
    """A large table in the middle, sideboard and cabinets round it."""
    rng = room.rng
    if chance(rng, 0.5):
        w, d = rng.uniform(0.9, 1.5), rng.uniform(0.8, 1.2)
        mat = box((-w, -d, 0.0005), (w, d, 0.012), carpet_like(rng))
        _lay(room, Item("floor mat", mat))
    dining_group(room, style)
    for make in (casework.sideboard, casework.sideboard, casework.dresser):
        if chance(rng, 0.5):
            room.against_wall(make(rng, style), front=0.6)
    if chance(rng, 0.5):
        room.against_wall(casework.bookcase(rng, style), front=0.6)
    fill_walls(room, style, (*STORAGE[:3], small_table, seat_at_wall), 0.8)
    common(room, style, pictures=5, floor_things=2)


def _lay(room: Placement, mat: Item) -> None:
    """Lay a mat on the floor; furniture may stand on it."""
    width, depth, _ = room.size
    low, high = bounds([mat])
    turn = bool(high[1] - low[1] > depth - 0.2)
    for _ in range(6):
        yaw = 90.0 if turn else float(room.rng.choice([0.0, 90.0]))
        T = transform(
            width / 2 + room.rng.uniform(-0.4, 0.4), depth / 2 + room.rng.uniform(-0.4, 0.4), 0, yaw
        )
        if room.put([mat], T):
            return


BEDSIDE_THINGS = (
    *(clutter.magazine, clutter.cup, clutter.photo_frame, clutter.candle, clutter.bottle),
    *(clutter.piled_books, clutter.toy, clutter.can),
)


def bedroom(room: Placement, style: Style) -> None:
    """Bed with night stands and lamps, wardrobe, dresser, mirror, clothes."""
    rng = room.rng
    for attempt in range(4):
        sleeper = seating.bed(rng, style)
        group = sleeper if attempt > 1 else _with_night_stands(sleeper, rng, style)
        if room.against_wall(group, front=0.3 if attempt < 2 else 0.1, corner=0.2, tries=100):
            break
    if chance(rng, 0.75):
        room.against_wall(casework.wardrobe(rng, style), front=0.55)
    if chance(rng, 0.7):
        placed = room.against_wall(casework.dresser(rng, style), front=0.5)
        if placed and chance(rng, 0.6):
            room.put(fixtures.mirror(rng, style), room.at_wall(*placed, 1.65, 0.001))
    if chance(rng, 0.35):
        work_place(room, style)
    if chance(rng, 0.3):
        room.standing_free([seating.armchair(rng, style)], tilt_deg=40, margin=0.6, tries=8)
    if chance(rng, 0.35):
        room.on_wall(fixtures.mirror(rng, style), (1.3, 1.6))
    if chance(rng, 0.35):
        room.on_wall(fixtures.coat_hooks(rng, style), (1.6, 1.8))
    if chance(rng, 0.4):
        w = rng.uniform(0.5, 0.9)
        _lay(room, Item("floor mat", box((-w, -0.5, 0.0005), (w, 0.5, 0.012), carpet_like(rng))))
    for _ in range(int(rng.integers(0, 3))):
        room.standing_free(clutter.heap_of_clothes(rng), tilt_deg=90, margin=0.3)
    fill_walls(room, style, (*STORAGE, small_table, seat_at_wall), 0.8)
    common(room, style, pictures=4, floor_things=4)


def _with_night_stands(sleeper: list[Item], rng: np.random.Generator, style: Style) -> list[Item]:
    """Return a bed with what stands beside it and lies on it."""
    low, high = bounds(sleeper)
    group = list(sleeper)
    for side in (-1, 1):
        if chance(rng, 0.65):
            stand = casework.night_stand(rng, style)
            x1, y1, z1 = (float(v) for v in bounds(stand)[1])
            x = float(high[0]) + 0.06 + x1 if side > 0 else float(low[0]) - 0.06 - x1
            things = [fixtures.table_lamp] if chance(rng, 0.7) else []
            things += clutter.choose(BEDSIDE_THINGS, 3, rng)
            top = (0.02 - x1, 0.05, x1 - 0.02, y1 - 0.03, z1)
            group += [i.placed(x, 0) for i in (*stand, *scatter(things, top, rng))]
    if chance(rng, 0.3):
        heap = clutter.heap_of_clothes(rng)[0]
        group.append(heap.placed(rng.uniform(-0.3, 0.3), high[1] - 0.5, _bed_top(sleeper)))
    return group


def _bed_top(items: list[Item]) -> float:
    cover = items[0].patches[-1].grid
    return float(cover[6:-3, 3:-3, 2].max()) + 0.002


def work_place(room: Placement, style: Style) -> bool:
    """A desk at the wall with a chair before it."""
    rng = room.rng
    items, depth = casework.desk(rng, style)
    seat = (
        seating.office_chair(rng, style) if chance(rng, 0.75) else seating.plain_chair(rng, style)
    )
    out = depth + rng.uniform(0.18, 0.5)
    seat = seat.placed(rng.uniform(-0.1, 0.1), out, 0, 180 + rng.uniform(-50, 50))
    return room.against_wall([*items, seat], front=0.15) is not None


def bathroom(room: Placement, style: Style) -> None:
    """Bath or shower, toilet, wash basin with a mirror, towels."""
    rng = room.rng
    tub = bathroom_.bath if chance(rng, 0.65) else bathroom_.shower
    room.against_wall(tub(rng, style), front=0.4, corner=0.9, tries=100)
    placed = room.against_wall(bathroom_.wash_stand(rng, style), front=0.6, corner=0.2)
    if placed and chance(rng, 0.85):
        room.put(fixtures.mirror(rng, style), room.at_wall(*placed, 1.55, 0.001))
    room.against_wall(bathroom_.toilet(rng, style), front=0.35, corner=0.1, tries=100)
    for _ in range(int(rng.integers(1, 4))):
        room.on_wall(bathroom_.towel_rail(rng, style), (1.1, 1.5))
    if chance(rng, 0.4):
        room.against_wall(casework.dresser(rng, style), front=0.5)
    elif chance(rng, 0.4):
        room.against_wall(casework.open_shelves(rng, style), front=0.4)
    if chance(rng, 0.4):
        room.against_wall([i.placed(0, 0.3) for i in bathroom_.laundry_basket(rng)], front=0.1)
    if chance(rng, 0.6):
        things = (*clutter.KITCHEN_THINGS[:5], bathroom_.folded_towels)
        room.on_wall(casework.wall_shelf(rng, style, things), (1.3, 1.6))
    if chance(rng, 0.7):
        w = rng.uniform(0.3, 0.5)
        _lay(room, Item("floor mat", box((-w, -0.25, 0.0005), (w, 0.25, 0.012), carpet_like(rng))))
    if chance(rng, 0.3):
        room.against_wall([i.placed(0, 0.2) for i in bathroom_.folded_towels(rng)], front=0.0)
    common(room, style, pictures=1, floor_things=2, person_share=0.1)


def corridor(room: Placement, style: Style) -> None:
    """Coats, shoes, a cabinet or two, a mirror."""
    rng = room.rng
    for _ in range(int(rng.integers(1, 3))):
        room.on_wall(fixtures.coat_hooks(rng, style), (1.55, 1.8))
    room.on_wall(fixtures.mirror(rng, style), (1.3, 1.6))
    for make in (casework.sideboard, casework.dresser, casework.open_shelves):
        if chance(rng, 0.45):
            room.against_wall(make(rng, style), front=0.6)
    if chance(rng, 0.3):
        room.against_wall(casework.wardrobe(rng, style), front=0.6)
    for _ in range(int(rng.integers(1, 5))):
        room.against_wall([i.placed(0, 0.16) for i in clutter.shoes(rng)], front=0.0)
    if chance(rng, 0.6):
        w = rng.uniform(0.3, 0.45)
        _lay(
            room, Item("floor mat", box((-2 * w, -w, 0.0005), (2 * w, w, 0.012), carpet_like(rng)))
        )
    if chance(rng, 0.3):
        room.against_wall([umbrella_stand(rng).placed(0, 0.2)], front=0.0)
    common(room, style, pictures=5, floor_things=2)


def umbrella_stand(rng: np.random.Generator) -> Item:
    """Tall open pot."""
    r = rng.uniform(0.1, 0.14)
    skin = carpet_like(rng)
    return Item(
        "otherprop", [tube((0, 0), [0, 0, 0.5, 0.5, 0.05], [0, r, r, 0.95 * r, 0.9 * r], skin)]
    )


Maker = Callable[[np.random.Generator, Style], list[Item]]

STORAGE: tuple[Maker, ...] = (
    casework.bookcase,
    casework.sideboard,
    casework.dresser,
    casework.open_shelves,
    casework.wardrobe,
)


def small_table(rng: np.random.Generator, style: Style) -> list[Item]:
    """Side table with a lamp, a plant or papers on it; its back is on y = 0."""
    width, depth, height = rng.uniform(0.35, 1.1), rng.uniform(0.3, 0.5), rng.uniform(0.4, 0.8)
    top = casework.table(rng, style, width, depth, height)
    high = bounds([top])[1]
    makers = (fixtures.table_lamp, *clutter.SHELF_THINGS, clutter.magazine, clutter.papers)
    things = clutter.choose(makers, int(rng.integers(1, 4)), rng)
    x, y, z = (float(v) for v in high)
    loose = scatter(things, (-0.7 * x, -0.7 * y, 0.7 * x, 0.7 * y, z), rng)
    return [item.placed(0, float(high[1])) for item in (top, *loose)]


def seat_at_wall(rng: np.random.Generator, style: Style) -> list[Item]:
    """A chair, an armchair or a bench with its back to the wall."""
    kind = rng.random()
    if kind < 0.4:
        return [seating.armchair(rng, style)]
    piece = seating.plain_chair(rng, style) if kind < 0.8 else seating.ottoman(rng, style)
    return [piece.placed(0, 0.02 - float(bounds([piece])[0][1]))]


def fill_walls(
    room: Placement, style: Style, makers: tuple[Maker, ...], per_metre: float, front: float = 0.3
) -> None:
    """Try to stand ``per_metre`` pieces for every metre of wall where the walls are still free."""
    count = per_metre * 2 * sum(room.size[:2]) * room.rng.uniform(0.4, 1.3)
    for _ in range(round(count)):
        make = makers[int(room.rng.integers(len(makers)))]
        room.against_wall(make(room.rng, style), front=front, tries=8, corner=0.4)


def common(
    room: Placement, style: Style, *, pictures: int, floor_things: int, person_share: float = 0.3
) -> None:
    """What any room may have: radiator, pictures, plants, lamps, boxes, bags, people."""
    rng = room.rng
    if chance(rng, 0.5):
        room.against_wall(fixtures.radiator(rng), front=0.1, corner=0)
    if chance(rng, 0.25):
        room.against_wall(fixtures.column(rng, style), front=0, corner=0.5)
    if chance(rng, 0.35):
        room.against_wall(
            [i.placed(0, 0.22) for i in fixtures.standing_lamp(rng, style)], front=0, corner=0.8
        )
    if chance(rng, 0.5):
        plant = clutter.floor_plant(rng)
        back = -float(bounds(plant)[0][1]) + 0.02
        room.against_wall([i.placed(0, back) for i in plant], front=0, corner=0.8)
    for _ in range(int(rng.integers(1, 3 * pictures + 2))):
        hung = fixtures.wall_poster(rng) if chance(rng, 0.3) else fixtures.picture(rng)
        room.on_wall(hung, (1.2, 1.85), tries=6)
    for _ in range(int(rng.integers(0, 5))):
        shelf = casework.wall_shelf(rng, style, clutter.SHELF_THINGS)
        room.on_wall(shelf, (1.1, 1.75), tries=6)
    if chance(rng, 0.25):
        room.on_wall(fixtures.clock(rng), (1.8, 2.0))
    if chance(rng, 0.15):
        room.on_wall(fixtures.mirror(rng, style), (1.3, 1.6))
    if chance(rng, 0.15):
        room.on_wall(fixtures.coat_hooks(rng, style), (1.6, 1.8))
    if chance(rng, 0.12):
        room.against_wall(clutter.guitar(rng), front=0)
    _litter(room, int(rng.integers(1, 2 * floor_things + 2)))
    for _ in range(int(rng.integers(0, 3))):
        room.standing_free([seating.plain_chair(rng, style)], tilt_deg=90, margin=0.4, tries=6)
    while chance(rng, person_share):
        room.standing_free([person(rng, sitting=False)], tilt_deg=180, margin=0.35)


def _litter(room: Placement, count: int) -> None:
    """Leave things on the floor, most of them by the walls."""
    rng = room.rng
    for _ in range(count):
        thing = clutter.choose(clutter.FLOOR_THINGS, 1, rng)[0](rng)
        if chance(rng, 0.7):
            back = -float(bounds(thing)[0][1]) + 0.03
            room.against_wall([i.placed(0, back) for i in thing], front=0)
        else:
            room.standing_free(thing, tilt_deg=90, margin=0.4)
