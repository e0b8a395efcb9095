# SPDX-License-Identifier: Apache-2.0
"""The triangles of marching cubes for each of the 256 ways in which a cube's corners lie.

The table is worked out here rather than written down. On each face of the cube the corners inside
the surface form runs; every run is cut off from the rest by one segment between the two cube edges
that it ends on. A face's segments depend on its own four corners only, so two cubes that share a
face agree on it and the surface has no cracks, which the first table of marching cubes had
(Lorensen & Cline, 1987). The segments join into closed loops, and a loop is cut into triangles
whose inner edges keep off the faces, where those of the next cube could meet them.

Corner number c stands at x = c >> 2, y = c & 1, z = (c >> 1) & 1: the four corners of smaller x
come first. Bit c of a case is set where corner c is inside, which is behind the surface.
"""

from collections.abc import Iterator

import numpy as np

_CORNERS = [(c >> 2, c & 1, (c >> 1) & 1) for c in range(8)]
_EDGES = [  # (start, end): corners that differ along one axis
    (start, end)
    for start in range(8)
    for end in range(start + 1, 8)
    if sum(a != b for a, b in zip(_CORNERS[start], _CORNERS[end], strict=True)) == 1
]
_EDGE_OF = {frozenset(corners): edge for edge, corners in enumerate(_EDGES)}


def _faces() -> list[list[int]]:
    """List the corners of each face, counter-clockwise as seen from outside the cube."""
    faces = []
    for axis in range(3):
        for side in (0, 1):
            ring = []
            for first, second in ((0, 0), (1, 0), (1, 1), (0, 1)):
                corner = [side] * 3
                corner[(axis + 1) % 3], corner[(axis + 2) % 3] = first, second
                ring.append(_CORNERS.index((corner[0], corner[1], corner[2])))
            faces.append(ring if side else ring[::-1])
    return faces


_FACES = _faces()


def _loops(case: int) -> list[list[int]]:
    """Join the segments of all faces into closed loops of cube edges."""
    following = {}
    for ring in _FACES:
        edges = [_EDGE_OF[frozenset((ring[i], ring[(i + 1) % 4]))] for i in range(4)]
        inside = [case >> corner & 1 for corner in ring]
        for i in range(4):
            if inside[i] and not inside[i - 1]:  # a run of inside corners begins
                last = i
                while inside[(last + 1) % 4]:
                    last += 1
                following[edges[i - 1]] = edges[last % 4]
    loops = []
    while following:
        loop = [min(following)]
        while (edge := following.pop(loop[-1])) != loop[0]:
            loop.append(edge)
        loops.append(loop)
    return loops


def _triangulations(loop: list[int]) -> Iterator[list[tuple[int, int, int]]]:
    """Yield all ways to cut a polygon into triangles."""
    if len(loop) < 3:
        yield []
        return
    for apex in range(1, len(loop) - 1):
        for before in _triangulations(loop[: apex + 1]):
            for after in _triangulations(loop[apex:]):
                yield [(loop[0], loop[apex], loop[-1]), *before, *after]


def _on_one_face(edge: int, other: int) -> bool:
    return any(set(_EDGES[edge] + _EDGES[other]) <= set(ring) for ring in _FACES)


def _triangles(loop: list[int]) -> list[tuple[int, int, int]]:
    """Cut a loop into triangles, with as few inner edges on a face as can be."""
    sides = {frozenset(pair) for pair in zip(loop, loop[1:] + loop[:1], strict=True)}

    def inner_edges_on_faces(triangles: list[tuple[int, int, int]]) -> int:
        edges = {frozenset(pair) for a, b, c in triangles for pair in ((a, b), (b, c), (c, a))}
        return sum(_on_one_face(*edge) for edge in edges - sides)

    return min(_triangulations(loop), key=inner_edges_on_faces)


def _table() -> tuple[np.ndarray, np.ndarray]:
    cases = [[t for loop in _loops(case) for t in _triangles(loop)] for case in range(256)]
    counts = np.array([len(triangles) for triangles in cases], np.int64)
    edges = np.zeros((256, 3 * int(counts.max())), np.int64)
    for case, triangles in enumerate(cases):
        edges[case, : 3 * len(triangles)] = np.ravel(triangles)
    return counts, edges


TRIANGLE_COUNTS, TRIANGLE_EDGES = _table()
"""(256,) and (256, 15) int64: how many triangles, and the cube edges of their corners in turn. The
triangles' fronts (counter-clockwise) face what is outside."""

EDGE_STARTS = np.array([_CORNERS[start] for start, _ in _EDGES], np.int64)
"""(12, 3) int64: x, y, z of the corner that an edge of the cube starts at."""

EDGE_AXES = np.array(
    [np.flatnonzero(np.subtract(_CORNERS[b], _CORNERS[a]))[0] for a, b in _EDGES], np.int64
)
"""(12,) int64: the axis, 0 to 2, along which an edge runs from there."""
