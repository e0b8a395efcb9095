# SPDX-License-Identifier: Apache-2.0
"""Objects on a labelled surface: connected pieces of one class, with upright boxes around them."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mtl_perception.conventions import UNLABELLED, InvalidInput
from mtl_perception.labels import LabelSet
from slam_fusion.frame import Surface
from slam_fusion.geometry import quat_xyzw_from_matrix

STUFF = (
    *("background", "building", "ceiling", "earth", "field", "floor", "grass", "house"),
    *("mountain", "other", "otherstructure", "road", "sea", "sidewalk", "sky", "terrain"),
    *("vegetation", "wall", "water"),
)
"""Classes of the built-in label sets that do not come in pieces that one could count."""


@dataclass(frozen=True)
class ObjectsConfig:
    """What counts as an object."""

    stuff: tuple[str, ...] = STUFF  # names of classes that give no objects
    min_area: float = 0.02  # square metres of surface; smaller pieces are counted, not listed

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InvalidInput: names the parameter and its value.
        """
        if not 0 <= self.min_area < np.inf:
            raise InvalidInput(f"min_area={self.min_area} is not 0 or more square metres")


@dataclass(frozen=True)
class Box:
    """A box that stands upright: turned about the up direction only."""

    center: tuple[float, float, float]  # metres, world frame
    orientation: tuple[float, float, float, float]  # quaternion x y z w, R_world_box
    extents: tuple[float, float, float]  # metres along the box's x, y (length >= width) and up

    @property
    def volume(self) -> float:
        """Cubic metres."""
        return float(np.prod(self.extents))


@dataclass(frozen=True)
class MapObject:
    """One piece of connected surface of one class."""

    class_id: int
    name: str
    box: Box
    volume_m3: float  # of the box
    area_m2: float  # of the surface seen
    confidence: float  # mean of its vertices, 0..1
    vertex_count: int


@dataclass(frozen=True)
class ObjectList:
    """The objects of a map, and how many pieces of surface are not in the list."""

    up: tuple[float, float, float]  # unit vector in the world frame, along which boxes stand
    objects: tuple[MapObject, ...]  # by class id, the largest of each class first
    too_small: dict[str, int] = field(default_factory=dict)  # pieces by class name

    def to_json(self) -> str:
        """Return the list as JSON, the text of ``objects.json``."""
        return json.dumps(asdict(self), indent=1)


def find_objects(
    mesh: Surface,
    label_set: LabelSet | None,
    up: np.ndarray,
    config: ObjectsConfig = ObjectsConfig(),  # noqa: B008 (frozen)
) -> ObjectList:
    """Find connected pieces of one class: vertices that edges of triangles join.

    Triangles over the border of two classes belong to neither.

    Args:
        mesh: labelled surface.
        label_set: names the classes; without one they are called ``class N``.
        up: (3,) unit vector in the world frame.
        config: which classes and pieces to leave out.

    Returns:
        The objects and, by class, how many pieces were too small.
    """
    names = label_set.names if label_set else {}
    stuff = [class_id for class_id, name in names.items() if name in config.stuff]
    labels = mesh.labels[mesh.triangles]  # (M, 3)
    wanted = np.all(labels == labels[:, :1], axis=1)
    wanted &= ~np.isin(labels[:, 0], [UNLABELLED, *stuff])
    triangles = mesh.triangles[wanted]
    joins = coo_array(
        (
            np.ones(2 * len(triangles), bool),
            (triangles[:, [0, 1]].ravel(), triangles[:, 1:].ravel()),
        ),
        shape=(len(mesh), len(mesh)),
    )
    piece_of = connected_components(joins, directed=False)[1][triangles[:, 0]]  # (M,)
    order = np.argsort(piece_of, kind="stable")
    pieces = np.split(triangles[order], np.flatnonzero(np.diff(piece_of[order])) + 1)
    objects, too_small = [], Counter[str]()
    for piece in pieces if len(triangles) else []:
        class_id = int(mesh.labels[piece[0, 0]])
        name = names.get(class_id, f"class {class_id}")
        area = _area(mesh.positions, piece)
        if area < config.min_area:
            too_small[name] += 1
            continue
        vertices = np.unique(piece)
        box = upright_box(mesh.positions[vertices], up)
        confidence = float(mesh.confidence[vertices].mean(dtype=np.float64))
        objects.append(MapObject(class_id, name, box, box.volume, area, confidence, len(vertices)))
    objects.sort(key=lambda o: (o.class_id, -o.area_m2, o.box.center))
    x, y, z = map(float, up)
    return ObjectList((x, y, z), tuple(objects), dict(sorted(too_small.items())))


def upright_box(points: np.ndarray, up: np.ndarray) -> Box:
    """Return the box about ``up`` of the smallest floor area that holds all points.

    One side of the smallest rectangle lies on a side of the convex hull (Freeman & Shapira, 1975).

    Args:
        points: (N, 3) metres, N > 0.
        up: (3,) unit vector.
    """
    east = np.cross(np.eye(3)[1 if abs(up[1]) < 0.9 else 2], up)
    east /= np.linalg.norm(east)
    R_level_world = np.stack([east, np.cross(up, east), up])
    middle = points.mean(axis=0, dtype=np.float64)
    level = (points - middle) @ R_level_world.T
    hull = cv2.convexHull(level[:, None, :2].astype(np.float32))[:, 0].astype(np.float64)
    sides = np.roll(hull, -1, axis=0) - hull
    yaws = np.unique(np.arctan2(sides[:, 1], sides[:, 0]) % (np.pi / 2))
    turns = np.stack([np.cos(yaws), np.sin(yaws)]), np.stack([-np.sin(yaws), np.cos(yaws)])
    spans = np.stack([np.ptp(hull @ turn, axis=0) for turn in turns])  # (2, K)
    # Of equal areas the first, whatever the rounding.
    best = int(np.argmax(spans.prod(axis=0) <= spans.prod(axis=0).min() * (1 + 1e-6) + 1e-12))
    yaw = yaws[best] + (np.pi / 2 if spans[1, best] > spans[0, best] else 0)
    c, s = np.cos(yaw), np.sin(yaw)
    R_box_world = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) @ R_level_world
    inside = (points - middle) @ R_box_world.T
    low, high = inside.min(axis=0), inside.max(axis=0)
    x, y, z = map(float, middle + R_box_world.T @ ((low + high) / 2))
    qx, qy, qz, qw = map(float, quat_xyzw_from_matrix(R_box_world.T))
    length, width, height = map(float, high - low)
    return Box((x, y, z), (qx, qy, qz, qw), (length, width, height))


def _area(positions: np.ndarray, triangles: np.ndarray) -> float:
    corners = positions[triangles].astype(np.float64)
    edges = corners[:, 1:] - corners[:, :1]
    return float(0.5 * np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1).sum())
