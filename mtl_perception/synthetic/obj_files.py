# SPDX-License-Identifier: Apache-2.0
"""Wavefront OBJ and MTL text into triangles; files of strangers cost bounded memory and time."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mtl_perception.conventions import DenseSlamError
from mtl_perception.synthetic.soup import Soup, SoupMaterial

MAX_OBJ_BYTES = 4 * 2**20
MAX_TRIANGLES = 30_000
MAX_FACE_CORNERS = 64
MAX_MATERIALS = 200
GREY = (0.6, 0.6, 0.6)


class BadModel(DenseSlamError):
    """A model that cannot be used; the message says why, ``reason`` in a word."""

    def __init__(self, reason: str, detail: str) -> None:
        """Keep the reason for counts."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True)
class MtlEntry:
    """A material as its file describes it."""

    color: tuple[float, float, float]  # as on a screen, 0..1
    image: str = ""  # name of a picture
    opacity: float = 1.0


@dataclass
class _Obj:
    """Lines of a file so far."""

    vertices: list[tuple[float, ...]] = field(default_factory=list)
    normals: list[tuple[float, ...]] = field(default_factory=list)
    uvs: list[tuple[float, ...]] = field(default_factory=list)
    faces: list[tuple[tuple[int, int, int], ...]] = field(default_factory=list)
    material: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)


def read_obj(
    data: bytes,
    library: Callable[[str], dict[str, MtlEntry]],
    picture: Callable[[str], np.ndarray | None],
) -> Soup:
    """Return the triangles of an OBJ file, in its own units and axes.

    Args:
        data: the file.
        library: materials of an MTL file that it names.
        picture: (h, w, 3) float32 linear RGB of a picture that a material names, None to go
            without.

    Raises:
        BadModel: too large, no faces, a face that names what is not there, numbers that are not
            finite.
    """
    if len(data) > MAX_OBJ_BYTES:
        raise BadModel("too large", f"{len(data)} bytes, at most {MAX_OBJ_BYTES}")
    obj = _parse(data.decode("latin-1"))
    corners, normals, uv = _gathered(obj)
    entries: dict[str, MtlEntry] = {}
    for name in obj.libraries[:4]:
        entries.update(library(name))
    names = sorted(set(obj.material))
    if len(names) > MAX_MATERIALS:
        raise BadModel("too many materials", f"{len(names)}, at most {MAX_MATERIALS}")
    materials = tuple(_material(entries.get(name), picture) for name in names)
    rows = {name: row for row, name in enumerate(names)}
    material = np.array([rows[name] for name in obj.material])
    solid = (
        np.linalg.norm(
            np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
        )
        > 0
    )
    if not solid.any():
        raise BadModel("no faces", "all triangles are lines or points")
    return Soup(corners[solid], normals[solid], uv[solid], material[solid], materials)


def read_mtl(data: bytes) -> dict[str, MtlEntry]:
    """Return the materials of an MTL file by name.

    Raises:
        BadModel: a colour that is no numbers.
    """
    entries: dict[str, MtlEntry] = {}
    name = ""
    for line in data[: 2**20].decode("latin-1").splitlines():
        words = line.split()
        if len(words) < 2:
            continue
        if words[0] == "newmtl":
            name = words[1]
            entries[name] = MtlEntry(GREY)
        elif name and words[0] in ("Kd", "d", "map_Kd"):
            old = entries[name]
            if words[0] == "Kd":
                color = tuple(_floats(words[1:4], 3))
                entries[name] = MtlEntry((color[0], color[1], color[2]), old.image, old.opacity)
            elif words[0] == "d":
                entries[name] = MtlEntry(old.color, old.image, _floats(words[1:2], 1)[0])
            else:
                entries[name] = MtlEntry(old.color, line.split(None, 1)[1].strip(), old.opacity)
    return entries


def _parse(text: str) -> _Obj:
    obj, material = _Obj(), ""
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            obj.vertices.append(_floats(words[1:4], 3))
        elif words[0] == "vn":
            obj.normals.append(_floats(words[1:4], 3))
        elif words[0] == "vt":
            obj.uvs.append(_floats(words[1:3], 2))
        elif words[0] == "usemtl":
            material = words[1] if len(words) > 1 else ""
        elif words[0] == "mtllib":
            obj.libraries += words[1:]
        elif words[0] == "f":
            corners = [_corner(word, obj) for word in words[1:]]
            if not 3 <= len(corners) <= MAX_FACE_CORNERS:
                raise BadModel("bad face", f"{len(corners)} corners")
            for i in range(1, len(corners) - 1):
                obj.faces.append((corners[0], corners[i], corners[i + 1]))
                obj.material.append(material)
            if len(obj.faces) > MAX_TRIANGLES:
                raise BadModel("too many triangles", f"more than {MAX_TRIANGLES}")
    if not obj.faces:
        raise BadModel("no faces", "nothing to see")
    return obj


def _floats(words: list[str], count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(word) for word in words)
    except ValueError:
        raise BadModel("bad number", f"{words}") from None
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise BadModel("bad number", f"{words}, want {count}")
    return numbers


def _corner(word: str, obj: _Obj) -> tuple[int, int, int]:
    """Return rows of vertex, uv and normal, -1 for none, of ``v/vt/vn``."""
    rows = []
    parts = (word + "//").split("/")[:3]
    for part, known in zip(parts, (obj.vertices, obj.uvs, obj.normals), strict=True):
        try:
            number = int(part) if part else 0
        except ValueError:
            raise BadModel("bad face", word[:40]) from None
        row = number - 1 if number > 0 else len(known) + number if number < 0 else -1
        if number and not 0 <= row < len(known):
            raise BadModel("bad face", f"{word[:40]} names what is not there")
        rows.append(row)
    if rows[0] < 0:
        raise BadModel("bad face", f"{word[:40]} has no vertex")
    return rows[0], rows[1], rows[2]


def _gathered(obj: _Obj) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return corners (M, 3, 3), unit normals (M, 3, 3) and uv (M, 3, 2)."""
    rows = np.array(obj.faces)
    corners = np.array(obj.vertices)[rows[..., 0]]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    normals = np.repeat(flat[:, None], 3, axis=1)
    if obj.normals:
        given = np.array(obj.normals)[rows[..., 2]]
        length = np.linalg.norm(given, axis=2, keepdims=True)
        # A normal that points to the other side than its triangle is worth nothing.
        good = (rows[..., 2:] >= 0) & (length > 0.5) & ((given * normals).sum(2, keepdims=True) > 0)
        normals = np.where(good, given / np.maximum(length, 1e-12), normals)
    uv = np.zeros((*rows.shape[:2], 2))
    if obj.uvs:
        uv = np.where(rows[..., 1:2] >= 0, np.array(obj.uvs)[rows[..., 1]], 0)
    return corners, normals, uv


def _material(entry: MtlEntry | None, picture: Callable[[str], np.ndarray | None]) -> SoupMaterial:
    entry = entry or MtlEntry(GREY)
    image = picture(entry.image) if entry.image else None
    if image is not None:
        return SoupMaterial(image.mean(axis=(0, 1)).astype(np.float32), image)
    # Nothing is as black as 0 or as white as 1.
    return SoupMaterial((0.02 + 0.9 * np.clip(entry.color, 0, 1) ** 2.2).astype(np.float32))
