# SPDX-License-Identifier: Apache-2.0
"""A map seen again from cameras whose images it never got: depth and labels against theirs."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from mtl_perception.conventions import UNLABELLED, InvalidInput
from mtl_perception.evaluation.calibration import CalibrationMeter, CalibrationMetrics
from mtl_perception.labels import LabelSet, remap_table
from slam_fusion.evaluation.evaluate import THRESHOLDS, calibration_line
from slam_fusion.evaluation.label_scores import Confusion, LabelScores
from slam_fusion.evaluation.surface_rays import SurfaceRays
from slam_fusion.frame import Frame, Surface
from slam_fusion.output.map_format import SavedMap
from slam_fusion.poses import PoseNever, PoseNotYet
from slam_fusion.recordings.recording import Recording


@dataclass(frozen=True)
class ReprojectionReport:
    """Agreement of a map with frames that are not in it."""

    frames: int
    left_out: dict[str, int]  # frames of the recording that are not judged, by reason
    pixels: int  # whose depth is known, in the range that the map integrates
    covered: float  # share of them where the map has a surface
    error_mean: float  # metres of depth, over the covered ones
    error_rms: float
    within: dict[str, float]  # share of the covered ones, by distance
    labels: LabelScores | None  # over all of them that have a known class; None without classes
    calibration: CalibrationMetrics | None

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(asdict(self), indent=1)

    def table(self) -> str:
        """Return the report as lines of text for people."""
        left_out = "".join(f", {n} {reason}" for reason, n in self.left_out.items())
        within = ", ".join(f"{share:.3f} within {name}" for name, share in self.within.items())
        lines = [
            f"frames          {self.frames} held out{left_out}",
            f"depth           mean error {1e3 * self.error_mean:.1f} mm, rms "
            f"{1e3 * self.error_rms:.1f} mm where the map has a surface, "
            f"{self.covered:.1%} of {self.pixels} pixels",
            f"                {within}",
        ]
        if self.labels is None:
            return "\n".join([*lines, "labels          the recording has none"])
        return "\n".join([*lines, self.labels.table(), calibration_line(self.calibration)])


def evaluate_held_out(
    surface: Surface, saved: SavedMap, recording: Recording, truth_set: LabelSet | None = None
) -> ReprojectionReport:
    """Compare a map with the frames of a recording that were not fused into it.

    Args:
        surface: mesh of the map.
        saved: the map, which knows the stamps of its frames.
        recording: in the map's frame of reference; read once.
        truth_set: what the recorded class ids mean; None = what the recording says, or else the
            same as in the map.

    Raises:
        InvalidInput: the map has no triangles, or no frame is left to judge by.
        BadRecording: the recording breaks off in a way that cannot be passed over.
    """
    truth_set = truth_set or recording.label_set or saved.label_set
    to_truth, comparable = _tables(saved.label_set, truth_set)
    meter = _Meter(surface, to_truth, comparable, saved.state.config.max_depth)
    left_out = Counter[str]()
    for frame, T_world_camera in _held_out(saved, recording, left_out):
        meter.add(frame, T_world_camera)
    left_out["unreadable"] += len(recording.problems)
    reasons = {reason: count for reason, count in sorted(left_out.items()) if count}
    if meter.frames == 0:
        raise InvalidInput(f"no frame is left to judge the map by: {reasons or 'there are none'}")
    return meter.report(reasons, truth_set)


def _held_out(
    saved: SavedMap, recording: Recording, left_out: Counter[str]
) -> Iterator[tuple[Frame, np.ndarray]]:
    fused = set(saved.stamps_ns.tolist())
    for frame in recording.frames():
        if frame.stamp_ns in fused:
            left_out["in the map"] += 1
            continue
        try:
            yield frame, recording.poses.at(frame.stamp_ns, frame.camera_frame)
        except (PoseNever, PoseNotYet):
            left_out["without pose"] += 1


def _tables(own: LabelSet | None, truth: LabelSet | None) -> tuple[np.ndarray, np.ndarray]:
    """Tables (256,) uint8 into the truth's ids: from the map's, and from those it can name."""
    ids = np.arange(256, dtype=np.uint8)
    if own is None or truth is None or own == truth:
        return ids, ids
    to_truth = remap_table(own, truth)
    return to_truth, np.where(np.isin(ids, to_truth), ids, np.uint8(UNLABELLED))


class _Meter:
    """Adds up views."""

    def __init__(
        self, surface: Surface, to_truth: np.ndarray, comparable: np.ndarray, max_depth: float
    ) -> None:
        self.frames = 0
        self._rays = SurfaceRays(surface.positions, surface.triangles)
        # Row -1 is for rays that meet nothing.
        self._labels = to_truth[np.append(surface.labels, np.uint8(UNLABELLED))]
        self._confidence = np.append(surface.confidence, np.float32(0))
        self._comparable, self._max_depth = comparable, max_depth
        self._pixels = self._covered = 0
        self._sums, self._within = np.zeros(2), np.zeros(len(THRESHOLDS), np.int64)
        self._confusion, self._calibration = Confusion(), CalibrationMeter()

    def add(self, frame: Frame, T_world_camera: np.ndarray) -> None:
        """Count a view."""
        depth, vertex = self._rays.look(frame.intrinsics, T_world_camera)
        known = (frame.depth > 0) & (frame.depth <= self._max_depth)  # NaN is not
        covered = known & (vertex >= 0)
        error = np.abs(depth[covered].astype(np.float64) - frame.depth[covered])
        self.frames += 1
        self._pixels += int(known.sum())
        self._covered += len(error)
        self._sums += error.sum(), (error**2).sum()
        self._within += [np.count_nonzero(error <= t) for t in THRESHOLDS]
        if frame.labels is not None:
            truth = np.where(known, self._comparable[frame.labels], np.uint8(UNLABELLED))
            labels = self._labels[vertex]
            self._confusion.add(truth, labels)
            self._calibration.add(truth, labels, self._confidence[vertex])

    def report(self, left_out: dict[str, int], truth_set: LabelSet | None) -> ReprojectionReport:
        """Return the agreement so far."""
        some = max(1, self._covered)
        mean, square = (self._sums / some).tolist()
        names = truth_set.names if truth_set else {}
        labelled = self._confusion.counts.any()
        return ReprojectionReport(
            frames=self.frames,
            left_out=left_out,
            pixels=self._pixels,
            covered=self._covered / max(1, self._pixels),
            error_mean=mean,
            error_rms=square**0.5,
            within={
                f"{100 * t:g} cm": int(count) / some
                for t, count in zip(THRESHOLDS, self._within, strict=True)
            },
            labels=self._confusion.scores(names) if labelled else None,
            calibration=self._calibration.metrics(),
        )
