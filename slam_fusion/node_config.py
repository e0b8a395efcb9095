# SPDX-License-Identifier: Apache-2.0
"""Parameters of the fusion node and their checks; no ROS, so tests and tools can read them."""

import math
from dataclasses import dataclass

from mtl_perception.conventions import InvalidInput
from slam_fusion.mapper import MapperConfig

POSE_SOURCES = ("tf", "odometry", "pose", "transform")
COLOR_MODES = ("class", "true")  # the class's colour, or the colour that the camera saw
INPUT_QOS = ("sensor_queue", "reliable")


@dataclass(frozen=True)
class FusionNodeConfig(MapperConfig):
    """ROS parameters of ``fusion_node``; those of the mapper and the volume come with it."""

    label_set: str = ""  # built-in name or file; "" takes what the topic label_set says
    use_labels: bool = True  # wait for labels of each depth image
    use_confidence: bool = True  # ... and for their confidence
    use_color: bool = True  # ... and for the colour image
    approx_sync: bool = False  # pair images whose stamps differ
    approx_sync_max_interval: float = 0.02  # ... by this much at most, seconds
    input_qos: str = "sensor_queue"  # best effort, as sensors are; or reliable, to lose nothing
    queue_depth: int = 30  # messages per topic that may wait while the node is busy
    pose_source: str = "tf"  # or a topic: odometry, pose, transform
    pose_max_gap: float = 0.5  # never interpolate over a longer gap in the pose topic, seconds
    # Camera in the frame whose poses the topic brings (T_base_camera): x y z qx qy qz qw.
    camera_extrinsic: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    color_mode: str = "class"  # what cloud and mesh show: class or true
    publish_cloud_rate_hz: float = 1.0  # 0 = never
    publish_mesh_rate_hz: float = 1.0  # 0 = never
    publish_objects_rate_hz: float = 0.2  # 0 = never; needs the whole mesh each time
    bandwidth_limit_mbps: float = 30.0  # of the mesh topic, megabits per second
    mesh_group_size: float = 1.0  # edge of the mesh's parts, metres; made whole blocks
    output_folder: str = "."  # where save_map and save_mesh write
    save_on_shutdown: bool = False  # save the map when the node is stopped
    reset_on_clock_jump: bool = False  # empty the map when stamps go back (a bag that loops)

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InvalidInput: names the parameter, its value and what is allowed.
        """
        super().__post_init__()
        for name, choices in (
            ("pose_source", POSE_SOURCES),
            ("color_mode", COLOR_MODES),
            ("input_qos", INPUT_QOS),
        ):
            if getattr(self, name) not in choices:
                raise InvalidInput(
                    f"{name}={getattr(self, name)!r} is not one of {', '.join(choices)}"
                )
        for name, low, high in (
            ("approx_sync_max_interval", 0.0, 1.0),
            ("queue_depth", 1, 1000),
            ("pose_max_gap", 0.001, 60.0),
            ("publish_cloud_rate_hz", 0.0, 30.0),
            ("publish_mesh_rate_hz", 0.0, 30.0),
            ("publish_objects_rate_hz", 0.0, 30.0),
            ("bandwidth_limit_mbps", 0.1, 1e5),
            ("mesh_group_size", 0.1, 100.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise InvalidInput(f"{name}={getattr(self, name)} is not in {low:g}..{high:g}")
        if self.use_confidence and not self.use_labels:
            raise InvalidInput("use_confidence=true needs use_labels=true")
        if len(self.camera_extrinsic) != 7 or not all(map(math.isfinite, self.camera_extrinsic)):
            raise InvalidInput(
                f"camera_extrinsic={list(self.camera_extrinsic)}: want x y z qx qy qz qw"
            )
