# SPDX-License-Identifier: Apache-2.0
import csv
import json
import os
import signal
import threading

import cv2
import numpy as np
import pytest

from mtl_perception.conventions import UNLABELLED, Intrinsics, InvalidInput
from mtl_perception.labels import LABEL_SETS, LabelClass, LabelSet
from mtl_perception.predictor import Prediction
from slam_fusion.commands.interrupt import stop_on_signal
from slam_fusion.frame import Frame
from slam_fusion.labelling import Labeller, LabelSource
from slam_fusion.ledger import Outcome
from slam_fusion.mapper import Mapper, MapperConfig
from slam_fusion.offline import map_recording
from slam_fusion.output.export import OutputFolderError
from slam_fusion.output.map_io import load_map
from slam_fusion.output.ply import read_ply
from slam_fusion.recordings.recording import RecordingOptions, open_recording
from slam_fusion.trajectory import Trajectory
from slam_fusion.volume import SemanticVolume

CAMERA = Intrinsics(80, 60, 70.0, 70.0, 39.5, 29.5)
TOY = LabelSet("toy", (LabelClass(3, "wall", (9, 200, 9)), LabelClass(5, "door", (200, 9, 9))))
WALL, DOOR = 3, 5
DISTANCE = 1.02


class FakeRecording:
    """A camera that stands before a plane: left half ``wall``, right half ``door``."""

    def __init__(self, frames: int = 6, label_set: LabelSet | None = TOY) -> None:
        self.label_set = label_set
        self.frame_count = frames
        self.problems = []
        stamps_ns = np.arange(frames, dtype=np.int64) * 10**8
        self.poses = Trajectory(stamps_ns, np.tile(np.eye(4), (frames, 1, 1)))

    def frames(self):
        labels = np.full(CAMERA.shape, WALL, np.uint8)
        labels[:, 40:] = DOOR
        for index in range(self.frame_count):
            if index == 2:
                self.problems.append((index * 10**8 - 5, Outcome.BAD_IMAGE, "not an image"))
            yield Frame(
                stamp_ns=index * 10**8,
                camera_frame="camera",
                intrinsics=CAMERA,
                depth=np.full(CAMERA.shape, DISTANCE, np.float32),
                color=np.full((*CAMERA.shape, 3), 120, np.uint8),
                labels=labels,
            )

    def describe(self) -> str:
        return "a wall"


class FakeNetwork:
    """Sees ``door`` everywhere, in a label set of its own with other ids."""

    label_set = LabelSet(
        "network", (LabelClass(0, "door", (1, 2, 3)), LabelClass(1, "sky", (4, 5, 6)))
    )

    def __call__(self, rgb: np.ndarray, focal_px: float | None = None) -> Prediction:
        shape = rgb.shape[:2]
        return Prediction(np.zeros(shape, np.uint8), np.full(shape, 0.9, np.float32), None, None)


def new_mapper(**values) -> Mapper:
    return Mapper(MapperConfig(voxel_size=0.05, **values))


