# SPDX-License-Identifier: Apache-2.0
"""Where things may stand: footprints that do not overlap, walls to stand against, tops to fill."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mtl_perception.synthetic.furniture import Item

SLACK = 0.004
"""Metres by which two footprints may overlap: pieces that stand flush."""

THIN = 0.012
"""Metres that a footprint is wide at least, so that sheets do not hang in the same place."""

MAT = 0.012
"""Metres that floor mats are thick."""

WALL_GAP = 0.016
"""Metres between a wall and what stands against it: room for the skirting board."""

WALLS = (0, 1, 2, 3)
"""Walls in plan: y = 0, x = width, y = depth, x = 0."""


@dataclass(frozen=True, eq=False)
class Footprint:
    """An upright box, turned about the vertical."""

    centre: np.ndarray  # (2,) metres
    half: np.ndarray  # (2,) half extents along its own axes, metres
    axes: np.ndarray  # (2, 2) rows are its unit axes
    low: float  # metres above the floor
    high: float

    def corners(self) -> np.ndarray:
        """Return (4, 2) corners."""
        signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
        return self.centre + (signs * self.half) @ self.axes

    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and the highest corner (3,) of the axis-aligned box about it."""
        reach = self.half @ np.abs(self.axes)
        low, high = self.centre - reach, self.centre + reach
        return np.append(low, self.low), np.append(high, self.high)

    def overlaps(self, other: "Footprint", slack: float = SLACK) -> bool:
        """Whether two boxes share more than ``slack`` metres in every direction."""
        if min(self.high, other.high) - max(self.low, other.low) <= slack:
            return False
        ours, theirs = self.corners(), other.corners()
        for axis in (*self.axes, *other.axes):  # separating axes of two rectangles
            a, b = ours @ axis, theirs @ axis
            if min(a.max(), b.max()) - max(a.min(), b.min()) <= slack:
                return False
        return True


def bounds(items: Sequence[Item]) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest corner (3,) of the items."""
    points = np.concatenate([p.grid.reshape(-1, 3) for item in items for p in item.patches])
    return points.min(axis=0), points.max(axis=0)


def transform(x: float, y: float, z: float, yaw_deg: float) -> np.ndarray:
    """Return the (4, 4) turn about the vertical followed by a shift."""
    c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1]])


def footprint(low: np.ndarray, high: np.ndarray, T: np.ndarray) -> Footprint:
    """Return the box from ``low`` to ``high`` of a piece after ``transform``."""
    centre = T[:2, :2] @ ((low + high)[:2] / 2) + T[:2, 3]
    half = np.maximum(high - low, THIN)[:2] / 2
    z0, z1 = (float(z + T[2, 3]) for z in (low[2], high[2]))
    return Footprint(centre, half, T[:2, :2].T, z0, z1)


class Crowd:
    """Footprints that can be asked quickly whether another one meets any of them."""

    def __init__(self) -> None:
        """Start empty."""
        self._boxes: list[Footprint] = []
        self._low = np.empty((0, 3))
        self._high = np.empty((0, 3))

    def add(self, box: Footprint) -> None:
        """Remember a footprint."""
        low, high = box.extent()
        self._boxes.append(box)
        self._low = np.vstack([self._low, low])
        self._high = np.vstack([self._high, high])

    def meets(self, box: Footprint) -> bool:
        """Whether a footprint overlaps any that is remembered."""
        low, high = box.extent()
        near = (self._high > low + SLACK).all(axis=1) & (self._low < high - SLACK).all(axis=1)
        return any(box.overlaps(self._boxes[i]) for i in np.flatnonzero(near))


def _before(
    extents: list[tuple[np.ndarray, np.ndarray]], front: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of the space ``front`` metres deep before a piece."""
    low = np.min([a for a, _ in extents], axis=0)
    high = np.max([b for _, b in extents], axis=0)
    return np.array([low[0], high[1], low[2]]), np.array(
        [high[0], high[1] + front, min(high[2], low[2] + 1.9)]
    )


