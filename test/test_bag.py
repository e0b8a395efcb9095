# SPDX-License-Identifier: Apache-2.0
import shutil
import sqlite3
import tracemalloc
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
from rosbags import rosbag1, rosbag2
from rosbags.rosbag2 import storage_mcap
from rosbags.rosbag2.reader import zstd
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from mtl_perception.conventions import Intrinsics, InvalidInput
from mtl_perception.labels import LabelClass, LabelSet
from slam_fusion.frame import Frame
from slam_fusion.geometry import se3
from slam_fusion.ledger import Outcome
from slam_fusion.poses import PoseNever
from slam_fusion.recordings import bag_unpack
from slam_fusion.recordings.bag_messages import BagMessages
from slam_fusion.recordings.bag_write import BagNotWritten, write_bag
from slam_fusion.recordings.recording import BadRecording, RecordingOptions, open_recording

S = 10**9
TENTH = S // 10
CAMERA = Intrinsics(8, 6, 10.0, 11.0, 3.5, 2.5)
LABELS = LabelSet("toy", (LabelClass(0, "wall", (1, 2, 3)), LabelClass(7, "chair", (9, 8, 7))))
STORE = get_typestore(Stores.ROS2_HUMBLE)


def fake_frame(i: int, labelled: bool = True) -> Frame:
    rng = np.random.default_rng(i)
    depth = rng.uniform(0.5, 4, (6, 8)).astype(np.float32)
    depth[0, 0] = 0
    color = rng.integers(0, 255, (6, 8, 3), np.uint8)
    labels = rng.choice(np.array([0, 7, 255], np.uint8), (6, 8)) if labelled else None
    confidence = rng.uniform(0, 1, (6, 8)).astype(np.float32) if labelled else None
    return Frame(S + i * TENTH, "", CAMERA, depth, color, labels, confidence)


def fake_pose(i: int) -> np.ndarray:
    return se3(np.eye(3)[[2, 0, 1]], np.array([i, 2.0, 3.0]))


def fake_frames(count: int, labelled: bool = True) -> list[tuple[Frame, np.ndarray]]:
    return [(fake_frame(i, labelled), fake_pose(i)) for i in range(count)]


def assert_same_images(one: Frame, other: Frame) -> None:
    assert one.stamp_ns == other.stamp_ns and one.intrinsics == other.intrinsics
    for kind in ("depth", "color", "labels", "confidence"):
        np.testing.assert_array_equal(getattr(one, kind), getattr(other, kind))


def write_messages(path: Path, messages: list, **writer_options) -> Path:
    """Write (topic, stamp_ns, message) rows, one rosbag2 connection per topic."""
    connections = {}
    with rosbag2.Writer(path, version=8, **writer_options) as writer:
        for topic, stamp_ns, msg in messages:
            if topic not in connections:
                kind = msg.__msgtype__
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], stamp_ns, STORE.serialize_cdr(msg, msg.__msgtype__))
    return path


def camera_messages(frames: list[Frame]) -> list:
    make = BagMessages("32FC1", "odom")
    return [(topic, f.stamp_ns, msg) for f in frames for topic, msg in make.images(f)]


# Writing and reading back


@pytest.mark.parametrize(
    ("storage", "compression"),
    [
        ("mcap", "none"),
        ("mcap", "file"),
        ("mcap", "message"),
        ("mcap", "storage"),
        ("sqlite3", "none"),
        ("sqlite3", "file"),
        ("sqlite3", "message"),
    ],
)
def test_frames_and_poses_come_back_from_every_storage(tmp_path, storage, compression):
    options = {"storage": storage, "compression": compression}
    frames = fake_frames(4)
    assert write_bag(tmp_path / "bag", frames, label_set=LABELS, **options) == 4
    with open_recording(tmp_path / "bag") as recording:
        again = list(recording.frames())
        assert len(again) == recording.frame_count == 4
        for (frame, T_world_camera), read in zip(frames, again, strict=True):
            assert_same_images(frame, read)
            assert read.camera_frame == "camera_color_optical_frame"
            pose = recording.poses.at(read.stamp_ns, read.camera_frame)
            np.testing.assert_allclose(pose, T_world_camera, atol=1e-12)
        assert recording.label_set == LABELS and recording.problems == []
        assert len(list(recording.frames())) == 4  # and again from the start
        assert "/camera/depth/image_raw" in recording.describe()


