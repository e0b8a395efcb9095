# SPDX-License-Identifier: Apache-2.0
"""Pictures of a map by ray casting: no display, no GPU."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from open3d.core import Tensor
from open3d.t.geometry import RaycastingScene

from mtl_perception.atomic_file import atomic_file
from mtl_perception.conventions import InvalidInput
from mtl_perception.labels import LabelSet
from slam_fusion.frame import Surface
from slam_fusion.output import legend, viewpoints
from slam_fusion.output.viewpoints import View

SUPERSAMPLING = 2
PANE = (960, 720)
"""Width and height of one picture, pixels."""

_MARGIN = 24

_SCOUT = viewpoints.camera(160, 120)
"""Camera of the quick looks that choose a viewpoint."""


def render_views(
    out: Path,
    surface: Surface,
    label_set: LabelSet | None,
    T_world_camera: np.ndarray,
    up: np.ndarray | None = None,
    poses: dict[str, np.ndarray] | None = None,
) -> list[Path]:
    """Write one PNG per viewpoint: true colours, class colours beside them, the legend below.

    Viewpoints are chosen by how much surface they show: ``dollhouse`` from outside and above
    with the walls in between left out, ``plan`` straight down, ``inside`` from a pose of the
    trajectory.

    Args:
        out: existing folder.
        surface: mesh; its normals point into free space.
        label_set: names and colours of its labels; None draws true colours only.
        T_world_camera: (N, 4, 4) poses of the recording; N = 0 leaves ``inside`` out.
        up: (3,) direction; estimated from poses and surface where None.
        poses: further viewpoints, T_world_camera by file stem.

    Returns:
        The files written.

    Raises:
        InvalidInput: the surface has no triangles.
    """
    if len(surface.triangles) == 0:
        raise InvalidInput("the map has no surface to draw (was any frame fused?)")
    views = choose_views(surface, T_world_camera, up)
    lens = viewpoints.camera(*PANE)
    views += [View(name, T, lens, False) for name, T in (poses or {}).items()]
    paths = []
    for view in views:
        paths.append(out / f"{view.name}.png")
        write_png(paths[-1], _picture(surface, view, label_set))
    return paths


def _picture(surface: Surface, view: View, label_set: LabelSet | None) -> np.ndarray:
    if label_set is None:
        return _crop(render(surface, view, surface.colors)[0])
    pair = _crop(np.hstack(render(surface, view, legend.class_colors(surface, label_set))))
    shares = legend.class_shares(surface, label_set)
    return np.vstack([pair, legend.draw_legend(shares, label_set, pair.shape[1])])


def choose_views(
    surface: Surface, T_world_camera: np.ndarray, up: np.ndarray | None = None
) -> list[View]:
    """Choose the automatic viewpoints of ``render_views``."""
    if up is None:
        up = viewpoints.estimate_up(T_world_camera, surface.normals)
    lens = viewpoints.camera(*PANE)
    outside = viewpoints.dollhouse_views(surface, up, lens)
    views = [
        max(outside, key=lambda view: _shown_area(surface, view)),
        viewpoints.plan_view(surface, up, T_world_camera, lens),
    ]
    inside = viewpoints.inside_views(T_world_camera, lens)
    if inside:
        views.append(max(inside, key=lambda view: _shown_area(surface, view)))
    return views


def render(surface: Surface, view: View, class_colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw the surface from one viewpoint in true and in class colours, antialiased, on white.

    Args:
        surface: mesh.
        view: camera.
        class_colors: (N, 3) uint8 RGB per vertex.

    Returns:
        Two (H, W, 3) uint8 RGB images. Classes are not blended: a point has the colour of its
        nearest vertex.
    """
    hits = _cast(surface, view, SUPERSAMPLING)
    rows = np.arange(len(hits.corners))
    nearest = hits.corners[rows, hits.weights.argmax(axis=1)]
    light = _light(surface, view, hits)
    # Photographs carry their own light and shade, flat class colours have none.
    true = _interpolate(surface.colors, hits) * (0.8 + 0.3 * light)
    classes = class_colors[nearest] * (0.35 + 0.65 * light)
    return _downsample(true, hits, view), _downsample(classes, hits, view)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an (H, W, 3) uint8 RGB image, atomically."""
    done, data = cv2.imencode(".png", image[:, :, ::-1])
    if not done:
        raise InvalidInput(f"{path}: image of {image.shape} cannot be coded as PNG")
    with atomic_file(path) as file:
        file.write(data.tobytes())


@dataclass(frozen=True, eq=False)
class _Hits:
    """What the rays of a picture met."""

    pixel: np.ndarray  # (H, W) bool: the ray met the surface
    distance: np.ndarray  # (P,) float32 metres along the ray, row-major over ``pixel``
    direction: np.ndarray  # (P, 3) float32 unit, world
    corners: np.ndarray  # (P, 3) rows of the vertices of the triangle that was met
    weights: np.ndarray  # (P, 3) float32 barycentric


def _cast(surface: Surface, view: View, scale: int) -> _Hits:
    """Cast ``scale`` x ``scale`` rays per pixel."""
    T, lens = view.T_world_camera, view.intrinsics
    triangles = surface.triangles
    if view.through_backs:
        triangles = triangles[_facing(surface, T[:3, 3])]
    scene = RaycastingScene()
    if len(triangles):
        scene.add_triangles(Tensor(surface.positions), Tensor(triangles.astype(np.uint32)))
    x = ((np.arange(lens.width * scale) + 0.5) / scale - 0.5 - lens.cx) / lens.fx
    y = ((np.arange(lens.height * scale) + 0.5) / scale - 0.5 - lens.cy) / lens.fy
    rays = np.empty((len(y), len(x), 6), np.float32)
    rays[..., :3] = T[:3, 3]
    directions = x[None, :, None] * T[:3, 0] + y[:, None, None] * T[:3, 1] + T[:3, 2]
    rays[..., 3:] = directions / np.linalg.norm(directions, axis=2, keepdims=True)
    answer = scene.cast_rays(Tensor(rays))
    distance = answer["t_hit"].numpy()
    pixel = np.isfinite(distance)
    uv = answer["primitive_uvs"].numpy()[pixel]
    return _Hits(
        pixel=pixel,
        distance=distance[pixel],
        direction=rays[pixel][:, 3:],
        corners=triangles[answer["primitive_ids"].numpy()[pixel]],
        weights=np.column_stack([1 - uv.sum(axis=1), uv]),
    )


def _facing(surface: Surface, eye: np.ndarray) -> np.ndarray:
    """(M,) bool: the triangle shows its front, the side of free space, to ``eye``."""
    a, b, c = (surface.positions[surface.triangles[:, corner]] for corner in range(3))
    side = surface.normals[surface.triangles].sum(axis=1)  # Free space, whatever the winding.
    normal = np.cross(b - a, c - a)
    normal *= np.sign(np.einsum("ij,ij->i", normal, side))[:, None]
    return np.einsum("ij,ij->i", normal, eye.astype(np.float32) - a) > 0


def _shown_area(surface: Surface, view: View) -> float:
    """Area of surface that a view shows, square metres, from a quick look."""
    hits = _cast(surface, replace(view, intrinsics=_SCOUT), 1)
    slant = np.einsum("ij,ij->i", -hits.direction, _interpolate(surface.normals, hits))
    # A grazing pixel covers much area but shows little of it.
    return float((hits.distance**2 / np.maximum(slant, 0.3)).sum()) / (_SCOUT.fx * _SCOUT.fy)


def _light(surface: Surface, view: View, hits: _Hits) -> np.ndarray:
    """(P, 1) float32 in [0, 1]: a soft lamp over the viewer's left shoulder."""
    lamp = view.T_world_camera[:3, :3] @ np.array([-0.35, -0.7, -0.62])
    normals = _interpolate(surface.normals, hits)
    cosine = normals @ lamp / np.maximum(np.linalg.norm(normals, axis=1), 1e-6)
    return (0.5 + 0.5 * cosine[:, None]).astype(np.float32) ** 1.5


def _interpolate(values: np.ndarray, hits: _Hits) -> np.ndarray:
    """(P, 3) float32: vertex values at the points that were met."""
    return np.einsum("pc,pck->pk", hits.weights, values[hits.corners].astype(np.float32))


def _crop(image: np.ndarray) -> np.ndarray:
    """Leave out white rows above and below, down to a margin."""
    drawn = np.flatnonzero((image < 255).any(axis=(1, 2)))
    if len(drawn) == 0:
        return image
    return image[max(0, drawn[0] - _MARGIN) : drawn[-1] + 1 + _MARGIN]


def _downsample(colors: np.ndarray, hits: _Hits, view: View) -> np.ndarray:
    image = np.full((*hits.pixel.shape, 3), 255, np.float32)
    image[hits.pixel] = colors
    size = (view.intrinsics.width, view.intrinsics.height)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)
