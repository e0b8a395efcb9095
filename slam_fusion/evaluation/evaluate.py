# SPDX-License-Identifier: Apache-2.0
"""Map against truth: is the surface where it should be, is it complete, is it labelled right."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from scipy.spatial import cKDTree

from mtl_perception.conventions import UNLABELLED, Intrinsics, InvalidInput
from slam_fusion.evaluation.label_scores import Confusion, LabelScores
from slam_fusion.evaluation.surface_rays import SurfaceRays
from slam_fusion.frame import Surface
from slam_fusion.geometry import backproject

THRESHOLDS = (0.02, 0.05)
"""Distances, metres, at which a point counts as being on the surface."""

LABEL_REACH = 0.05
"""A true point takes the label of the map's nearest vertex within this distance, metres."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is really there, and the part of it that the cameras saw."""

    vertices: np.ndarray  # (V, 3) float32 metres, world frame: the whole true surface
    triangles: np.ndarray  # (M, 3) integer rows of ``vertices``
    seen: np.ndarray  # (N, 3) float32 points of the true surface that were seen
    seen_labels: np.ndarray  # (N,) uint8 class ids of those points, 255 = no class


@dataclass(frozen=True)
class DistanceScores:
    """Agreement of two surfaces at one distance."""

    threshold: float  # metres
    precision: float  # share of the map within it of the truth
    recall: float  # share of the seen truth within it of the map
    f_score: float  # harmonic mean of the two


@dataclass(frozen=True)
class MapReport:
    """Agreement of a map with the truth."""

    map_points: int
    seen_points: int
    error_mean: float  # metres, from the map's points to the true surface
    error_median: float
    error_rms: float
    gap_mean: float  # metres, from the seen truth to the map's surface
    distances: tuple[DistanceScores, ...]
    labels: LabelScores  # over the seen truth

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(asdict(self), indent=1)

    def table(self) -> str:
        """Return the report as lines of text for people."""
        lines = [
            f"surface error   median {1e3 * self.error_median:.1f} mm, "
            f"mean {1e3 * self.error_mean:.1f} mm, rms {1e3 * self.error_rms:.1f} mm "
            f"({self.map_points} map points)"
        ]
        lines += [
            f"within {1e3 * d.threshold:3.0f} mm   precision {d.precision:.3f}, "
            f"completeness {d.recall:.3f}, F-score {d.f_score:.3f}"
            for d in self.distances
        ]
        return "\n".join([*lines, self.labels.table()])


def evaluate_map(surface: Surface, truth: Truth, names: Mapping[int, str]) -> MapReport:
    """Compare a map with the truth.

    Accuracy is measured from every vertex of the map to the true triangles; completeness and
    labels at the points of the truth that were seen, so that nobody is blamed for the back of a
    cabinet. A seen point without a map nearby counts as unlabelled.

    Args:
        surface: mesh or cloud of the map, in the truth's frame.
        truth: see ``Truth``.
        names: class names by id, for the report.

    Raises:
        InvalidInput: the map or the seen truth is empty.
    """
    if len(surface) == 0 or len(truth.seen) == 0:
        raise InvalidInput(f"{len(surface)} map points against {len(truth.seen)} true points")
    error = SurfaceRays(truth.vertices, truth.triangles).distance(surface.positions)
    to_vertex, vertex = cKDTree(surface.positions).query(truth.seen, workers=-1)
    gap = to_vertex
    if len(surface.triangles):
        gap = SurfaceRays(surface.positions, surface.triangles).distance(truth.seen)
    confusion = Confusion()
    labels = np.where(to_vertex <= LABEL_REACH, surface.labels[vertex], np.uint8(UNLABELLED))
    confusion.add(truth.seen_labels, labels)
    return MapReport(
        map_points=len(surface),
        seen_points=len(truth.seen),
        error_mean=float(error.mean()),
        error_median=float(np.median(error)),
        error_rms=float(np.sqrt(np.mean(error.astype(np.float64) ** 2))),
        gap_mean=float(gap.mean()),
        distances=tuple(_distance_scores(error, gap, t) for t in THRESHOLDS),
        labels=confusion.scores(names),
    )


def _distance_scores(error: np.ndarray, gap: np.ndarray, threshold: float) -> DistanceScores:
    precision, recall = float((error <= threshold).mean()), float((gap <= threshold).mean())
    total = precision + recall
    return DistanceScores(
        threshold, precision, recall, 2 * precision * recall / total if total else 0.0
    )


def seen_points(
    views: Iterable[tuple[np.ndarray, np.ndarray, Intrinsics, np.ndarray]], spacing: float = 0.02
) -> tuple[np.ndarray, np.ndarray]:
    """Collect the true surface that cameras saw, one point per cell of a grid.

    Args:
        views: (depth, labels, intrinsics, T_world_camera) of exact images; only what lies in
            the range that the map integrates should have depth.
        spacing: edge of the grid's cells, metres.

    Returns:
        Points (N, 3) float32 and their labels (N,) uint8. Where several pixels share a cell,
        the first of the first view stands for it.
    """
    points, labels = [np.zeros((0, 3), np.float32)], [np.zeros(0, np.uint8)]
    known = np.zeros(0, np.int64)  # sorted keys of the cells that have their point
    for depth, values, intrinsics, T_world_camera in views:
        lifted = backproject(depth, intrinsics, T_world_camera)
        keys, first = np.unique(_cell_keys(lifted, spacing), return_index=True)
        fresh = np.isin(keys, known, assume_unique=True, invert=True)
        known = np.sort(np.concatenate([known, keys[fresh]]))
        rows = np.sort(first[fresh])
        points.append(lifted[rows].astype(np.float32))
        labels.append(values[np.isfinite(depth) & (depth > 0)][rows])
    return np.concatenate(points), np.concatenate(labels)


def _cell_keys(points: np.ndarray, spacing: float) -> np.ndarray:
    """One int64 per grid cell, equal for points of one cell: 21 bits for each of x, y, z."""
    cells = np.floor(points / spacing).astype(np.int64) + (1 << 20)
    return (cells[:, 0] << 42) | (cells[:, 1] << 21) | cells[:, 2]
