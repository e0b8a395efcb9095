# SPDX-License-Identifier: Apache-2.0
"""From the depth images of a frame to the one that is fused."""

from dataclasses import dataclass

import numpy as np

from mtl_perception.conventions import InvalidInput
from slam_fusion.depth.alignment import Alignment, align, aligned_to
from slam_fusion.depth.correction import corrected
from slam_fusion.depth.edges import reject_flying_pixels
from slam_fusion.depth.temporal import LooksAtMap, bent_to_map
from slam_fusion.depth.tracks import PointTracks
from slam_fusion.frame import Frame
from slam_fusion.pixel_weights import depth_shares

DEPTH_SOURCES = ("sensor", "network", "fused")

WORST_ALIGNMENT = 0.15
"""Median relative error above which the network's depth is not put into the sensor's holes."""

SENSOR_ERROR, NETWORK_ERROR = 0.02, 0.15
"""Part of the depth by which sensors and networks err: so much before a surface is not clear."""


@dataclass(frozen=True, eq=False)
class SourcedDepth:
    """The depth to fuse, and how far it is to be trusted."""

    depth: np.ndarray  # (H, W) float32 metres, 0 = unknown
    shares: np.ndarray | None  # (H, W) uint8, what each pixel weighs; None: all 1
    seen: np.ndarray  # (H, W) float32 metres, 0 = unknown: what may clear the space before it
    error: float  # part of ``seen`` by which it errs


@dataclass(frozen=True)
class DepthConfig:
    """Which depth is fused."""

    depth_source: str = "sensor"  # or network; fused: the sensor's, the network's in its holes
    depth_from_motion: bool = True  # points seen from several places correct the network's depth
    edge_rejection: float = 0.05  # relative jump of depth to both sides that drops a pixel; 0 = off
    weigh_pixels: bool = True  # near, head-on and away from label borders a pixel counts for more

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
        self._tracks = PointTracks()
        self.alignment: Alignment | None = None

    def lacks(self, frame: Frame) -> bool:
        """Whether the frame does not have the depth that is asked for."""
        return self._config.depth_source != "sensor" and frame.predicted_depth is None

    def __call__(
        self, frame: Frame, T_world_camera: np.ndarray, volume: LooksAtMap
    ) -> SourcedDepth:
        """Return the depth to fuse.

        Args:
            frame: that lacks nothing.
            T_world_camera: (4, 4) pose of the optical frame.
            volume: the map so far, which network-only depth is held to.
        """
        source, step = self._config.depth_source, self._config.edge_rejection
        if source == "network" and frame.predicted_depth is not None:
            predicted = reject_flying_pixels(frame.predicted_depth, step)
            if self._config.depth_from_motion and frame.color is not None:
                points = self._tracks(frame.color, frame.intrinsics, T_world_camera, predicted)
                predicted = corrected(predicted, points)
            bent = bent_to_map(predicted, frame.intrinsics, T_world_camera, volume)
            return SourcedDepth(bent, None, bent, NETWORK_ERROR)
        measured = reject_flying_pixels(frame.depth, step)
        shares = depth_shares(measured) if self._config.weigh_pixels else None
        if source == "sensor" or frame.predicted_depth is None:
            return SourcedDepth(measured, shares, measured, SENSOR_ERROR)
        measured = np.where(np.isfinite(measured), measured, np.float32(0))
        filled = self._filled(measured, reject_flying_pixels(frame.predicted_depth, step))
        if shares is not None:
            shares = np.where(measured > 0, shares, np.uint8(1))
        return SourcedDepth(filled, shares, measured, SENSOR_ERROR)

    def _filled(self, measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return ``measured`` with its holes filled from ``predicted``."""
        alignment = align(predicted, measured)
        if alignment is not None and alignment.error <= WORST_ALIGNMENT:
            self.alignment = alignment
        elif alignment is not None or self.alignment is None:
            return measured  # the two contradict each other, or never met
        # else the sensor sees next to nothing here: the last frame's alignment serves on.
        return np.where(measured > 0, measured, aligned_to(predicted, measured, self.alignment))
