# SPDX-License-Identifier: Apache-2.0
"""Drawn rooms: every class occurs, nothing stands in anything else, and one can walk."""

import cv2
import numpy as np
import open3d as o3d
import pytest

from mtl_perception.conventions import Intrinsics, InvalidInput
from mtl_perception.labels import LABEL_SETS
from mtl_perception.synthetic import coverings, palette, prints
from mtl_perception.synthetic.camera import render
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.layout import FLAT, KINDS, SHOW_ROOM, Plan, plan_room
from mtl_perception.synthetic.patches import Patch, ellipsoid, leaning, pillow, rod, swept
from mtl_perception.synthetic.placement import Placement, bounds, footprint, scatter, transform
from mtl_perception.synthetic.room import Room, make_room, triangulate
from mtl_perception.synthetic.walk import walk

NYU = LABEL_SETS["nyu40"]
SEEDS = (0, 1, 2)
TOLERANCE = 0.035
"""Metres that things may sink into each other: cushions into seats, legs under table tops."""


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    return [plan_room(np.random.default_rng(seed), kind) for kind in KINDS for seed in SEEDS]


def surface(patches: list[Patch]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float32 and triangles (M, 3) of patches."""
    parts = [triangulate(patch, 0.05)[:2] for patch in patches]
    first = np.cumsum([0] + [len(points) for points, _ in parts[:-1]])
    triangles = np.concatenate([t + n for (_, t), n in zip(parts, first, strict=True)])
    return np.concatenate([points for points, _ in parts]).astype(np.float32), triangles


def casting(vertices: np.ndarray, triangles: np.ndarray) -> o3d.t.geometry.RaycastingScene:
    scene = o3d.t.geometry.RaycastingScene(nthreads=2)
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(vertices),
        o3d.core.Tensor.from_numpy(triangles.astype(np.uint32)),
    )
    return scene


def points_on(vertices, triangles, count: int) -> np.ndarray:
    """Random points (count, 3), evenly over the surface."""
    rng = np.random.default_rng(0)
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    row = rng.choice(len(triangles), count, p=area / area.sum())
    u = np.sort(rng.random((count, 2)), axis=1)
    weights = np.stack([u[:, 0], u[:, 1] - u[:, 0], 1 - u[:, 1]], axis=1)
    return np.einsum("nk,nkd->nd", weights, vertices[triangles[row]]).astype(np.float32)


def depth_inside(vertices, triangles, points: np.ndarray) -> np.ndarray:
    """Metres by which points are inside a solid made of closed parts; 0 outside.

    A point is inside where a ray to either side leaves more parts than it enters.
    """
    scene = casting(vertices, triangles)
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    inside = np.ones(len(points), bool)
    way = np.array([0.342, 0.211, 0.916], np.float32)
    for direction in (way, -way):
        rays = np.hstack([points, np.broadcast_to(direction, points.shape)])
        hits = scene.list_intersections(o3d.core.Tensor.from_numpy(rays.astype(np.float32)))
        leaving = np.sign(normals[hits["primitive_ids"].numpy()] @ direction)
        count = np.bincount(hits["ray_ids"].numpy(), weights=leaving, minlength=len(points))
        inside &= count > 0.5
    distance = scene.compute_distance(o3d.core.Tensor.from_numpy(points)).numpy()
    return np.where(inside, distance, 0)


def test_each_kind_is_furnished_as_its_name_says(plans):
    expected = {
        "living room": {"sofa", "table"},
        "kitchen": {"cabinet", "counter", "otherprop"},
        "bedroom": {"bed", "pillow"},
        "office": {"desk", "chair"},
        "bathroom": {"toilet", "sink"},
        "dining room": {"table", "chair"},
        "study": {"bookshelf", "books"},
        "classroom": {"table", "chair", "whiteboard"},
        "corridor": {"clothes"},
    }
    assert set(expected) == set(KINDS)
    for kind, wanted in expected.items():
        of_kind = [p for p in plans if p.kind == kind]
        complete = [wanted <= {item.class_name for item in p.items} for p in of_kind]
        assert len(of_kind) == len(SEEDS) and sum(complete) >= len(SEEDS) - 1, kind


def test_every_class_of_the_label_set_occurs(plans):
    occurring = {item.class_name for plan in plans for item in plan.items}
    assert occurring == set(NYU.names.values())


def test_nothing_leaves_its_room(plans):
    for plan in plans:
        low, high = bounds(plan.items)
        assert (low > -0.002).all() and (high < plan.size + 0.002).all(), plan.kind
        assert 2.2 <= plan.size[2] <= 3.3 and plan.size[:2].min() > 2.1


def test_nothing_stands_in_anything_else(plans):
    looked_at = 0
    for plan in plans[::3]:
        things = [i for i in plan.items if i.class_name not in ("wall", "floor", "floor mat")]
        shapes = [surface(item.patches) for item in things]
        low, high = (np.array([f(v, axis=0) for v, _ in shapes]) for f in (np.min, np.max))
        for i, (vertices, triangles) in enumerate(shapes):
            shared = np.minimum(high, high[i]) - np.maximum(low, low[i])
            for j in np.flatnonzero((shared > TOLERANCE).all(axis=1)):
                together = {things[i].class_name, things[j].class_name}
                if i == j or together <= {"person", "chair", "table"}:
                    continue  # who sits sinks into the seat
                depth = depth_inside(vertices, triangles, points_on(*shapes[j], 300))
                assert (depth > TOLERANCE).sum() <= 2, (plan.kind, together)
                looked_at += 1
    assert looked_at > 20


def test_a_thing_in_another_would_be_noticed():
    block = surface(Item("box", [ellipsoid((0, 0, 0.5), (0.5, 0.5, 0.5), None)]).patches)
    ball = surface([ellipsoid((0.3, 0, 0.5), (0.3, 0.3, 0.3), None)])
    depth = depth_inside(*block, points_on(*ball, 300))
    assert 0.4 < depth.max() < 0.5 and (depth > 0).mean() > 0.3
    away = surface([ellipsoid((0.9, 0, 0.5), (0.3, 0.3, 0.3), None)])
    assert depth_inside(*block, points_on(*away, 300)).max() == 0


def test_one_can_walk_in_every_room(plans):
    for plan in plans[::2]:
        vertices, triangles = surface([p for item in plan.items for p in item.patches])
        none = np.zeros(0)
        room = Room(
            plan.kind, plan.size, plan.rooms, vertices, triangles.astype(np.int32), *([none] * 5)
        )
        assert len(walk(room, 30, 1)) == 30


def test_rooms_stay_small_enough_to_light_and_cast(plans):
    patches = [sum(len(item.patches) for item in plan.items) for plan in plans]
    cells = [
        sum((p.grid.shape[0] - 1) * (p.grid.shape[1] - 1) for i in plan.items for p in i.patches)
        for plan in plans
    ]
    assert max(patches) < 6000 and 2 * max(cells) < 150_000


def test_rooms_of_a_flat_are_joined_by_passages_that_one_can_walk_through():
    for seed in range(3):
        flat = plan_room(np.random.default_rng(seed), FLAT)
        scene = casting(*surface([p for item in flat.items for p in item.patches]))
        low, high = bounds(flat.items)
        assert (low > -0.002).all() and (high < flat.size + 0.002).all()
        assert 2 <= len(flat.rooms) <= 4
        reached = {0}
        for _ in flat.rooms:
            for x0, y0, x1, y1 in flat.passages:
                touched = {
                    number
                    for number, (a, b, c, d) in enumerate(flat.rooms)
                    if x0 <= c + 1e-9 and a <= x1 + 1e-9 and y0 <= d + 1e-9 and b <= y1 + 1e-9
                }
                assert len(touched) == 2
                if touched & reached:
                    reached |= touched
        assert reached == set(range(len(flat.rooms)))
        for x0, y0, x1, y1 in flat.passages:
            across = np.array([1.0, 0]) if y1 - y0 > x1 - x0 else np.array([0, 1.0])
            steps = np.linspace(-0.5, 0.5, 11)[:, None]
            way = np.array([(x0 + x1) / 2, (y0 + y1) / 2]) + steps * across
            heights = np.repeat([0.4, 1.0, 1.6], len(way))
            points = np.column_stack([np.tile(way, (3, 1)), heights]).astype(np.float32)
            distance = scene.compute_distance(o3d.core.Tensor.from_numpy(points)).numpy()
            assert distance.min() > 0.3


def test_a_part_of_a_wall_continues_the_pattern_beside_it():
    striped = coverings.checkered((200, 30, 30), (30, 30, 200), 0.13)
    whole = striped((101, 201), 0.01, np.random.default_rng(9))
    part = coverings.part_of(striped, (1.0, 2.0), (0.2, 0.5, 0.7, 1.9), 9)
    image = part((31, 121), 0.01, np.random.default_rng(0))
    assert np.abs(image - whole[20:51, 70:191]).max() < 0.05


def test_same_seed_same_plan_other_seed_another():
    one, again, other = (plan_room(np.random.default_rng(s)) for s in (5, 5, 6))
    bytes_of = [
        b"".join(patch.grid.tobytes() for item in plan.items for patch in item.patches)
        for plan in (one, again, other)
    ]
    assert one.kind == again.kind and bytes_of[0] == bytes_of[1] != bytes_of[2]


def test_kinds_are_drawn_but_never_the_show_room():
    drawn = [plan_room(np.random.default_rng(seed)).kind for seed in range(8)]
    assert len(set(drawn)) >= 4 and set(drawn) <= set(KINDS) and SHOW_ROOM not in KINDS
    assert plan_room(np.random.default_rng(1), SHOW_ROOM).kind == SHOW_ROOM


def test_unknown_kind_is_refused():
    with pytest.raises(InvalidInput, match="'sauna'.*kitchen"):
        plan_room(np.random.default_rng(0), "sauna")


def test_a_lit_room_is_neither_black_nor_blown_out():
    room = make_room(2, "kitchen")
    camera = Intrinsics(80, 60, 65.0, 65.0, 39.5, 29.5)
    views = [render(room, camera, pose) for _, pose in walk(room, 8, 1)]
    brightness = np.stack([view.color for view in views]).mean(axis=3)
    assert room.kind == "kitchen" and all((view.labels < 40).all() for view in views)
    assert 60 < np.median(brightness) < 235
    assert (brightness > 252).mean() < 0.15 and (brightness < 4).mean() < 0.03


def test_footprints_overlap_as_polygons_do():
    rng = np.random.default_rng(3)
    seen = set()
    for _ in range(300):
        boxes = []
        for _ in range(2):
            high = rng.uniform(0.1, 0.6, 3)
            T = transform(*rng.uniform(-0.5, 0.5, 2), 0, rng.uniform(0, 360))
            boxes.append(footprint(-high, high, T))
        area, _ = cv2.intersectConvexConvex(*(b.corners().astype(np.float32) for b in boxes))
        assert boxes[0].overlaps(boxes[1], 0.0) == boxes[1].overlaps(boxes[0], 0.0)
        if area > 1e-4 or area == 0:
            assert boxes[0].overlaps(boxes[1], 0.0) == (area > 0)
            seen.add(area > 0)
    assert seen == {True, False}


def block(width: float, depth: float, height: float) -> list[Item]:
    grid = np.array([[(0, 0, 0), (width, 0, 0)], [(0, depth, height), (width, depth, height)]])
    return [Item("box", [Patch(grid - (width / 2, 0, 0), None)])]


def test_pieces_at_walls_face_the_room_and_keep_clear_of_each_other():
    room = Placement((4.0, 3.0, 2.5), np.random.default_rng(0))
    while room.against_wall(block(0.9, 0.5, 1.0), front=0.4, tries=30):
        pass
    assert len(room.items) >= 5
    boxes = [footprint(*bounds([item]), np.eye(4)) for item in room.items]
    for i, a in enumerate(boxes):
        assert not any(a.overlaps(b) for b in boxes[i + 1 :])
        # The far upper edge of a piece is the one that is farther from the nearest wall.
        grid = room.items[i].patches[0].grid
        back, front = (edge[:, :2].mean(axis=0) for edge in grid)
        gaps = [min(p[0], 4 - p[0], p[1], 3 - p[1]) for p in (back, front)]
        assert gaps[0] < 0.05 and gaps[1] > 0.4


def test_what_is_kept_free_stays_free():
    room = Placement((2.0, 2.0, 2.5), np.random.default_rng(0))
    room.keep_free((0.2, 0.2, 0.0), (1.8, 1.8, 2.0))
    assert room.standing_free(block(0.3, 0.3, 0.5), margin=0.3) is None
    assert not room.put(block(0.5, 0.5, 0.5), transform(1.9, 1.0, 0, 0))  # leaves the room
    assert room.put(block(0.3, 0.3, 0.3), transform(1.0, 1.0, 2.1, 0))  # above it is free


def test_what_stands_on_a_mat_stands_on_top_of_it():
    room = Placement((3.0, 3.0, 2.5), np.random.default_rng(0))
    mat = Item("floor mat", block(1.0, 1.0, 0.012)[0].patches)
    assert room.put([mat], transform(1.5, 1.0, 0, 0))
    assert room.put(block(0.4, 0.4, 0.5), transform(1.5, 1.3, 0, 0))
    assert bounds(room.items[1:])[0][2] == pytest.approx(0.012)


def test_scattered_things_lie_apart_on_their_surface():
    things = scatter(
        [lambda rng: block(0.2, 0.1, 0.1)] * 12, (0, 0, 1, 0.6, 0.7), np.random.default_rng(1)
    )
    assert len(things) >= 6
    low, high = bounds(things)
    assert (low[:2] >= 0).all() and (high[:2] <= (1, 0.6)).all() and low[2] == pytest.approx(0.7)


@pytest.mark.parametrize("shape", [(2, 2), (2, 90), (90, 2), (40, 60)])
def test_materials_are_albedo_of_any_shape(shape):
    colors = [(200, 40, 30), (30, 60, 160), (240, 240, 230)]
    plain = palette.fabric(colors[0])
    materials = [
        coverings.bricks(colors[0], colors[2], (0.07, 0.2), 0.1),
        coverings.checkered(*colors[:2], 0.1),
        coverings.stripes(*colors[:2], 0.1),
        coverings.dotted(*colors[:2], 0.1),
        coverings.swirls(*colors[:2], 0.1),
        coverings.carpet(*colors[:2], 0.2),
        coverings.parquet(colors[0]),
        coverings.panels(colors[0], 0.1),
        coverings.stone(*colors[:2], 0.2, 0.3),
        coverings.brushed(colors[2]),
        coverings.half_height(plain, coverings.brushed(colors[1]), 0.1),
        coverings.worn(plain, 0.3),
        prints.page(),
        prints.poster(colors),
        prints.photograph(colors),
        prints.desktop(*colors[:2]),
        prints.dark_screen(),
    ]
    for material in materials:
        one, again = (material(shape, 0.006, np.random.default_rng(4)) for _ in range(2))
        assert one.shape == (*shape, 3) and one.dtype == np.float32
        assert one.tobytes() == again.tobytes() and np.isfinite(one).all()
        assert one.min() >= 0 and one.max() <= 1


def test_panelling_ends_where_it_is_said_to():
    lower, upper = (lambda s, t, r, v=v: np.full((*s, 3), v, np.float32) for v in (0.2, 0.8))
    wall = coverings.half_height(lower, upper, 0.6)((100, 10), 0.01, None)
    assert (wall[:60] == np.float32(0.2)).all() and (wall[60:] == np.float32(0.8)).all()


@pytest.mark.parametrize(
    "patches",
    [
        [rod((0, 0, 0), (0.3, 0.4, 1.2), 0.1, None, 24)],
        [ellipsoid((1, 2, 3), (0.2, 0.3, 0.4), None, 24)],
        [swept([(0, 0, 0), (0, 0.5, 0.1), (0.1, 0.9, 0.5)], [0.1, 0.12, 0.1], None)],
        leaning(pillow(0.4, 0.2, None), 60),
    ],
)
def test_solids_face_outwards(patches):
    vertices, triangles = surface(patches)
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    volume = (np.cross(a, b) * c).sum() / 6
    hull = cv2.convexHull(vertices[:, :2].astype(np.float32))
    assert 0 < volume < cv2.contourArea(hull) * np.ptp(vertices[:, 2])


def test_bars_are_as_long_and_thick_as_said():
    bar = rod((0.1, 0, 0.5), (0.1, 0, 1.5), 0.2, None, 32).grid
    np.testing.assert_allclose(bar.min(axis=(0, 1)), (-0.1, -0.2, 0.5), atol=2e-3)
    np.testing.assert_allclose(bar.max(axis=(0, 1)), (0.3, 0.2, 1.5), atol=2e-3)


def test_a_cushion_leans_back_on_what_is_behind_it():
    tilted = leaning(pillow(0.4, 0.1, None), 70)
    points = np.concatenate([p.grid.reshape(-1, 3) for p in tilted])
    assert points[:, 1].min() == pytest.approx(0) and points[:, 2].min() == pytest.approx(0)
    upper, lower = points[points[:, 2] > 0.3], points[points[:, 2] < 0.1]
    assert upper[:, 1].mean() < lower[:, 1].mean()
