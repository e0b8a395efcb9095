# SPDX-License-Identifier: Apache-2.0
"""A synthetic room is mapped as well as its depth and labels allow."""

from dataclasses import replace

import numpy as np
import open3d as o3d
import pytest

from mtl_perception.labels import LABEL_SETS
from mtl_perception.synthetic.camera import RenderedView, rays, render
from mtl_perception.synthetic.depth_noise import sensed_depth
from mtl_perception.synthetic.people import person
from mtl_perception.synthetic.room import LABEL_SET, TEXEL, triangulate
from slam_fusion.demo.room import TRUTH_CAMERA, RoomWalk
from slam_fusion.evaluation.evaluate import MapReport, evaluate_map
from slam_fusion.frame import Frame, Surface
from slam_fusion.fusing import FrameFuser, FuseConfig
from slam_fusion.geometry import invert_se3
from slam_fusion.ledger import Outcome
from slam_fusion.timing import StageTimes
from slam_fusion.volume import SemanticVolume

LIES = 0.3  # share of the pixels that say any class


class Walker:
    """Somebody who walks about in the first quarter of the tour, and leaves."""

    def __init__(self, scene: RoomWalk) -> None:
        figure = person(np.random.default_rng(5), sitting=False)
        parts = [triangulate(patch, TEXEL)[:2] for patch in figure.patches]
        firsts = np.cumsum([0, *(len(vertices) for vertices, _ in parts)])
        self.vertices = np.concatenate([vertices for vertices, _ in parts])
        self.triangles = np.concatenate(
            [triangles + first for (_, triangles), first in zip(parts, firsts, strict=False)]
        )
        self.way, self.leaves_at = scene.room.size[:2] / 2, scene.frames // 4

    def before(self, view: RenderedView, T_world_camera: np.ndarray, index: int) -> np.ndarray:
        """Return the depth of a view with the walker in it."""
        if index >= self.leaves_at:
            return view.depth
        step = np.array([0.5 * np.sin(index / 8), 0.1 * np.cos(index / 5), 0])
        place = self.vertices + np.array([*self.way, 0]) + step
        scene = o3d.t.geometry.RaycastingScene(nthreads=0)
        scene.add_triangles(place.astype(np.float32), self.triangles.astype(np.uint32))
        hit = scene.cast_rays(o3d.core.Tensor(rays(TRUTH_CAMERA, T_world_camera)))
        return np.fmin(view.depth, hit["t_hit"].numpy().reshape(view.depth.shape))


@pytest.fixture(scope="module")
def scene() -> RoomWalk:
    return RoomWalk(seed=3, frames=96, kind="bathroom")


CASES = ("exact", "lies", "kinect", "walker", "walker, not carved")


@pytest.fixture(scope="module")
def meshes(scene) -> dict[str, Surface]:
    """Maps of one walk: exact; lying labels; a Kinect; somebody nobody recognises walks about."""
    maps = {}
    for name in CASES:
        config = FuseConfig(
            voxel_size=0.02,
            device="cpu",
            class_policies=(),
            carve_free_space=name != "walker, not carved",
        )
        maps[name] = SemanticVolume(config), FrameFuser(config, StageTimes())
    walker = Walker(scene)
    rng = np.random.default_rng(0)
    for index, (stamp_ns, T_world_camera) in enumerate(scene.poses):
        view = render(scene.room, TRUTH_CAMERA, T_world_camera)
        lies = rng.integers(0, len(LABEL_SETS[LABEL_SET]), view.labels.shape).astype(np.uint8)
        lies = np.where(rng.random(lies.shape) < LIES, lies, view.labels)
        doubt = np.full(lies.shape, 1 - LIES, np.float32)
        exact = Frame(stamp_ns, "", TRUTH_CAMERA, view.depth, labels=view.labels)
        noisy = sensed_depth(view, TRUTH_CAMERA, scene.seed + index)
        crossed = replace(exact, depth=walker.before(view, T_world_camera, index), labels=None)
        frames = exact, replace(exact, labels=lies, confidence=doubt), replace(exact, depth=noisy)
        for name, frame in zip(CASES, (*frames, crossed, crossed), strict=True):
            volume, fuse = maps[name]
            assert fuse(frame, T_world_camera, volume) == (Outcome.FUSED, "")
    return {name: volume.extract_mesh() for name, (volume, _) in maps.items()}


@pytest.fixture(scope="module")
def reports(scene, meshes) -> dict[str, MapReport]:
    truth = scene.truth(FuseConfig().max_depth)
    names = scene.label_set.names
    return {name: evaluate_map(mesh, truth, names) for name, mesh in meshes.items()}


def f_score(report: MapReport, threshold: float) -> float:
    return next(d.f_score for d in report.distances if d.threshold == threshold)


def test_exact_depth_gives_the_surface_to_2_cm_and_true_labels_their_classes(reports):
    assert f_score(reports["exact"], 0.02) >= 0.98
    assert reports["exact"].labels.mean_iou >= 0.97


def test_three_lying_pixels_in_ten_hardly_matter(reports):
    assert reports["lies"].labels.mean_iou >= 0.9
    assert reports["lies"].calibration.ece <= 0.04


def test_the_noise_of_a_kinect_leaves_the_surface_within_3_cm(reports):
    assert f_score(reports["kinect"], 0.03) >= 0.93
    assert reports["kinect"].labels.mean_iou >= 0.95


def clear_views(scene: RoomWalk, points: np.ndarray) -> np.ndarray:
    """How many views, after somebody left, show what lies well behind each point."""
    count = np.zeros(len(points), int)
    for _, T_world_camera in scene.poses[scene.frames // 4 :]:
        T = invert_se3(T_world_camera)
        x, y, z = T[:3, :3] @ points.T + T[:3, 3:]
        z = np.where(z > 0.1, z, np.inf)
        u = np.round(TRUTH_CAMERA.fx * x / z + TRUTH_CAMERA.cx).astype(int)
        v = np.round(TRUTH_CAMERA.fy * y / z + TRUTH_CAMERA.cy).astype(int)
        inside = np.isfinite(z) & (u >= 6) & (v >= 6)
        inside &= (u < TRUTH_CAMERA.width - 6) & (v < TRUTH_CAMERA.height - 6)
        depth = render(scene.room, TRUTH_CAMERA, T_world_camera).depth
        count[inside] += depth[v[inside], u[inside]] > z[inside] + 0.2
    return count


def test_somebody_who_walked_about_unrecognised_leaves_no_ghost_where_it_is_looked_at(
    scene, meshes
):
    ghosts = {}
    for name in CASES[3:]:
        points = meshes[name].positions
        far = scene.room.scene.compute_distance(o3d.core.Tensor(points)).numpy() > 0.05
        ghosts[name] = np.count_nonzero(clear_views(scene, points[far]) >= 10)
    assert ghosts["walker, not carved"] > 1000
    assert ghosts["walker"] <= 0.01 * ghosts["walker, not carved"]
