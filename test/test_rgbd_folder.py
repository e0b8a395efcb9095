# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import pytest

from mtl_perception.conventions import InvalidInput
from slam_fusion.ledger import Outcome
from slam_fusion.poses import PoseNever
from slam_fusion.recordings.recording import BadRecording, RecordingOptions, open_recording
from slam_fusion.recordings.rgbd_files import listed_files

K = "500 0 3.5\n0 500 2.5\n0 0 1\n"


def write_png(path: Path, pixels: np.ndarray) -> None:
    assert cv2.imwrite(str(path), pixels)


def numbered_folder(path: Path, count: int = 3) -> Path:
    path.mkdir()
    (path / "camera-intrinsics.txt").write_text(K)
    for i in range(count):
        depth = np.full((6, 8), 1000 + i, np.uint16)
        depth[0, :2] = 0, 65535
        write_png(path / f"frame-{i:06d}.depth.png", depth)
        bgr = np.zeros((6, 8, 3), np.uint8)
        bgr[..., 2] = 200  # red
        write_png(path / f"frame-{i:06d}.color.png", bgr)
        T = np.eye(4)
        T[0, 3] = i
        np.savetxt(path / f"frame-{i:06d}.pose.txt", T)
    return path


def test_numbered_files_become_frames_in_metres(tmp_path):
    with open_recording(numbered_folder(tmp_path / "room")) as recording:
        frames = list(recording.frames())
        assert [f.stamp_ns for f in frames] == [10**9, 1033333333, 1066666667]
        depth = frames[1].depth
        assert depth.dtype == np.float32 and depth[5, 5] == np.float32(1.001)
        assert depth[0, 0] == 0 and depth[0, 1] == 0
        assert frames[0].color[0, 0].tolist() == [200, 0, 0]
        assert recording.poses.at(frames[2].stamp_ns, "")[0, 3] == 2
        assert recording.frame_count == 3 and recording.problems == []
        assert frames[0].intrinsics.cy == 2.5


def test_a_damaged_image_costs_one_frame_and_says_so(tmp_path):
    folder = numbered_folder(tmp_path / "room")
    file = folder / "frame-000001.depth.png"
    file.write_bytes(file.read_bytes()[:40])
    (folder / "frame-000002.color.png").write_bytes(b"not a picture")
    with open_recording(folder) as recording:
        assert [f.stamp_ns for f in recording.frames()] == [10**9]
        assert [p[1] for p in recording.problems] == [Outcome.BAD_IMAGE, Outcome.BAD_ENCODING]
        assert "frame-000001.depth.png" in recording.problems[0][2]


def test_a_folder_without_one_readable_image_is_refused(tmp_path):
    folder = numbered_folder(tmp_path / "room", count=2)
    (folder / "frame-000000.depth.png").write_bytes(b"")
    with open_recording(folder) as recording:  # the first may be damaged
        assert len(list(recording.frames())) == 1
    (folder / "frame-000001.depth.png").write_bytes(b"")
    with pytest.raises(BadRecording, match="none of 2 depth images"):
        open_recording(folder)


def test_only_what_the_folder_holds_has_a_topic(tmp_path):
    topics = open_recording(numbered_folder(tmp_path / "room")).topics
    assert set(topics) == {"depth", "color", "camera_info"}


def test_colour_of_another_size_is_refused_per_frame(tmp_path):
    folder = numbered_folder(tmp_path / "room")
    write_png(folder / "frame-000000.color.png", np.zeros((3, 4, 3), np.uint8))
    with open_recording(folder) as recording:
        assert len(list(recording.frames())) == 2
        assert recording.problems[0][1] is Outcome.SIZE_MISMATCH


def test_a_folder_without_camera_asks_for_one(tmp_path):
    folder = numbered_folder(tmp_path / "room")
    (folder / "camera-intrinsics.txt").unlink()
    with pytest.raises(BadRecording, match="fx,fy,cx,cy"):
        open_recording(folder)
    recording = open_recording(folder, RecordingOptions(intrinsics="585,585,3.5,2.5"))
    assert next(recording.frames()).intrinsics.fx == 585


def test_start_and_duration_select_frames(tmp_path):
    folder = numbered_folder(tmp_path / "room")
    recording = open_recording(folder, RecordingOptions(start_s=0.03, duration_s=0.03))
    assert [f.stamp_ns for f in recording.frames()] == [1033333333]
    with pytest.raises(BadRecording, match="leaves no frames"):
        open_recording(folder, RecordingOptions(start_s=10.0))