def test_a_recording_becomes_a_folder_that_says_it_all(tmp_path):
    seen = []
    mapper = new_mapper()
    summary = map_recording(FakeRecording(), mapper, None, tmp_path / "out", progress=seen.append)

    assert seen == [1, 2, 3, 4, 5, 6]
    assert summary.frames == {"fused": 6, "bad_image": 1}
    by_name = {share.name: share.area_m2 for share in summary.classes}
    wall_m2 = (80 / 70) * (60 / 70) * DISTANCE**2
    assert sum(by_name.values()) == pytest.approx(wall_m2, rel=0.15)
    assert by_name["wall"] == pytest.approx(by_name["door"], rel=0.15)

    out = tmp_path / "out"
    assert json.loads((out / "summary.json").read_text())["map_hash"] == summary.map_hash
    assert (
        SemanticVolume.from_state(load_map(out / "map.npz").state).state_hash() == summary.map_hash
    )
    mesh = read_ply(out / "mesh.ply")
    np.testing.assert_allclose(mesh.positions[:, 2], DISTANCE, atol=0.005)
    assert set(read_ply(out / "cloud.ply").labels) == {WALL, DOOR}
    painted = read_ply(out / "mesh_classes.ply")
    np.testing.assert_array_equal(painted.colors[painted.labels == DOOR][0], [200, 9, 9])
    assert len(Trajectory.load_tum(out / "trajectory.txt")) == 6
    with (out / "ledger.csv").open() as file:
        assert [row["outcome"] for row in csv.DictReader(file)].count("bad_image") == 1
    assert LabelSet.from_json((out / "legend.json").read_text()) == TOY
    (door,) = json.loads((out / "objects.json").read_text())["objects"]  # the wall is stuff
    assert door["name"] == "door" and door["area_m2"] == pytest.approx(by_name["door"], rel=0.1)
    for picture in ("dollhouse", "plan", "inside"):
        assert cv2.imread(str(out / "pictures" / f"{picture}.png")) is not None
    on_disk = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert on_disk == {*summary.files, "summary.json"}


def test_a_map_beyond_its_memory_is_written_in_parts_with_the_same_surface(tmp_path):
    config = {"voxel_size": 0.01, "max_depth": 2.0, "disk_limit_mb": 500}
    passing = FakeRecording(12)
    T_world_camera = np.tile(np.eye(4), (12, 1, 1))
    T_world_camera[:, 0, 3] = np.linspace(0, 2, 12)
    passing.poses = Trajectory(passing.poses.stamps_ns, T_world_camera)
    small, large = (
        map_recording(
            passing,
            Mapper(MapperConfig(**config, memory_limit_mb=limit)),
            None,
            tmp_path / str(limit),
        )
        for limit in (8, 500)
    )
    assert small.in_parts and not large.in_parts
    assert small.map_hash == large.map_hash
    assert small.files.keys() == {name for name in large.files if "/" not in name} - {
        "objects.json"
    }
    for a, b in zip(small.classes, large.classes, strict=True):
        assert a.name == b.name and a.area_m2 == pytest.approx(b.area_m2, rel=1e-3)
    for name in ("mesh.ply", "cloud.ply", "mesh_classes.ply"):
        parts, whole = (read_ply(tmp_path / folder / name) for folder in ("8", "500"))
        np.testing.assert_array_equal(np.unique(parts.positions, axis=0), whole.positions)
        assert {tuple(c) for c in parts.colors} == {tuple(c) for c in whole.colors}
        assert abs(len(parts.triangles) - len(whole.triangles)) <= 0.01 * len(whole.triangles)


