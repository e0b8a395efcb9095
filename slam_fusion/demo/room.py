# SPDX-License-Identifier: Apache-2.0
"""The demo's recording: a walk through a synthetic room, with the truth to judge the map by."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mtl_perception.conventions import Intrinsics
from mtl_perception.labels import LABEL_SETS, LabelSet
from mtl_perception.synthetic.camera import ROOM_CAMERA, ColorNoise, RenderedView, render
from mtl_perception.synthetic.depth_noise import KINECT, sensed_depth
from mtl_perception.synthetic.layout import SHOW_ROOM
from mtl_perception.synthetic.room import LABEL_SET, Room, make_room
from mtl_perception.synthetic.walk import walk
from slam_fusion.evaluation.evaluate import Truth, seen_points
from slam_fusion.frame import Frame
from slam_fusion.recordings.bag_write import write_bag

TRUTH_CAMERA = Intrinsics(320, 240, 262.5, 262.5, 159.5, 119.5)
CAMERA_FRAME = "camera_color_optical_frame"


@dataclass(frozen=True)
class RoomWalk:
    """A synthetic room and the camera's way through it; everything follows from the seed."""

    seed: int = 7
    frames: int = 180
    rate_hz: float = 12.0
    kind: str = SHOW_ROOM  # one of ``layout.KINDS``; empty draws one

    @cached_property
    def room(self) -> Room:
        """The room; made when first asked for."""
        return make_room(self.seed, self.kind)

    @cached_property
    def poses(self) -> list[tuple[int, np.ndarray]]:
        """Stamps (ns) and T_world_camera."""
        return walk(self.room, self.frames, self.seed, rate_hz=self.rate_hz)

    @property
    def label_set(self) -> LabelSet:
        """Classes of the true labels."""
        return LABEL_SETS[LABEL_SET]

    def view(self, index: int) -> RenderedView:
        """What an ideal sensor sees from pose ``index``, but for the grain of its colours."""
        noise = ColorNoise(vignetting=0.2, grain=2.0, seed=self.seed + index)
        return render(self.room, ROOM_CAMERA, self.poses[index][1], noise=noise)

    def recorded(
        self, progress: Callable[[int], None] | None = None
    ) -> Iterator[tuple[Frame, np.ndarray]]:
        """Yield what is recorded: colour, depth as a Kinect measures it, true labels; and pose."""
        for index, (stamp_ns, T_world_camera) in enumerate(self.poses):
            view = self.view(index)
            depth = sensed_depth(view, ROOM_CAMERA, self.seed + index)
            frame = Frame(stamp_ns, CAMERA_FRAME, ROOM_CAMERA, depth, view.color, view.labels)
            yield frame, T_world_camera
            if progress:
                progress(index + 1)

    def truth(self, max_depth: float, step: int = 4) -> Truth:
        """Return the true surface, and the part of it that every ``step``-th view shows.

        Half the camera's resolution shows every 2 cm of surface within reach.

        Args:
            max_depth: farthest depth that the map integrates, metres.
            step: views are similar enough to their neighbours to leave some out.
        """
        mesh = self.room.mesh_truth()

        def views() -> Iterator[tuple[np.ndarray, np.ndarray, Intrinsics, np.ndarray]]:
            for _, T_world_camera in self.poses[::step]:
                view = render(self.room, TRUTH_CAMERA, T_world_camera)
                in_range = (view.depth >= KINECT.min_depth) & (view.depth <= max_depth)
                yield np.where(in_range, view.depth, 0), view.labels, TRUTH_CAMERA, T_world_camera

        return Truth(mesh.vertices, mesh.triangles, *seen_points(views()))


def make_recording(
    path: Path, scene: RoomWalk, progress: Callable[[int], None] | None = None
) -> Path:
    """Write the walk as a rosbag2, replacing one of that name; return its path.

    Args:
        path: folder to make.
        scene: what to record.
        progress: told the count of frames written.

    Raises:
        BagNotWritten: the folder cannot be written.
    """
    write_bag(
        path,
        scene.recorded(progress),
        depth_encoding="16UC1",
        label_set=scene.label_set,
        overwrite=True,
    )
    return path
