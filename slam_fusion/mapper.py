# SPDX-License-Identifier: Apache-2.0
"""The pipeline on one screen: frame -> queue -> pose -> volume. The node and offline share it."""

from dataclasses import dataclass

import numpy as np

from mtl_perception.conventions import InvalidInput
from mtl_perception.encodings import depth_unit_problem
from mtl_perception.labels import LabelSet
from slam_fusion.frame import Frame
from slam_fusion.fusing import FrameFuser, FuseConfig
from slam_fusion.geometry import check_se3
from slam_fusion.ledger import Ledger, Outcome
from slam_fusion.poses import PoseNever, PoseNotYet, PoseSource
from slam_fusion.sync import FrameQueue
from slam_fusion.timing import StageTimes
from slam_fusion.volume import SemanticVolume


@dataclass(frozen=True)
class MapperConfig(FuseConfig):
    """Parameters of the mapping pipeline; those of its volume, depth and classes included."""

    global_frame: str = "odom"  # frame that the map is built in
    camera_frame: str = ""  # optical frame; "" takes it from the image header
    wait_for_transform: float = 0.2  # seconds a frame waits for its pose, in stamps
    sync_queue_size: int = 10  # frames that wait for their pose
    max_integration_rate_hz: float = 0.0  # frames fused per second at most; 0 = all

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InvalidInput: names the parameter and its value.
        """
        super().__post_init__()
        if not self.global_frame:
            raise InvalidInput("global_frame is empty")
        if not 0 <= self.wait_for_transform <= 60:
            raise InvalidInput(f"wait_for_transform={self.wait_for_transform} is not in 0..60 s")
        if not 1 <= self.sync_queue_size <= 1000:
            raise InvalidInput(f"sync_queue_size={self.sync_queue_size} is not in 1..1000")
        if not 0 <= self.max_integration_rate_hz <= 1000:
            raise InvalidInput(
                f"max_integration_rate_hz={self.max_integration_rate_hz} is not in 0..1000"
            )


class Mapper:
    """Fuses frames into the volume as their poses become known; accounts for every frame."""

    def __init__(self, config: MapperConfig, label_set: LabelSet | None = None) -> None:
        """Start with an empty volume.

        Args:
            config: parameters.
            label_set: what the class ids of coming frames mean; may be set later, once.

        Raises:
            InvalidInput: ``class_policies`` names a class that the label set does not have.
        """
        self.config = config
        self.ledger = Ledger()
        self.times = StageTimes()
        self.volume = SemanticVolume(config)
        self.trajectory: list[tuple[int, np.ndarray]] = []  # (stamp_ns, T_world_camera) as fused
        self._queue = FrameQueue(self.ledger, config.sync_queue_size)
        self._fuse = FrameFuser(config, self.times)
        self._next_due_ns: float = -np.inf
        self.label_set = label_set

    @property
    def label_set(self) -> LabelSet | None:
        """What the class ids of coming frames mean; set with the errors of the constructor."""
        return self._label_set

    @label_set.setter
    def label_set(self, label_set: LabelSet | None) -> None:
        self._fuse.use_labels_of(label_set)
        self._label_set = label_set

    def poses_by_stamp(self) -> list[tuple[int, np.ndarray]]:
        """Return ``trajectory`` with rising stamps; of equal ones the pose that was fused last.

        In ``trajectory`` stamps go back where the clock did: a bag that loops, a bag of two runs.
        """
        return sorted(dict(self.trajectory).items(), key=lambda pair: pair[0])

    @property
    def waiting(self) -> int:
        """Count of frames that wait for their pose."""
        return len(self._queue)

    def add(self, frame: Frame) -> None:
        """Queue a frame until its pose is known; drops are entered in the ledger."""
        self._queue.add(frame)

    def integrate_ready(self, poses: PoseSource) -> int:
        """Fuse waiting frames in order, up to the first whose pose may still come.

        Returns:
            Count of frames fused.
        """
        fused_before = self.ledger.fused
        while len(self._queue):
            frame = self._queue.head
            try:
                T_world_camera = self._pose(poses, frame)
            except PoseNotYet as error:
                if self._queue.head_wait_ns() <= self.config.wait_for_transform * 1e9:
                    break
                self.ledger.record(frame.stamp_ns, Outcome.POSE_TIMEOUT, str(error))
            except PoseNever as error:
                self.ledger.record(frame.stamp_ns, Outcome.POSE_NEVER, str(error))
            except InvalidInput as error:
                self.ledger.record(frame.stamp_ns, Outcome.BAD_POSE, str(error))
            else:
                self._integrate(frame, T_world_camera)
            self._queue.pop()
        return self.ledger.fused - fused_before

    def finish(self) -> None:
        """Account for frames that still wait: no more poses will come."""
        self._queue.clear(Outcome.SHUTDOWN, "still waiting for its pose at the end")

    def drop_waiting(self, outcome: Outcome, detail: str = "") -> None:
        """Drop all waiting frames, counted as ``outcome`` (a clock that jumped back, a pause)."""
        self._queue.clear(outcome, detail)
        self._next_due_ns = -np.inf

    def reset(self) -> None:
        """Empty the volume and the queue; the ledger goes on."""
        self.drop_waiting(Outcome.RESET, "the map was reset")
        self.volume.reset()
        self.trajectory.clear()

    def _pose(self, poses: PoseSource, frame: Frame) -> np.ndarray:
        camera_frame = self.config.camera_frame or frame.camera_frame
        return check_se3(poses.at(frame.stamp_ns, camera_frame), "T_world_camera")

    def _integrate(self, frame: Frame, T_world_camera: np.ndarray) -> None:
        outcome, detail = Outcome.FUSED, ""
        if problem := depth_unit_problem(frame.depth):
            outcome, detail = Outcome.DEPTH_UNIT, problem
        elif not self._is_due(frame.stamp_ns):
            outcome = Outcome.RATE_LIMIT
        else:
            outcome, detail = self._fuse(frame, T_world_camera, self.volume)
        if outcome is Outcome.FUSED:
            self.trajectory.append((frame.stamp_ns, T_world_camera))
        self.ledger.record(frame.stamp_ns, outcome, detail)

    def _is_due(self, stamp_ns: int) -> bool:
        """Keep the mean rate at the limit; half a period of slack lets jittery stamps pass."""
        if self.config.max_integration_rate_hz == 0:
            return True
        period_ns = 1e9 / self.config.max_integration_rate_hz
        if stamp_ns < self._next_due_ns - period_ns / 2:
            return False
        self._next_due_ns = max(self._next_due_ns + period_ns, stamp_ns + period_ns / 2)
        return True