def test_two_runs_give_the_same_map(tmp_path):
    one, two = (
        map_recording(FakeRecording(), new_mapper(), None, tmp_path / name) for name in "ab"
    )
    assert one.map_hash == two.map_hash
    for name in ("map.npz", "mesh.ply", "cloud.ply", "trajectory.txt"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_recording_whose_clock_jumps_back_is_mapped_and_its_map_can_be_read(tmp_path):
    class TwoRuns(FakeRecording):
        def frames(self):
            yield from super().frames()
            yield from super().frames()

    summary = map_recording(TwoRuns(frames=12), new_mapper(), None, tmp_path)
    assert summary.fused == 24
    assert len(load_map(tmp_path / "map.npz").stamps_ns) == 12


def test_what_else_is_in_the_folder_is_not_listed_as_a_result(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_bytes(b"")
    summary = map_recording(FakeRecording(), new_mapper(), None, tmp_path)
    assert "photos/mine.jpg" not in summary.files and "pictures/plan.png" in summary.files


def test_a_stop_between_two_frames_saves_what_is_there(tmp_path):
    stop = threading.Event()
    summary = map_recording(
        FakeRecording(),
        new_mapper(),
        None,
        tmp_path,
        progress=lambda count: stop.set() if count == 3 else None,
        stop=stop,
    )
    assert summary.interrupted and summary.fused == 3
    assert len(load_map(tmp_path / "map.npz").stamps_ns) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_an_event_and_the_second_ends(number):
    before = signal.getsignal(number)
    with stop_on_signal("stopping") as stop:
        os.kill(os.getpid(), number)
        assert stop.wait(5)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            threading.Event().wait(5)
    assert signal.getsignal(number) is before


def test_an_output_folder_that_cannot_be_made_is_said_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    recording = FakeRecording()
    recording.frames = lambda: pytest.fail("the recording was read")
    with pytest.raises(OutputFolderError, match="Not a directory|File exists"):
        map_recording(recording, new_mapper(), None, tmp_path / "file")


def test_nothing_fused_still_leaves_a_ledger_and_an_empty_map(tmp_path):
    recording = FakeRecording()
    recording.poses = Trajectory(np.array([10**15]), np.eye(4)[None])
    summary = map_recording(recording, new_mapper(), None, tmp_path)
    assert summary.frames == {"bad_image": 1, "pose_never": 6}
    assert summary.fused == 0 and summary.surface_m2 == 0
    assert len(load_map(tmp_path / "map.npz").state.block_keys) == 0
    assert not (tmp_path / "pictures").exists()


def labels_of(source, recording, predictor=None, given=None):
    mapper = new_mapper()
    mapper.label_set = given
    frame = Labeller(source, recording, mapper, predictor)(next(recording.frames()))
    return frame.labels, mapper.label_set


def test_recorded_labels_win_over_the_network():
    labels, label_set = labels_of(LabelSource.AUTO, FakeRecording(), FakeNetwork())
    assert label_set == TOY and set(np.unique(labels)) == {WALL, DOOR}


def test_recorded_ids_without_meaning_give_way_to_the_network():
    labels, label_set = labels_of(LabelSource.AUTO, FakeRecording(label_set=None), FakeNetwork())
    assert label_set == FakeNetwork.label_set and (labels == 0).all()


def test_recorded_ids_without_meaning_are_left_out_with_a_warning(caplog):
    labels, label_set = labels_of(LabelSource.AUTO, FakeRecording(label_set=None))
    assert labels is None and label_set is None
    assert "left out" in caplog.text


def test_a_given_label_set_says_what_recorded_ids_mean():
    labels, label_set = labels_of(LabelSource.AUTO, FakeRecording(label_set=None), given=TOY)
    assert label_set == TOY and (labels[:, :40] == WALL).all()


def test_the_network_speaks_in_the_label_set_of_the_map():
    labels, label_set = labels_of(LabelSource.NETWORK, FakeRecording(), FakeNetwork(), given=TOY)
    assert label_set == TOY and (labels == DOOR).all()


def test_recorded_labels_are_turned_into_the_label_set_of_the_map():
    labels, label_set = labels_of(LabelSource.RECORDING, FakeRecording(), given=LABEL_SETS["nyu40"])
    assert (labels[:, :40] == label_set.id_of("wall")).all()
    assert (labels[:, 40:] == label_set.id_of("door")).all()


def test_no_labels_when_none_are_wanted():
    labels, _ = labels_of(LabelSource.NONE, FakeRecording(), FakeNetwork())
    assert labels is None


@pytest.mark.parametrize(
    ("source", "words"),
    [(LabelSource.NETWORK, "no network"), (LabelSource.RECORDING, "what the recorded ids mean")],
)
def test_labels_that_cannot_be_had_are_refused(source, words):
    with pytest.raises(InvalidInput, match=words):
        labels_of(source, FakeRecording(label_set=None))


def test_the_kitchen_maps_without_labels(tmp_path, shared_data):
    options = RecordingOptions(duration_s=0.5)
    with open_recording(shared_data / "seven_scenes_kitchen", options) as recording:
        summary = map_recording(recording, new_mapper(), None, tmp_path, LabelSource.NONE)
    assert summary.frames == {"fused": 8}
    assert summary.surface_m2 > 2
    assert [share.id for share in summary.classes] == [UNLABELLED]
