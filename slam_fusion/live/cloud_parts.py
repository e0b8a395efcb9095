# SPDX-License-Identifier: Apache-2.0
"""The whole cloud of a map that changes, put together from its blocks' newest parts."""

import numpy as np

from slam_fusion.frame import Surface, SurfaceChange

_NO_POINTS = {
    "positions": np.empty((0, 3), np.float32),
    "normals": np.empty((0, 3), np.float32),
    "colors": np.empty((0, 3), np.uint8),
    "labels": np.empty(0, np.uint8),
    "confidence": np.empty(0, np.float32),
}


class CloudParts:
    """Keeps the newest part of every block of a cloud.

    Attributes:
        version: of the newest change, to ask for the next with.
    """

    def __init__(self) -> None:
        """Start with nothing; the first change brings everything."""
        self.version = -1
        self._parts: dict[tuple[int, int, int], tuple[np.ndarray, ...]] = {}

    def update(self, change: SurfaceChange) -> None:
        """Put the parts of ``change`` in the place of those of before."""
        self.version = change.version
        if change.restart:
            self._parts.clear()
        columns = [getattr(change.surface, name) for name in _NO_POINTS]
        for block, points, _ in change.parts():
            self._parts.pop(block, None)
            if points.stop > points.start:
                # Copies: a view would keep all that came with it in memory.
                self._parts[block] = tuple(column[points].copy() for column in columns)

    def whole(self) -> Surface:
        """Return the cloud as it is now, blocks in lexicographic order of their keys."""
        parts = [tuple(_NO_POINTS.values()), *(part for _, part in sorted(self._parts.items()))]
        columns = map(np.concatenate, zip(*parts, strict=True))
        return Surface(
            **dict(zip(_NO_POINTS, columns, strict=True)), triangles=np.empty((0, 3), np.int32)
        )
