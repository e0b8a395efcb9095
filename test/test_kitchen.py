# SPDX-License-Identifier: Apache-2.0
"""The real kitchen with the real network: the fused map is better than its single images.

There are no true labels, but gravity is known, and the floor is what lies lowest. The network
takes table tops for floor, among other things; fusion should leave less of that.
"""

from dataclasses import replace
from itertools import islice

import numpy as np

from mtl_perception.labels import LABEL_SETS
from mtl_perception.models import MODELS
from mtl_perception.predictor import Predictor, PredictorConfig
from slam_fusion.evaluation.evaluate_masks import iou
from slam_fusion.evaluation.surface_rays import SurfaceRays
from slam_fusion.output.legend import class_shares
from slam_fusion.recordings.recording import open_recording
from slam_fusion.volume import SemanticVolume, VolumeConfig

STEP = 10  # every tenth of the 500 frames
FLOOR = LABEL_SETS["ade20k32"].id_of("floor")


def test_the_map_knows_the_floor_better_than_its_single_images(shared_data):
    folder = shared_data / "seven_scenes_kitchen"
    predictor = Predictor(
        PredictorConfig(model=str(shared_data / "models" / MODELS["deeplab-ade20k"].file))
    )
    volume = SemanticVolume(VolumeConfig(voxel_size=0.03))
    views = []
    with open_recording(folder) as recording:
        for frame in islice(recording.frames(), 0, None, STEP):
            labels = predictor(frame.color)
            T_world_camera = recording.poses.at(frame.stamp_ns, frame.camera_frame)
            frame = replace(frame, labels=labels.labels, confidence=labels.confidence)
            volume.integrate(frame, T_world_camera)
            views.append((frame, T_world_camera))

    mesh = volume.extract_mesh()
    gravity = np.loadtxt(folder / "gravity-direction.txt").ravel()
    height = -mesh.positions @ (gravity / np.linalg.norm(gravity))
    is_floor = height < np.percentile(height, 1) + 0.1
    rays = SurfaceRays(mesh.positions, mesh.triangles)
    truth, in_image, in_map = [], [], []
    for frame, T_world_camera in views:
        depth, vertex = rays.look(frame.intrinsics, T_world_camera)
        seen = (vertex >= 0) & (np.abs(depth - frame.depth) < 0.05)
        truth.append(is_floor[vertex[seen]])
        in_image.append(frame.labels[seen] == FLOOR)
        in_map.append(mesh.labels[vertex[seen]] == FLOOR)
    truth, in_image, in_map = map(np.concatenate, (truth, in_image, in_map))

    print(f"IoU of the floor: images {iou(truth, in_image):.3f}, map {iou(truth, in_map):.3f}")
    print(f"higher up taken for floor: {in_image[~truth].mean():.3f}, {in_map[~truth].mean():.3f}")
    assert iou(truth, in_map) > iou(truth, in_image) + 0.05
    assert in_map[~truth].mean() < 0.8 * in_image[~truth].mean()
    share = {c.name: c.share for c in class_shares(mesh, predictor.label_set)}
    for name, least in (("wall", 0.3), ("floor", 0.08), ("cabinet", 0.05), ("chair", 0.01)):
        assert share[name] > least, (name, share)
