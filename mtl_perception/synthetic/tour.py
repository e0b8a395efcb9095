# SPDX-License-Identifier: Apache-2.0
"""A way through all rooms of a flat, planned on a grid of free places at the camera's height."""

import numpy as np
import open3d as o3d
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from mtl_perception.synthetic.room import Room

CELL = 0.1  # metres between places
HEIGHTS = (1.3, 1.45, 1.6)  # metres at which a place must be free
REACH = 0.32  # metres that are free about a place
STATIONS = 8  # places of a room, round its middle, that the camera goes through
TURN = 0.6  # metres of way that a radian of turning counts as
STEP_DEG = 4.0  # of yaw between two points of the way at most


class FreePlaces:
    """Where a camera may be, as a graph of neighbouring places."""

    def __init__(self, room: Room) -> None:
        """Look how far the nearest surface is from each place of a grid over the whole room."""
        axes = (np.arange(CELL / 2, side, CELL) for side in room.size[:2])
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        self.shape = grid.shape[:2]
        xy = grid.reshape(-1, 2)
        clearance = np.full(len(xy), np.inf)
        for height in HEIGHTS:
            points = np.column_stack([xy, np.full(len(xy), height)]).astype(np.float32)
            tensor = o3d.core.Tensor.from_numpy(points)
            clearance = np.minimum(clearance, room.scene.compute_distance(tensor).numpy())
        self.xy, self.clearance = xy, clearance
        self.free = clearance >= REACH
        self.free[self.free] = room.in_open_air(
            np.column_stack([xy[self.free], np.full(self.free.sum(), HEIGHTS[1])])
        )
        self.graph = self._graph()

    def _graph(self) -> coo_matrix:
        """Edges to the eight neighbours; the middle of a passage costs less than its sides."""
        index = np.arange(len(self.xy)).reshape(self.shape)
        pairs = []
        for di, dj in ((0, 1), (1, 0), (1, 1), (1, -1)):
            a = index[: self.shape[0] - di, max(0, -dj) : self.shape[1] - max(0, dj)]
            b = index[di:, max(0, dj) : self.shape[1] + min(0, dj)]
            pairs.append(np.stack([a.ravel(), b.ravel()], axis=1))
        edges = np.concatenate(pairs)
        edges = edges[self.free[edges].all(axis=1)]
        length = np.linalg.norm(self.xy[edges[:, 0]] - self.xy[edges[:, 1]], axis=1)
        cost = length * (1 + 0.3 / self.clearance[edges].min(axis=1))
        return coo_matrix((cost, edges.T), shape=(len(self.xy),) * 2).tocsr()

    def nearest(self, point: np.ndarray, among: np.ndarray) -> int:
        """Return the place nearest to a point (2,), of those ``among`` (K,)."""
        return int(among[np.linalg.norm(self.xy[among] - point, axis=1).argmin()])


