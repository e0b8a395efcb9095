# SPDX-License-Identifier: Apache-2.0
"""One placed frame into the map: its depth, its classes' policies, its pixels' weights."""

from dataclasses import dataclass, replace

import numpy as np

from mtl_perception.conventions import InvalidInput
from mtl_perception.labels import LabelSet
from slam_fusion.depth.clearance import clearance
from slam_fusion.depth.sources import DepthConfig, DepthSource, SourcedDepth
from slam_fusion.frame import Frame
from slam_fusion.ledger import Outcome
from slam_fusion.pixel_weights import label_weights
from slam_fusion.policies import ClassPolicies, PolicyConfig
from slam_fusion.timing import StageTimes
from slam_fusion.volume import PageError, SemanticVolume, VolumeConfig, VolumeFull


@dataclass(frozen=True)
class FuseConfig(VolumeConfig, DepthConfig, PolicyConfig):
    """Parameters of the volume, of depth and of classes."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InvalidInput: names the parameter and its value.
        """
        VolumeConfig.__post_init__(self)
        DepthConfig.__post_init__(self)
        PolicyConfig.__post_init__(self)


class FrameFuser:
    """Fuses frames of one camera, in their order."""

    def __init__(self, config: FuseConfig, times: StageTimes) -> None:
        """Know nothing yet.

        Args:
            config: parameters.
            times: told how long each stage takes.
        """
        self._config = config
        self._times = times
        self._depth = DepthSource(config)
        self.use_labels_of(None)

    def use_labels_of(self, label_set: LabelSet | None) -> None:
        """Say what the class ids of coming frames mean.

        Raises:
            InvalidInput: ``class_policies`` names a class that the label set does not have.
        """
        self._policies = ClassPolicies(self._config.class_policies, label_set)

    def __call__(
        self, frame: Frame, T_world_camera: np.ndarray, volume: SemanticVolume
    ) -> tuple[Outcome, str]:
        """Fuse a frame; what becomes of it, and a detail. Only a fused one changes the map."""
        if self._depth.lacks(frame):
            return Outcome.NO_DEPTH, "no predicted depth, which depth_source asks for"
        try:
            with self._times.stage("depth"):
                depth = self._depth(frame, T_world_camera, volume)
            if self._integrate(frame, depth, T_world_camera, volume) == 0:
                nearest, farthest = self._config.min_depth, self._config.max_depth
                return Outcome.DEPTH_EMPTY, f"no depth in {nearest}..{farthest} m"
        except VolumeFull as error:
            return Outcome.VOLUME_FULL, str(error)
        except PageError as error:
            return Outcome.PAGE_DAMAGED, str(error)
        except InvalidInput as error:  # finite and rigid, but beyond the volume's reach
            return Outcome.BAD_POSE, str(error)
        try:
            self._carve(frame, depth, T_world_camera, volume)
        except (VolumeFull, PageError) as error:
            return Outcome.FUSED, f"what it sees through stays in the map: {error}"
        return Outcome.FUSED, ""

    def _integrate(
        self, frame: Frame, depth: SourcedDepth, T_world_camera: np.ndarray, volume: SemanticVolume
    ) -> int:
        """Fuse what belongs to the map; return the count of blocks touched."""
        surface = self._policies.surface(depth.depth, frame.labels)
        confidence = frame.confidence
        if self._config.weigh_pixels and frame.labels is not None:
            with self._times.stage("weigh labels"):
                weights = label_weights(surface, frame.labels, frame.intrinsics)
                confidence = weights if confidence is None else confidence * weights
        with self._times.stage("integrate"):
            placed = replace(frame, depth=surface, confidence=confidence)
            return volume.integrate(placed, T_world_camera, depth.shares, self._policies.limits)

    def _carve(
        self, frame: Frame, depth: SourcedDepth, T_world_camera: np.ndarray, volume: SemanticVolume
    ) -> None:
        """Let fade what the camera sees through."""
        if not self._config.carve_free_space:
            return
        with self._times.stage("carve"):
            seen = self._policies.looked_at(depth.seen, frame.labels)
            clear, camera = clearance(
                seen,
                frame.intrinsics,
                self._config.max_depth,
                self._config.truncation,
                depth.error,
            )
            volume.carve(clear, camera, T_world_camera)
