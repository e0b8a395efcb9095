# SPDX-License-Identifier: Apache-2.0
"""What a camera in the room sees: colour, exact depth, labels, instances, normals."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import open3d as o3d
from numba import njit

from mtl_perception.conventions import UNLABELLED, Intrinsics
from mtl_perception.synthetic.photo import ColorNoise, photograph
from mtl_perception.synthetic.room import Room

ROOM_CAMERA = Intrinsics(640, 480, 525.0, 525.0, 319.5, 239.5)
"""A camera with the field of view of a usual indoor RGB-D sensor."""


@dataclass(frozen=True, eq=False)
class RenderedView:
    """Images of one camera pose, all exact and registered to each other."""

    color: np.ndarray  # (H, W, 3) uint8 RGB
    depth: np.ndarray  # (H, W) float32 metres along optical z; 0 where nothing was hit
    labels: np.ndarray  # (H, W) uint8 class id, 255 where nothing was hit
    instances: np.ndarray  # (H, W) uint16 object number, 0 where nothing was hit
    normals: np.ndarray  # (H, W, 3) float32 unit, camera frame, facing the camera


IDEAL = ColorNoise()

CONTRAST = 10.0
"""Grey levels of 255 between neighbours from which a pixel gets more rays."""


def render(
    room: Room,
    intrinsics: Intrinsics,
    T_world_camera: np.ndarray,
    *,
    noise: ColorNoise = IDEAL,
    samples: int = 1,
    shutter: Sequence[np.ndarray] = (),
) -> RenderedView:
    """Render one view.

    Args:
        room: what to see.
        intrinsics: the camera.
        T_world_camera: (4, 4) pose of its optical frame.
        noise: imperfections of the colour image.
        samples: where colour changes from pixel to pixel it is the mean of ``samples`` x
            ``samples`` rays per pixel; the other images always hold the ray through its centre.
        shutter: poses T_world_camera that the camera goes through while the image is exposed;
            colour is the mean of what they see, the other images are of ``T_world_camera``.
    """
    triangle, depth, uv, normals = _cast(room, intrinsics, T_world_camera)
    found = triangle < len(room.triangles)
    row = np.where(found, triangle, 0)
    if shutter:
        seen = [_color(room, intrinsics, pose) for pose in shutter]
        color = np.mean(seen, axis=0)
    else:
        color = _shade(room, triangle, uv)
        if samples > 1:
            _refine(color, room, intrinsics, T_world_camera, samples)
    return RenderedView(
        color=photograph(color, noise),
        depth=np.where(found, depth, 0).astype(np.float32),
        labels=np.where(found, room.labels[row], UNLABELLED).astype(np.uint8),
        instances=np.where(found, room.instances[row], 0).astype(np.uint16),
        normals=normals,
    )


def rays(intrinsics: Intrinsics, T_world_camera: np.ndarray) -> np.ndarray:
    """Return (H, W, 6) float32 rays through the pixels' centres: origin, direction.

    Directions are 1 long along the optical axis, so a ray's length to its hit is the depth.
    """
    u, v = np.arange(intrinsics.width), np.arange(intrinsics.height)[:, None]
    return _rays_at(intrinsics, T_world_camera, u, v)


def _rays_at(
    intrinsics: Intrinsics, T_world_camera: np.ndarray, u: np.ndarray, v: np.ndarray
) -> np.ndarray:
    """Return (..., 6) float32 rays through pixels (u, v), which broadcast to (...)."""
    R = T_world_camera[:3, :3]
    x = ((u - intrinsics.cx) / intrinsics.fx)[..., None].astype(np.float32)
    y = ((v - intrinsics.cy) / intrinsics.fy)[..., None].astype(np.float32)
    bundle = np.empty((*np.broadcast_shapes(u.shape, v.shape), 6), np.float32)
    bundle[..., :3] = T_world_camera[:3, 3]
    right, down, forward = R.T.astype(np.float32)
    bundle[..., 3:] = x * right + (y * down + forward)
    return bundle


def _cast(
    room: Room, intrinsics: Intrinsics, T_world_camera: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return triangle rows, depth, barycentric coordinates, normals towards the camera."""
    bundle = rays(intrinsics, T_world_camera)
    hit = room.scene.cast_rays(o3d.core.Tensor.from_numpy(bundle))
    normals = _towards_camera(
        hit["primitive_normals"].numpy(), bundle, T_world_camera[:3, :3].astype(np.float32)
    )
    return hit["primitive_ids"].numpy(), hit["t_hit"].numpy(), hit["primitive_uvs"].numpy(), normals


