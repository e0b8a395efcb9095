# SPDX-License-Identifier: Apache-2.0
"""PLY files of a labelled surface, for MeshLab, CloudCompare, Blender and Open3D (numpy only)."""

import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from mtl_perception.atomic_file import atomic_file
from mtl_perception.conventions import DenseSlamError, InvalidInput
from slam_fusion.frame import Surface

MAX_HEADER_BYTES = 4096
"""Our header is under 500 bytes; a longer one is not ours."""

_MOST_VERTICES = 2**31 - 1  # faces name them by int32
_COPIED_AT_ONCE = 1 << 20

_VERTEX = np.dtype(
    [
        ("x", "<f4"),
        ("y", "<f4"),
        ("z", "<f4"),
        ("nx", "<f4"),
        ("ny", "<f4"),
        ("nz", "<f4"),
        ("red", "u1"),
        ("green", "u1"),
        ("blue", "u1"),
        ("label", "u1"),
        ("confidence", "<f4"),
    ]
)
_VERTEX_OF_OBJECT = np.dtype([*_VERTEX.descr, ("instance", "<u2")])
_FACE = np.dtype([("count", "u1"), ("rows", "<i4", (3,))])
_PLY_TYPES = {"<f4": "float", "|u1": "uchar", "<u2": "ushort"}


class PlyFileError(DenseSlamError):
    """A PLY file that this package did not write, or that is damaged; says where."""


def write_ply(
    path: Path,
    surface: Surface,
    colors: np.ndarray | None = None,
    instances: np.ndarray | None = None,
) -> int:
    """Write a mesh, or a cloud when the surface has no triangles, as binary PLY, atomically.

    Vertex properties: x y z nx ny nz (float), red green blue (uchar), label (uchar, 255 =
    unlabelled), confidence (float); and instance (ushort, 0 = no object) where they are given.

    Args:
        path: file to make or replace; its folder must exist.
        surface: what to write.
        colors: (N, 3) uint8 RGB to write as red, green, blue in place of the true colours,
            for example the class colours ``label_set.colorize(surface.labels)``.
        instances: (N,) uint16 object of each vertex.

    Returns:
        Size of the file in bytes.
    """
    vertices = _vertices(surface, colors, instances)
    faces = _faces(surface.triangles)
    with atomic_file(path) as file:
        file.write(_header(len(vertices), len(faces), vertices.dtype))
        file.write(vertices.data)
        file.write(faces.data)
        return file.tell()


def write_ply_parts(
    path: Path,
    parts: Iterable[Surface],
    colors: Callable[[Surface], np.ndarray] | None = None,
) -> int:
    """Write a surface that comes in parts, each with vertices of its own, as ``write_ply`` does.

    Memory is taken for one part at a time; disk, for a while, for the file twice.

    Args:
        path: as in ``write_ply``.
        parts: meshes, or clouds.
        colors: gives the colours to write of a part, (N, 3) uint8 RGB.

    Returns:
        Size of the file in bytes.

    Raises:
        InvalidInput: there are more vertices than a PLY file can number.
    """
    vertex_count = face_count = 0
    with (
        tempfile.TemporaryFile(dir=path.parent) as vertices,
        tempfile.TemporaryFile(dir=path.parent) as faces,
        atomic_file(path) as file,
    ):
        for part in parts:
            vertices.write(_vertices(part, colors(part) if colors else None, None).data)
            faces.write(_faces(part.triangles + np.int64(vertex_count)).data)
            vertex_count, face_count = vertex_count + len(part), face_count + len(part.triangles)
            if vertex_count > _MOST_VERTICES:
                raise InvalidInput(f"{path}: PLY files number {_MOST_VERTICES} vertices at most")
        file.write(_header(vertex_count, face_count, _VERTEX))
        for rows in (vertices, faces):
            rows.seek(0)
            shutil.copyfileobj(rows, file, _COPIED_AT_ONCE)
        return file.tell()


