# SPDX-License-Identifier: Apache-2.0
"""From the depth images of a frame to the one that is fused."""

from dataclasses import dataclass

import numpy as np

from mtl_perception.conventions import InvalidInput
from slam_fusion.depth.alignment import Alignment, align, aligned_to
from slam_fusion.depth.edges import reject_flying_pixels
from slam_fusion.depth.temporal import LooksAtMap, bent_to_map
from slam_fusion.frame import Frame

DEPTH_SOURCES = ("sensor", "network", "fused")

WORST_ALIGNMENT = 0.15
"""Median relative error above which the network's depth is not put into the sensor's holes."""


@dataclass(frozen=True)
class DepthConfig:
    """Which depth is fused."""

    depth_source: str = "sensor"  # or network; fused: the sensor's, the network's in its holes
    edge_rejection: float = 0.05  # relative jump of depth to both sides that drops a pixel; 0 = off

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InvalidInput: names the parameter, its value and what is allowed.
        """
        if self.depth_source not in DEPTH_SOURCES:
            raise InvalidInput(
                f"depth_source={self.depth_source!r} is not one of {', '.join(DEPTH_SOURCES)}"
            )
        if not 0 <= self.edge_rejection <= 1:
            raise InvalidInput(f"edge_rejection={self.edge_rejection} is not in 0..1")


class DepthSource:
    """Chooses, aligns and cleans the depth of one camera's frames, in their order.

    Attributes:
        alignment: the newest good one of network to sensor; None before the first.
    """

    def __init__(self, config: DepthConfig) -> None:
        """Know nothing yet."""
        self._config = config
        self.alignment: Alignment | None = None

    def lacks(self, frame: Frame) -> bool:
        """Whether the frame does not have the depth that is asked for."""
        return self._config.depth_source != "sensor" and frame.predicted_depth is None

    def __call__(self, frame: Frame, T_world_camera: np.ndarray, volume: LooksAtMap) -> np.ndarray:
        """Return the depth to fuse.

        Args:
            frame: that lacks nothing.
            T_world_camera: (4, 4) pose of the optical frame.
            volume: the map so far, which network-only depth is held to.

        Returns:
            (H, W) float32 metres, 0 = unknown.
        """
        source, step = self._config.depth_source, self._config.edge_rejection
        if source == "sensor" or frame.predicted_depth is None:
            return reject_flying_pixels(frame.depth, step)
        predicted = reject_flying_pixels(frame.predicted_depth, step)
        if source == "network":
            return bent_to_map(predicted, frame.intrinsics, T_world_camera, volume)
        measured = reject_flying_pixels(frame.depth, step)
        return self._filled(np.where(np.isfinite(measured), measured, np.float32(0)), predicted)

    def _filled(self, measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return ``measured`` with its holes filled from ``predicted``."""
        alignment = align(predicted, measured)
        if alignment is not None and alignment.error <= WORST_ALIGNMENT:
            self.alignment = alignment
        elif alignment is not None or self.alignment is None:
            return measured  # the two contradict each other, or never met
        # else the sensor sees next to nothing here: the last frame's alignment serves on.
        return np.where(measured > 0, measured, aligned_to(predicted, measured, self.alignment))
