# SPDX-License-Identifier: Apache-2.0
"""Random views of a sample: one crop, zoom and flip for all its images, colour for one only.

| change          | what follows                                                                 |
|-----------------|------------------------------------------------------------------------------|
| zoom by s       | fx, fy, cx, cy grow by s; depth of the canonical camera shrinks by s         |
| crop            | cx, cy move                                                                  |
| mirror          | cx becomes W - 1 - cx, the normals' x changes its sign                       |
| beyond the rim  | black, and unknown in every target                                           |
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from mtl_perception.conventions import UNLABELLED
from mtl_perception.data.sample import DataCorrupt, Sample
from mtl_perception.networks.layers import IMAGENET_MEAN, IMAGENET_STD
from mtl_perception.training.batch import Batch, contours_of
from mtl_perception.training.config import ViewConfig
from mtl_perception.training.photometric import Photometric, distort


@dataclass(frozen=True)
class View:
    """A rectangle of a sample, and the size at which it is shown."""

    left: int  # of the rectangle, sample's pixels; may lie outside
    top: int
    columns: int  # of the rectangle
    rows: int
    width: int  # of the view
    height: int
    mirrored: bool = False


def whole(sample: Sample, height: int) -> View:
    """Return the view of the whole sample at a height in pixels (0 = its own), aspect kept."""
    rows, columns = sample.intrinsics.shape
    height = height or rows
    return View(0, 0, columns, rows, round(columns * height / rows), height)


def random_view(sample: Sample, limits: ViewConfig, rng: np.random.Generator) -> View:
    """Draw a view; its rectangle stays inside the sample wherever it fits.

    Zoom is drawn so that halving and doubling are equally likely.
    """
    low, high = np.log(limits.zoom_min), np.log(limits.zoom_max)
    zoom = float(np.exp(rng.uniform(low, high)))
    height, width = limits.height, limits.width
    rows, columns = max(1, round(height / zoom)), max(1, round(width / zoom))
    free_y, free_x = sample.intrinsics.height - rows, sample.intrinsics.width - columns
    top = int(rng.integers(min(0, free_y), max(0, free_y) + 1))
    left = int(rng.integers(min(0, free_x), max(0, free_x) + 1))
    mirrored = bool(rng.random() < limits.mirror)
    return View(left, top, columns, rows, width, height, mirrored)


def camera_of(sample: Sample, view: View) -> np.ndarray:
    """Return the (3, 3) float64 camera matrix of a view; pixel centres are integers."""
    camera = sample.intrinsics
    sx, sy = view.width / view.columns, view.height / view.rows
    cx = (camera.cx - view.left + 0.5) * sx - 0.5
    cy = (camera.cy - view.top + 0.5) * sy - 0.5
    cx = view.width - 1 - cx if view.mirrored else cx
    return np.array([[camera.fx * sx, 0, cx], [0, camera.fy * sy, cy], [0, 0, 1]])


def look(
    sample: Sample,
    view: View,
    focal_px: float = 0.0,
    photometric: Photometric | None = None,
    rng: np.random.Generator | None = None,
) -> Batch:
    """Return a view of a sample as a batch of one.

    Args:
        sample: what to look at.
        view: where to look.
        focal_px: of the canonical camera: depth is told as it would see it, metres times
            focal_px / fx of the view. 0 takes the sample's own fx, so zooming divides depth.
        photometric: changes of colour; needs ``rng``.
        rng: source of chance.

    Raises:
        DataCorrupt: depth or normals are not finite, or depth is negative; names the sample.
    """
    K = camera_of(sample, view)
    images = [_shown(sample.color, view, 0)]
    images += [_shown(image, view, 0) for image in sample.neighbours]
    if photometric is not None and rng is not None:
        images = distort(images, photometric, rng)
    pixels = torch.from_numpy(np.stack([_normalised(image) for image in images]))
    labels = torch.from_numpy(_labels(sample, view))[None]
    depth_scale = (focal_px or sample.intrinsics.fx) / K[0, 0]
    return Batch(
        images=pixels[:1],
        labels=labels,
        depth=torch.from_numpy(_depth(sample, view, depth_scale))[None, None],
        normals=torch.from_numpy(_normals(sample, view))[None],
        contours=contours_of(labels),
        K=torch.from_numpy(K.astype(np.float32))[None],
        neighbours=pixels[1:][None],
        names=(sample.name,),
    )


def _labels(sample: Sample, view: View) -> np.ndarray:
    if sample.labels is None:
        return np.full((view.height, view.width), UNLABELLED, np.int64)
    return _shown(sample.labels, view, UNLABELLED).astype(np.int64)


def _depth(sample: Sample, view: View, scale: float) -> np.ndarray:
    if sample.depth is None:
        return np.zeros((view.height, view.width), np.float32)
    depth = _finite(sample, "depth", _shown(sample.depth, view, 0))
    if depth.min() < 0:
        raise DataCorrupt(f"{sample.name}: depth of {depth.min()} m")
    return depth * np.float32(scale)


def _normals(sample: Sample, view: View) -> np.ndarray:
    if sample.normals is None:
        return np.zeros((3, view.height, view.width), np.float32)
    normals = _finite(sample, "normals", _shown(sample.normals, view, 0))
    if view.mirrored:
        normals = normals * np.array([-1, 1, 1], np.float32)
    return np.ascontiguousarray(normals.transpose(2, 0, 1))


def _finite(sample: Sample, name: str, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        bad = np.count_nonzero(~np.isfinite(values))
        raise DataCorrupt(f"{sample.name}: {bad} values of its {name} are not finite")
    return values


def _normalised(color: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB to (3, H, W) float32."""
    scale = (1 / (255 * np.array(IMAGENET_STD))).astype(np.float32)
    shift = (np.array(IMAGENET_MEAN) / np.array(IMAGENET_STD)).astype(np.float32)
    return np.ascontiguousarray((color * scale - shift).transpose(2, 0, 1), np.float32)


def _shown(image: np.ndarray, view: View, unknown: int) -> np.ndarray:
    """Cut the view's rectangle out, resize it and mirror it.

    Colour is averaged where it shrinks; of targets the pixel that is nearest is taken, as a mean
    of two classes or of two surfaces is none of them.
    """
    rows, columns = image.shape[:2]
    top, left = max(0, view.top), max(0, view.left)
    bottom, right = min(rows, view.top + view.rows), min(columns, view.left + view.columns)
    part = image[top:bottom, left:right]
    if part.shape[:2] != (view.rows, view.columns):
        padded = np.full((view.rows, view.columns, *image.shape[2:]), unknown, image.dtype)
        y, x = top - view.top, left - view.left
        padded[y : y + part.shape[0], x : x + part.shape[1]] = part
        part = padded
    is_color = image.ndim == 3 and image.dtype == np.uint8
    shrinks = view.rows > view.height
    how = (cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR) if is_color else _NEAREST
    if (view.rows, view.columns) != (view.height, view.width):
        part = cv2.resize(part, (view.width, view.height), interpolation=how)
    return part[:, ::-1] if view.mirrored else part


_NEAREST = cv2.INTER_NEAREST_EXACT  # INTER_NEAREST is half a pixel off