def _color(room: Room, intrinsics: Intrinsics, T_world_camera: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) float32 0..255."""
    return _colors_along(room, rays(intrinsics, T_world_camera))


def _refine(
    color: np.ndarray,
    room: Room,
    intrinsics: Intrinsics,
    T_world_camera: np.ndarray,
    samples: int,
) -> None:
    """Replace pixels that differ from a neighbour by the mean of ``samples`` x ``samples`` rays."""
    kernel = np.ones((3, 3), np.uint8)
    v, u = np.nonzero(((cv2.dilate(color, kernel) - cv2.erode(color, kernel)) > CONTRAST).any(2))
    if len(u) == 0:
        return
    step = (np.arange(samples) + 0.5) / samples - 0.5
    across, down = (offset.ravel() for offset in np.meshgrid(step, step))
    bundle = _rays_at(intrinsics, T_world_camera, u[:, None] + across, v[:, None] + down)
    color[v, u] = _colors_along(room, bundle).mean(axis=1)


def _colors_along(room: Room, bundle: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) float32 0..255 of (H, W, 6) rays."""
    hit = room.scene.cast_rays(o3d.core.Tensor.from_numpy(bundle))
    return _shade(room, hit["primitive_ids"].numpy(), hit["primitive_uvs"].numpy())


def _shade(room: Room, triangle: np.ndarray, uv: np.ndarray) -> np.ndarray:
    return _sample_textures(triangle, uv, room.corners, room.texture_at, room.texels)


@njit(cache=True)
def _towards_camera(normals, bundle, R):  # type: ignore[no-untyped-def]
    """Turn (H, W, 3) world normals against their rays; return them in the camera frame."""
    out = np.empty_like(normals)
    for v in range(normals.shape[0]):
        for u in range(normals.shape[1]):
            n, d = normals[v, u], bundle[v, u, 3:]
            sign = np.float32(-1.0 if n[0] * d[0] + n[1] * d[1] + n[2] * d[2] > 0 else 1.0)
            for i in range(3):
                out[v, u, i] = sign * (n[0] * R[0, i] + n[1] * R[1, i] + n[2] * R[2, i])
    return out


@njit(cache=True)
def _sample_textures(triangle, uv, corners, texture_at, texels):  # type: ignore[no-untyped-def]
    """Bilinear texture look-up: (H, W, 3) float32, 0..255; black where no triangle was hit."""
    out = np.zeros((triangle.shape[0], triangle.shape[1], 3), np.float32)
    for v in range(triangle.shape[0]):
        for u in range(triangle.shape[1]):
            t = triangle[v, u]
            if t >= corners.shape[0]:
                continue
            b, c = uv[v, u, 0], uv[v, u, 1]
            a = np.float32(1) - b - c
            row = a * corners[t, 0, 0] + b * corners[t, 1, 0] + c * corners[t, 2, 0]
            column = a * corners[t, 0, 1] + b * corners[t, 1, 1] + c * corners[t, 2, 1]
            first, stride = texture_at[t, 0], texture_at[t, 1]
            row, column = max(row, np.float32(0)), max(column, np.float32(0))
            c0 = min(int(column), stride - 2)
            r0 = int(row)
            fr, fc = row - np.float32(r0), column - np.float32(c0)
            at = first + r0 * stride + c0
            # A row on the texture's last line has no line below it to mix with.
            below = at + stride if fr > np.float32(1e-3) else at
            for i in range(3):
                upper = texels[at, i] * (1 - fc) + texels[at + 1, i] * fc
                lower = texels[below, i] * (1 - fc) + texels[below + 1, i] * fc
                out[v, u, i] = upper * (1 - fr) + lower * fr
    return out
