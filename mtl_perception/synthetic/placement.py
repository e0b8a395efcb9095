# SPDX-License-Identifier: Apache-2.0
"""Where things may stand: footprints that do not overlap, walls to stand against, tops to fill."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mtl_perception.synthetic.furniture import Item

SLACK = 0.004
"""Metres by which two footprints may overlap: pieces that stand flush."""

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
    grids = [patch.grid for item in items for patch in item.patches]
    low = np.min([grid.min(axis=(0, 1)) for grid in grids], axis=0)
    high = np.max([grid.max(axis=(0, 1)) for grid in grids], axis=0)
    return low, high


def transform(x: float, y: float, z: float, yaw_deg: float) -> np.ndarray:
    """Return the (4, 4) turn about the vertical followed by a shift."""
    c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1]])


def footprint(low: np.ndarray, high: np.ndarray, T: np.ndarray) -> Footprint:
    """Return the box from ``low`` to ``high`` of a piece after ``transform``."""
    centre = T[:2, :2] @ ((low + high)[:2] / 2) + T[:2, 3]
    return Footprint(
        centre, (high - low)[:2] / 2, T[:2, :2].T, float(low[2] + T[2, 3]), float(high[2] + T[2, 3])
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
        self._taken: list[Footprint] = []
        self._free: list[Footprint] = []

    def keep_free(self, low: Sequence[float], high: Sequence[float]) -> None:
        """Let nothing stand between two corners (3,) of the room."""
        self._free.append(footprint(np.asarray(low), np.asarray(high), np.eye(4)))

    def put(self, piece: list[Item], T: np.ndarray, front: float = 0.0) -> bool:
        """Place a piece if it fits with ``front`` metres free before it; say whether it did."""
        boxes = [footprint(*bounds([item]), T) for item in piece]
        if not all(self._inside(box) for box in boxes):
            return False
        if any(a.overlaps(b) for a in boxes for b in (*self._taken, *self._free)):
            return False
        low, high = bounds(piece)
        if front > 0:
            before = footprint(
                np.array([low[0], high[1], low[2]]),
                np.array([high[0], high[1] + front, min(high[2], low[2] + 1.9)]),
                T,
            )
            if any(before.overlaps(taken) for taken in self._taken):
                return False
            if not self._inside(before):
                return False
            self._free.append(before)
        self._taken += boxes
        self.items += [item.moved(T) for item in piece]
        return True

    def _inside(self, box: Footprint) -> bool:
        corners, tolerance = box.corners(), 1e-6
        width, depth, height = self.size
        return bool(
            (corners > -tolerance).all()
            and (corners[:, 0] < width + tolerance).all()
            and (corners[:, 1] < depth + tolerance).all()
            and box.high < height + tolerance
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
        tries: int = 16,
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
            if self.put(piece, self.at_wall(wall, s), front):
                return wall, s
        return None

    def on_wall(
        self, piece: list[Item], heights: tuple[float, float], tries: int = 12
    ) -> tuple[int, float] | None:
        """Hang a piece on a wall, its origin at one of ``heights``; return wall and place."""
        low, high = bounds(piece)
        half = max(-low[0], high[0])
        for _ in range(tries):
            wall = int(self.rng.integers(4))
            if self.along(wall) < 2 * half + 0.1:
                continue
            s = float(self.rng.uniform(half + 0.05, self.along(wall) - half - 0.05))
            z = float(self.rng.uniform(*heights))
            if self.put(piece, self.at_wall(wall, s, z, 0.001)):
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
        for attempt in range(tries):
            if middle and attempt < tries // 2:
                x, y = (n / 2 + self.rng.uniform(-0.5, 0.5) for n in (width, depth))
            else:
                x, y = (
                    self.rng.uniform(margin, max(n - margin, margin + 0.01)) for n in (width, depth)
                )
            yaw = 90 * int(self.rng.integers(4)) + self.rng.uniform(-tilt_deg, tilt_deg)
            T = transform(x, y, 0, yaw)
            if self.put(piece, T):
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
