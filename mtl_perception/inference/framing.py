# SPDX-License-Identifier: Apache-2.0
"""How an image of any size sits in a network's fixed input, and where its scores lie."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from mtl_perception.conventions import MAX_IMAGE_SIDE, InvalidInput

PAD_GREY = 127
"""Mid grey: zero to a network that takes -1..1."""


@dataclass(frozen=True)
class Axis:
    """Where image pixels lie on a score grid along one axis: ``grid = pixel * step + origin``.

    Centres are at integers in both. Cells ``first`` to ``last`` show the image; those outside
    show padding and are never read.
    """

    step: float
    origin: float
    first: int
    last: int

    def before_resize(self, pixels: int, resized: int) -> "Axis":
        """Return the axis of the image of ``pixels`` that was resized to ``resized`` pixels.

        Args:
            pixels: of the image before.
            resized: of the image that this axis speaks of.
        """
        zoom = resized / pixels
        origin = (0.5 * zoom - 0.5) * self.step + self.origin  # half-pixel centres
        return Axis(zoom * self.step, origin, self.first, self.last)


def spanning(pixels: int, cells: int) -> Axis:
    """Return the axis of a grid that covers the image exactly (align_corners=False in torch)."""
    step = cells / pixels
    return Axis(step, 0.5 * step - 0.5, 0, cells - 1)


def at_height(rgb: np.ndarray, height: int) -> np.ndarray:
    """Return the image at this height, aspect kept.

    Args:
        rgb: (H, W, 3) uint8.
        height: rows of the result; the image itself comes back if it has them.

    Raises:
        InvalidInput: it would be wider than images can be.
    """
    rows, columns = rgb.shape[:2]
    if height == rows:
        return rgb
    width = max(1, round(columns * height / rows))
    if width > MAX_IMAGE_SIDE:
        raise InvalidInput(f"rgb: {columns}x{rows} image would be {width}x{height} to the network")
    how = cv2.INTER_AREA if height < rows else cv2.INTER_LINEAR  # area: no aliasing
    return cv2.resize(rgb, (width, height), interpolation=how)


@dataclass(frozen=True)
class Letterbox:
    """An image scaled with its aspect kept and centred in a canvas, the rest grey.

    On four NYUv2 images (16 classes common to both sets) the ADE20K DeepLab labels 0.869 of the
    pixels rightly this way, 0.863 with the image in a corner, 0.802 with it squashed to the
    canvas, 0.846 and 0.765 with mirrored and repeated borders instead of grey.
    """

    image_width: int
    image_height: int
    canvas_width: int
    canvas_height: int

    @property
    def _scale(self) -> float:
        return min(self.canvas_width / self.image_width, self.canvas_height / self.image_height)

    @property
    def inner_size(self) -> tuple[int, int]:
        """(width, height) of the scaled image in canvas pixels."""
        width = max(1, round(self.image_width * self._scale))
        height = max(1, round(self.image_height * self._scale))
        return width, height

    @property
    def corner(self) -> tuple[int, int]:
        """(left, top) canvas pixel of the scaled image."""
        width, height = self.inner_size
        return (self.canvas_width - width) // 2, (self.canvas_height - height) // 2

    def fill(self, rgb: np.ndarray, canvas: np.ndarray) -> None:
        """Write the framed image into ``canvas``.

        Args:
            rgb: (image_height, image_width, 3) uint8.
            canvas: (canvas_height, canvas_width, 3) uint8, overwritten.
        """
        (width, height), (left, top) = self.inner_size, self.corner
        canvas[:top], canvas[top + height :] = PAD_GREY, PAD_GREY
        canvas[:, :left], canvas[:, left + width :] = PAD_GREY, PAD_GREY
        shrinks = width < self.image_width
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR  # area: no aliasing of large images
        canvas[top : top + height, left : left + width] = cv2.resize(
            rgb, (width, height), interpolation=how
        )

    def axes(self, grid_shape: tuple[int, int], first_centre: float) -> tuple[Axis, Axis]:
        """Return the (x, y) axes of a score grid that covers the canvas.

        Args:
            grid_shape: (h, w) cells.
            first_centre: canvas pixel that the first cell looks at, along both axes.
        """
        (width, height), (left, top) = self.inner_size, self.corner
        rows, columns = grid_shape
        x_stride, y_stride = self.canvas_width / columns, self.canvas_height / rows
        return (
            _axis(self.image_width, width, left, x_stride, first_centre, columns),
            _axis(self.image_height, height, top, y_stride, first_centre, rows),
        )


def _axis(
    pixels: int, inner: int, start: int, stride: float, first_centre: float, cells: int
) -> Axis:
    """Chain image pixel -> canvas pixel (half-pixel centres) -> grid cell."""
    step = inner / pixels
    origin = 0.5 * step - 0.5 + start
    # The cells whose centre lies on the image; at least one, for images thinner than a cell.
    first = min(math.ceil((start - 0.5 - first_centre) / stride), cells - 1)
    last = math.floor((start + inner - 0.5 - first_centre) / stride)
    first = max(first, 0)
    return Axis(
        step / stride, (origin - first_centre) / stride, first, min(max(last, first), cells - 1)
    )
