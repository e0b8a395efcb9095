# SPDX-License-Identifier: Apache-2.0
"""The camera of the very image that is sent, of a CameraInfo that describes the whole sensor.

CameraInfo speaks of the camera as it was calibrated. What it sends may be a window of the sensor
(``roi``, in pixels of the sensor), in which blocks of pixels became one (``binning``): the image
is ``roi / binning`` in size, and the matrices follow as the message definition says. Half a pixel
that binning moves the principal point by is left out, as ``image_geometry`` leaves it out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mtl_perception.image_errors import BadCameraInfo


@dataclass(frozen=True, eq=False)
class SentCamera:
    """Size and matrices of the image as it is sent."""

    width: int
    height: int
    K: np.ndarray  # (3, 3) float64, of the raw image
    P: np.ndarray  # (3, 4) float64, of the rectified image; its last column is a baseline


def sent_camera(msg: Any) -> SentCamera:
    """Apply region of interest and binning of a CameraInfo.

    Args:
        msg: duck-typed; ``k`` and ``p`` as ROS 2 spells them, or ``K`` and ``P`` as ROS 1.

    Raises:
        BadCameraInfo: a region that is not on the sensor, or one of a lens with distortion: which
            part of the rectified image it becomes, the message does not say.
    """
    left, top, width, height = _window(msg)
    columns, rows = max(int(msg.binning_x), 1), max(int(msg.binning_y), 1)
    K = np.array(_either(msg, "k", "K"), np.float64).reshape(3, 3)
    P = np.array(_either(msg, "p", "P"), np.float64).reshape(3, 4)
    for matrix in (K, P):
        matrix[:2, 2] -= left, top
        matrix[0] /= columns
        matrix[1] /= rows
    return SentCamera(width // columns, height // rows, K, P)


def is_distorted(msg: Any) -> bool:
    """Whether a CameraInfo has lens distortion, so that only its rectified image is a pinhole's."""
    return bool(np.any(np.asarray(_either(msg, "d", "D"), np.float64)))


def _window(msg: Any) -> tuple[int, int, int, int]:
    """Return left, top, width and height of what is sent, in pixels of the sensor."""
    roi = msg.roi
    whole = 0, 0, int(msg.width), int(msg.height)
    if (roi.width, roi.height) == (0, 0):
        return whole
    window = int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)
    if window == whole:
        return whole
    text = f"region of interest {roi.width}x{roi.height} at {roi.x_offset}, {roi.y_offset}"
    if window[0] + window[2] > whole[2] or window[1] + window[3] > whole[3] or 0 in window[2:]:
        raise BadCameraInfo(f"CameraInfo has a {text}, outside of {msg.width}x{msg.height}")
    if is_distorted(msg):
        raise BadCameraInfo(
            f"CameraInfo has a {text} and lens distortion: publish the CameraInfo of the rectified "
            "image as it is sent"
        )
    return window


def _either(msg: Any, ros2_name: str, ros1_name: str) -> Any:
    return getattr(msg, ros2_name) if hasattr(msg, ros2_name) else getattr(msg, ros1_name)
