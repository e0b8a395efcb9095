# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.map_quality``: maps of synthetic rooms against the rooms themselves.

One walk through each room is fused four times: with exact depth and with that of a Kinect, each
with true labels and with labels of which three pixels in ten lie.
"""

from dataclasses import dataclass

import numpy as np

from mtl_perception.labels import LABEL_SETS
from mtl_perception.synthetic.camera import ROOM_CAMERA
from mtl_perception.synthetic.depth_noise import sensed_depth
from mtl_perception.synthetic.room import LABEL_SET
from slam_fusion.demo.room import RoomWalk
from slam_fusion.evaluation.evaluate import MapReport, evaluate_map
from slam_fusion.frame import Frame
from slam_fusion.fusing import FrameFuser
from slam_fusion.mapper import MapperConfig
from slam_fusion.timing import StageTimes
from slam_fusion.volume import SemanticVolume

VOXEL_SIZE = 0.02
SEEDS = (8, 22, 35)
FRAMES = 180
LIES = 0.3
"""Share of the pixels whose label is any class; the network says it is 0.7 certain of each."""


@dataclass(frozen=True)
class Case:
    """One way of seeing the walk."""

    name: str
    kinect: bool
    lies: bool


CASES = (
    Case("exact depth, true labels", False, False),
    Case("exact depth, 30 % of pixels lie", False, True),
    Case("Kinect's depth, true labels", True, False),
    Case("Kinect's depth, 30 % lie", True, True),
)


def lying(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Let pixels say any class."""
    anything = rng.integers(0, len(LABEL_SETS[LABEL_SET]), labels.shape).astype(np.uint8)
    return np.where(rng.random(labels.shape) < LIES, anything, labels)


def reports(scene: RoomWalk, voxel_size: float = VOXEL_SIZE) -> dict[str, MapReport]:
    """Fuse a walk in every way; return how each map agrees with the room."""
    # People sit in some rooms, and here they belong to the truth.
    config = MapperConfig(voxel_size=voxel_size, class_policies=())
    maps = {case: (SemanticVolume(config), FrameFuser(config, StageTimes())) for case in CASES}
    rng = np.random.default_rng(scene.seed)
    for index, (stamp_ns, T_world_camera) in enumerate(scene.poses):
        view = scene.view(index)
        lies = lying(view.labels, rng)
        noisy = sensed_depth(view, ROOM_CAMERA, scene.seed + index)
        for case, (volume, fuse) in maps.items():
            frame = Frame(
                stamp_ns,
                "",
                ROOM_CAMERA,
                noisy if case.kinect else view.depth,
                view.color,
                lies if case.lies else view.labels,
                np.full(view.labels.shape, 1 - LIES if case.lies else 1, np.float32),
            )
            fuse(frame, T_world_camera, volume)
    truth = scene.truth(config.max_depth)
    return {
        case.name: evaluate_map(volume.extract_mesh(), truth, scene.label_set.names)
        for case, (volume, _) in maps.items()
    }


def main() -> None:
    """Print a row for every room and way of seeing it."""
    print(f"{VOXEL_SIZE * 100:g} cm voxels, {FRAMES} frames; F-scores at 1, 2, 3 and 5 cm")
    print(f"{'room':>4s}  {'':32s}{'F 1':>7s}{'F 2':>7s}{'F 3':>7s}{'F 5':>7s}", end="")
    print(f"{'normals':>9s}{'mIoU':>7s}{'ECE':>7s}")
    for seed in SEEDS:
        for name, report in reports(RoomWalk(seed, FRAMES)).items():
            scores = "".join(f"{d.f_score:7.3f}" for d in report.distances[:4])
            ece = report.calibration.ece if report.calibration else float("nan")
            print(
                f"{seed:4d}  {name:32s}{scores}{report.normal_consistency:9.3f}"
                f"{report.labels.mean_iou:7.3f}{ece:7.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