def test_tf_static_and_label_set_are_latched_for_players(tmp_path):
    write_bag(tmp_path / "bag", fake_frames(2), label_set=LABELS)
    with rosbag2.Reader(tmp_path / "bag") as reader:
        durability = {
            c.topic: c.ext.offered_qos_profiles[0].durability.name for c in reader.connections
        }
    assert durability["/tf_static"] == durability["/camera/label_set"] == "TRANSIENT_LOCAL"
    assert durability["/tf"] == durability["/camera/depth/image_raw"] == "VOLATILE"
    metadata = (tmp_path / "bag" / "metadata.yaml").read_text()
    assert "storage_identifier: mcap" in metadata and "bag.mcap" in metadata


def test_millimetres_survive_a_16_bit_bag(tmp_path):
    depth = np.array([[0.001, 1.234], [65.535, 70.0]], np.float32)
    camera = Intrinsics(2, 2, 1, 1, 0.5, 0.5)
    write_bag(tmp_path / "bag", [(Frame(S, "", camera, depth), None)], depth_encoding="16UC1")
    (frame,) = open_recording(tmp_path / "bag").frames()
    np.testing.assert_array_equal(frame.depth, np.float32([[0.001, 1.234], [65.535, 0]]))
    assert frame.color is None and frame.labels is None


def test_kitchen_survives_the_bag_bit_for_bit(tmp_path, shared_data):
    options = RecordingOptions(intrinsics="585,585,320,240", duration_s=0.65)
    folder = open_recording(shared_data / "seven_scenes_kitchen", options)
    assert write_bag(tmp_path / "bag", folder, depth_encoding="16UC1") == 10
    with open_recording(tmp_path / "bag") as bag:
        for frame, read in zip(folder.frames(), bag.frames(), strict=True):
            assert_same_images(frame, read)
            np.testing.assert_allclose(
                bag.poses.at(read.stamp_ns, read.camera_frame),
                folder.poses.at(frame.stamp_ns, ""),
                atol=1e-12,
            )


def test_a_failed_write_leaves_nothing_under_the_name(tmp_path):
    def broken():
        yield fake_frames(1)[0]
        raise InvalidInput("the source broke")

    with pytest.raises(InvalidInput, match="the source broke"):
        write_bag(tmp_path / "bag", broken())
    with pytest.raises(BagNotWritten, match="no frames"):
        write_bag(tmp_path / "bag", [])
    assert list(tmp_path.iterdir()) == []


def test_a_bag_is_replaced_only_on_request_and_other_folders_never(tmp_path):
    write_bag(tmp_path / "bag", fake_frames(1))
    with pytest.raises(BagNotWritten, match="exists"):
        write_bag(tmp_path / "bag", fake_frames(2))
    assert write_bag(tmp_path / "bag", fake_frames(2), overwrite=True) == 2
    assert open_recording(tmp_path / "bag").frame_count == 2
    (tmp_path / "home").mkdir()
    with pytest.raises(BagNotWritten, match="not a bag"):
        write_bag(tmp_path / "home", fake_frames(1), overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(BagNotWritten):
        write_bag(tmp_path / "file" / "bag", fake_frames(1))


# Files that are not whole


def cut_mcap(tmp_path: Path, keep: float) -> Path:
    write_bag(tmp_path / "bag", [(f, T) for f, T in _big_frames(12)])
    file = tmp_path / "bag" / "bag.mcap"
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * keep)])
    return file


def _big_frames(count: int) -> list[tuple[Frame, np.ndarray]]:
    camera = Intrinsics(320, 240, 300, 300, 160, 120)
    depth = np.ones((240, 320), np.float32)
    color = np.zeros((240, 320, 3), np.uint8)
    return [(Frame(S + i * TENTH, "", camera, depth, color), fake_pose(i)) for i in range(count)]


@pytest.mark.parametrize("where", ["folder", "folder without metadata", "file"])
def test_a_truncated_mcap_gives_what_is_whole(tmp_path, where):
    file = cut_mcap(tmp_path, 0.7)
    if where == "folder without metadata":
        (tmp_path / "bag" / "metadata.yaml").unlink()
    with open_recording(file if where == "file" else tmp_path / "bag") as recording:
        frames = list(recording.frames())
        assert 4 <= len(frames) < 12
        assert "truncated" in recording.describe()
        for i, frame in enumerate(frames):
            assert frame.stamp_ns == S + i * TENTH
            recording.poses.at(frame.stamp_ns, frame.camera_frame)


