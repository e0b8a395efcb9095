# SPDX-License-Identifier: Apache-2.0
"""Where the camera was: the protocol that trajectories, TF trees and pose topics share."""

from typing import Protocol

import numpy as np

from mtl_perception.conventions import DenseSlamError


class PoseNotYet(DenseSlamError):
    """No pose at this stamp so far; a later one may bracket it, so the frame should wait."""


class PoseNever(DenseSlamError):
    """No pose at this stamp, and none will come; the message says why."""


class PoseSource(Protocol):
    """Answers where the camera was. Poses are interpolated between samples, never extrapolated."""

    def at(self, stamp_ns: int, camera_frame: str) -> np.ndarray:
        """Return T_world_camera, (4, 4) float64, of the optical frame ``camera_frame``.

        Args:
            stamp_ns: time of the image, nanoseconds.
            camera_frame: TF name of the optical frame; sources without names ignore it.

        Raises:
            PoseNotYet: the source has not reached ``stamp_ns`` yet.
            PoseNever: ``stamp_ns`` lies before the source's memory, in a gap of it, or the
                frames are not connected.
        """
        ...
