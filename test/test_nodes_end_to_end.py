# SPDX-License-Identifier: Apache-2.0
"""The nodes as real processes over DDS give the map that the offline path gives."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy wheels or a ROS install)")
pytest.importorskip("ai_edge_litert", reason="needs the LiteRT runtime")

from mtl_perception.predictor import Predictor, PredictorConfig
from slam_fusion.live.processes import (
    NodeProcessError,
    NodeProcesses,
    NodeSpec,
    config_file,
    private_environment,
)
from slam_fusion.live.ros_client import NodeClient
from slam_fusion.mapper import Mapper, MapperConfig
from slam_fusion.output.map_format import SavedMap
from slam_fusion.output.map_io import load_map
from slam_fusion.recordings.bag_write import write_bag
from slam_fusion.recordings.recording import RecordingOptions, open_recording
from slam_fusion.volume import SemanticVolume

FRAME_COUNT = 100
VOXEL_SIZE = 0.02
MODEL = "deeplabv3_mnv2_ade20k_int8.tflite"


@pytest.fixture(scope="module", autouse=True)
def private_ros():
    """Keep these nodes away from other ROS traffic."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in private_environment().items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def model_file(shared_data) -> Path:
    return shared_data / "models" / MODEL


@pytest.fixture(scope="module")
def kitchen_bag(shared_data, tmp_path_factory) -> Path:
    """The first frames of a real Kinect recording as a rosbag2 with TF."""
    path = tmp_path_factory.mktemp("kitchen") / "bag"
    options = RecordingOptions(intrinsics="585,585,320,240")
    with open_recording(shared_data / "seven_scenes_kitchen", options) as recording:
        frames = islice(recording.frames(), FRAME_COUNT)
        write_bag(path, ((f, recording.poses.at(f.stamp_ns, f.camera_frame)) for f in frames))
    return path


@dataclass(frozen=True, eq=False)
class Occupied:
    """The voxels at the surface of a map, and their labels."""

    keys: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, volume: SemanticVolume) -> "Occupied":
        return cls(*volume.occupied_voxels())

    def agreement(self, other: "Occupied") -> tuple[float, float]:
        """Intersection over union of the voxels, and share of equal labels on the intersection."""
        ours, theirs = self._by_key(), other._by_key()
        common = ours.keys() & theirs.keys()
        equal = sum(ours[key] == theirs[key] for key in common)
        return len(common) / len(ours.keys() | theirs.keys()), equal / len(common)

    def _by_key(self) -> dict[tuple[int, int, int], int]:
        return dict(zip(map(tuple, self.keys.tolist()), self.labels.tolist(), strict=True))


@pytest.fixture(scope="module")
def offline_map(kitchen_bag, model_file) -> Occupied:
    predictor = Predictor(PredictorConfig(model=str(model_file)))
    mapper = Mapper(MapperConfig(voxel_size=VOXEL_SIZE))
    with open_recording(kitchen_bag) as recording:
        for frame in recording.frames():
            prediction = predictor(frame.color)
            mapper.add(replace(frame, labels=prediction.labels, confidence=prediction.confidence))
            mapper.integrate_ready(recording.poses)
    mapper.finish()
    assert mapper.ledger.counts() == {"fused": FRAME_COUNT}
    return Occupied.of(mapper.volume)


@pytest.fixture(scope="module")
def replayed(kitchen_bag, model_file, tmp_path_factory) -> SavedMap:
    """The bag at its own rate through perception and fusion processes; the map they saved."""
    folder = tmp_path_factory.mktemp("nodes")
    lossless = {"input_qos": "reliable", "queue_depth": 2 * FRAME_COUNT}
    fusion = NodeSpec(
        "fusion",
        {
            **lossless,
            "voxel_size": VOXEL_SIZE,
            "pose_source": "pose",
            "sync_queue_size": 2 * FRAME_COUNT,
            "output_folder": str(folder),
        },
        [config_file("fusion.yaml")],
        {
            "color": "/camera/color/image_raw",
            "depth": "/camera/depth/image_raw",
            "camera_info": "/camera/depth/camera_info",
            "labels": "perception/semantic/labels",
            "confidence": "perception/semantic/confidence",
            "label_set": "perception/label_set",
            "pose": "camera_pose",
        },
    )
    perception = NodeSpec(
        "perception",
        {**lossless, "model": str(model_file)},
        [config_file("perception.yaml")],
        {"image": "/camera/color/image_raw", "camera_info": "/camera/color/camera_info"},
    )
    play = NodeSpec("play", {"recording": str(kitchen_bag), "wait_for_subscribers": "all"})
    with NodeProcesses(log_folder=folder) as nodes, NodeClient() as client:
        # Playing starts when depth, colour and poses have a reader. Colour has two, so fusion, the
        # only reader of depth, comes last: it takes depth when perception's label set is there.
        nodes.start(play)
        nodes.start(perception)
        client.wait_for_publishers(["/perception/label_set"], 60, nodes.check)
        nodes.start(fusion)
        client.wait_for_frames(FRAME_COUNT, 90, watch=nodes.check)
        client.trigger("/fusion/save_map")
        assert set(nodes.stop().values()) == {0}
    return load_map(folder / "map.npz")


