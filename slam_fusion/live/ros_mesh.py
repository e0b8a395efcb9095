# SPDX-License-Identifier: Apache-2.0
"""Mesh -> MarkerArray, changed parts only and within a byte budget.

Blocks of the map are put together into cubic groups; each is one TRIANGLE_LIST marker with an id
that stays. A marker carries three points and three colours per triangle, 120 bytes. As Python
message objects 200 000 triangles take about a second to build and serialise, so the bytes of the
message are written straight from the arrays (``Publisher.publish`` takes serialised messages); a
test holds them against rclpy's own serialisation.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Time
from visualization_msgs.msg import Marker

from slam_fusion.frame import SurfaceChange

TRIANGLE_BYTES = 3 * (3 * 8 + 4 * 4)
"""Bytes of one triangle in a marker: three points of float64, three RGBA colours of float32."""


_Key = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class _Part:
    """The triangles of one block."""

    points: np.ndarray  # (3M, 3) float32 metres
    colors: np.ndarray  # (3M, 3) uint8 RGB
    checksum: int


class MeshStream:
    """Remembers what was sent of a changing mesh, and what is still to be sent."""

    def __init__(self, frame_id: str, group_blocks: int = 1) -> None:
        """Start with nothing sent.

        Args:
            frame_id: frame of the vertices.
            group_blocks: edge of a group, in blocks.
        """
        self._frame_id = frame_id
        self._group_blocks = group_blocks
        self._groups: dict[_Key, dict[_Key, _Part]] = {}  # group -> block -> its triangles
        self._ids: dict[_Key, int] = {}  # of groups; kept for ever, so that ids are stable
        self._pending: dict[_Key, None] = {}  # groups in order of age

    @property
    def pending_bytes(self) -> int:
        """Bytes that ``next_message`` still has to send, about."""
        return sum(self._cost(group) for group in self._pending)

    def update(self, change: SurfaceChange, colors: np.ndarray) -> None:
        """Take what changed; the groups of blocks that differ from before become pending.

        Args:
            change: of the mesh, with M triangles in all.
            colors: (M, 3, 3) uint8 RGB of each triangle's corners.
        """
        corners = change.surface.triangles.reshape(-1)
        points, colors = change.surface.positions[corners], colors.reshape(-1, 3)
        parts = {}
        if change.restart:  # what does not come again is gone
            parts = {block: slice(0) for group in self._groups.values() for block in group}
        for block, _, triangles in change.parts():
            parts[block] = slice(3 * triangles.start, 3 * triangles.stop)
        for block, part in parts.items():
            self._set(block, points[part], colors[part])

    def _set(self, block: _Key, points: np.ndarray, colors: np.ndarray) -> None:
        x, y, z = (coordinate // self._group_blocks for coordinate in block)
        group = self._groups.setdefault((x, y, z), {})
        checksum = zlib.crc32(colors.tobytes(), zlib.crc32(points.tobytes()))
        old = group.pop(block, None)
        if len(points):
            # Copies: a view would keep all that came with it in memory.
            group[block] = _Part(points.copy(), colors.copy(), checksum)
        if checksum != (old.checksum if old else 0):  # that of no bytes is 0
            self._ids.setdefault((x, y, z), len(self._ids))
            self._pending.setdefault((x, y, z))

    def _cost(self, group: _Key) -> int:
        """Bytes of a group's triangles."""
        return sum(len(p.points) for p in self._groups[group].values()) * TRIANGLE_BYTES // 3

    def resend_all(self) -> None:
        """Make the whole mesh pending: a new viewer has seen none of it."""
        for key, parts in self._groups.items():
            if parts:
                self._pending.setdefault(key)

    def next_message(self, byte_budget: int, stamp: Time) -> bytes | None:
        """Serialise a MarkerArray of the groups that have waited longest.

        Args:
            byte_budget: size at which the message ends; the first group always fits, or a large
                one could never be sent.
            stamp: stamp of the markers.

        Returns:
            The serialised message, or None when nothing is pending.
        """
        if not self._pending:
            return None
        cdr, count = _CdrWriter(), 0
        cdr.number("I", 0)  # markers.size(), known at the end
        for key in list(self._pending):
            if count and cdr.size + self._cost(key) > byte_budget:
                break
            del self._pending[key]
            parts = [part for _, part in sorted(self._groups[key].items())]
            _write_marker(cdr, stamp, self._frame_id, self._ids[key], parts)
            count += 1
        cdr.patch(0, "I", count)
        return cdr.to_bytes()


class _CdrWriter:
    """Just enough of CDR (the wire format of ROS messages) for markers: little endian, aligned."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def size(self) -> int:
        return len(self._buffer)

    def align(self, width: int) -> None:
        self._buffer.extend(bytes(-self.size % width))

    def number(self, code: str, value: float) -> None:
        self.align(struct.calcsize(code))
        self._buffer.extend(struct.pack("<" + code, value))

    def numbers(self, codes: str, *values: float) -> None:
        for code, value in zip(codes, values, strict=True):
            self.number(code, value)

    def string(self, text: str) -> None:
        data = text.encode() + b"\0"
        self.number("I", len(data))
        self._buffer.extend(data)

    def rows(self, rows: np.ndarray) -> None:
        """Write a sequence of messages that are all of one number type: (N, fields)."""
        self.number("I", len(rows))
        if len(rows):
            self.align(rows.itemsize)
            self._buffer.extend(memoryview(np.ascontiguousarray(rows)).cast("B"))

    def patch(self, offset: int, code: str, value: float) -> None:
        struct.pack_into("<" + code, self._buffer, offset, value)

    def to_bytes(self) -> bytes:
        """Return the message with the header that says "CDR, little endian"."""
        return b"\x00\x01\x00\x00" + bytes(self._buffer)


def _write_marker(
    cdr: _CdrWriter, stamp: Time, frame_id: str, marker_id: int, parts: list[_Part]
) -> None:
    """Write visualization_msgs/Marker: ADD with all triangles, or DELETE when there are none."""
    cdr.numbers("iI", stamp.sec, stamp.nanosec)
    cdr.string(frame_id)
    cdr.string("mesh")
    action = Marker.ADD if parts else Marker.DELETE
    cdr.numbers("iii", marker_id, Marker.TRIANGLE_LIST, action)
    cdr.numbers("ddddddd", 0, 0, 0, 0, 0, 0, 1)  # pose: identity
    cdr.numbers("ddd", 1, 1, 1)  # scale
    cdr.numbers("ffff", 1, 1, 1, 1)  # color; RViz hides markers of alpha 0
    cdr.numbers("iI?", 0, 0, False)  # lifetime: for ever; frame_locked
    nothing = np.empty((0, 3))
    points = np.concatenate([nothing, *(part.points for part in parts)])
    cdr.rows(points.astype("<f8"))
    rgba = np.ones((len(points), 4), "<f4")
    rgba[:, :3] = np.concatenate([nothing, *(part.colors for part in parts)]) / 255
    cdr.rows(rgba)
    cdr.string("")  # texture_resource
    cdr.numbers("iI", 0, 0)  # texture: header, format, data
    cdr.string("")
    cdr.string("")
    cdr.number("I", 0)
    cdr.number("I", 0)  # uv_coordinates
    cdr.string("")  # text
    cdr.string("")  # mesh_resource
    cdr.string("")  # mesh_file: filename, data
    cdr.number("I", 0)
    cdr.number("?", False)  # mesh_use_embedded_materials
