# SPDX-License-Identifier: Apache-2.0
"""The fusion node against hostile and ordinary input, over real DDS, inside one process."""

import json
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy wheels or a ROS install)")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from mtl_perception import ros
from mtl_perception.conventions import Intrinsics, InvalidInput
from mtl_perception.labels import LabelClass, LabelSet
from slam_fusion.live.processes import private_environment
from slam_fusion.live.ros_poses import TfMissing, TopicPoseSource, open_pose_source, pose_to_msg
from slam_fusion.node import FusionNode
from slam_fusion.node_config import FusionNodeConfig
from slam_fusion.output.export import OutputFolderError
from slam_fusion.output.map_io import load_map
from slam_fusion.poses import PoseNever, PoseNotYet

CAMERA = Intrinsics(width=64, height=48, fx=60.0, fy=60.0, cx=31.5, cy=23.5)
LABELS = LabelSet("two", (LabelClass(0, "wall", (10, 20, 30)), LabelClass(1, "floor", (9, 8, 7))))
START_NS = 1_700_000_000_000_000_000
MS = 1_000_000
WALL_Z = 2.01  # metres, between two layers of voxels
MIN_WEIGHT = 3  # frames that must have seen a surface before it is shown
TIMEOUT_S = 10.0


@pytest.fixture(scope="module", autouse=True)
def private_ros():
    """Keep the tests of this file away from other ROS traffic."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in private_environment().items():
            patch.setenv(name, value)
        yield


class Rig:
    """A fusion node and a camera of 64x48 in front of a wall, spun by hand."""

    def __init__(self, label_set_topic=True, **parameters):
        arguments = ["--ros-args", "-p", "pose_source:=pose", "-p", "input_qos:=reliable"]
        for name, value in parameters.items():
            arguments += ["-p", f"{name}:={json.dumps(value)}"]
        rclpy.init(args=arguments)
        try:
            self.fusion = FusionNode()
        except Exception:
            rclpy.shutdown()
            raise
        self.camera = rclpy.create_node("camera", use_global_arguments=False)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.fusion)
        self.executor.add_node(self.camera)
        self.publishers = {
            "camera_info": self.camera.create_publisher(CameraInfo, "camera_info", 10),
            "label_set": self.camera.create_publisher(String, "label_set", ros.LATCHED),
        }
        for kind in ("depth", "labels", "confidence", "color"):
            self.publishers[kind] = self.camera.create_publisher(Image, kind, 10)
        self.publishers["pose"] = self.camera.create_publisher(PoseStamped, "pose", 10)
        self.status = None
        self.camera.create_subscription(DiagnosticArray, "/diagnostics", self.on_diagnostics, 10)
        if label_set_topic:
            self.send("label_set", ros.label_set_to_msg(LABELS))
        self.spin_until(lambda: all(p.get_subscription_count() for p in self.publishers.values()))

    def close(self):
        try:
            self.fusion.on_shutdown()
        finally:
            self.executor.shutdown()
            self.camera.destroy_node()
            self.fusion.destroy_node()
            rclpy.try_shutdown()

    def on_diagnostics(self, msg):
        self.status = msg.status[0]

    def spin_until(self, reached, timeout_s=TIMEOUT_S):
        deadline = time.monotonic() + timeout_s
        while not reached():
            assert time.monotonic() < deadline, f"not reached; ledger {self.counts()}"
            self.executor.spin_once(timeout_sec=0.02)

    def counts(self):
        return self.fusion.mapper.ledger.counts()

    def send(self, kind, msg):
        self.publishers[kind].publish(msg)

    def send_camera(self, stamp_ns=START_NS, camera=CAMERA):
        self.send("camera_info", ros.camera_info_to_msg(camera, header(stamp_ns)))

    def send_pose(self, stamp_ns, x=0.0):
        T_odom_camera = np.eye(4)
        T_odom_camera[0, 3] = x
        self.send("pose", pose_to_msg(T_odom_camera, ros.make_header(stamp_ns, "odom")))

    def send_images(self, stamp_ns, **replaced):
        shape = CAMERA.shape
        messages = {
            "depth": ros.depth_to_msg(np.full(shape, WALL_Z, np.float32), header(stamp_ns)),
            "labels": ros.labels_to_msg(np.zeros(shape, np.uint8), header(stamp_ns)),
            "confidence": ros.confidence_to_msg(np.ones(shape, np.float32), header(stamp_ns)),
            "color": ros.image_to_msg(np.full((*shape, 3), 128, np.uint8), header(stamp_ns)),
        }
        messages.update(replaced)
        for kind, msg in messages.items():
            if msg is not None:
                self.send(kind, msg)

    def send_frame(self, stamp_ns):
        self.send_camera(stamp_ns)
        self.send_pose(stamp_ns)
        self.send_images(stamp_ns)

    def fuse_a_wall(self):
        """Send as many frames as it takes for a surface to count as seen."""
        for i in range(MIN_WEIGHT):
            self.send_frame(START_NS + i * 33 * MS)
        self.expect(fused=MIN_WEIGHT)

    def expect(self, **counts):
        """Spin until the ledger holds exactly these counts."""
        self.spin_until(lambda: self.counts() == counts)

    def call(self, service):
        client = self.camera.create_client(Trigger, f"/fusion/{service}")
        self.spin_until(client.service_is_ready)
        future = client.call_async(Trigger.Request())
        self.spin_until(future.done)
        self.camera.destroy_client(client)
        return future.result()


def header(stamp_ns):
    return ros.make_header(stamp_ns, "camera_optical")


@pytest.fixture
def rig(request, tmp_path):
    parameters = {"output_folder": str(tmp_path), **getattr(request, "param", {})}
    rig = Rig(**parameters)
    yield rig
    rig.close()


def test_a_whole_frame_is_fused_and_the_next_one_after_a_bad_one_too(rig):
    rig.send_frame(START_NS)
    rig.expect(fused=1)
    unknown = ros.depth_to_msg(np.ones(CAMERA.shape, np.float32), header(START_NS + 33 * MS))
    unknown.encoding = "64FC9"
    rig.send_pose(START_NS + 33 * MS)
    rig.send_images(START_NS + 33 * MS, depth=unknown)
    rig.expect(fused=1, bad_encoding=1)
    rig.send_frame(START_NS + 66 * MS)
    rig.expect(fused=2, bad_encoding=1)


def test_labels_of_another_size_are_counted(rig):
    rig.send_camera()
    small = ros.labels_to_msg(np.zeros((10, 10), np.uint8), header(START_NS))
    rig.send_images(START_NS, labels=small)
    rig.expect(size_mismatch=1)


def test_camera_info_of_another_size_is_counted(rig):
    rig.send_camera(camera=Intrinsics(640, 480, 500.0, 500.0, 320.0, 240.0))
    rig.spin_until(lambda: rig.fusion.inputs.received["camera_info"])
    rig.send_images(START_NS)
    rig.expect(size_mismatch=1)


def test_uncalibrated_camera_info_is_counted(rig):
    info = ros.camera_info_to_msg(CAMERA, header(START_NS))
    info.k = [0.0] * 9
    rig.send("camera_info", info)
    rig.send_images(START_NS)
    rig.expect(bad_camera_info=1)


def test_an_image_shorter_than_its_header_says_is_counted(rig):
    short = ros.depth_to_msg(np.ones(CAMERA.shape, np.float32), header(START_NS))
    short.data = short.data[: len(short.data) // 2]
    rig.send_camera()
    rig.send_images(START_NS, depth=short)
    rig.expect(bad_image=1)


def test_millimetres_declared_as_metres_are_counted_and_said(rig):
    depth_mm = ros.depth_to_msg(np.full(CAMERA.shape, 2000, np.float32), header(START_NS))
    rig.send_camera()
    rig.send_pose(START_NS)
    rig.send_images(START_NS, depth=depth_mm)
    rig.expect(depth_unit=1)
    rig.spin_until(lambda: rig.status is not None and "depth_unit" in rig.status.message)


def test_depth_without_any_reading_is_counted(rig):
    nothing = ros.depth_to_msg(np.full(CAMERA.shape, np.nan, np.float32), header(START_NS))
    rig.send_camera()
    rig.send_pose(START_NS)
    rig.send_images(START_NS, depth=nothing)
    rig.expect(depth_empty=1)


def test_images_wait_for_the_first_camera_info(rig):
    rig.send_images(START_NS)
    rig.send_pose(START_NS)
    rig.spin_until(lambda: len(rig.fusion.inputs) == 1)
    rig.send_camera()
    rig.expect(fused=1)


@pytest.mark.parametrize("rig", [{"sync_queue_size": 2}], indirect=True)
def test_without_camera_info_the_oldest_frames_are_counted(rig):
    for i in range(4):
        rig.send_images(START_NS + i * 33 * MS)
    rig.expect(no_camera_info=2)


def test_a_frame_without_labels_is_counted_when_the_next_one_is_whole(rig):
    rig.send_camera()
    rig.send_images(START_NS, labels=None)
    rig.spin_until(lambda: len(rig.fusion.inputs) == 1)
    rig.send_frame(START_NS + 33 * MS)
    rig.expect(fused=1, no_labels=1)


def test_a_frame_waits_for_its_pose_and_no_longer_than_it_is_told(rig):
    rig.send_camera()
    rig.send_images(START_NS)
    rig.spin_until(lambda: rig.fusion.mapper.waiting == 1)
    rig.send_pose(START_NS)
    rig.expect(fused=1)
    rig.send_images(START_NS + 100 * MS)
    rig.spin_until(lambda: rig.fusion.mapper.waiting == 1)
    rig.send_images(START_NS + 400 * MS)
    rig.expect(fused=1, pose_timeout=1)


def test_a_frame_older_than_the_first_pose_is_counted(rig):
    rig.send_camera()
    rig.send_pose(START_NS + 500 * MS)
    rig.spin_until(lambda: rig.fusion.poses.newest_ns is not None)
    rig.send_images(START_NS)
    rig.expect(pose_never=1)


def test_stamps_out_of_order_are_counted(rig):
    rig.send_frame(START_NS + 33 * MS)
    rig.expect(fused=1)
    rig.send("depth", ros.depth_to_msg(np.ones(CAMERA.shape, np.float32), header(START_NS)))
    rig.expect(fused=1, out_of_order=1)


def test_a_clock_that_jumps_back_clears_the_queues_and_mapping_goes_on(rig):
    rig.send_frame(START_NS)
    rig.expect(fused=1)
    rig.send_images(START_NS + 33 * MS)  # waits for its pose when the clock jumps
    rig.spin_until(lambda: rig.fusion.mapper.waiting == 1)
    rig.send_frame(START_NS - 60_000 * MS)
    rig.expect(fused=2, clock_jumped_back=1)


@pytest.mark.parametrize("rig", [{"reset_on_clock_jump": True}], indirect=True)
def test_a_clock_that_jumps_back_empties_the_map_when_asked(rig):
    rig.send_frame(START_NS)
    rig.expect(fused=1)
    rig.send_frame(START_NS - 60_000 * MS)
    rig.expect(fused=2)
    assert [stamp_ns for stamp_ns, _ in rig.fusion.mapper.trajectory] == [START_NS - 60_000 * MS]


def test_paused_frames_are_counted_and_resume_fuses_again(rig):
    assert rig.call("pause").success
    rig.send_frame(START_NS)
    rig.expect(paused=1)
    assert rig.call("resume").success
    rig.send_frame(START_NS + 33 * MS)
    rig.expect(fused=1, paused=1)


def test_save_map_says_where_and_the_file_holds_map_labels_and_ledger(rig, tmp_path):
    rig.fuse_a_wall()
    reply = rig.call("save_map")
    assert reply.success and str(tmp_path) in reply.message
    saved = load_map(tmp_path / "map.npz")
    assert saved.label_set == LABELS and saved.ledger_counts == {"fused": MIN_WEIGHT}
    assert "fused" in (tmp_path / "ledger.csv").read_text()
    assert rig.call("save_mesh").success and (tmp_path / "mesh.ply").stat().st_size > 1000
    assert rig.call("reset").success
    assert rig.fusion.mapper.volume.block_count == 0


def test_saving_into_a_folder_that_cannot_be_made_is_answered_in_words(tmp_path):
    (tmp_path / "file").write_text("in the way")
    rig = Rig(output_folder=str(tmp_path / "file"))
    try:
        reply = rig.call("save_map")
        assert not reply.success and str(tmp_path / "file") in reply.message
    finally:
        rig.close()


@pytest.mark.parametrize(
    "rig",
    [
        {
            "publish_cloud_rate_hz": 10.0,
            "publish_mesh_rate_hz": 10.0,
            "publish_objects_rate_hz": 10.0,
        }
    ],
    indirect=True,
)
def test_a_late_viewer_gets_cloud_mesh_and_legend(rig):
    rig.fuse_a_wall()
    seen = {}
    for name, message_type in (
        ("semantic_cloud", PointCloud2),
        ("mesh", MarkerArray),
        ("legend", MarkerArray),
        ("objects", MarkerArray),
    ):
        rig.camera.create_subscription(
            message_type, f"/fusion/{name}", lambda m, n=name: seen.update({n: m}), ros.LATCHED
        )
    rig.spin_until(lambda: len(seen) == 4)
    assert seen["semantic_cloud"].width > 100
    assert seen["semantic_cloud"].header.frame_id == "odom"
    assert ros.stamp_ns(seen["semantic_cloud"].header) == START_NS + (MIN_WEIGHT - 1) * 33 * MS
    corners = [p.z for m in seen["mesh"].markers for p in m.points]
    assert len(corners) > 100 and max(abs(z - WALL_Z) for z in corners) < 0.01
    assert [m.text for m in seen["legend"].markers if m.text] == ["wall"]
    assert [m.action for m in seen["objects"].markers] == [Marker.DELETEALL]  # walls are stuff


@pytest.mark.parametrize(
    "rig", [{"publish_cloud_rate_hz": 10.0, "publish_mesh_rate_hz": 10.0}], indirect=True
)
def test_after_a_reset_viewers_are_left_with_nothing(rig):
    shown, points = {}, []

    def on_mesh(msg):
        shown.update({m.id: m.action for m in msg.markers})

    rig.camera.create_subscription(MarkerArray, "/fusion/mesh", on_mesh, ros.LATCHED)
    rig.camera.create_subscription(
        PointCloud2, "/fusion/semantic_cloud", lambda m: points.append(m.width), ros.LATCHED
    )
    rig.fuse_a_wall()
    rig.spin_until(lambda: Marker.ADD in shown.values() and points and points[-1] > 100)
    rig.call("reset")
    rig.spin_until(lambda: set(shown.values()) == {Marker.DELETE} and points[-1] == 0)


def test_diagnostics_count_frames_and_say_what_is_missing(rig, monkeypatch):
    monkeypatch.setattr("slam_fusion.live.ros_diagnostics.SILENCE_S", 0.0)
    rig.camera.destroy_publisher(rig.publishers.pop("labels"))
    rig.spin_until(
        lambda: rig.status is not None and "nobody publishes /labels" in rig.status.message
    )
    values = {pair.key: pair.value for pair in rig.status.values}
    assert values["frames"] == "0" and int(values["block_capacity"]) > 0


def test_a_second_label_set_does_not_change_what_the_map_means(rig):
    other = LabelSet("other", (LabelClass(0, "sky", (1, 2, 3)),))
    rig.send("label_set", ros.label_set_to_msg(other))
    rig.send("label_set", String(data="{not json"))
    rig.send_frame(START_NS)
    rig.expect(fused=1)
    assert rig.fusion.mapper.label_set == LABELS


def test_without_a_label_set_mapping_starts_after_a_while(monkeypatch):
    monkeypatch.setattr("slam_fusion.node.LABEL_SET_WAIT_S", 0.3)
    rig = Rig(label_set_topic=False)
    try:
        rig.send_frame(START_NS)
        rig.expect(fused=1)
        assert rig.fusion.mapper.label_set is None
    finally:
        rig.close()


def test_the_map_is_saved_at_shutdown_when_asked(tmp_path):
    rig = Rig(output_folder=str(tmp_path), save_on_shutdown=True)
    rig.send_frame(START_NS)
    rig.expect(fused=1)
    rig.send_images(START_NS + 33 * MS)
    rig.spin_until(lambda: rig.fusion.mapper.waiting == 1)
    rig.close()
    assert load_map(tmp_path / "map.npz").ledger_counts == {"fused": 1, "shutdown": 1}


def test_an_unknown_parameter_stops_the_node_by_name():
    with pytest.raises(InvalidInput, match="voxel_sise"):
        Rig(voxel_sise=0.1)


def test_a_policy_for_a_class_that_the_label_set_lacks_stops_the_node_by_name():
    rig = Rig(label_set_topic=False, class_policies=["wal=ignore"])
    try:
        rig.send("label_set", ros.label_set_to_msg(LABELS))
        with pytest.raises(InvalidInput, match="no class 'wal': did you mean 'wall'"):
            rig.spin_until(lambda: rig.fusion.mapper.label_set is not None)
    finally:
        rig.close()


def test_tf_without_tf2_ros_says_what_to_do_instead():
    try:
        import tf2_ros  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(TfMissing, match="pose_source"):
            open_pose_source(None, FusionNodeConfig(pose_source="tf"), lambda: None)
    else:
        pytest.skip("tf2_ros is installed here")


def test_tf_is_interpolated_waited_for_and_never_extrapolated():
    pytest.importorskip("tf2_ros", reason="needs a ROS 2 install")
    from geometry_msgs.msg import TransformStamped

    rclpy.init()
    node = rclpy.create_node("tf_reader")
    try:
        poses = open_pose_source(node, FusionNodeConfig(pose_source="tf"), lambda: None)
        with pytest.raises(PoseNotYet):
            poses.at(START_NS, "camera_optical")
        for stamp_ns, x in ((START_NS, 1.0), (START_NS + 100 * MS, 2.0)):
            msg = TransformStamped(header=ros.make_header(stamp_ns, "odom"))
            msg.child_frame_id = "camera_optical"
            msg.transform.translation.x = x
            msg.transform.rotation.w = 1.0
            poses.buffer.set_transform(msg, "test")
        assert poses.at(START_NS + 50 * MS, "camera_optical")[0, 3] == pytest.approx(1.5)
        with pytest.raises(PoseNotYet):
            poses.at(START_NS + 101 * MS, "camera_optical")
        with pytest.raises(PoseNever):
            poses.at(START_NS - 1 * MS, "camera_optical")
        # What a driver may put into its header must not end the node.
        assert poses.at(START_NS, "/camera_optical")[0, 3] == pytest.approx(1.0)
        for stamp_ns in (0, -1):
            with pytest.raises(PoseNever):
                poses.at(stamp_ns, "camera_optical")
        with pytest.raises(PoseNotYet):
            poses.at(START_NS, "no such frame")
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def odometry(stamp_ns, x, frame_id="odom"):
    msg = Odometry(header=ros.make_header(stamp_ns, frame_id), child_frame_id="base_link")
    msg.pose.pose.position.x = x
    msg.pose.pose.orientation.w = 1.0
    return msg


def test_odometry_is_interpolated_and_the_camera_hangs_on_the_base():
    # The camera looks along the base's x axis, 0.1 m ahead of it and 0.5 m up.
    config = FusionNodeConfig(
        pose_source="odometry", camera_extrinsic=(0.1, 0.0, 0.5, -0.5, 0.5, -0.5, 0.5)
    )
    poses = TopicPoseSource(config)
    with pytest.raises(PoseNotYet):
        poses.at(START_NS, "")
    poses.add(odometry(START_NS, 1.0))
    poses.add(odometry(START_NS + 100 * MS, 2.0))
    T_world_camera = poses.at(START_NS + 50 * MS, "any")
    ahead = T_world_camera @ [0, 0, 1, 1]
    np.testing.assert_allclose(T_world_camera[:3, 3], [1.6, 0, 0.5], atol=1e-12)
    np.testing.assert_allclose(ahead[:3], [2.6, 0, 0.5], atol=1e-12)
    with pytest.raises(PoseNotYet):
        poses.at(START_NS + 101 * MS, "")
    with pytest.raises(PoseNever):
        poses.at(START_NS - 1, "")


def test_poses_in_another_frame_and_poses_that_are_none_are_refused():
    poses = TopicPoseSource(FusionNodeConfig(pose_source="odometry"))
    assert not poses.add(odometry(START_NS, 1.0, frame_id="map"))
    broken = odometry(START_NS, 1.0)
    broken.pose.pose.orientation.w = 0.0
    assert not poses.add(broken)
    with pytest.raises(PoseNotYet, match="length 0"):  # not "no pose has come"
        poses.at(START_NS, "")
    assert poses.add(odometry(START_NS, 1.0, frame_id="/odom"))


def test_poses_refused_hundreds_of_times_a_second_are_told_once(caplog):
    poses = TopicPoseSource(FusionNodeConfig(pose_source="odometry"))
    for i in range(200):
        poses.add(odometry(START_NS + i, 1.0, frame_id="map"))
    assert len(caplog.records) == 1 and "global_frame is 'odom'" in caplog.text
    poses.add(odometry(START_NS, 1.0))
    poses.add(odometry(START_NS, 1.0, frame_id="map"))
    assert len(caplog.records) == 2


def test_a_full_disk_at_shutdown_is_one_line_not_a_traceback(rig, monkeypatch, tmp_path):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("slam_fusion.node.save_map", full)
    object.__setattr__(rig.fusion._config, "save_on_shutdown", True)
    object.__setattr__(rig.fusion._config, "output_folder", str(tmp_path))
    with pytest.raises(OutputFolderError, match="not saved: No space"):
        rig.fusion.on_shutdown()


def test_a_restarted_pose_topic_forgets_the_poses_of_before():
    poses = TopicPoseSource(FusionNodeConfig(pose_source="odometry"))
    poses.add(odometry(START_NS, 1.0))
    poses.add(odometry(START_NS - 5_000 * MS, 7.0))
    assert poses.at(START_NS - 5_000 * MS, "")[0, 3] == 7.0
    with pytest.raises(PoseNotYet):
        poses.at(START_NS, "")


def test_a_pose_beyond_the_maps_reach_is_counted(rig):
    rig.send_camera()
    rig.send_pose(START_NS, x=1e9)
    rig.send_images(START_NS)
    rig.expect(bad_pose=1)
