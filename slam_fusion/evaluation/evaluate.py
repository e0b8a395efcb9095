# SPDX-License-Identifier: Apache-2.0
"""Map against truth: is the surface where it should be, is it complete, is it labelled right."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from scipy.spatial import cKDTree

from mtl_perception.conventions import UNLABELLED, Intrinsics, InvalidInput
from mtl_perception.evaluation.calibration import CalibrationMeter, CalibrationMetrics
from slam_fusion.evaluation.label_scores import Confusion, LabelScores
from slam_fusion.evaluation.surface_rays import SurfaceRays
from slam_fusion.frame import Surface
from slam_fusion.geometry import backproject

THRESHOLDS = (0.01, 0.02, 0.03, 0.05, 0.1)
"""Distances, metres, at which a point counts as being on the surface."""

LABEL_REACH = 0.05
"""A true point takes the label of the map's nearest vertex within this distance, metres."""

SPACING = 0.02
"""Metres between the points that stand for a true surface."""


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
    error_mean: float  # metres, from the map's points to the true surface: accuracy
    error_median: float
    error_rms: float
    gap_mean: float  # metres, from the seen truth to the map's surface: completeness
    distances: tuple[DistanceScores, ...]
    normal_consistency: float  # mean |cosine| between a normal and that of the nearest surface
    labels: LabelScores  # over the seen truth
    calibration: CalibrationMetrics | None  # likewise; None where nothing is labelled

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(asdict(self), indent=1)

    def table(self) -> str:
        """Return the report as lines of text for people."""
        lines = [
            f"surface error   median {1e3 * self.error_median:.1f} mm, "
            f"mean {1e3 * self.error_mean:.1f} mm, rms {1e3 * self.error_rms:.1f} mm "
            f"({self.map_points} map points)",
            f"completeness    mean gap {1e3 * self.gap_mean:.1f} mm "
            f"({self.seen_points} true points)",
        ]
        lines += [
            f"within {1e3 * d.threshold:3.0f} mm   precision {d.precision:.3f}, "
            f"completeness {d.recall:.3f}, F-score {d.f_score:.3f}"
            for d in self.distances
        ]
        lines += [f"normals         agree to {self.normal_consistency:.3f}", self.labels.table()]
        return "\n".join([*lines, calibration_line(self.calibration)])


def calibration_line(calibration: CalibrationMetrics | None) -> str:
    """Return in words how honest confidences are."""
    if calibration is None:
        return "calibration     nothing is labelled"
    return (
        f"calibration     ECE {calibration.ece:.3f}, "
        f"confidence - accuracy {calibration.overconfidence:+.3f}"
    )


@dataclass(frozen=True, eq=False)
class MapErrors:
    """How far each point is off; what ``MapReport`` sums up and the picture of errors shows."""

    error: np.ndarray  # (V,) float32 metres, from the map's vertices to the true surface
    gap: np.ndarray  # (N,) float32 metres, from the seen truth to the map's surface
    alignment: np.ndarray  # (V + N,) |cosine| of a point's normal and the nearest surface's
    labels: np.ndarray  # (N,) uint8 class that the map gives the seen truth, 255 = none
    confidence: np.ndarray  # (N,) float32, of these


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
    return report(map_errors(surface, truth), truth.seen_labels, names)


def map_errors(surface: Surface, truth: Truth) -> MapErrors:
    """Measure every point; arguments and errors as ``evaluate_map``."""
    if len(surface) == 0 or len(truth.seen) == 0:
        raise InvalidInput(f"{len(surface)} map points against {len(truth.seen)} true points")
    true = SurfaceRays(truth.vertices, truth.triangles)
    error, true_normals = true.nearest(surface.positions)
    to_vertex, vertex = cKDTree(surface.positions).query(truth.seen, workers=-1)
    gap, map_normals = to_vertex, surface.normals[vertex]
    if len(surface.triangles):
        gap, map_normals = SurfaceRays(surface.positions, surface.triangles).nearest(truth.seen)
    pairs = (surface.normals, true_normals), (map_normals, true.nearest(truth.seen)[1])
    cosines = [np.abs(np.einsum("ij,ij->i", one, other)) for one, other in pairs]
    reached = to_vertex <= LABEL_REACH
    return MapErrors(
        error=error,
        gap=gap.astype(np.float32),
        alignment=np.concatenate(cosines),
        labels=np.where(reached, surface.labels[vertex], np.uint8(UNLABELLED)),
        confidence=np.where(reached, surface.confidence[vertex], np.float32(0)),
    )


def report(errors: MapErrors, seen_labels: np.ndarray, names: Mapping[int, str]) -> MapReport:
    """Sum up.

    Args:
        errors: of every point.
        seen_labels: (N,) uint8 true class ids of the seen truth.
        names: class names by id.
    """
    confusion, calibration = Confusion(), CalibrationMeter()
    confusion.add(seen_labels, errors.labels)
    calibration.add(seen_labels, errors.labels, errors.confidence)
    error, gap = errors.error.astype(np.float64), errors.gap
    # Both directions count alike, however many points each has.
    there, back = np.split(errors.alignment.astype(np.float64), [len(error)])
    return MapReport(
        map_points=len(error),
        seen_points=len(gap),
        error_mean=float(error.mean()),
        error_median=float(np.median(error)),
        error_rms=float(np.sqrt(np.mean(error**2))),
        gap_mean=float(gap.mean(dtype=np.float64)),
        distances=tuple(_distance_scores(error, gap, t) for t in THRESHOLDS),
        normal_consistency=float((there.mean() + back.mean()) / 2),
        labels=confusion.scores(names),
        calibration=calibration.metrics(),
    )


def _distance_scores(error: np.ndarray, gap: np.ndarray, threshold: float) -> DistanceScores:
    precision, recall = float((error <= threshold).mean()), float((gap <= threshold).mean())
    total = precision + recall
    return DistanceScores(
        threshold, precision, recall, 2 * precision * recall / total if total else 0.0
    )


def truth_of_mesh(surface: Surface) -> Truth:
    """Take all of a labelled mesh as seen, a point for every ``SPACING`` squared of it.

    The points are spread by area, not by vertices, of which a flat wall may have four: every
    ``SPACING`` squared along the summed area of the triangles there is one, at a place in its
    triangle that the additive recurrence of the plastic number gives (Roberts, 2018).

    Raises:
        InvalidInput: the surface has no triangles.
    """
    if len(surface.triangles) == 0:
        raise InvalidInput(f"a surface of {len(surface)} points has no triangles to look at")
    corners = surface.positions[surface.triangles].astype(np.float64)
    sides = corners[:, 1:] - corners[:, :1]
    ends = np.cumsum(np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2)
    number = np.arange(max(1, int(ends[-1] / SPACING**2)))
    row = np.searchsorted(ends, (number + 0.5) * ends[-1] / len(number), side="right")
    row = np.minimum(row, len(corners) - 1)
    u, v = (0.5 + number[:, None] * [0.7548776662466927, 0.5698402909980532]).T % 1
    beyond = u + v > 1  # the other half of the parallelogram
    u, v = np.where(beyond, 1 - u, u), np.where(beyond, 1 - v, v)
    shares = np.stack([1 - u - v, u, v], axis=1)
    nearest = surface.triangles[row, shares.argmax(axis=1)]
    points = np.einsum("nc,nck->nk", shares, corners[row]).astype(np.float32)
    return Truth(surface.positions, surface.triangles, points, surface.labels[nearest])


def seen_points(
    views: Iterable[tuple[np.ndarray, np.ndarray, Intrinsics, np.ndarray]], spacing: float = SPACING
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