def test_every_frame_of_the_bag_is_fused(replayed):
    assert replayed.ledger_counts == {"fused": FRAME_COUNT}


def test_the_nodes_map_equals_the_offline_map(replayed, offline_map):
    iou, equal_labels = Occupied.of(SemanticVolume.from_state(replayed.state)).agreement(
        offline_map
    )
    print(f"occupied voxels IoU {iou:.5f}, equal labels {equal_labels:.5f}")
    assert iou >= 0.99
    assert equal_labels >= 0.99


def test_the_map_knows_the_perception_nodes_classes(replayed):
    labels = {replayed.label_set.id_of(name) for name in ("wall", "floor", "cabinet")}
    seen = Occupied.of(SemanticVolume.from_state(replayed.state)).labels
    assert labels <= set(seen.tolist())


def test_a_node_that_cannot_start_is_reported_with_its_own_words(tmp_path):
    with NodeProcesses(log_folder=tmp_path) as nodes:
        nodes.start(NodeSpec("fusion", {"voxel_sise": 0.1}))
        assert nodes.wait("fusion", 30) == 2
        with pytest.raises(NodeProcessError, match="voxel_sise"):
            nodes.check()


def test_sigint_stops_a_node_with_its_map_saved(tmp_path):
    parameters = {"pose_source": "pose", "output_folder": str(tmp_path), "save_on_shutdown": True}
    with NodeProcesses(log_folder=tmp_path) as nodes, NodeClient() as client:
        nodes.start(NodeSpec("fusion", parameters))
        client.wait_for_services(["/fusion/resume"], 30, nodes.check)
        client.trigger("/fusion/resume")  # its answer shows that the node has started
        assert nodes.stop() == {"fusion": 0}
    assert load_map(tmp_path / "map.npz").ledger_counts == {}


def test_a_node_that_hangs_is_killed(tmp_path):
    with NodeProcesses(log_folder=tmp_path) as nodes:
        nodes.start(NodeSpec("fusion", {"pose_source": "pose"}))
        os.kill(nodes.pid("fusion"), signal.SIGSTOP)
        os.waitpid(nodes.pid("fusion"), os.WUNTRACED)  # it has stopped before SIGINT can reach it
        assert nodes.stop(timeout_s=0.2) == {"fusion": -signal.SIGKILL}


def test_sigterm_leaves_no_node_behind():
    script = (
        "import time\n"
        "from slam_fusion.live.processes import NodeProcesses, NodeSpec\n"
        "with NodeProcesses() as nodes:\n"
        "    nodes.start(NodeSpec('fusion', {'pose_source': 'pose'}))\n"
        "    print(nodes.pid('fusion'), flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        node_pid = int(parent.stdout.readline())
        parent.terminate()
        assert parent.wait(30) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(node_pid, 0)


def test_a_private_domain_is_one_that_nobody_is_in():
    taken = int(private_environment()["ROS_DOMAIN_ID"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.bind(("", 7410 + 250 * taken))  # DDS's port of a domain's first participant
        assert int(private_environment()["ROS_DOMAIN_ID"]) != taken


def test_a_config_file_that_is_not_there_is_named():
    with pytest.raises(NodeProcessError, match="nothing.yaml"):
        config_file("nothing.yaml")


def test_parameters_win_over_files_and_keep_their_types():
    spec = NodeSpec(
        "play", {"rate": 1.0, "bag": "10", "loop": False}, [Path("a.yaml")], {"x": "/y"}
    )
    assert spec.command() == [
        *(sys.executable, "-m", "slam_fusion.play.node_play"),
        *("--ros-args", "--params-file", "a.yaml"),
        *("-p", "rate:=1.0", "-p", 'bag:="10"', "-p", "loop:=false", "-r", "x:=/y"),
    ]
