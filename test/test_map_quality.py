# SPDX-License-Identifier: Apache-2.0
"""A synthetic room is mapped as well as its depth and labels allow."""

from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.labels import LABEL_SETS
from mtl_perception.synthetic.camera import render
from mtl_perception.synthetic.depth_noise import sensed_depth
from mtl_perception.synthetic.room import LABEL_SET
from slam_fusion.demo.room import TRUTH_CAMERA, RoomWalk
from slam_fusion.evaluation.evaluate import MapReport, evaluate_map
from slam_fusion.frame import Frame
from slam_fusion.volume import SemanticVolume, VolumeConfig

LIES = 0.3  # share of the pixels that say any class


@pytest.fixture(scope="module")
def reports() -> dict[str, MapReport]:
    """Maps of one walk: exact; with lying labels; with the depth of a Kinect."""
    scene = RoomWalk(seed=3, frames=96, kind="bathroom")
    config = VolumeConfig(voxel_size=0.02, device="cpu")
    volumes = {name: SemanticVolume(config) for name in ("exact", "lies", "kinect")}
    rng = np.random.default_rng(0)
    for index, (stamp_ns, T_world_camera) in enumerate(scene.poses):
        view = render(scene.room, TRUTH_CAMERA, T_world_camera)
        lies = rng.integers(0, len(LABEL_SETS[LABEL_SET]), view.labels.shape).astype(np.uint8)
        lies = np.where(rng.random(lies.shape) < LIES, lies, view.labels)
        doubt = np.full(lies.shape, 1 - LIES, np.float32)
        exact = Frame(stamp_ns, "", TRUTH_CAMERA, view.depth, labels=view.labels)
        noisy = sensed_depth(view, TRUTH_CAMERA, scene.seed + index)
        volumes["exact"].integrate(exact, T_world_camera)
        volumes["lies"].integrate(replace(exact, labels=lies, confidence=doubt), T_world_camera)
        volumes["kinect"].integrate(replace(exact, depth=noisy), T_world_camera)
    truth = scene.truth(config.max_depth)
    return {
        name: evaluate_map(volume.extract_mesh(), truth, scene.label_set.names)
        for name, volume in volumes.items()
    }


def f_score(report: MapReport, threshold: float) -> float:
    return next(d.f_score for d in report.distances if d.threshold == threshold)


def test_exact_depth_gives_the_surface_to_2_cm_and_true_labels_their_classes(reports):
    assert f_score(reports["exact"], 0.02) >= 0.98
    assert reports["exact"].labels.mean_iou >= 0.97


def test_three_lying_pixels_in_ten_hardly_matter(reports):
    assert reports["lies"].labels.mean_iou >= 0.9
    assert reports["lies"].calibration.ece <= 0.06


def test_the_noise_of_a_kinect_leaves_the_surface_within_3_cm(reports):
    assert f_score(reports["kinect"], 0.03) >= 0.93
    assert reports["kinect"].labels.mean_iou >= 0.95
