# SPDX-License-Identifier: Apache-2.0
"""Play a recording through the real nodes, as processes over DDS, and get their map."""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slam_fusion.live.node_environment import config_file, private_environment
from slam_fusion.live.processes import NodeProcessError, NodeProcesses, NodeSpec
from slam_fusion.output.export import MAP_FILE
from slam_fusion.output.map_format import SavedMap
from slam_fusion.output.map_io import load_map
from slam_fusion.tsdf.volume_state import VolumeConfig

START_S = 90.0
"""The first start compiles the kernels, which takes a while on a slow machine."""

SECONDS_PER_FRAME = 1.0
"""Slowest pace that is waited for, network included."""

LOG_FOLDER = "logs"

CAMERA = {
    "color": "/camera/color/image_raw",
    "depth": "/camera/depth/image_raw",
    "camera_info": "/camera/depth/camera_info",
    "pose": "camera_pose",
}
RECORDED_LABELS = {"labels": "/camera/labels", "label_set": "/camera/label_set"}
NETWORK_OUTPUTS = {
    "predicted_depth": "perception/depth/image",
    "labels": "perception/semantic/labels",
    "confidence": "perception/semantic/confidence",
    "label_set": "perception/label_set",
}


@dataclass(frozen=True)
class Mapping:
    """How a recording is to be mapped."""

    voxel_size: float  # metres
    depth_source: str = "sensor"  # see depth.sources; the network's needs a model that has depth
    truncation_voxels: float = VolumeConfig.truncation_voxels
    model: str = ""  # network of the perception node; "" fuses the recorded labels


def map_through_nodes(recording: Path, frame_count: int, out: Path, wanted: Mapping) -> SavedMap:
    """Start the nodes, play the recording at its own rate, save and load their map.

    Args:
        recording: rosbag2 with colour, depth, CameraInfo, TF and, without a model, labels.
        frame_count: frames it holds; none of them may be lost.
        out: existing folder for map.npz, mesh.ply, ledger.csv and the nodes' logs.
        wanted: how to map it.

    Raises:
        NodeProcessError: rclpy is missing, or a node failed; with its last words.
        NodeTimeout: a node did not do its part in time.
    """
    from slam_fusion.live.ros_client import NodeClient

    (out / MAP_FILE).unlink(missing_ok=True)  # of an earlier run: never to be taken for ours
    logs = out / LOG_FOLDER
    with private_ros(), NodeProcesses(log_folder=logs) as nodes, NodeClient() as client:
        # The player starts when depth and poses have a subscriber, which fusion is. So fusion
        # comes last: by then the player has found perception, and none of its images is lost.
        nodes.start(_play(recording, wanted.depth_source))
        first_topics = [CAMERA["color"]]
        if wanted.model:
            nodes.start(_perception(frame_count, wanted.model))
            first_topics.append("/perception/label_set")
        client.wait_for_publishers(first_topics, START_S, nodes.check)
        nodes.start(_fusion(frame_count, out, wanted))
        client.wait_for_services(["/fusion/save_map"], START_S, nodes.check)
        limit_s = START_S + SECONDS_PER_FRAME * frame_count
        client.wait_for_frames(frame_count, limit_s, watch=nodes.check)
        client.trigger("/fusion/save_map")
        client.trigger("/fusion/save_mesh")
        nodes.stop()
        nodes.check()
    return load_map(out / MAP_FILE)


def require_ros() -> None:
    """Make sure that nodes can be started.

    Raises:
        NodeProcessError: rclpy is not installed.
    """
    if importlib.util.find_spec("rclpy") is None:
        raise NodeProcessError(
            "the demo needs rclpy: source a ROS 2 install, or install this package's extra "
            '"ros"; `dense-semantic-slam map` needs neither'
        )


@contextmanager
def private_ros() -> Iterator[None]:
    """Keep the demo's topics on this machine and away from those of a robot or another demo."""
    private = private_environment()
    before = {name: os.environ.get(name) for name in private}
    os.environ.update(private)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _play(recording: Path, depth_source: str) -> NodeSpec:
    fused_depth = "depth" if depth_source == "sensor" else "/perception/depth/image"
    waited_for = f"color,{fused_depth},camera_pose"
    return NodeSpec("play", {"recording": str(recording), "wait_for_subscribers": waited_for})


def _fusion(frame_count: int, out: Path, wanted: Mapping) -> NodeSpec:
    return NodeSpec(
        "fusion",
        {
            **_lossless(frame_count),
            "voxel_size": wanted.voxel_size,
            "truncation_voxels": wanted.truncation_voxels,
            "depth_source": wanted.depth_source,
            "pose_source": "pose",
            "sync_queue_size": frame_count,  # frames wait for the labels of a slow network
            "use_confidence": bool(wanted.model),
            "output_folder": str(out.resolve()),
        },
        [config_file("fusion.yaml")],
        {**CAMERA, **(NETWORK_OUTPUTS if wanted.model else RECORDED_LABELS)},
    )


def _perception(frame_count: int, model: str) -> NodeSpec:
    return NodeSpec(
        "perception",
        {**_lossless(frame_count), "model": model},
        [config_file("perception.yaml")],
        {"image": CAMERA["color"], "camera_info": CAMERA["camera_info"]},
    )


def _lossless(frame_count: int) -> dict[str, str | int]:
    """A robot wants the newest image; a replay that is to be judged wants all of them."""
    return {"input_qos": "reliable", "queue_depth": frame_count}