def read_ply(path: Path) -> Surface:
    """Read a PLY file that ``write_ply`` made; objects of its vertices are passed over.

    Counts are checked against the size of the file before any memory is taken.

    Raises:
        PlyFileError: the header is not ours, the size disagrees with it, a triangle names a
            vertex that is not there, or a position is NaN or Inf.
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        head = file.read(MAX_HEADER_BYTES)
        end = head.find(b"end_header\n") + len(b"end_header\n")
        vertex_count, face_count, vertex = _counts(path, head[:end])
        wanted = end + vertex_count * vertex.itemsize + face_count * _FACE.itemsize
        found = path.stat().st_size
        if wanted != found:
            raise PlyFileError(f"{path}: header promises {wanted} bytes, the file has {found}")
        file.seek(end)
        vertices = np.frombuffer(file.read(vertex_count * vertex.itemsize), vertex)
        faces = np.frombuffer(file.read(face_count * _FACE.itemsize), _FACE)

    rows = np.ascontiguousarray(faces["rows"], np.int32)
    bad = (faces["count"] != 3) | np.any((rows < 0) | (rows >= vertex_count), axis=1)
    if bad.any():
        raise PlyFileError(f"{path}: face {int(np.argmax(bad))} names vertices that are not there")
    positions = _columns(vertices, ("x", "y", "z"))
    if not np.isfinite(positions).all():
        raise PlyFileError(f"{path}: a vertex has a position that is not finite")
    return Surface(
        positions=positions,
        normals=_columns(vertices, ("nx", "ny", "nz")),
        colors=_columns(vertices, ("red", "green", "blue")),
        labels=vertices["label"].copy(),
        confidence=vertices["confidence"].astype(np.float32),
        triangles=rows,
    )


def _vertices(
    surface: Surface, colors: np.ndarray | None, instances: np.ndarray | None
) -> np.ndarray:
    rows = np.empty(len(surface), _VERTEX if instances is None else _VERTEX_OF_OBJECT)
    _fill(rows, ("x", "y", "z"), surface.positions)
    _fill(rows, ("nx", "ny", "nz"), surface.normals)
    _fill(rows, ("red", "green", "blue"), surface.colors if colors is None else colors)
    rows["label"] = surface.labels
    rows["confidence"] = surface.confidence
    if instances is not None:
        rows["instance"] = instances
    return rows


def _faces(triangles: np.ndarray) -> np.ndarray:
    rows = np.empty(len(triangles), _FACE)
    rows["count"] = 3
    rows["rows"] = triangles
    return rows


def _header(vertex_count: int, face_count: int, vertex: np.dtype) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", "comment dense_semantic_slam metres"]
    lines.append(f"element vertex {vertex_count}")
    for name in vertex.names or ():
        lines.append(f"property {_PLY_TYPES[vertex[name].str]} {name}")
    # A cloud has no face element at all: some readers take an empty one for a broken mesh.
    if face_count:
        lines += [f"element face {face_count}", "property list uchar int vertex_indices"]
    return "\n".join([*lines, "end_header\n"]).encode("ascii")


def _counts(path: Path, head: bytes) -> tuple[int, int, np.dtype]:
    """Counts of vertices and faces, and what a vertex holds, from a header that is ours exactly."""
    counts = {b"vertex": 0, b"face": 0}
    for line in head.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == b"element" and words[1] in counts:
            # Twelve digits hold any file there is; int() of a longer run costs time.
            if not (words[2].isdigit() and len(words[2]) <= 12):
                raise PlyFileError(f"{path}: {line!r} is not a count")
            counts[words[1]] = int(words[2])
    for vertex in (_VERTEX, _VERTEX_OF_OBJECT):
        if head == _header(counts[b"vertex"], counts[b"face"], vertex):
            return counts[b"vertex"], counts[b"face"], vertex
    raise PlyFileError(f"{path}: not a PLY file of this package (header {head[:80]!r})")


def _fill(rows: np.ndarray, names: tuple[str, ...], columns: np.ndarray) -> None:
    for index, name in enumerate(names):
        rows[name] = columns[:, index]


def _columns(rows: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    return np.stack([rows[name] for name in names], axis=1)
