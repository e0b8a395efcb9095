# SPDX-License-Identifier: Apache-2.0
"""What crosses a topic: units, frames, image types, the camera model, the error base (numpy only).

| quantity   | convention                                                                          |
|------------|-------------------------------------------------------------------------------------|
| depth      | (H, W) float32 metres along the optical z axis; 0 = unknown (NaN, Inf become 0)     |
| labels     | (H, W) uint8 class ids; 255 = unlabelled                                            |
| confidence | (H, W) float32 in [0, 1]: probability that the label is right                       |
| colour     | (H, W, 3) uint8 RGB                                                                 |
| camera     | optical frame: x right, y down, z forward (REP 103); pixel centres at integers      |
| transforms | ``T_target_source`` (4, 4) float64: ``p_target = T_target_source @ p_source``       |
| quaternion | ``quat_xyzw`` at the edges, matrices inside                                         |
| time       | integer nanoseconds, ``stamp_ns``                                                   |
"""

from dataclasses import dataclass

import numpy as np

UNLABELLED = 255
"""Class id of a pixel, voxel or vertex that has no label."""

MAX_CLASSES = 254
"""Ids 0..253 may name classes: 255 is unlabelled, 254 stays free for the volume's empty slot."""

MAX_IMAGE_SIDE = 16384
"""Images with a longer side are refused: they are corrupt headers, not cameras."""


class DenseSlamError(Exception):
    """Base of every error about the user's input; the command line prints it as one line."""


class InvalidInput(DenseSlamError, ValueError):
    """An array, message or number that breaks the conventions; the message says which and how."""


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera of a rectified image.

    Focal lengths and principal point are in pixels of an image of ``width`` x ``height``,
    with pixel centres at integer coordinates.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        """Refuse sizes and focal lengths that no camera has.

        Raises:
            InvalidInput: with the offending values.
        """
        if not (0 < self.width <= MAX_IMAGE_SIDE and 0 < self.height <= MAX_IMAGE_SIDE):
            raise InvalidInput(f"camera size {self.width}x{self.height} is not an image size")
        numbers = (self.fx, self.fy, self.cx, self.cy)
        if not np.all(np.isfinite(numbers)) or self.fx <= 0 or self.fy <= 0:
            raise InvalidInput(
                f"camera fx={self.fx} fy={self.fy} cx={self.cx} cy={self.cy}: focal lengths must "
                "be positive and all values finite (is CameraInfo.k filled in?)"
            )

    @property
    def K(self) -> np.ndarray:
        """(3, 3) float64 camera matrix."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of images of this camera."""
        return self.height, self.width

    def resized(self, width: int, height: int) -> "Intrinsics":
        """Return the camera of the same view in so many pixels; the image's rim stays its rim."""
        x, y = width / self.width, height / self.height
        cx, cy = (self.cx + 0.5) * x - 0.5, (self.cy + 0.5) * y - 0.5
        return Intrinsics(width, height, self.fx * x, self.fy * y, cx, cy)


def check_color(color: np.ndarray, name: str = "color") -> np.ndarray:
    """Return ``color`` if it is a (H, W, 3) uint8 image.

    Raises:
        InvalidInput: with the shape and dtype that came.
    """
    if color.dtype != np.uint8 or color.ndim != 3 or color.shape[2] != 3 or 0 in color.shape:
        raise InvalidInput(f"{name}: want (H, W, 3) uint8 RGB, got {color.shape} {color.dtype}")
    return color


def check_labels(labels: np.ndarray, name: str = "labels") -> np.ndarray:
    """Return ``labels`` if it is a (H, W) uint8 image.

    Raises:
        InvalidInput: with the shape and dtype that came.
    """
    if labels.dtype != np.uint8 or labels.ndim != 2 or 0 in labels.shape:
        raise InvalidInput(
            f"{name}: want (H, W) uint8 class ids, got {labels.shape} {labels.dtype}"
        )
    return labels


def check_float_image(image: np.ndarray, name: str) -> np.ndarray:
    """Return ``image`` if it is a (H, W) float32 image (depth in metres, or confidence).

    Raises:
        InvalidInput: with the shape and dtype that came.
    """
    if image.dtype != np.float32 or image.ndim != 2 or 0 in image.shape:
        raise InvalidInput(f"{name}: want (H, W) float32, got {image.shape} {image.dtype}")
    return image
