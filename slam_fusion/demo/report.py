# SPDX-License-Identifier: Apache-2.0
"""How well the demo's map agrees with the room it was made in."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np

from mtl_perception.conventions import UNLABELLED
from mtl_perception.labels import LabelSet, remap_table
from mtl_perception.predictor import Predictor
from mtl_perception.synthetic.camera import ROOM_CAMERA
from slam_fusion.demo.room import RoomWalk
from slam_fusion.evaluation.evaluate import MapReport, evaluate_map
from slam_fusion.evaluation.label_scores import Confusion, LabelScores
from slam_fusion.evaluation.surface_rays import SurfaceRays
from slam_fusion.frame import Surface
from slam_fusion.output.legend import UNLABELLED_RGB, ClassShare, draw_legend, draw_text
from slam_fusion.output.map_io import SavedMap
from slam_fusion.volume import SemanticVolume

JUDGED_VIEWS = 12
SHOWN_VIEWS = 3
SYNONYMS = {"bookshelf": "shelves"}
"""True classes that a network's classes, once remapped, know by another name."""


@dataclass(frozen=True)
class DemoReport:
    """Agreement of the map with the room, and of single images where a network made the labels."""

    frames: dict[str, int]  # by outcome
    map: MapReport
    map_in_views: LabelScores  # the map's labels, seen again from ``JUDGED_VIEWS`` cameras
    single_images: LabelScores | None  # the network's labels of those cameras' images

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(asdict(self), indent=1)

    def table(self) -> str:
        """Return the report as lines of text for people."""
        lines = ["frames          " + ", ".join(f"{n} {what}" for what, n in self.frames.items())]
        lines += [self.map.table(), "in the camera's views:"]
        for name, scores in (("single images", self.single_images), ("map", self.map_in_views)):
            if scores is not None:
                lines.append(
                    f"  {name:<14} mean IoU {scores.mean_iou:.3f}, "
                    f"right {scores.accuracy:.1%} of the {scores.labelled:.1%} that are labelled"
                )
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Looks:
    """One view, with classes of the truth's label set, 255 where unlabelled or not comparable."""

    color: np.ndarray  # (H, W, 3) uint8 RGB
    truth: np.ndarray  # (H, W) uint8
    single_image: np.ndarray | None  # (H, W) uint8
    map: np.ndarray  # (H, W) uint8


def judge(
    scene: RoomWalk, saved: SavedMap, predictor: Predictor | None
) -> tuple[DemoReport, np.ndarray]:
    """Compare the map with the truth.

    A network speaks of other classes than the room does: its classes are remapped, and only
    what is truly of a class that both know is judged.

    Args:
        scene: the room and the camera's way.
        saved: the map.
        predictor: network whose labels were fused; None where the true ones were.

    Returns:
        The report, and a picture that shows some of the views.
    """
    # The set that came with the map names the same classes but has no remap tables.
    own = predictor.label_set if predictor else scene.label_set
    to_truth = remap_table(own, scene.label_set)
    comparable = comparable_classes(own, scene.label_set)
    mesh = SemanticVolume.from_state(saved.state).extract_mesh()
    mesh = replace(mesh, labels=to_truth[mesh.labels])
    truth = scene.truth(saved.state.config.max_depth)
    truth = replace(truth, seen_labels=comparable[truth.seen_labels])
    in_map, in_images = Confusion(), Confusion()
    shown = []
    step = max(1, len(scene.poses) // JUDGED_VIEWS)
    for number, looks in enumerate(_views(scene, mesh, step, predictor, to_truth, comparable)):
        in_map.add(looks.truth, looks.map)
        if looks.single_image is not None:
            in_images.add(looks.truth, looks.single_image)
        if number % max(1, JUDGED_VIEWS // SHOWN_VIEWS) == 1:
            shown.append(looks)
    names = scene.label_set.names
    report = DemoReport(
        frames=saved.ledger_counts,
        map=evaluate_map(mesh, truth, names),
        map_in_views=in_map.scores(names),
        single_images=in_images.scores(names) if predictor else None,
    )
    return report, draw_looks(shown, scene.label_set)


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
    step: int,
    predictor: Predictor | None,
    to_truth: np.ndarray,
    comparable: np.ndarray,
) -> Iterator[Looks]:
    rays = SurfaceRays(mesh.positions, mesh.triangles)
    labels = np.append(mesh.labels, np.uint8(UNLABELLED))  # row -1: the ray met nothing
    for index in range(0, len(scene.poses), step):
        view = scene.view(index)
        _, vertex = rays.look(ROOM_CAMERA, scene.poses[index][1])
        yield Looks(
            color=view.color,
            truth=comparable[view.labels],
            single_image=to_truth[predictor(view.color).labels] if predictor else None,
            map=labels[vertex],
        )


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
