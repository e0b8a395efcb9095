# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mtl_perception.conventions import InvalidInput
from slam_fusion.geometry import se3
from slam_fusion.poses import PoseNever
from slam_fusion.trajectory import Trajectory, stamp_ns_from_text

S = 10**9


def turn_z(degrees: float, x: float = 0.0) -> np.ndarray:
    return se3(Rotation.from_euler("z", degrees, degrees=True).as_matrix(), np.array([x, 0, 0]))


@pytest.fixture
def quarter_turn() -> Trajectory:
    return Trajectory.from_poses([(S, turn_z(0)), (S + S // 5, turn_z(90, x=2.0))])


def test_samples_are_returned_exactly(quarter_turn):
    assert np.array_equal(quarter_turn.at(S), quarter_turn.T_world_camera[0])
    assert np.array_equal(quarter_turn.at(S + S // 5), quarter_turn.T_world_camera[1])


def test_half_way_is_half_the_turn_and_half_the_path(quarter_turn):
    np.testing.assert_allclose(quarter_turn.at(S + S // 10), turn_z(45, x=1.0), atol=1e-12)


@pytest.mark.parametrize(
    ("stamp_ns", "why"), [(S - 1, "before the first"), (S + S // 5 + 1, "after the last")]
)
def test_nothing_is_extrapolated(quarter_turn, stamp_ns, why):
    with pytest.raises(PoseNever, match=why):
        quarter_turn.at(stamp_ns)


def test_a_gap_is_not_bridged():
    trajectory = Trajectory.from_poses([(S, np.eye(4)), (2 * S, np.eye(4))], max_gap_s=0.5)
    with pytest.raises(PoseNever, match="gap of 1000.0 ms"):
        trajectory.at(S + 1)
    trajectory.at(2 * S)  # the far side of the gap is a sample
    with pytest.raises(PoseNever, match="empty"):
        Trajectory.from_poses([]).at(S)


def test_tum_stamps_keep_their_nanoseconds(tmp_path):
    file = tmp_path / "t.txt"
    file.write_text(
        "# comment\n\n1305031102.175304123 1 2 3 0 0 0 1\n1.305031103e9 1 2 3 0 0 0.6 0.8 # late\n"
    )
    trajectory = Trajectory.load_tum(file)
    assert trajectory.stamps_ns.tolist() == [1305031102175304123, 1305031103000000000]
    assert trajectory.T_world_camera[0, :3, 3].tolist() == [1, 2, 3]


def test_a_saved_trajectory_reads_back(tmp_path, quarter_turn):
    quarter_turn.save_tum(tmp_path / "t.txt")
    again = Trajectory.load_tum(tmp_path / "t.txt")
    assert again.stamps_ns.tolist() == quarter_turn.stamps_ns.tolist()
    np.testing.assert_allclose(again.T_world_camera, quarter_turn.T_world_camera, atol=1e-8)


@pytest.mark.parametrize(
    "line",
    [
        "1.0 0 0 0 0 0 1",
        "1.0 0 0 zero 0 0 0 1",
        "1.0 0 0 nan 0 0 0 1",
        "1.0 0 0 0 0 0 0 0",
        "when 0 0 0 0 0 0 1",
        "-5 0 0 0 0 0 0 1",
        "0.5 0 0 0 0 0 0 1",
    ],
)
def test_a_wrong_line_is_named(tmp_path, line):
    file = tmp_path / "t.txt"
    file.write_text(f"# head\n0.5 0 0 0 0 0 0 1\n{line}\n")
    with pytest.raises(InvalidInput, match=r"t\.txt line 3"):
        Trajectory.load_tum(file)


def test_an_empty_or_binary_file_is_no_trajectory(tmp_path):
    (tmp_path / "t.txt").write_text("# nothing\n")
    with pytest.raises(InvalidInput, match="no poses"):
        Trajectory.load_tum(tmp_path / "t.txt")
    (tmp_path / "t.txt").write_bytes(b"\x00\xff" * 100_000)
    with pytest.raises(InvalidInput, match="line 1"):
        Trajectory.load_tum(tmp_path / "t.txt")


def test_pose_folder_is_stamped_by_frame_number(tmp_path):
    for number in (0, 3):
        np.savetxt(tmp_path / f"frame-{number:06d}.pose.txt", turn_z(10 * number, number))
    trajectory = Trajectory.load_pose_folder(tmp_path, fps=30)
    assert trajectory.stamps_ns.tolist() == [S, S + S // 10]  # zero would mean "newest" to TF
    np.testing.assert_allclose(trajectory.T_world_camera[1], turn_z(30, 3), atol=1e-12)


@pytest.mark.parametrize("matrix", [2 * np.eye(4), np.diag([1.0, 1, -1, 1]), np.eye(3)])
def test_a_matrix_that_is_not_rigid_is_refused_with_its_file(tmp_path, matrix):
    np.savetxt(tmp_path / "frame-000000.pose.txt", matrix)
    with pytest.raises(InvalidInput, match=r"frame-000000\.pose\.txt"):
        Trajectory.load_pose_folder(tmp_path)


def test_unsorted_stamps_are_refused():
    with pytest.raises(InvalidInput, match="pose 1"):
        Trajectory.from_poses([(S, np.eye(4)), (S, np.eye(4))])


@pytest.mark.parametrize("text", ["1e400", "inf", "0x10", ""])
def test_text_that_is_no_stamp_is_refused(text):
    with pytest.raises(InvalidInput):
        stamp_ns_from_text(text)