class Placement:
    """A room that fills up: pieces are tried at random until they stand where nothing stands.

    A piece is a list of items in a frame of its own (see ``furniture``); its items do not hinder
    each other, so a chair may be pushed under its table.
    """

    def __init__(self, size: tuple[float, float, float], rng: np.random.Generator) -> None:
        """Start with an empty room of ``size`` (width, depth, height) metres."""
        self.size = size
        self.rng = rng
        self.items: list[Item] = []
        self._taken = Crowd()
        self._free = Crowd()
        self._mats = Crowd()

    def keep_free(self, low: Sequence[float], high: Sequence[float]) -> None:
        """Let nothing stand between two corners (3,) of the room."""
        self._free.add(footprint(np.asarray(low), np.asarray(high), np.eye(4)))

    def before_wall(
        self, wall: int, s: float, width: float, depth: float, height: float
    ) -> Footprint:
        """Return the space before a part of a wall."""
        low, high = np.array([-width / 2, 0.0, 0.0]), np.array([width / 2, depth, height])
        return footprint(low, high, self.at_wall(wall, s, 0.0, 0.0))

    def keep_free_box(self, box: Footprint) -> None:
        """Let nothing stand in a box."""
        self._free.add(box)

    def take(self, items: list[Item], T: np.ndarray) -> None:
        """Place what must stand where it stands; it may be part of a wall."""
        for item in items:
            self._taken.add(footprint(*bounds([item]), T))
            self.items.append(item.moved(T))

    def put(self, piece: list[Item], T: np.ndarray, front: float = 0.0) -> bool:
        """Place a piece if it fits with ``front`` metres free before it; say whether it did."""
        return self._put(piece, [bounds([item]) for item in piece], T, front)

    def _put(
        self,
        piece: list[Item],
        extents: list[tuple[np.ndarray, np.ndarray]],
        T: np.ndarray,
        front: float,
    ) -> bool:
        boxes = [footprint(*extent, T) for extent in extents]
        if not all(self._inside(low, high, T) for low, high in extents):
            return False
        mats = [b for b, i in zip(boxes, piece, strict=True) if i.class_name == "floor mat"]
        solid = [b for b, i in zip(boxes, piece, strict=True) if i.class_name != "floor mat"]
        if any(self._mats.meets(mat) for mat in mats):
            return False
        if any(self._taken.meets(box) or self._free.meets(box) for box in solid):
            return False
        if front > 0:
            space = _before(extents, front)
            before = footprint(*space, T)
            if self._taken.meets(before) or not self._inside(*space, T):
                return False
            self._free.add(before)
        # What stands on a mat, even in part, stands as high as the mat.
        raised = T.copy()
        fits = max(high[2] for _, high in extents) + MAT < self.size[2]
        if T[2, 3] < MAT and fits and any(self._mats.meets(box) for box in solid):
            raised[2, 3] = MAT
        for box in solid:
            self._taken.add(box)
        for mat in mats:
            self._mats.add(mat)
        self.items += [item.moved(raised) for item in piece]
        return True

    def _inside(self, low: np.ndarray, high: np.ndarray, T: np.ndarray) -> bool:
        sides = np.array(
            [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
        )
        corners, tolerance = sides @ T[:2, :2].T + T[:2, 3], 1e-6
        width, depth, height = self.size
        return bool(
            (corners > -tolerance).all()
            and (corners < (width + tolerance, depth + tolerance)).all()
            and high[2] + T[2, 3] < height + tolerance
        )

    def along(self, wall: int) -> float:
        """Length of a wall in metres."""
        return self.size[wall % 2]

    def at_wall(self, wall: int, s: float, z: float = 0.0, gap: float = WALL_GAP) -> np.ndarray:
        """Return the pose of a piece with its back to ``wall``, ``s`` metres along it."""
        width, depth, _ = self.size
        x, y, yaw = (
            (s, gap, 0.0),
            (width - gap, s, 90.0),
            (s, depth - gap, 180.0),
            (gap, s, -90.0),
        )[wall]
        return transform(x, y, z, yaw)

    def against_wall(
        self,
        piece: list[Item],
        *,
        front: float = 0.5,
        walls: Sequence[int] = WALLS,
        tries: int = 40,
        corner: float = 0.25,
    ) -> tuple[int, float] | None:
        """Stand a piece with its back to a wall.

        Args:
            piece: its items.
            front: metres that stay free before it.
            walls: those to try.
            tries: random places before giving up.
            corner: how often a corner of the room is tried, 0..1.

        Returns:
            The wall and the place along it, or ``None`` where nothing was free.
        """
        low, high = bounds(piece)
        extents = [bounds([item]) for item in piece]
        for _ in range(tries):
            wall = int(self.rng.choice(walls))
            # Walls 1 and 2 run against the piece's own x.
            left, right = (-low[0], high[0]) if wall in (0, 1) else (high[0], -low[0])
            ends = left + 0.02, self.along(wall) - right - 0.02
            if ends[1] < ends[0]:
                continue
            s = float(self.rng.uniform(*ends))
            if self.rng.random() < corner:
                s = ends[int(self.rng.integers(2))]
            if self._put(piece, extents, self.at_wall(wall, s), front):
                return wall, s
        return None

    def on_wall(
        self, piece: list[Item], heights: tuple[float, float], tries: int = 12
    ) -> tuple[int, float] | None:
        """Hang a piece on a wall, its origin at one of ``heights``; return wall and place."""
        low, high = bounds(piece)
        half = max(-low[0], high[0])
        extents = [bounds([item]) for item in piece]
        for _ in range(tries):
            wall = int(self.rng.integers(4))
            if self.along(wall) < 2 * half + 0.1:
                continue
            s = float(self.rng.uniform(half + 0.05, self.along(wall) - half - 0.05))
            z = float(self.rng.uniform(*heights))
            if self._put(piece, extents, self.at_wall(wall, s, z, 0.001), 0.0):
                return wall, s
        return None

    def standing_free(
        self,
        piece: list[Item],
        *,
        tilt_deg: float = 6.0,
        margin: float = 0.45,
        tries: int = 24,
        middle: bool = False,
    ) -> np.ndarray | None:
        """Stand a piece away from the walls, about square to them; return its pose."""
        width, depth, _ = self.size
        extents = [bounds([item]) for item in piece]
        for attempt in range(tries):
            if middle and attempt < tries // 2:
                x, y = (n / 2 + self.rng.uniform(-0.5, 0.5) for n in (width, depth))
            else:
                x, y = (
                    self.rng.uniform(margin, max(n - margin, margin + 0.01)) for n in (width, depth)
                )
            yaw = 90 * int(self.rng.integers(4)) + self.rng.uniform(-tilt_deg, tilt_deg)
            T = transform(x, y, 0, yaw)
            if self._put(piece, extents, T, 0.0):
                return T
        return None


def scatter(
    things: Sequence[Callable[[np.random.Generator], list[Item]]],
    top: tuple[float, float, float, float, float],
    rng: np.random.Generator,
    *,
    turn_deg: float = 180.0,
    tries: int = 6,
) -> list[Item]:
    """Put things on a horizontal surface, apart from each other.

    Args:
        things: makers of pieces centred on their own vertical axis.
        top: x0, y0, x1, y1 and height of the surface, metres.
        rng: source of chance.
        turn_deg: how far they may be turned.
        tries: places tried for each; what finds none is left out.
    """
    x0, y0, x1, y1, z = top
    placed: list[Item] = []
    taken: list[Footprint] = []
    for make in things:
        piece = make(rng)
        low, high = bounds(piece)
        for _ in range(tries):
            yaw = rng.uniform(-turn_deg, turn_deg)
            T = transform(rng.uniform(x0, x1), rng.uniform(y0, y1), z, yaw)
            box = footprint(low, high, T)
            corners = box.corners()
            fits = (corners >= (x0, y0)).all() and (corners <= (x1, y1)).all()
            if fits and not any(box.overlaps(other, 0.0) for other in taken):
                taken.append(box)
                placed += [item.moved(T) for item in piece]
                break
    return placed
