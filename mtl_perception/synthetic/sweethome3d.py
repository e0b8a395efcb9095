# SPDX-License-Identifier: Apache-2.0
"""Furniture of Debian's package ``sweethome3d-furniture`` in place of the procedural, if wanted.

The package holds about 800 models for Sweet Home 3D (CC0 and CC-BY; its copyright file names the
authors) as zip files with a catalogue of names and sizes. ``sweethome3d.yaml`` says which names
are which class. A piece of the room may be replaced by a model of its class and about its size,
scaled to stand in exactly the same place.
"""

import re
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import open3d as o3d
import yaml

from mtl_perception.compressed import decode_compressed_color
from mtl_perception.conventions import DenseSlamError, InvalidInput
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.materials import linear
from mtl_perception.synthetic.obj_files import BadModel, MtlEntry, read_mtl, read_obj
from mtl_perception.synthetic.soup import Soup

FOLDER = Path("/usr/share/sweethome3d/furniture")
CATALOGUE = "PluginFurnitureCatalog.properties"
MAX_FILES = 20_000  # in one zip
MAX_CATALOGUE_BYTES = 2**22
MAX_PART_BYTES = 4 * 2**20
MAX_PICTURE_SIDE = 512
KEPT = 96  # models that stay in memory
STRETCH = 0.35  # natural logarithm of how much a side may be stretched
TRY_RAYS = 16
SHARE = 0.6

# Sweet Home 3D: x to the right, y up, z to the front. Ours: front is +y, z up.
AXES = np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]])


class CatalogueMissing(DenseSlamError):
    """There is no furniture to import; the message says how to get it."""


@dataclass(frozen=True, eq=False)
class Model:
    """An entry of the catalogue."""

    name: str
    class_name: str  # NYU40
    file: Path  # zip
    part: str  # OBJ file in it
    size: np.ndarray  # (3,) metres: width, depth, height
    rotation: np.ndarray  # (3, 3) that stands it upright
    author: str


@dataclass
class Catalogue:
    """Models by class, and how many were refused, by reason."""

    models: dict[str, list[Model]]
    version: str
    refused: Counter[str] = field(default_factory=Counter)
    _soups: dict[str, Soup | None] = field(default_factory=dict)

    def furnished(self, items: list[Item], rng: np.random.Generator) -> list[Item]:
        """Return the items; ``SHARE`` of those that have a fitting model are replaced by one."""
        replaced = []
        for item in items:
            drawn = rng.random() < SHARE  # drawn always, so that one item's fate moves no other's
            pick = int(rng.integers(2**31))
            if drawn and item.patches and not any(patch.emission > 0 for patch in item.patches):
                item = _replaced(item, self, pick)
            replaced.append(item)
        return replaced

    def fitting(self, class_name: str, size: np.ndarray) -> list[Model]:
        """Return the models of a class that are about ``size`` (3,) metres."""
        models = self.models.get(class_name, [])
        return [m for m in models if np.abs(np.log(m.size / size)).max() < STRETCH]

    def soup(self, model: Model) -> Soup | None:
        """Return a model in a unit cube, front to +y, or None if it was refused before or now."""
        key = f"{model.file.name}/{model.part}"
        if key not in self._soups:
            if len(self._soups) >= KEPT:
                del self._soups[next(iter(self._soups))]
            try:
                self._soups[key] = _load(model)
            except BadModel as error:
                self.refused[error.reason] += 1
                self._soups[key] = None
        return self._soups[key]


def open_catalogue(folder: Path = FOLDER) -> Catalogue:
    """Read the catalogues of a folder's ``.sh3f`` files.

    Raises:
        CatalogueMissing: there are none.
        BadModel: a file is no zip with a catalogue, or too large.
    """
    files = sorted(folder.glob("*.sh3f"))
    if not files:
        raise CatalogueMissing(
            f"no .sh3f files in {folder}: apt-get install sweethome3d-furniture, or leave it out"
        )
    text = resources.files("mtl_perception.synthetic").joinpath("sweethome3d.yaml").read_text()
    classes = {
        name: class_name for class_name, names in yaml.safe_load(text).items() for name in names
    }
    catalogue = Catalogue({}, "")
    for file in files:
        entries, version = _entries(file)
        catalogue.version += f"{file.stem} {version}; "
        for entry in entries:
            class_name = classes.get(entry.get("name", "").lower())
            if class_name is None:
                catalogue.refused["not in the class table"] += 1
                continue
            try:
                model = _model(entry, class_name, file)
            except BadModel as error:
                catalogue.refused[error.reason] += 1
                continue
            catalogue.models.setdefault(class_name, []).append(model)
    return catalogue


def _replaced(item: Item, catalogue: Catalogue, pick: int) -> Item:
    T_item_room = np.linalg.inv(item.T_room_item)
    points = np.concatenate([patch.grid.reshape(-1, 3) for patch in item.patches])
    points = points @ T_item_room[:3, :3].T + T_item_room[:3, 3]
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    models = catalogue.fitting(item.class_name, np.maximum(size, 1e-3))
    soup = catalogue.soup(models[pick % len(models)]) if models else None
    if soup is None:
        return item
    T_item_cube = np.diag([*size, 1.0])
    T_item_cube[:3, 3] = low
    return replace(item, patches=[], soups=(soup.moved(item.T_room_item @ T_item_cube),))