def test_an_mcap_cut_before_its_first_message_says_so(tmp_path):
    file = cut_mcap(tmp_path, 0.01)
    with pytest.raises(BadRecording, match="truncated"):
        open_recording(file)
    file.write_bytes(b"")
    with pytest.raises(BadRecording, match="truncated"):
        open_recording(tmp_path / "bag")


def test_an_mcap_with_a_damaged_index_is_read_without_it(tmp_path):
    write_bag(tmp_path / "bag", _big_frames(12))
    file = tmp_path / "bag" / "bag.mcap"
    data = bytearray(file.read_bytes())
    summary_start = int.from_bytes(data[-28:-20], "little")
    data[summary_start + 1 : summary_start + 9] = b"\xff" * 8  # length of its first record
    file.write_bytes(data)
    with open_recording(tmp_path / "bag") as recording:
        assert len(list(recording.frames())) == 12


def test_a_damaged_chunk_ends_the_recording_with_a_problem(tmp_path):
    write_bag(tmp_path / "bag", _big_frames(12), compression="storage")
    file = tmp_path / "bag" / "bag.mcap"
    data = bytearray(file.read_bytes())
    where = data.rindex(b"\x28\xb5\x2f\xfd")  # the last zstd chunk
    data[where + 8 : where + 60] = bytes(52)
    file.write_bytes(data)
    with open_recording(tmp_path / "bag") as recording:
        assert 0 < len(list(recording.frames())) < 12
        assert "reading poses ends early" in recording.problems[0][2]
        assert any("reading ends here" in detail for _, _, detail in recording.problems)


@pytest.mark.parametrize("compression", ["none", "message"])
@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_a_bag_without_metadata_is_read_from_its_file(tmp_path, storage, compression):
    write_bag(tmp_path / "bag", fake_frames(3), storage=storage, compression=compression)
    (tmp_path / "bag" / "metadata.yaml").unlink()
    with open_recording(tmp_path / "bag") as recording:
        assert len(list(recording.frames())) == 3
        assert "no metadata.yaml" in recording.describe()


def test_a_chunk_that_holds_more_than_it_promises_is_not_unpacked(tmp_path):
    write_bag(tmp_path / "bag", fake_frames(1), compression="storage")
    with open_recording(tmp_path / "bag"):
        pass
    for pack, name in ((zstd.compress, "zstd"), (lz4.frame.compress, "lz4")):
        bomb = pack(bytes(2**28))
        tracemalloc.start()
        with pytest.raises(rosbag2.ReaderError, match="expected 1000 bytes"):
            storage_mcap.decompress(bomb, name, 1000, 0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**22, name


def test_a_message_that_unpacks_without_end_is_cut_and_costs_its_frame(tmp_path, monkeypatch):
    write_bag(tmp_path / "bag", fake_frames(2), compression="message")
    monkeypatch.setattr(bag_unpack, "MAX_BYTES", 150)
    with pytest.raises(BadRecording, match="no depth images"):
        open_recording(tmp_path / "bag")


def test_a_truncated_sqlite_bag_says_what_to_do(tmp_path):
    write_bag(tmp_path / "bag", _big_frames(6), storage="sqlite3")
    file = tmp_path / "bag" / "bag.db3"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(BadRecording, match="recover"):
        open_recording(tmp_path / "bag")


def test_a_humble_sqlite_bag_needs_no_message_definitions(tmp_path):
    write_bag(tmp_path / "bag", fake_frames(2), storage="sqlite3")
    with sqlite3.connect(tmp_path / "bag" / "bag.db3") as database:
        database.execute("DROP TABLE message_definitions")
        database.execute("DROP TABLE schema")
        database.execute("CREATE TABLE schema(schema_version INTEGER, ros_distro TEXT)")
        database.execute("INSERT INTO schema VALUES (3, 'humble')")
    database.close()
    assert len(list(open_recording(tmp_path / "bag").frames())) == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.mcap", b"not a bag"), ("x.db3", b"not a bag"), ("x.bag", b"not a bag"), ("x.txt", b"")],
)
def test_files_that_are_not_bags_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadRecording, match=name.replace(".", r"\.")):
        open_recording(tmp_path / name)


def test_metadata_that_is_not_yaml_falls_back_to_the_files(tmp_path):
    write_bag(tmp_path / "bag", fake_frames(2))
    (tmp_path / "bag" / "metadata.yaml").write_text("{[nonsense")
    assert len(list(open_recording(tmp_path / "bag").frames())) == 2
    (tmp_path / "bag" / "bag.mcap").unlink()
    with pytest.raises(BadRecording, match="YAML"):
        open_recording(tmp_path / "bag")


