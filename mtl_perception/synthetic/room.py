# SPDX-License-Identifier: Apache-2.0
"""A room as triangles with classes, instances and a lit texture atlas."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import open3d as o3d

from mtl_perception.labels import LABEL_SETS
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.layout import Rectangle, plan_room
from mtl_perception.synthetic.lighting import Surfaces, light_room
from mtl_perception.synthetic.mood import Mood, light_items, random_mood
from mtl_perception.synthetic.patches import Patch
from mtl_perception.synthetic.soup import merged

if TYPE_CHECKING:
    from mtl_perception.synthetic.sweethome3d import Catalogue

TEXEL = 0.006
"""Metres of surface per texture element."""

SOUP_EDGE = 0.25
"""Metres: larger triangles of imported models are divided, for light varies over them."""

LABEL_SET = "nyu40"
"""Label set whose ids rooms use."""


@dataclass(frozen=True, eq=False)
class TruthMesh:
    """Exact surface of a room."""

    vertices: np.ndarray  # (V, 3) float32 metres, world frame
    triangles: np.ndarray  # (M, 3) int32 rows of ``vertices``
    labels: np.ndarray  # (M,) uint8 class id of each triangle


@dataclass(frozen=True, eq=False)
class Room:
    """A furnished room; world frame: origin in a corner of the floor, z up, metres."""

    kind: str  # living room, kitchen, ...
    size: np.ndarray  # (3,) float64 width along x, depth along y, height along z
    floors: tuple[Rectangle, ...]  # what can be walked on, metres
    vertices: np.ndarray  # (V, 3) float32 metres
    triangles: np.ndarray  # (M, 3) int32
    labels: np.ndarray  # (M,) uint8 NYU40 class id of each triangle
    instances: np.ndarray  # (M,) uint16 object of each triangle, 1..; 0 names no object
    texels: np.ndarray  # (T, 3) uint8 RGB: all textures, row after row, as lit
    texture_at: np.ndarray  # (M, 2) int32 first texel and row length of the triangle's texture
    corners: np.ndarray  # (M, 3, 2) float32 row and column in that texture of each corner

    @cached_property
    def scene(self) -> o3d.t.geometry.RaycastingScene:
        """Ray-casting structure; its primitive ids are rows of ``triangles``."""
        scene = o3d.t.geometry.RaycastingScene(nthreads=0)
        scene.add_triangles(
            o3d.core.Tensor.from_numpy(self.vertices),
            o3d.core.Tensor.from_numpy(self.triangles.astype(np.uint32)),
        )
        return scene

    def in_open_air(self, points: np.ndarray) -> np.ndarray:
        """Whether points (N, 3) are outside of everything: what is above and below shows its face.

        Returns:
            (N,) bool.
        """
        open_air = np.ones(len(points), bool)
        for up in (1.0, -1.0):
            way = np.broadcast_to(np.array([0, 0, up], np.float32), points.shape)
            rays = np.hstack([points, way]).astype(np.float32)
            hit = self.scene.cast_rays(o3d.core.Tensor.from_numpy(rays))
            facing = up * hit["primitive_normals"].numpy()[:, 2] < 0
            open_air &= facing & np.isfinite(hit["t_hit"].numpy())
        return open_air

    def mesh_truth(self) -> TruthMesh:
        """Return the labelled surface, for the evaluation of maps."""
        return TruthMesh(self.vertices, self.triangles, self.labels)


def make_room(
    seed: int,
    kind: str = "",
    mood: Mood | None = None,
    catalogue: "Catalogue | None" = None,
) -> Room:
    """Furnish, texture and light a room; the same seed gives the same bytes.

    Takes a few seconds, nearly all of them for the light.

    Args:
        seed: of everything.
        kind: one of ``layout.KINDS``; empty draws one.
        mood: its light; None draws one.
        catalogue: models that replace some of the furniture.

    Raises:
        InvalidInput: no such kind.
    """
    rng = np.random.default_rng(seed)
    plan = plan_room(rng, kind)
    light_rng = np.random.default_rng([seed, 2])
    mood = mood or random_mood(light_rng)
    items = plan.items
    if catalogue is not None:
        items = catalogue.furnished(items, np.random.default_rng([seed, 3]))
    return build_room(
        plan.kind, plan.size, plan.rooms, light_items(items, mood, light_rng), mood, rng
    )


def build_room(
    kind: str,
    size: np.ndarray,
    floors: tuple[Rectangle, ...],
    items: list[Item],
    mood: Mood,
    rng: np.random.Generator,
) -> Room:
    """Return a room of these items, textured and lit."""
    patches = [patch for item in items for patch in item.patches]
    parts = [[soup.divided(SOUP_EDGE) for soup in item.soups] for item in items]
    soup = merged([part for of_item in parts for part in of_item])
    solid = [triangulate(patch, TEXEL) for patch in patches]
    counts = np.array([len(triangles) for _, triangles, _ in solid])
    shapes = np.array([texture_shape(patch, TEXEL) for patch in patches])
    sides = np.zeros(0, np.int64) if soup is None else soup.blocks(TEXEL)
    surfaces = Surfaces(
        patches,
        shapes,
        np.array([i.class_name == "window" and p.emission > 0 for i in items for p in i.patches]),
        np.repeat(np.arange(len(patches)), counts),
        soup,
        sides,
    )
    first_vertex = np.cumsum([0] + [len(points) for points, _, _ in solid])
    first_texel = np.append(0, np.cumsum([*shapes.prod(axis=1), *sides**2]))
    object_of = np.append(
        np.repeat(np.repeat(np.arange(len(items)), [len(i.patches) for i in items]), counts),
        np.repeat(np.arange(len(items)), [sum(map(len, of_item)) for of_item in parts]),
    ).astype(np.int64)
    points = [points for points, _, _ in solid]
    triangles = [t + n for (_, t, _), n in zip(solid, first_vertex, strict=False)]
    corners = [corners for _, _, corners in solid]
    if soup is not None:
        points.append(soup.corners.reshape(-1, 3))
        triangles.append(first_vertex[-1] + np.arange(3 * len(soup)).reshape(-1, 3))
        corners.append((sides - 1)[:, None, None] * np.array([(0, 0), (0, 1), (1, 0)]))
    ids = LABEL_SETS[LABEL_SET]
    classes = np.array([ids.id_of(item.class_name) for item in items], np.uint8)
    texture = np.stack([first_texel[:-1], np.append(shapes[:, 1], sides)], axis=1)
    room = Room(
        kind=kind,
        size=size,
        floors=floors,
        vertices=np.concatenate(points).astype(np.float32),
        triangles=np.concatenate(triangles).astype(np.int32),
        labels=classes[object_of],
        instances=(object_of + 1).astype(np.uint16),
        texels=np.zeros((first_texel[-1], 3), np.uint8),
        texture_at=np.repeat(texture, [*counts, *np.ones(len(sides), int)], axis=0).astype(
            np.int32
        ),
        corners=np.concatenate(corners).astype(np.float32),
    )
    images = light_room(surfaces, TEXEL, room, mood, rng)
    np.concatenate([image.reshape(-1, 3) for image in images], out=room.texels)
    room.texels.flags.writeable = False
    return room


def texture_shape(patch: Patch, texel: float) -> tuple[int, int]:
    """Return (h, w) texels of a patch; the outermost texels lie on its borders."""
    h, w = (max(2, int(np.ceil(span[-1] / texel)) + 1) for span in patch.spans())
    return h, w


def triangulate(patch: Patch, texel: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split a patch into triangles.

    Returns:
        Vertices (V, 3); triangles (M, 3) of vertex rows, counter-clockwise seen from outside;
        and (M, 3, 2) texture row and column of each corner.
    """
    rows, columns = patch.grid.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    triangles = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], 2).reshape(-1, 3)
    coordinates = (
        span / span[-1] * (n - 1)
        for span, n in zip(patch.spans(), texture_shape(patch, texel), strict=True)
    )
    texture = np.stack(np.meshgrid(*coordinates, indexing="ij"), -1).reshape(-1, 2)
    return patch.grid.reshape(-1, 3), triangles, texture[triangles]