def _entries(file: Path) -> tuple[list[dict[str, str]], str]:
    text = _part(file, CATALOGUE, MAX_CATALOGUE_BYTES).decode("latin-1")
    version = re.search(r"^version=(.{0,40})$", text, re.MULTILINE)
    entries: dict[int, dict[str, str]] = {}
    for key, number, value in re.findall(r"^(\w{1,40})#(\d{1,6})=(.*)$", text, re.MULTILINE):
        entries.setdefault(int(number), {})[key] = value.strip()
    return [entries[n] for n in sorted(entries)], version[1].strip() if version else "?"


def _model(entry: dict[str, str], class_name: str, file: Path) -> Model:
    try:
        size = np.array([float(entry[key]) for key in ("width", "depth", "height")]) / 100
        numbers = [float(word) for word in entry.get("modelRotation", "").split()]
        rotation = np.array(numbers).reshape(3, 3) if numbers else np.eye(3)
        part = entry["model"].lstrip("/")
    except (KeyError, ValueError):
        raise BadModel("bad entry", str(entry)[:200]) from None
    upright = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
    if not (np.isfinite(size).all() and (size > 0.01).all() and (size < 10).all() and upright):
        raise BadModel("bad size", f"{entry['name']}: {size.tolist()} m, rotation {numbers}")
    return Model(entry["name"], class_name, file, part, size, rotation, entry.get("creator", ""))


def _load(model: Model) -> Soup:
    parent = model.part.rpartition("/")[0]

    def sibling(name: str) -> bytes:
        return _part(model.file, f"{parent}/{name}", MAX_PART_BYTES)

    def library(name: str) -> dict[str, MtlEntry]:
        return read_mtl(sibling(name))

    def picture(name: str) -> np.ndarray | None:
        return _picture(sibling(name.replace("\\", "/")))

    soup = read_obj(sibling(model.part.rpartition("/")[2]), library, picture)
    # A picture's normals and places are of the model's own axes: turn, then fill the unit cube.
    T = np.eye(4)
    T[:3, :3] = AXES @ model.rotation
    soup = soup.moved(T)
    low, high = soup.corners.min(axis=(0, 1)), soup.corners.max(axis=(0, 1))
    span = np.maximum(high - low, 1e-6)
    T = np.diag([*(1 / span), 1.0])
    T[:3, 3] = -low / span
    return _outward(soup.moved(T), model.size)


def _outward(soup: Soup, size: np.ndarray) -> Soup:
    """Turn triangles round from whose back more can be seen than from their front."""
    T = np.diag([*size, 1.0])
    corners = (soup.corners @ T[:3, :3].T).astype(np.float32)
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(corners.reshape(-1, 3)),
        o3d.core.Tensor.from_numpy(np.arange(3 * len(soup), dtype=np.uint32).reshape(-1, 3)),
    )
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    k = np.arange(TRY_RAYS)
    height, angle = (k + 0.5) / TRY_RAYS, np.pi * (3 - 5**0.5) * k
    ball = np.stack(
        [*(np.sqrt(1 - height**2) * (np.cos(angle), np.sin(angle))), height], axis=1
    ).astype(np.float32)
    free = []
    for side in (1, -1):
        # Any fixed directions do, as long as they are on this side.
        way = np.where((ball @ (side * normal).T < 0).T[..., None], -ball, ball)
        start = corners.mean(axis=1) + 0.001 * side * normal
        rays = np.concatenate([np.broadcast_to(start[:, None], way.shape), way], axis=2)
        tensor = o3d.core.Tensor.from_numpy(rays.astype(np.float32))
        free.append((~scene.test_occlusions(tensor).numpy()).mean(axis=1))
    inside_out = free[1] > free[0] + 0.1
    turned = soup.turned(inside_out)
    return replace(turned, normals=np.where(inside_out[:, None, None], -1, 1) * turned.normals)


def _part(file: Path, name: str, limit: int) -> bytes:
    """Read one file of a zip, at most ``limit`` bytes of it unpacked."""
    try:
        with zipfile.ZipFile(file) as archive:
            if len(archive.infolist()) > MAX_FILES:
                raise BadModel("too many files", f"{file} has {len(archive.infolist())}")
            with archive.open(name) as stream:
                data = stream.read(limit + 1)
    except KeyError:
        raise BadModel("missing file", f"{name} in {file}") from None
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise BadModel("bad zip", f"{file}, {name}: {error}") from None
    if len(data) > limit:
        raise BadModel("too large", f"{name} in {file}: more than {limit} bytes")
    return data


class _Picture(NamedTuple):
    """What the decoder of CompressedImage messages looks at."""

    data: bytes
    format: str = "picture"


def _picture(data: bytes) -> np.ndarray:
    """Return (h, w, 3) float32 linear RGB, shrunk to ``MAX_PICTURE_SIDE``."""
    try:
        image = decode_compressed_color(_Picture(data))
    except InvalidInput as error:
        raise BadModel("bad picture", str(error)) from None
    shrink = MAX_PICTURE_SIDE / max(image.shape[:2])
    if shrink < 1:
        image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return linear(image)