def test_compressed_files_without_metadata_ask_for_reindex(tmp_path):
    write_bag(tmp_path / "bag", fake_frames(2), compression="file")
    (tmp_path / "bag" / "metadata.yaml").write_text("{[nonsense")
    with pytest.raises(BadRecording, match="ros2 bag reindex"):
        open_recording(tmp_path / "bag")


def test_a_missing_path_and_an_empty_bag_are_named(tmp_path):
    with pytest.raises(BadRecording, match="does not exist"):
        open_recording(tmp_path / "nowhere")
    write_messages(tmp_path / "bag", [])
    with pytest.raises(BadRecording, match="no messages"):
        open_recording(tmp_path / "bag")


# Messages that make no frames


def test_incomplete_sets_are_problems_each_with_its_reason(tmp_path):
    rows = camera_messages([fake_frame(i, labelled=False) for i in range(4)])
    depth, color = "/camera/depth/image_raw", "/camera/color/image_raw"
    rows = [r for r in rows if (r[0], r[1]) not in ((depth, S), (color, S + TENTH))]
    with open_recording(write_messages(tmp_path / "bag", rows)) as recording:
        assert [f.stamp_ns for f in recording.frames()] == [S + 2 * TENTH, S + 3 * TENTH]
        problems = [(stamp_ns, outcome) for stamp_ns, outcome, _ in recording.problems]
        assert problems == [(S, Outcome.NO_DEPTH), (S + TENTH, Outcome.NO_COLOR)]


def test_colour_and_depth_of_different_stamps_pair_when_asked(tmp_path):
    rows = camera_messages([fake_frame(i, labelled=False) for i in range(3)])
    for topic, _, msg in rows:
        if topic == "/camera/color/image_raw":
            msg.header = BagMessages("32FC1", "odom")._header(
                msg.header.stamp.sec * S + msg.header.stamp.nanosec + 5_000_000, "cam"
            )
    write_messages(tmp_path / "bag", rows)
    assert not list(open_recording(tmp_path / "bag").frames())
    recording = open_recording(tmp_path / "bag", RecordingOptions(approx_sync_s=0.01))
    assert [f.stamp_ns for f in recording.frames()] == [S, S + TENTH, S + 2 * TENTH]


def test_bad_images_cost_their_frame_and_name_their_fault(tmp_path):
    rows = camera_messages([fake_frame(i, labelled=False) for i in range(4)])
    by_key = {(topic, stamp_ns): msg for topic, stamp_ns, msg in rows}
    depth, color = "/camera/depth/image_raw", "/camera/color/image_raw"
    by_key[color, S].encoding = "rainbow"
    by_key[depth, S + TENTH].width = 0
    image = by_key[color, S + 2 * TENTH]
    image.height, image.data = 3, image.data[:72]
    with open_recording(write_messages(tmp_path / "bag", rows)) as recording:
        assert [f.stamp_ns for f in recording.frames()] == [S + 3 * TENTH]
        assert [outcome for _, outcome, _ in recording.problems] == [
            Outcome.BAD_ENCODING,
            Outcome.BAD_IMAGE,
            Outcome.SIZE_MISMATCH,
        ]


def test_a_message_that_cannot_be_deserialised_is_one_problem(tmp_path):
    write_bag(tmp_path / "bag", fake_frames(3, labelled=False), storage="sqlite3")
    with sqlite3.connect(tmp_path / "bag" / "bag.db3") as database:
        database.execute(
            "UPDATE messages SET data = substr(data, 1, 40) WHERE timestamp = ? AND topic_id = "
            "(SELECT id FROM topics WHERE name = '/camera/color/image_raw')",
            (S + TENTH,),
        )
    database.close()
    with open_recording(tmp_path / "bag") as recording:
        assert len(list(recording.frames())) == 2
        assert [p[1] for p in recording.problems] == [Outcome.BAD_IMAGE, Outcome.NO_COLOR]


def test_no_camera_info_can_be_replaced_by_intrinsics(tmp_path):
    rows = [r for r in camera_messages([fake_frame(0)]) if "info" not in r[0]]
    write_messages(tmp_path / "bag", rows)
    with pytest.raises(BadRecording, match="--intrinsics"):
        open_recording(tmp_path / "bag")
    recording = open_recording(tmp_path / "bag", RecordingOptions(intrinsics="10,11,3.5,2.5"))
    assert next(recording.frames()).intrinsics == CAMERA


