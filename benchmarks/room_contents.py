# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.room_contents [rooms]``: what drawn rooms hold, as training views see it.

Rooms are planned and cast, not lit: a few hundred take minutes.
"""

import sys
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import open3d as o3d

from mtl_perception.conventions import Intrinsics
from mtl_perception.labels import LABEL_SETS
from mtl_perception.synthetic.camera import rays
from mtl_perception.synthetic.layout import Plan, plan_room
from mtl_perception.synthetic.room import LABEL_SET, Room, triangulate
from mtl_perception.synthetic.viewpoints import NoViewpoint, ViewRules, random_views
from mtl_perception.synthetic.walk import NoFreePath, walk

ROOMS = 200
FIRST_SEED = 1000
VIEWS = 6
NAMES = LABEL_SETS[LABEL_SET].names


@dataclass(frozen=True, eq=False)
class Contents:
    """One room: whether one can walk in it, and what its views see."""

    kind: str
    walkable: bool
    triangles: int
    plan_s: float
    views: int
    pixels: np.ndarray  # (40,) of each class
    seen_in: np.ndarray  # (40,) views that see it in more than 1 of 1000 pixels


def unlit(plan: Plan) -> Room:
    """Return a room without textures, to cast rays at."""
    vertices, triangles, labels, instances, first = [], [], [], [], 0
    for number, item in enumerate(plan.items):
        for patch in item.patches:
            points, corners, _ = triangulate(patch, 0.05)
            vertices.append(points)
            triangles.append(corners + first)
            labels.append(np.full(len(corners), LABEL_SETS[LABEL_SET].id_of(item.class_name)))
            instances.append(np.full(len(corners), number + 1))
            first += len(points)
    none = np.zeros(0)
    return Room(
        plan.kind,
        plan.size,
        plan.rooms,
        np.concatenate(vertices).astype(np.float32),
        np.concatenate(triangles).astype(np.int32),
        np.concatenate(labels).astype(np.uint8),
        np.concatenate(instances).astype(np.uint16),
        texels=none,
        texture_at=none,
        corners=none,
    )


def contents(seed: int) -> Contents:
    """Plan a room and look at it."""
    start = time.perf_counter()
    plan = plan_room(np.random.default_rng(seed))
    plan_s = time.perf_counter() - start
    room = unlit(plan)
    try:
        walk(room, 60, seed)
        walkable = True
    except NoFreePath:
        walkable = False
    pixels, seen_in = np.zeros(40, np.int64), np.zeros(40, np.int64)
    try:
        views = random_views(room, VIEWS, np.random.default_rng(seed), ViewRules())
    except NoViewpoint:
        views = []
    for camera, T_world_camera in views:
        small = Intrinsics(80, 60, camera.fx / 8, camera.fy / 8, 39.5, 29.5)
        bundle = o3d.core.Tensor.from_numpy(rays(small, T_world_camera))
        hit = room.scene.cast_rays(bundle)["primitive_ids"].numpy().ravel()
        counts = np.bincount(room.labels[hit[hit < len(room.labels)]], minlength=40)
        pixels += counts
        seen_in += counts > 4
    return Contents(plan.kind, walkable, len(room.triangles), plan_s, len(views), pixels, seen_in)


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROOMS
    rooms = [contents(seed) for seed in range(FIRST_SEED, FIRST_SEED + count)]
    views = sum(room.views for room in rooms)
    print(f"{count} rooms: {dict(Counter(room.kind for room in rooms).most_common())}")
    print(f"no free way to walk in {sum(not room.walkable for room in rooms)}")
    print(f"no view worth seeing in {sum(room.views == 0 for room in rooms)}")
    for name, values in (
        ("triangles", [room.triangles for room in rooms]),
        ("seconds to plan", [room.plan_s for room in rooms]),
    ):
        print(f"{name}: median {np.median(values):.6g}, at most {np.max(values):.6g}")
    pixels = np.sum([room.pixels for room in rooms], axis=0)
    seen_in = np.sum([room.seen_in for room in rooms], axis=0)
    for i in np.argsort(-pixels):
        share, often = 100 * pixels[i] / pixels.sum(), 100 * seen_in[i] / views
        print(f"{NAMES[int(i)]:16s} {share:6.2f} % of pixels, in {often:5.1f} % of views")


if __name__ == "__main__":
    main()