def plan_tour(room: Room, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (N, 2) of a way through all rooms, and where to look from them (N,) rad.

    In every room the camera goes round the middle and looks across it; from room to room it
    looks ahead. Rooms that are too full to be entered from the others are left out; both arrays
    are empty if none is left.
    """
    places = FreePlaces(room)
    reachable = _largest_part(places)
    inside = {n: _inside(floor, places, reachable) for n, floor in enumerate(room.floors)}
    rooms = {n: among for n, among in inside.items() if len(among)}
    points, yaws = np.empty((0, 2)), np.empty(0)
    here = -1
    while rooms:
        number = _next_room(places, here, rooms, room)
        x0, y0, x1, y1 = room.floors[number]
        middle, half = np.array([x0 + x1, y0 + y1]) / 2, np.array([x1 - x0, y1 - y0]) / 2
        among = rooms.pop(number)
        start = rng.uniform(0, 2 * np.pi)
        if here >= 0:  # enter where the way comes in: look across from there
            back = middle - places.xy[_entry(places, here, among)]
            start = np.arctan2(back[1], back[0])
        for angle in start + 2 * np.pi * np.arange(STATIONS + 1) / STATIONS:
            looking = np.array([np.cos(angle), np.sin(angle)])
            there = places.nearest(middle - 0.5 * half * looking, among)
            leg, leg_yaws = _leg(places, here, there, angle, yaws[-1:])
            points, yaws = np.vstack([points, leg]), np.append(yaws, leg_yaws)
            here = there
    return points, yaws


def smoothed(points: np.ndarray, yaws: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Round the corners of a way; ``sigma`` is in points of it."""
    if sigma == 0:
        return points, gaussian_filter1d(yaws, 3.0, mode="nearest")
    return (
        gaussian_filter1d(points, sigma, axis=0, mode="nearest"),
        gaussian_filter1d(yaws, 2 * sigma, mode="nearest"),
    )


def paced(
    points: np.ndarray, yaws: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ``count`` points and yaws at equal steps of way and turning, and the way so far."""
    step = np.linalg.norm(np.diff(points, axis=0), axis=1) + TURN * np.abs(np.diff(yaws))
    way = np.append(0, np.cumsum(step))
    at = np.linspace(0, way[-1], count)
    columns = [np.interp(at, way, column) for column in (*points.T, yaws)]
    return np.stack(columns[:2], axis=1), columns[2], at


def _largest_part(places: FreePlaces) -> np.ndarray:
    """Return the rows of the largest set of places that can be reached from each other."""
    left = np.flatnonzero(places.free)
    best = left[:0]
    while len(left) > len(best):
        reached = np.flatnonzero(np.isfinite(dijkstra(places.graph, False, int(left[0]))))
        best = max(best, reached, key=len)
        left = np.setdiff1d(left, reached)
    return best


def _inside(
    floor: tuple[float, float, float, float], places: FreePlaces, rows: np.ndarray
) -> np.ndarray:
    x, y = places.xy[rows].T
    return rows[(x > floor[0]) & (x < floor[2]) & (y > floor[1]) & (y < floor[3])]


def _next_room(places: FreePlaces, here: int, rooms: dict[int, np.ndarray], room: Room) -> int:
    """Return the room that is nearest on foot; the largest, to begin with."""
    if here < 0:
        areas = {n: (f[2] - f[0]) * (f[3] - f[1]) for n, f in enumerate(room.floors)}
        return max(rooms, key=lambda n: areas[n])
    way = dijkstra(places.graph, False, here)
    return min(rooms, key=lambda n: float(way[rooms[n]].min()))


def _entry(places: FreePlaces, here: int, among: np.ndarray) -> int:
    way = dijkstra(places.graph, False, here)
    return int(among[way[among].argmin()])


def _leg(
    places: FreePlaces, here: int, there: int, yaw: float, before: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the points from one place to another, and yaws that turn from the last to ``yaw``.

    ``before`` is the last yaw, or empty at the start.
    """
    if here < 0:
        return places.xy[[there]], np.array([yaw])
    _, previous = dijkstra(places.graph, False, here, return_predecessors=True)
    rows = [there]
    while rows[-1] != here:
        rows.append(int(previous[rows[-1]]))
    points = places.xy[rows[::-1]]
    last = float(before[0])
    turn = (yaw - last + np.pi) % (2 * np.pi) - np.pi
    far = len(points) > 1.5 / CELL
    if far:  # look ahead on the way
        way = points[-1] - points[0]
        ahead = points[np.minimum(np.arange(len(points)) + 8, len(points) - 1)] - points
        ahead[np.linalg.norm(ahead, axis=1) < CELL] = way
        yaws = np.unwrap(np.append(last, np.arctan2(ahead[:, 1], ahead[:, 0])))[1:]
        closing = (yaw - yaws[-1] + np.pi) % (2 * np.pi) - np.pi
        blend = np.clip((np.arange(len(points)) - len(points) + 11) / 10, 0, 1)
        return points, yaws + blend * closing
    count = max(len(points), int(np.ceil(np.degrees(abs(turn)) / STEP_DEG)) + 1)
    at = np.linspace(0, len(points) - 1, count)
    spread = [np.interp(at, np.arange(len(points)), column) for column in points.T]
    return np.stack(spread, axis=1), last + turn * np.linspace(0, 1, count)