def test_an_uncalibrated_camera_is_refused_at_once(tmp_path):
    rows = camera_messages([fake_frame(0)])
    for topic, _, msg in rows:
        if "info" in topic:
            msg.k = np.zeros(9)
    with pytest.raises(BadRecording, match="camera_info"):
        open_recording(write_messages(tmp_path / "bag", rows))


def test_a_bag_without_depth_lists_its_images(tmp_path):
    rows = [r for r in camera_messages([fake_frame(0, labelled=False)]) if "color" in r[0]]
    with pytest.raises(BadRecording, match=r"no depth.*/camera/color/image_raw \(rgb8\)"):
        open_recording(write_messages(tmp_path / "bag", rows))


def test_two_cameras_are_ambiguous_until_one_is_named(tmp_path):
    rows = camera_messages([fake_frame(0, labelled=False)])
    rows += [(topic.replace("/camera/", "/rear/"), stamp_ns, m) for topic, stamp_ns, m in rows]
    write_messages(tmp_path / "bag", rows)
    with pytest.raises(BadRecording, match="/rear/depth/image_raw.*--depth-topic"):
        open_recording(tmp_path / "bag")
    options = RecordingOptions(depth_topic="/rear/depth/image_raw")
    recording = open_recording(tmp_path / "bag", options)
    assert recording.topics["color"] == "/rear/color/image_raw"
    assert recording.topics["camera_info"] == "/rear/depth/camera_info"
    with pytest.raises(BadRecording, match="--depth-topic /tf"):
        open_recording(tmp_path / "bag", RecordingOptions(depth_topic="/tf"))


def test_start_and_duration_cut_the_bag(tmp_path):
    write_bag(tmp_path / "bag", fake_frames(5))
    options = RecordingOptions(start_s=0.1, duration_s=0.2)
    recording = open_recording(tmp_path / "bag", options)
    assert [f.stamp_ns for f in recording.frames()] == [S + TENTH, S + 2 * TENTH]
    assert recording.frame_count is None


# Poses


def test_a_trajectory_file_replaces_the_recorded_poses(tmp_path):
    write_bag(tmp_path / "bag", fake_frames(2))
    (tmp_path / "t.txt").write_text("1.0 5 0 0 0 0 0 1\n1.2 5 0 0 0 0 0 1\n")
    options = RecordingOptions(trajectory=str(tmp_path / "t.txt"))
    assert open_recording(tmp_path / "bag", options).poses.at(S, "any")[0, 3] == 5


def test_a_bag_without_poses_says_so_for_each_frame(tmp_path):
    write_messages(tmp_path / "bag", camera_messages([fake_frame(0)]))
    with open_recording(tmp_path / "bag") as recording:
        (frame,) = recording.frames()
        with pytest.raises(PoseNever, match="no transform names frame 'camera_color_optical"):
            recording.poses.at(frame.stamp_ns, frame.camera_frame)


def test_a_camera_that_is_not_in_tf_has_no_pose(tmp_path):
    write_bag(tmp_path / "bag", fake_frames(2))
    recording = open_recording(tmp_path / "bag", RecordingOptions(camera_frame="drone"))
    with recording, pytest.raises(PoseNever, match="'drone'; known frames: camera_color_optical"):
        recording.poses.at(S, "drone")


