# SPDX-License-Identifier: Apache-2.0
"""Points that a moving camera sees from several places, and so how far away they are.

Corners are followed from image to image (Lucas and Kanade, pyramids). The poses are known, so every
sight of a point is a ray in the world, and says where the point is but for how far along the ray.
What all rays say is kept in information form: with unit direction r, centre c and distance d,

    A += w (I - r r^T),  b += w (I - r r^T) c,  w = (f / (SIGHT_PX d))^2

and the point is A^-1 b with covariance A^-1, whose length along the ray says whether the camera has
moved enough to tell. The first ray adds what the network thinks of the distance, which is little.
"""

from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np

from mtl_perception.conventions import Intrinsics

WIDEST = 640
"""Columns in which points are followed; wider images are made smaller first."""

MOST_TRACKS = 600
APART_PX = 9  # between new points and others
FAINTEST = 0.003  # corner as a part of the image's strongest one
BORDER_PX = 2
WINDOW_PX, LEVELS = 15, 3  # that a corner is recognised by; halvings of the image
THERE_AND_BACK_PX = 0.7
"""A point that is followed back to the last image must come out where it was, to so much."""

MISS_PX = 1.5
"""A point that is seen farther than this from where its rays met is lost: it moves, or slid."""

SIGHT_PX = 1.0  # standard deviation of a sight: of its pixel, and of the pose behind it
GUESS = 0.3  # of the network's depth, relative
LEAST_SIGHTS = 3
KNOWN = 0.08
"""Relative standard deviation of a distance that is worth telling."""

NEAREST = 0.1  # metres


@dataclass(frozen=True, eq=False)
class Points:
    """Pixels of an image whose depth motion has told."""

    pixels: np.ndarray  # (N, 2) float64 u, v
    depth: np.ndarray  # (N,) float64 metres along the optical axis
    error: np.ndarray  # (N,) float64 standard deviation, as a part of the depth