@pytest.mark.parametrize("poses", [None, "frame-000001.pose.txt"])
def test_a_folder_that_is_no_recording_is_named(tmp_path, poses):
    if poses:
        np.savetxt(tmp_path / poses, np.eye(4))
    with pytest.raises(BadRecording, match="is not a recording"):
        open_recording(tmp_path)


def tum_folder(path: Path) -> Path:
    (path / "depth").mkdir(parents=True)
    (path / "rgb").mkdir()
    for name in ("1.000000", "1.033333"):
        write_png(path / "depth" / f"{name}.png", np.full((6, 8), 5000, np.uint16))
    write_png(path / "rgb" / "1.010000.png", np.full((6, 8, 3), 7, np.uint8))
    (path / "depth.txt").write_text(
        "# depth\n1.000000 depth/1.000000.png\n1.033333 depth/1.033333.png\n"
    )
    (path / "rgb.txt").write_text("1.010000 rgb/1.010000.png\n")
    (path / "groundtruth.txt").write_text("0.9 0 0 0 0 0 0 1\n1.1 2 0 0 0 0 0 1\n")
    return path


def test_tum_style_pairs_images_by_time_and_scales_depth(tmp_path):
    options = RecordingOptions(intrinsics="525,525,3.5,2.5")
    with open_recording(tum_folder(tmp_path / "tum"), options) as recording:
        first, second = recording.frames()
        assert first.depth[0, 0] == 1.0 and first.color is not None
        assert second.color is None and second.stamp_ns == 1_033_333_000
        assert recording.poses.at(first.stamp_ns, "")[0, 3] == pytest.approx(1.0)
        with pytest.raises(PoseNever):
            recording.poses.at(2 * 10**9, "")


def test_tum_style_pairs_the_nearest_image_each_used_once(tmp_path):
    (tmp_path / "depth.txt").write_text("1.000 a\n1.008 b\n1.012 c\n1.500 d\n")
    (tmp_path / "rgb.txt").write_text("0.990 w\n1.009 x\n1.011 y\n1.485 z\n")
    pairs = [(f.depth.name, f.color and f.color.name) for f in listed_files(tmp_path)]
    assert pairs == [("a", "x"), ("b", "y"), ("c", None), ("d", "z")]


def test_tum_lists_cannot_name_files_outside_the_folder(tmp_path):
    folder = tum_folder(tmp_path / "tum")
    (folder / "depth.txt").write_text("1.0 ../../secret.png\n")
    with pytest.raises(InvalidInput, match="line 1"):
        open_recording(folder, RecordingOptions(intrinsics="1,1,1,1"))


def test_kitchen_reads_as_the_data_sheet_says(shared_data):
    options = RecordingOptions(intrinsics="585,585,320,240", duration_s=0.3)
    with open_recording(shared_data / "seven_scenes_kitchen", options) as recording:
        frames = list(recording.frames())
        assert len(frames) == 5 and frames[0].depth.shape == (480, 640)
        assert 1 < np.median(frames[0].depth[frames[0].depth > 0]) < 4
        recording.poses.at(frames[4].stamp_ns, "")


def test_a_trajectory_that_cannot_be_read_is_a_bad_recording(tmp_path):
    options = RecordingOptions(trajectory=str(tmp_path / "none.txt"))
    with pytest.raises(BadRecording, match="none.txt: No such file"):
        open_recording(numbered_folder(tmp_path / "rgbd"), options)


def test_label_fusion_depth_bits_are_turned_back(shared_data):
    folder = shared_data / "label_fusion"
    options = RecordingOptions(depth_format="label_fusion")
    with open_recording(folder, options) as recording:
        frame = next(recording.frames())
        raw = cv2.imread(str(folder / "frame-000000.depth.png"), cv2.IMREAD_UNCHANGED).astype(int)
        expected = (((raw >> 3) | (raw << 13)) & 0xFFFF) / 1e4
        np.testing.assert_allclose(frame.depth, expected, atol=1e-6)
        assert set(np.unique(frame.labels)) <= {0, 48, 132}
        assert frame.intrinsics.fx == pytest.approx(611.68573)
