# SPDX-License-Identifier: Apache-2.0
"""Held-out frames judge a map by what they saw, and only they do."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_evaluate import TWO_TRIANGLES, fake_surface
from test_map_io import fake_map

from mtl_perception.conventions import UNLABELLED, Intrinsics, InvalidInput
from mtl_perception.labels import LABEL_SETS, LabelClass, LabelSet
from slam_fusion.evaluation.reprojection import evaluate_held_out
from slam_fusion.frame import Frame
from slam_fusion.poses import PoseNever

CAMERA = Intrinsics(width=40, height=30, fx=40.0, fy=40.0, cx=19.5, cy=14.5)
SECOND = 10**9
# A wall at 2 m that fills the left half of the view, and reaches beyond its edges.
WALL = np.float32([[-9, -9, 2], [0, -9, 2], [0, 9, 2], [-9, 9, 2]])


class FakeRecording:
    """Frames at whole seconds from one place; no pose after ``posed_until`` seconds."""

    label_set = None

    def __init__(self, *frames, posed_until=10**6):
        self._frames, self._posed_until, self.problems = frames, posed_until, []

    @property
    def poses(self):
        return self

    def at(self, stamp_ns, camera_frame):
        if stamp_ns > self._posed_until * SECOND:
            raise PoseNever("beyond the trajectory")
        return np.eye(4)

    def frames(self):
        return iter(self._frames)


def frame(second, depth, labels=None) -> Frame:
    if labels is not None:
        labels = np.full(CAMERA.shape, labels, np.uint8)
    return Frame(
        second * SECOND, "", CAMERA, np.full(CAMERA.shape, depth, np.float32), labels=labels
    )


def saved(*seconds, label_set=LABEL_SETS["nyu13"]):
    """A map whose frames are at these seconds."""
    stamps_ns = np.array(seconds, np.int64) * SECOND
    poses = np.tile(np.eye(4), (len(seconds), 1, 1))
    return replace(fake_map(), label_set=label_set, stamps_ns=stamps_ns, T_world_camera=poses)


def wall(label=3):
    return fake_surface(WALL, [label] * 4, TWO_TRIANGLES)


def test_depth_is_judged_where_the_map_has_a_surface_and_the_rest_is_said():
    report = evaluate_held_out(wall(), saved(), FakeRecording(frame(1, 2.03)))
    assert report.frames == 1 and report.pixels == 1200 and report.covered == 0.5
    assert report.error_mean == pytest.approx(0.03, abs=1e-5) == report.error_rms
    assert report.within["2 cm"] == 0 and report.within["5 cm"] == 1
    assert report.labels is None and "has none" in report.table()


def test_labels_count_over_all_that_was_seen_and_a_hole_in_the_map_is_no_label():
    report = evaluate_held_out(wall(3), saved(), FakeRecording(frame(1, 2.0, labels=3)))
    (score,) = report.labels.classes
    assert report.labels.labelled == 0.5 == score.iou and report.labels.accuracy == 1
    assert score.name == LABEL_SETS["nyu13"].names[3]
    assert report.calibration.ece == 0  # certain of what it says, and right
    assert json.loads(report.to_json())["labels"]["mean_iou"] == 0.5


def test_what_the_map_does_not_integrate_is_not_asked_for():
    depth = np.full(CAMERA.shape, 2.0, np.float32)
    depth[:10], depth[10:20], depth[20:25] = 5.5, np.nan, 0
    judged = evaluate_held_out(wall(), saved(), FakeRecording(frame(1, depth, labels=3)))
    assert judged.pixels == 200 == judged.labels.count


def test_frames_of_the_map_are_left_out_and_so_are_those_without_a_pose():
    recording = FakeRecording(*(frame(i, 2.0 + i / 100) for i in range(1, 6)), posed_until=4)
    report = evaluate_held_out(wall(), saved(1, 2), recording)
    assert report.frames == 2 and report.error_mean == pytest.approx(0.035, abs=1e-5)
    assert report.left_out == {"in the map": 2, "without pose": 1}
    assert "2 in the map" in report.table()


def test_nothing_left_to_judge_by_is_refused_with_the_reasons():
    with pytest.raises(InvalidInput, match="'in the map': 1"):
        evaluate_held_out(wall(), saved(1), FakeRecording(frame(1, 2.0)))
    with pytest.raises(InvalidInput, match="there are none"):
        evaluate_held_out(wall(), saved(1), FakeRecording())


def test_other_classes_are_remapped_and_only_common_ones_are_judged():
    def named(*names):
        return LabelSet(
            "-".join(names), tuple(LabelClass(i, n, (9, 9, 9)) for i, n in names_of(names))
        )

    def names_of(names):
        return enumerate(names)

    own, truth = named("chair", "wall"), named("lamp", "wall", "chair")
    for label, expected in ((1, 1.0), (2, 0.0)):
        recording = FakeRecording(frame(1, 2.0, labels=label))
        report = evaluate_held_out(wall(1), saved(label_set=own), recording, truth)
        assert report.labels.classes[0].name == ("wall" if label == 1 else "chair")
        assert report.labels.accuracy == expected
    lamps = FakeRecording(frame(1, 2.0, labels=0))
    assert evaluate_held_out(wall(1), saved(label_set=own), lamps, truth).labels is None


def test_an_unlabelled_map_has_labels_of_no_pixel():
    report = evaluate_held_out(wall(UNLABELLED), saved(), FakeRecording(frame(1, 2.0, labels=3)))
    assert report.labels.labelled == 0 and report.calibration is None