@dataclass(frozen=True, eq=False)
class _Tracks:
    """Points that are being followed, a row each."""

    pixels: np.ndarray  # (N, 2) float32, in the newest image
    A: np.ndarray  # (N, 3, 3) float64 information, world frame
    b: np.ndarray  # (N, 3)
    sights: np.ndarray  # (N,) int64 images that showed the point

    def __len__(self) -> int:
        return len(self.pixels)

    def positions(self) -> np.ndarray:
        """Return (N, 3) metres, world frame."""
        return np.linalg.solve(self.A, self.b[..., None])[..., 0]

    def rows(self, which: np.ndarray) -> "_Tracks":
        return _Tracks(self.pixels[which], self.A[which], self.b[which], self.sights[which])

    def with_rays(self, pixels: np.ndarray, rays: "_Rays", weight: np.ndarray) -> "_Tracks":
        """Return the tracks with one more sight each."""
        across = weight[:, None, None] * (np.eye(3) - rays.outer())
        return _Tracks(pixels, self.A + across, self.b + across @ rays.centre, self.sights + 1)

    def and_also(self, others: "_Tracks") -> "_Tracks":
        pairs = ((getattr(self, n), getattr(others, n)) for n in ("pixels", "A", "b", "sights"))
        return _Tracks(*(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True, eq=False)
class _Rays:
    """Where pixels look."""

    centre: np.ndarray  # (3,) metres, world frame
    directions: np.ndarray  # (N, 3) unit, world frame

    def outer(self) -> np.ndarray:
        return self.directions[:, :, None] * self.directions[:, None, :]


NONE = _Tracks(
    np.empty((0, 2), np.float32), np.empty((0, 3, 3)), np.empty((0, 3)), np.empty(0, int)
)


class PointTracks:
    """Follows points through the images of one camera, in their order; memory is bounded."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._gray: np.ndarray | None = None
        self._tracks = NONE

    def __call__(
        self, color: np.ndarray, camera: Intrinsics, T_world_camera: np.ndarray, depth: np.ndarray
    ) -> Points:
        """Look at the next image; return the points in it whose depth is known from motion.

        Args:
            color: (H, W, 3) uint8 RGB.
            camera: of the image.
            T_world_camera: (4, 4) pose of its optical frame.
            depth: (H, W) float32 metres, a first guess, 0 = none: new points are taken where there
                is one.
        """
        gray = cv2.cvtColor(color, cv2.COLOR_RGB2GRAY)
        small = camera
        if camera.width > WIDEST:
            size = (WIDEST, max(1, round(camera.height * WIDEST / camera.width)))
            small = camera.resized(*size)
            gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
            depth = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST_EXACT)
        if self._gray is None or self._gray.shape != gray.shape:
            self._tracks = NONE  # the first image, or another camera
        elif len(self._tracks):
            self._tracks = _followed(self._tracks, self._gray, gray, small, T_world_camera)
        self._tracks = self._tracks.and_also(
            _new(gray, self._tracks.pixels, small, T_world_camera, depth)
        )
        self._gray = gray
        points = _known(self._tracks, small, T_world_camera)
        scale = np.array([camera.width / small.width, camera.height / small.height])
        return replace(points, pixels=(points.pixels + 0.5) * scale - 0.5)


def _followed(
    tracks: _Tracks, last: np.ndarray, gray: np.ndarray, camera: Intrinsics, T_wc: np.ndarray
) -> _Tracks:
    """Return the tracks that are found again, with one more sight each."""
    positions = tracks.positions()
    expected, _ = _project(positions, camera, T_wc)
    guess = np.where(np.isfinite(expected).all(axis=1, keepdims=True), expected, tracks.pixels)
    there, found = _lucas_kanade(last, gray, tracks.pixels, guess)
    back, found_back = _lucas_kanade(gray, last, there, tracks.pixels)
    height, width = gray.shape
    inside = (there > BORDER_PX) & (there < np.array([width, height]) - 1 - BORDER_PX)
    same = np.linalg.norm(back - tracks.pixels, axis=1) < THERE_AND_BACK_PX
    kept = found & found_back & same & inside.all(axis=1)
    there, positions, tracks = there[kept], positions[kept], tracks.rows(kept)
    rays = _rays(there, camera, T_wc)
    distance = np.maximum(np.linalg.norm(positions - rays.centre, axis=1), NEAREST)
    tracks = tracks.with_rays(there, rays, _sight_weight(camera, distance))
    expected, z = _project(tracks.positions(), camera, T_wc)
    return tracks.rows((z > NEAREST) & (np.linalg.norm(expected - there, axis=1) < MISS_PX))


def _lucas_kanade(
    last: np.ndarray, gray: np.ndarray, pixels: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return where pixels (N, 2) of the last image are in this one, float32, and whether found."""
    if not len(pixels):
        return pixels, np.empty(0, bool)
    start = guess.astype(np.float32)[:, None].copy()
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        last,
        gray,
        pixels[:, None],
        start,
        winSize=(WINDOW_PX, WINDOW_PX),
        maxLevel=LEVELS,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    return there[:, 0], found[:, 0] == 1


def _new(
    gray: np.ndarray, taken: np.ndarray, camera: Intrinsics, T_wc: np.ndarray, depth: np.ndarray
) -> _Tracks:
    """Return new tracks where there are corners, first guesses and no other tracks."""
    if len(taken) >= MOST_TRACKS:
        return NONE
    free = np.where(depth > NEAREST, np.uint8(255), np.uint8(0))
    for u, v in np.rint(taken).astype(int).tolist():
        cv2.circle(free, (u, v), APART_PX, 0, -1)
    count = MOST_TRACKS - len(taken)
    corners = cast(
        "np.ndarray | None",  # not what OpenCV's types say
        cv2.goodFeaturesToTrack(gray, count, FAINTEST, APART_PX, mask=free),
    )
    if corners is None:
        return NONE
    pixels = corners[:, 0]
    rays = _rays(pixels, camera, T_wc)
    z = depth[pixels[:, 1].astype(int), pixels[:, 0].astype(int)].astype(np.float64)
    distance = z / (rays.directions @ T_wc[:3, 2])
    along = rays.outer() / (GUESS * distance[:, None, None]) ** 2
    b = (along @ (rays.centre + distance[:, None] * rays.directions)[..., None])[..., 0]
    tracks = _Tracks(pixels, along, b, np.zeros(len(pixels), int))
    return tracks.with_rays(pixels, rays, _sight_weight(camera, distance))


def _known(tracks: _Tracks, camera: Intrinsics, T_wc: np.ndarray) -> Points:
    """Return the tracks of which motion has told the depth."""
    tracks = tracks.rows(tracks.sights >= LEAST_SIGHTS)
    positions = tracks.positions()
    _, z = _project(positions, camera, T_wc)
    rays = _rays(tracks.pixels, camera, T_wc)
    variance = np.einsum("ni,nij,nj->n", rays.directions, np.linalg.inv(tracks.A), rays.directions)
    error = np.sqrt(variance) / np.linalg.norm(positions - rays.centre, axis=1)
    known = (error < KNOWN) & (z > NEAREST)
    return Points(tracks.pixels[known].astype(np.float64), z[known], error[known])


def _sight_weight(camera: Intrinsics, distance: np.ndarray) -> np.ndarray:
    return (camera.fx / (SIGHT_PX * distance)) ** 2


def _rays(pixels: np.ndarray, camera: Intrinsics, T_wc: np.ndarray) -> _Rays:
    x = (pixels[:, 0].astype(np.float64) - camera.cx) / camera.fx
    y = (pixels[:, 1].astype(np.float64) - camera.cy) / camera.fy
    directions = np.stack([x, y, np.ones(len(pixels))], axis=1) @ T_wc[:3, :3].T
    return _Rays(T_wc[:3, 3], directions / np.linalg.norm(directions, axis=1, keepdims=True))


def _project(
    positions: np.ndarray, camera: Intrinsics, T_wc: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (N, 2), NaN behind the camera, and depth (N,) metres of world positions."""
    p = (positions - T_wc[:3, 3]) @ T_wc[:3, :3]
    z = np.where(p[:, 2] > NEAREST, p[:, 2], np.nan)
    u = camera.fx * p[:, 0] / z + camera.cx
    v = camera.fy * p[:, 1] / z + camera.cy
    return np.stack([u, v], axis=1), p[:, 2]
