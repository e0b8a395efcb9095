# SPDX-License-Identifier: Apache-2.0
"""Mesh -> MarkerArray, changed parts only and within a byte budget.

The mesh is cut into cubic groups; each is one TRIANGLE_LIST marker with an id that stays. A marker
carries three points and three colours per triangle, 120 bytes. As Python message objects 200 000
triangles take about a second to build and serialise, so the bytes of the message are written
straight from the arrays (``Publisher.publish`` takes serialised messages); a test holds them
against rclpy's own serialisation.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Time
from visualization_msgs.msg import Marker

from slam_fusion.frame import Surface

TRIANGLE_BYTES = 3 * (3 * 8 + 4 * 4)
"""Bytes of one triangle in a marker: three points of float64, three RGBA colours of float32."""


@dataclass(frozen=True, eq=False)
class _Group:
    """The triangles whose first corner lies in one cube."""

    points: np.ndarray  # (3M, 3) float32 metres
    colors: np.ndarray  # (3M, 3) uint8 RGB
    checksum: int


class MeshStream:
    """Remembers what was sent of a changing mesh, and what is still to be sent."""

    def __init__(self, frame_id: str, group_size: float = 1.0) -> None:
        """Start with nothing sent.

        Args:
            frame_id: frame of the vertices.
            group_size: edge of a group, metres.
        """
        self._frame_id = frame_id
        self._group_size = group_size
        self._groups: dict[tuple[int, int, int], _Group] = {}
        self._ids: dict[tuple[int, int, int], int] = {}  # kept for ever, so that ids are stable
        self._pending: dict[tuple[int, int, int], None] = {}  # in order of age

    @property
    def pending_bytes(self) -> int:
        """Bytes that ``next_message`` still has to send, about."""
        sizes = (len(self._groups[k].points) for k in self._pending if k in self._groups)
        return sum(sizes) * TRIANGLE_BYTES // 3

    def update(self, surface: Surface, colors: np.ndarray) -> None:
        """Take the mesh as it is now; its changed, new and vanished groups become pending.

        Args:
            surface: mesh with V vertices.
            colors: (V, 3) uint8 RGB.
        """
        groups = _split(surface, colors, self._group_size)
        for key in self._groups.keys() - groups.keys():
            self._pending.setdefault(key)
        for key, group in groups.items():
            old = self._groups.get(key)
            if old is None or old.checksum != group.checksum:
                self._pending.setdefault(key)
                self._ids.setdefault(key, len(self._ids))
        self._groups = groups

    def resend_all(self) -> None:
        """Make the whole mesh pending: a new viewer has seen none of it."""
        for key in self._groups:
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
            group = self._groups.get(key)
            cost = len(group.points) * TRIANGLE_BYTES // 3 if group else 0
            if count and cdr.size + cost > byte_budget:
                break
            del self._pending[key]
            _write_marker(cdr, stamp, self._frame_id, self._ids[key], group)
            count += 1
        cdr.patch(0, "I", count)
        return cdr.to_bytes()


def _split(
    surface: Surface, colors: np.ndarray, group_size: float
) -> dict[tuple[int, int, int], _Group]:
    """Sort the triangles into groups by their first corner; their order inside a group stays."""
    if not len(surface.triangles):
        return {}
    first_corners = surface.positions[surface.triangles[:, 0]]
    cells = np.floor(first_corners / group_size).astype(np.int32)  # (M, 3)
    order = np.lexsort(cells.T)
    cells = cells[order]
    corners = surface.triangles[order].reshape(-1)  # (3M,)
    points, corner_colors = surface.positions[corners], colors[corners]
    starts = np.flatnonzero(np.r_[True, np.any(cells[1:] != cells[:-1], axis=1)])
    ends = np.r_[starts[1:], len(cells)]
    groups = {}
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        part = slice(3 * start, 3 * end)
        checksum = zlib.crc32(corner_colors[part].tobytes(), zlib.crc32(points[part].tobytes()))
        x, y, z = cells[start].tolist()
        groups[x, y, z] = _Group(points[part], corner_colors[part], checksum)
    return groups


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
    cdr: _CdrWriter, stamp: Time, frame_id: str, marker_id: int, group: _Group | None
) -> None:
    """Write visualization_msgs/Marker: ADD with the group's triangles, or DELETE when None."""
    cdr.numbers("iI", stamp.sec, stamp.nanosec)
    cdr.string(frame_id)
    cdr.string("mesh")
    action = Marker.ADD if group else Marker.DELETE
    cdr.numbers("iii", marker_id, Marker.TRIANGLE_LIST, action)
    cdr.numbers("ddddddd", 0, 0, 0, 0, 0, 0, 1)  # pose: identity
    cdr.numbers("ddd", 1, 1, 1)  # scale
    cdr.numbers("ffff", 1, 1, 1, 1)  # color; RViz hides markers of alpha 0
    cdr.numbers("iI?", 0, 0, False)  # lifetime: for ever; frame_locked
    points = group.points if group else np.empty((0, 3), np.float32)
    cdr.rows(points.astype("<f8"))
    rgba = np.ones((len(points), 4), "<f4")
    if group:
        rgba[:, :3] = group.colors / np.float32(255)
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
