# SPDX-License-Identifier: Apache-2.0
"""How well the demo's map agrees with the room it was made in."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np

from mtl_perception.conventions import UNLABELLED
from mtl_perception.evaluation.depth import DepthConfig, DepthMeter
from mtl_perception.labels import LabelSet, remap_table
from mtl_perception.predictor import Predictor
from mtl_perception.synthetic.camera import ROOM_CAMERA
from slam_fusion.demo.room import RoomWalk
from slam_fusion.evaluation.evaluate import MapReport, evaluate_map
from slam_fusion.evaluation.label_scores import Confusion, LabelScores
from slam_fusion.evaluation.surface_rays import SurfaceRays
from slam_fusion.frame import Surface
from slam_fusion.output.legend import UNLABELLED_RGB, ClassShare, draw_legend, draw_text
from slam_fusion.output.map_format import SavedMap
from slam_fusion.volume import SemanticVolume

JUDGED_VIEWS = 12
SHOWN_VIEWS = 3
SYNONYMS = {"bookshelf": "shelves"}
"""True classes that a network's classes, once remapped, know by another name."""


TITLES = {"rgbd": "colour and depth sensor", "rgb": "colour alone, depth by the network"}
"""What each way of mapping gets to see."""


@dataclass(frozen=True)
class ImageScores:
    """Agreement of the network with the truth in single images."""

    labels: LabelScores
    depth_rel: float | None  # mean |error| / depth; None: the network has no depth
    depth_rmse: float | None  # metres


@dataclass(frozen=True)
class MapScores:
    """Agreement of one map with the room."""

    frames: dict[str, int]  # by outcome
    surface: MapReport
    in_views: LabelScores  # the map's labels, seen again from ``JUDGED_VIEWS`` cameras


@dataclass(frozen=True)
class DemoReport:
    """What the demo found."""

    model: str  # "" where the recorded labels were fused
    images: ImageScores | None  # None where the recorded labels were fused
    maps: dict[str, MapScores]  # by key of ``TITLES``

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(asdict(self), indent=1)

    def table(self) -> str:
        """Return the report as lines of text for people."""
        lines = []
        if self.images is not None:
            lines.append(f"single images   {self.model}: {_labels_line(self.images.labels)}")
            if self.images.depth_rel is not None:
                lines.append(
                    f"                depth rel {self.images.depth_rel:.3f}, "
                    f"RMSE {self.images.depth_rmse:.2f} m"
                )
        for name, scores in self.maps.items():
            frames = ", ".join(f"{n} {what}" for what, n in scores.frames.items())
            lines += [f"--- map from {TITLES[name]}: {frames} frames", scores.surface.table()]
            gain = ""
            if self.images is not None:
                points = 100 * (scores.in_views.mean_iou - self.images.labels.mean_iou)
                gain = f" ({points:+.1f} points of mean IoU against single images)"
            lines.append(f"in the views    {_labels_line(scores.in_views)}{gain}")
        return "\n".join(lines)


def _labels_line(scores: LabelScores) -> str:
    return (
        f"mean IoU {scores.mean_iou:.3f}, right {scores.accuracy:.1%} of the "
        f"{scores.labelled:.1%} that are labelled"
    )


@dataclass(frozen=True, eq=False)
class Looks:
    """One view, with classes of the truth's label set, 255 where unlabelled or not comparable."""

    color: np.ndarray  # (H, W, 3) uint8 RGB
    truth: np.ndarray  # (H, W) uint8
    single_image: np.ndarray | None  # (H, W) uint8
    map: np.ndarray  # (H, W) uint8


def judge_images(scene: RoomWalk, predictor: Predictor) -> ImageScores:
    """Compare what the network says of single images with the truth.

    A network speaks of other classes than the room does: its classes are remapped, and only
    what is truly of a class that both know is judged.
    """
    to_truth = remap_table(predictor.label_set, scene.label_set)
    comparable = comparable_classes(predictor.label_set, scene.label_set)
    confusion, depth = Confusion(), DepthMeter(DepthConfig())
    for index in judged_views(scene):
        view = scene.view(index)
        prediction = predictor(view.color, ROOM_CAMERA.fx)
        confusion.add(comparable[view.labels], to_truth[prediction.labels])
        if prediction.depth is not None:
            depth.add(view.depth, prediction.depth)
    labels, metrics = confusion.scores(scene.label_set.names), depth.metrics()
    if metrics is None:
        return ImageScores(labels, None, None)
    return ImageScores(labels, metrics.pooled.abs_rel, metrics.pooled.rmse)


