# SPDX-License-Identifier: Apache-2.0
"""The demo's parts: the recording is the room, the nodes map it, the judgement is right."""

import json
import os

import numpy as np
import pytest

from mtl_perception.conventions import UNLABELLED, Intrinsics
from mtl_perception.labels import LABEL_SETS
from slam_fusion.demo.main import map_bag, run_demo
from slam_fusion.demo.nodes import private_ros
from slam_fusion.demo.report import Looks, comparable_classes, draw_looks
from slam_fusion.demo.room import RoomWalk, make_recording
from slam_fusion.frame import Frame
from slam_fusion.recordings.bag_write import write_bag
from slam_fusion.recordings.recording import BadRecording, open_recording

NYU, ADE = LABEL_SETS["nyu40"], LABEL_SETS["ade20k32"]


@pytest.fixture(scope="module")
def scene() -> RoomWalk:
    """The demo's room, seen from a quarter of its views."""
    return RoomWalk(frames=45)


def test_recording_gives_back_what_was_rendered(tmp_path):
    short = RoomWalk(frames=2)
    recording = make_recording(tmp_path / "bag", short)
    with open_recording(recording) as bag:
        assert bag.label_set == NYU and bag.frame_count == 2
        read = list(bag.frames())
        poses = [bag.poses.at(f.stamp_ns, f.camera_frame) for f in read]
    for frame, T, (sent, T_sent) in zip(read, poses, short.recorded(), strict=True):
        assert (frame.color == sent.color).all() and (frame.labels == sent.labels).all()
        np.testing.assert_allclose(frame.depth, sent.depth, atol=5.1e-4)  # stored as millimetres
        np.testing.assert_allclose(T, T_sent, atol=1e-9)
        assert frame.stamp_ns == sent.stamp_ns
    assert map_bag(recording, tmp_path / "map").fused == 2


def test_nodes_map_the_room_as_it_is(scene, tmp_path):
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy wheels or a ROS install)")
    run_demo(tmp_path, scene=scene, model="")
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert report["images"] is None and list(report["maps"]) == ["rgbd"]
    scores = report["maps"]["rgbd"]
    assert scores["frames"] == {"fused": 45}
    assert scores["surface"]["error_median"] < 0.005
    within_5cm = scores["surface"]["distances"][1]
    assert within_5cm["precision"] > 0.95 and within_5cm["recall"] > 0.8
    assert scores["surface"]["labels"]["accuracy"] > 0.9
    assert scores["in_views"]["accuracy"] > 0.9
    for name in ("map.npz", "mesh.ply", "ledger.csv", "pictures/compare.png", "logs/fusion.log"):
        assert (tmp_path / "rgbd" / name).stat().st_size > 0


def test_the_network_in_the_box_maps_a_room_that_it_never_saw_with_and_without_a_sensor(
    tmp_path, capsys
):
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy wheels or a ROS install)")
    run_demo(tmp_path, scene=RoomWalk(frames=20))
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert report["images"]["labels"]["mean_iou"] > 0.3
    assert report["images"]["depth_rel"] < 0.25 and report["images"]["depth_rmse"] < 0.8
    rgbd, rgb = (report["maps"][name] for name in ("rgbd", "rgb"))
    assert rgbd["frames"] == rgb["frames"] == {"fused": 20}
    assert rgbd["surface"]["error_median"] < 0.005
    assert 0.005 < rgb["surface"]["error_median"] < 0.25
    for scores in (rgbd, rgb):
        assert scores["in_views"]["accuracy"] > 0.6
    said = capsys.readouterr().out
    assert "points of mean IoU against single images" in said and "depth rel" in said


def test_a_recording_without_labels_and_no_network_is_mapped_and_told(tmp_path, capsys):
    camera = Intrinsics(64, 48, 60.0, 60.0, 31.5, 23.5)
    wall = Frame(10**9, "camera", camera, np.full(camera.shape, 1.0, np.float32))
    write_bag(tmp_path / "bag", [(wall, np.eye(4))])
    assert map_bag(tmp_path / "bag", tmp_path / "map", model="").fused == 1
    assert "the map will have none" in capsys.readouterr().out
    assert (tmp_path / "map" / "mesh.ply").is_file()


def test_a_wrong_path_is_the_first_thing_said(tmp_path, capsys):
    with pytest.raises(BadRecording, match="does not exist"):
        run_demo(tmp_path / "out", bag=tmp_path / "nowhere")
    assert capsys.readouterr().out == ""


def test_truth_is_seen_surface_only(scene):
    truth = scene.truth(max_depth=2.5, step=15)
    nearest = np.min(
        [np.linalg.norm(truth.seen - T[:3, 3], axis=1) for _, T in scene.poses[::15]], axis=0
    )
    assert nearest.max() < 2.5 * np.hypot(1, np.hypot(320 / 525, 240 / 525)) + 0.01
    assert len(truth.seen) == len(truth.seen_labels) > 1000


def test_only_classes_that_both_know_are_compared():
    table = comparable_classes(ADE, NYU)
    for name in ("wall", "floor", "chair", "sofa", "window", "picture", "floor mat"):
        assert table[NYU.id_of(name)] == NYU.id_of(name)
    assert table[NYU.id_of("bookshelf")] == NYU.id_of("shelves")
    for name in ("television", "books", "lamp", "pillow", "night stand"):
        assert table[NYU.id_of(name)] == UNLABELLED
    assert table[UNLABELLED] == UNLABELLED
    assert (comparable_classes(NYU, NYU) == np.arange(256)).all()


def test_private_ros_is_undone(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "9")
    monkeypatch.delenv("ROS_AUTOMATIC_DISCOVERY_RANGE", raising=False)
    with private_ros():
        assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
        assert 0 <= int(os.environ["ROS_DOMAIN_ID"]) <= 100
    assert os.environ["ROS_DOMAIN_ID"] == "9"
    assert "ROS_AUTOMATIC_DISCOVERY_RANGE" not in os.environ


def test_comparison_has_a_pane_per_kind_of_label():
    color, labels = np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 1, np.uint8)
    with_network = draw_looks([Looks(color, labels, labels, labels)], NYU)
    without = draw_looks([Looks(color, labels, None, labels)], NYU)
    assert with_network.shape[1] == 4 * 480 and without.shape[1] == 3 * 480
    assert (with_network[200, 700] == NYU.palette[1]).all()