def pose_message(kind: str, stamp_ns: int, x: float):
    header = BagMessages("32FC1", "odom")._header(stamp_ns, "odom")
    types = STORE.types
    quat = types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0)
    pose = types["geometry_msgs/msg/Pose"](
        position=types["geometry_msgs/msg/Point"](x=x, y=0.0, z=0.0), orientation=quat
    )
    if kind == "PoseStamped":
        return types["geometry_msgs/msg/PoseStamped"](header=header, pose=pose)
    zero = types["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
    return types["nav_msgs/msg/Odometry"](
        header=header,
        child_frame_id="camera_link",
        pose=types["geometry_msgs/msg/PoseWithCovariance"](pose=pose, covariance=np.zeros(36)),
        twist=types["geometry_msgs/msg/TwistWithCovariance"](
            twist=types["geometry_msgs/msg/Twist"](linear=zero, angular=zero),
            covariance=np.zeros(36),
        ),
    )


@pytest.mark.parametrize("kind", ["PoseStamped", "Odometry"])
def test_a_pose_topic_places_the_camera(tmp_path, kind):
    rows = camera_messages([fake_frame(i) for i in range(2)])
    rows += [("/pose", S + i * TENTH, pose_message(kind, S + i * TENTH, i)) for i in range(2)]
    if kind == "Odometry":  # the edge to the optical frame comes from tf_static
        rows.append(("/tf_static", S, BagMessages("32FC1", "odom").static_transform(S)))
    options = RecordingOptions(pose_topic="/pose" if kind == "Odometry" else "")
    with open_recording(write_messages(tmp_path / "bag", rows), options) as recording:
        pose = recording.poses.at(S + TENTH // 2, "camera_color_optical_frame")
        assert pose[0, 3] == pytest.approx(0.5)
        with pytest.raises(PoseNever):
            recording.poses.at(S + 2 * TENTH, "camera_color_optical_frame")


def test_a_second_parent_is_one_problem_not_an_end(tmp_path):
    make, other = BagMessages("32FC1", "odom"), BagMessages("32FC1", "map")
    rows = camera_messages([fake_frame(i) for i in range(3)])
    rows.append(("/tf_static", S, make.static_transform(S)))
    for i in range(3):
        rows.append(("/tf", S + i * TENTH, make.transform(S + i * TENTH, np.eye(4))))
        rows.append(("/tf", S + i * TENTH, other.transform(S + i * TENTH, np.eye(4))))
    with open_recording(write_messages(tmp_path / "bag", rows)) as recording:
        assert "two parents: 'odom' and 'map'" in recording.problems[0][2]
        assert len(recording.problems) == 1
        recording.poses.at(S, "camera_color_optical_frame")


# ROS 1


def test_a_ros1_bag_reads_like_a_ros2_bag(tmp_path):
    noetic = get_typestore(Stores.ROS1_NOETIC)
    text = "geometry_msgs/TransformStamped[] transforms"
    noetic.register(get_types_from_msg(text, "tf2_msgs/msg/TFMessage"))
    make = BagMessages("32FC1", "odom")
    rows = camera_messages([fake_frame(i) for i in range(3)])
    rows.append(("/tf_static", S, make.static_transform(S)))
    rows += [("/tf", S + i * TENTH, make.transform(S + i * TENTH, fake_pose(i))) for i in range(3)]
    connections = {}
    with rosbag1.Writer(tmp_path / "old.bag") as writer:
        for topic, stamp_ns, msg in sorted(rows, key=lambda row: row[1]):
            kind = msg.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=noetic)
            raw = noetic.serialize_ros1(_as_ros1(noetic, msg), kind)
            writer.write(connections[topic], stamp_ns, raw)
    with open_recording(tmp_path / "old.bag") as recording:
        frames = list(recording.frames())
        for i, frame in enumerate(frames):
            assert_same_images(frame, fake_frame(i))
            recording.poses.at(frame.stamp_ns, frame.camera_frame)
        assert len(frames) == 3 and recording.problems == []
    data = (tmp_path / "old.bag").read_bytes()
    (tmp_path / "old.bag").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadRecording, match="rosbag reindex"):
        open_recording(tmp_path / "old.bag")


def _as_ros1(noetic, value):
    """The message with ROS 1's field names (K, D) and sequence numbers."""
    if isinstance(value, list):
        return [_as_ros1(noetic, item) for item in value]
    name = getattr(value, "__msgtype__", None)
    if name is None:
        return value
    fields = {k: _as_ros1(noetic, v) for k, v in vars(value).items() if k != "__msgtype__"}
    wanted = [field for field, _ in noetic.fielddefs[name][1]]
    fields = {k if k in wanted else k.upper(): v for k, v in fields.items()}
    if "seq" in wanted:
        fields["seq"] = 0
    return noetic.types[name](**fields)


def test_split_bags_are_read_in_order(tmp_path):
    folder = tmp_path / "split"
    folder.mkdir()
    for part, frames in enumerate((fake_frames(4)[:2], fake_frames(4)[2:])):
        write_bag(tmp_path / f"p{part}", frames)
        shutil.copy(tmp_path / f"p{part}" / f"p{part}.mcap", folder / f"split_{part}.mcap")
    with open_recording(folder) as recording:
        assert [f.stamp_ns for f in recording.frames()] == [S + i * TENTH for i in range(4)]