def judge_map(
    scene: RoomWalk, saved: SavedMap, predictor: Predictor | None
) -> tuple[MapScores, np.ndarray]:
    """Compare a map with the truth, in the classes that both know.

    Args:
        scene: the room and the camera's way.
        saved: the map.
        predictor: network whose labels were fused; None where the true ones were.

    Returns:
        The scores, and a picture that shows some of the views.
    """
    # The set that came with the map names the same classes but has no remap tables.
    own = predictor.label_set if predictor else scene.label_set
    to_truth = remap_table(own, scene.label_set)
    comparable = comparable_classes(own, scene.label_set)
    mesh = SemanticVolume.from_state(saved.state).extract_mesh()
    mesh = replace(mesh, labels=to_truth[mesh.labels])
    truth = scene.truth(saved.state.config.max_depth)
    truth = replace(truth, seen_labels=comparable[truth.seen_labels])
    confusion, shown = Confusion(), []
    for number, looks in enumerate(_views(scene, mesh, predictor, to_truth, comparable)):
        confusion.add(looks.truth, looks.map)
        if number % max(1, JUDGED_VIEWS // SHOWN_VIEWS) == 1:
            shown.append(looks)
    names = scene.label_set.names
    scores = MapScores(
        frames=saved.ledger_counts,
        surface=evaluate_map(mesh, truth, names),
        in_views=confusion.scores(names),
    )
    return scores, draw_looks(shown, scene.label_set)


def judged_views(scene: RoomWalk) -> range:
    """Return which of the walk's views are judged."""
    return range(0, len(scene.poses), max(1, len(scene.poses) // JUDGED_VIEWS))


def comparable_classes(own: LabelSet, truth: LabelSet) -> np.ndarray:
    """Return (256,) uint8: for each true class the one that labels of ``own`` can name, or 255."""
    ids = np.arange(256, dtype=np.uint8)
    if own == truth:
        return ids
    reachable = remap_table(own, truth)
    for name, synonym in SYNONYMS.items():
        ids[truth.id_of(name)] = truth.id_of(synonym)
    return np.where(np.isin(ids, reachable), ids, np.uint8(UNLABELLED))


def _views(
    scene: RoomWalk,
    mesh: Surface,
    predictor: Predictor | None,
    to_truth: np.ndarray,
    comparable: np.ndarray,
) -> Iterator[Looks]:
    rays = SurfaceRays(mesh.positions, mesh.triangles)
    labels = np.append(mesh.labels, np.uint8(UNLABELLED))  # row -1: the ray met nothing
    for index in judged_views(scene):
        view = scene.view(index)
        _, vertex = rays.look(ROOM_CAMERA, scene.poses[index][1])
        yield Looks(
            color=view.color,
            truth=comparable[view.labels],
            single_image=_single_image(predictor, view.color, to_truth),
            map=labels[vertex],
        )


def _single_image(
    predictor: Predictor | None, color: np.ndarray, to_truth: np.ndarray
) -> np.ndarray | None:
    return to_truth[predictor(color, ROOM_CAMERA.fx).labels] if predictor else None


def draw_looks(views: list[Looks], label_set: LabelSet) -> np.ndarray:
    """Draw a row per view: image, true classes, the network's, the map's; (H, W, 3) uint8 RGB."""
    rows = []
    for looks in views:
        panes = [looks.color]
        for labels in (looks.truth, looks.single_image, looks.map):
            if labels is not None:
                classes = label_set.colorize(labels)
                classes[labels == UNLABELLED] = UNLABELLED_RGB
                panes.append(classes)
        small = [cv2.resize(pane, (480, 360), interpolation=cv2.INTER_AREA) for pane in panes]
        rows.append(np.hstack(small))
    panes_shown = [p for v in views for p in (v.truth, v.single_image, v.map) if p is not None]
    drawn = np.concatenate([pane.ravel() for pane in panes_shown])
    shares = [
        ClassShare(int(c), label_set.names[int(c)], 0.0, float((drawn == c).mean()))
        for c in np.unique(drawn[drawn != UNLABELLED])
    ]
    shares.sort(key=lambda entry: -entry.share)
    titles = ["camera", "truth", *(["single image"] if len(panes) == 4 else []), "map"]
    head = np.full((32, rows[0].shape[1], 3), 255, np.uint8)
    for number, title in enumerate(titles):
        draw_text(head, title, (480 * number + 8, 24))
    legend = draw_legend(shares, label_set, head.shape[1])
    return np.vstack([head, *rows, legend])
