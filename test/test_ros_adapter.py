# SPDX-License-Identifier: Apache-2.0
"""The ROS adapter: messages there and back, parameters, a node's life, images over real DDS."""

import logging
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from mtl_perception.conventions import Intrinsics, InvalidInput
from mtl_perception.labels import LABEL_SETS, LabelSet

rclpy = pytest.importorskip("rclpy", reason="needs rclpy")
from geometry_msgs.msg import PoseStamped, TransformStamped  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import (  # noqa: E402
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
)
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from mtl_perception import ros  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
HEADER = ros.make_header(1_700_000_000_123_456_789, "camera_optical")
RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (480, 640, 3), dtype=np.uint8)
DEPTH = RNG.uniform(0.1, 5, (480, 640)).astype(np.float32)
SPAWN = multiprocessing.get_context("spawn")  # children start with a fresh middleware


@pytest.fixture(scope="module", autouse=True)
def own_domain():
    """Nothing leaves this machine, and parallel runs do not meet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        patch.setenv("ROS_DOMAIN_ID", os.environ.get("ROS_DOMAIN_ID", str(os.getpid() % 60 + 40)))
        patch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(ROOT / "config/fastdds_shm.xml"))
        yield


@pytest.fixture
def make_node():
    """Make a node with parameter overrides, as a parameter file would give them."""
    rclpy.init(args=[])
    nodes = []

    def make(**overrides):
        overrides = [Parameter(name, value=value) for name, value in overrides.items()]
        nodes.append(Node("adapter_test", parameter_overrides=overrides))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()


# --- messages ---------------------------------------------------------------------------------


def test_images_survive_the_way_there_and_back():
    labels = RNG.integers(0, 254, (6, 5), dtype=np.uint8)
    np.testing.assert_array_equal(ros.color_from_msg(ros.image_to_msg(COLOR, HEADER)), COLOR)
    bgr = ros.image_to_msg(COLOR[..., ::-1], HEADER, "bgr8")
    np.testing.assert_array_equal(ros.color_from_msg(bgr), COLOR)
    np.testing.assert_array_equal(ros.depth_from_msg(ros.depth_to_msg(DEPTH, HEADER)), DEPTH)
    np.testing.assert_array_equal(ros.labels_from_msg(ros.labels_to_msg(labels, HEADER)), labels)
    confidence = np.array([[0, 0.5, 1]], np.float32)
    sent = ros.confidence_to_msg(confidence, HEADER)
    assert bytes(sent.data) == bytes([0, 128, 255])
    np.testing.assert_allclose(ros.confidence_from_msg(sent), confidence, atol=0.5 / 255)


def test_messages_say_what_they_hold():
    msg = ros.depth_to_msg(DEPTH, HEADER)
    assert (msg.encoding, msg.height, msg.width, msg.step) == ("32FC1", 480, 640, 2560)
    assert msg.header == HEADER
    assert bytes(msg.data) == DEPTH.tobytes()


def test_arrays_of_the_wrong_kind_are_not_sent():
    with pytest.raises(InvalidInput, match="float64"):
        ros.depth_to_msg(DEPTH.astype(np.float64), HEADER)
    with pytest.raises(InvalidInput, match="uint16"):
        ros.labels_to_msg(np.zeros((2, 2), np.uint16), HEADER)


def test_building_an_image_message_takes_milliseconds():
    start = time.perf_counter()
    for _ in range(10):
        ros.image_to_msg(COLOR, HEADER)
    assert (time.perf_counter() - start) / 10 < 0.02


def test_camera_info_survives_the_way_there_and_back():
    camera = Intrinsics(640, 480, 585.0, 586.0, 320.0, 240.5)
    msg = ros.camera_info_to_msg(camera, HEADER)
    assert ros.intrinsics_from_msg(msg) == camera
    assert not ros.is_distorted(msg)
    np.testing.assert_array_equal(msg.p.reshape(3, 4)[:, :3], camera.K)


@pytest.mark.parametrize("ns", [0, 1, 1_700_000_000_123_456_789, 2**31 * 10**9 - 1, -1])
def test_stamps_are_exact_integers(ns):
    assert ros.stamp_ns(ros.stamp_to_msg(ns)) == ns
    assert ros.stamp_ns(ros.make_header(ns, "f")) == ns


def test_a_stamp_beyond_the_message_is_refused():
    with pytest.raises(InvalidInput, match="2147483648000000000"):
        ros.stamp_to_msg(2**31 * 10**9)


def test_poses_of_every_message_are_the_same_transform():
    half = np.sqrt(0.5)
    T_world_camera = np.array([[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], float)
    stamped = PoseStamped()
    pose = stamped.pose
    pose.position.x, pose.position.y, pose.position.z = 1.0, 2.0, 3.0
    pose.orientation.z, pose.orientation.w = half, half  # a quarter turn about z
    odometry, transform = Odometry(), TransformStamped()
    odometry.pose.pose = pose
    transform.transform.translation.x = 1.0
    transform.transform.translation.y = 2.0
    transform.transform.translation.z = 3.0
    transform.transform.rotation = pose.orientation
    for msg in (stamped, odometry, transform, ros.pose_to_msg(T_world_camera, HEADER)):
        np.testing.assert_allclose(ros.pose_from_msg(msg), T_world_camera, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, float("nan"), 2.0])
def test_an_unset_or_broken_quaternion_is_refused(value):
    msg = PoseStamped()
    msg.pose.orientation.w = value
    with pytest.raises(InvalidInput, match="quaternion"):
        ros.pose_from_msg(msg)


def test_label_set_travels_as_json():
    nyu40 = LABEL_SETS["nyu40"]
    assert LabelSet.from_json(ros.label_set_to_msg(nyu40).data) == nyu40


def test_label_info_where_vision_msgs_exists():
    pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
    info = ros.label_info_to_msg(LABEL_SETS["kitti6"], HEADER)
    assert {c.class_id: c.class_name for c in info.class_map} == LABEL_SETS["kitti6"].names


@pytest.mark.skipif(ros.LabelInfo is not None, reason="vision_msgs is installed")
def test_no_label_info_where_vision_msgs_is_missing():
    assert ros.label_info_to_msg(LABEL_SETS["kitti6"], HEADER) is None


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8", "32FC1", "16UC1"])
def test_conversion_equals_cv_bridge(encoding):
    cv_bridge = pytest.importorskip("cv_bridge", reason="cv_bridge is not installed")
    dtype, channels = {"32FC1": ("f4", 1), "16UC1": ("u2", 1), "mono8": ("u1", 1)}.get(
        encoding, ("u1", 3)
    )
    data = RNG.integers(1, 200, (4, 6, channels)).astype(dtype)
    bridge = cv_bridge.CvBridge()
    msg = bridge.cv2_to_imgmsg(data[..., 0] if channels == 1 else data, encoding)
    if encoding in ("32FC1", "16UC1"):
        theirs = bridge.imgmsg_to_cv2(msg) / np.float32(1 if encoding == "32FC1" else 1000)
        np.testing.assert_array_equal(ros.depth_from_msg(msg), theirs)
    else:
        np.testing.assert_array_equal(ros.color_from_msg(msg), bridge.imgmsg_to_cv2(msg, "rgb8"))


# --- quality of service, parameters, logging --------------------------------------------------


def test_qos_profiles_have_names():
    assert ros.qos("latched") is ros.LATCHED
    assert ros.LATCHED.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert ros.SENSOR_LATEST.depth == 1
    assert ros.SENSOR_LATEST.reliability == ReliabilityPolicy.BEST_EFFORT
    with pytest.raises(InvalidInput, match="sensor_queue"):
        ros.qos("sensor")


@dataclass(frozen=True)
class FakeConfig:
    voxel_size: float = field(default=0.04, metadata={"description": "metres"})
    queue_size: int = 10
    frame: str = "odom"
    paused: bool = False
    ignored: list[str] = field(default_factory=list)
    heights: tuple[float, ...] = (0.1, 1.5)

    def __post_init__(self):
        if self.voxel_size <= 0:
            raise InvalidInput(f"voxel_size {self.voxel_size} must be positive")


@dataclass(frozen=True)
class OtherConfig:
    frame: str = "odom"
    rate: float = 1.0


def test_parameters_default_to_the_dataclass(make_node):
    node = make_node()
    assert ros.declare(node, FakeConfig) == FakeConfig()
    assert node.get_parameter("voxel_size").value == 0.04
    assert node.describe_parameter("voxel_size").description == "metres"


def test_parameters_override_the_dataclass(make_node):
    node = make_node(
        voxel_size=1, queue_size=3, ignored=["person", "car"], heights=[1, 2], use_sim_time=True
    )
    config = ros.declare(node, FakeConfig)
    assert config == FakeConfig(1.0, 3, ignored=["person", "car"], heights=(1.0, 2.0))
    assert isinstance(config.voxel_size, float)


def test_an_empty_list_may_be_given(make_node):
    assert ros.declare(make_node(heights=[]), FakeConfig).heights == ()


def test_a_misspelt_parameter_is_named_with_the_near_one(make_node):
    with pytest.raises(InvalidInput, match=r"'voxelsize': did you mean voxel_size\?"):
        ros.declare(make_node(voxelsize=0.02), FakeConfig)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"voxel_size": "small"}, "voxel_size: want float, got str 'small'"),
        ({"voxel_size": True}, "voxel_size: want float, got bool"),
        ({"queue_size": 2.5}, "queue_size: want int, got float 2.5"),
        ({"ignored": "person"}, "ignored: want a list"),
        ({"ignored": [1, 2]}, "ignored: want str, got int"),
        ({"voxel_size": -1.0}, "voxel_size -1.0 must be positive"),
    ],
)
def test_values_that_do_not_fit_are_named(make_node, overrides, message):
    with pytest.raises(InvalidInput, match=message):
        ros.declare(make_node(**overrides), FakeConfig)


def test_two_dataclasses_share_a_node(make_node):
    node = make_node(frame="map", rate=2)
    assert ros.declare_all(node, FakeConfig, OtherConfig) == (
        FakeConfig(frame="map"),
        OtherConfig("map", 2.0),
    )


def test_parameters_cannot_change_unnoticed(make_node):
    node = make_node()
    ros.declare(node, FakeConfig)
    (result,) = node.set_parameters([Parameter("voxel_size", value=0.1)])
    assert not result.successful


def test_core_log_reaches_the_node_once_at_every_level(make_node, capfd):
    node = make_node()
    ros.forward_logging(node)
    ros.forward_logging(node)
    core = logging.getLogger("slam_fusion.some_module")
    for _ in range(2):
        core.info("five %s", "blocks")
        core.warning("one frame late")
        core.error("volume full")
        core.debug("not wanted")
    lines = [line for line in capfd.readouterr().err.splitlines() if "[adapter_test]" in line]
    assert [line.split("]: ")[1] for line in lines] == [
        "five blocks",
        "one frame late",
        "volume full",
    ] * 2
    assert "[INFO]" in lines[0] and "[WARN]" in lines[1] and "[ERROR]" in lines[2]


def test_a_message_that_the_middleware_refuses_is_counted(make_node, caplog):
    node = make_node()
    keep_all = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)
    publisher = node.create_publisher(String, "flooded", keep_all)
    node.create_subscription(String, "flooded", print, keep_all)  # never spun: its queue fills
    before = ros.PUBLISH_FAILURES["/flooded"]
    refused_at = next(i for i in range(50_000) if not ros.publish(publisher, String()))
    assert refused_at > 0
    assert ros.PUBLISH_FAILURES["/flooded"] == before + 1
    assert "could not publish on /flooded (1 so far)" in caplog.text


# --- a node's life, in processes of their own -------------------------------------------------


class IdleNode(Node):
    """Tells when it lives, and takes its time to shut down."""

    def __init__(self, pipe):
        super().__init__("idle")
        self.pipe = pipe
        self.publisher = self.create_publisher(Image, "last", ros.LATCHED)
        self.timer = self.create_timer(0.01, self.on_timer)

    def on_timer(self):
        self.timer.cancel()
        self.pipe.send("spinning")

    def on_shutdown(self):
        self.pipe.send("saving")
        time.sleep(0.5)
        published = ros.publish(self.publisher, ros.labels_to_msg(np.zeros((1, 1), "u1"), HEADER))
        self.pipe.send("saved" if published else "could not publish")


class ShutdownNode(IdleNode):
    """Ends its own context, as an embedding program might."""

    def on_timer(self):
        rclpy.shutdown()

    def on_shutdown(self):
        self.pipe.send("saved")


class BrokenNode(IdleNode):
    """Has a bug in a callback."""

    def on_timer(self):
        raise RuntimeError("a bug")

    def on_shutdown(self):
        self.pipe.send("saved")


class RefusingNode(Node):
    """Cannot start: its parameters are wrong."""

    def __init__(self, pipe):
        super().__init__("refusing")
        ros.declare(self, FakeConfig)


class SlowNode(IdleNode):
    """Takes long to start."""

    def __init__(self, pipe):
        super().__init__(pipe)
        pipe.send("starting")
        time.sleep(30)


def run_node(node_type, pipe, args):
    raise SystemExit(ros.spin(lambda: node_type(pipe), args))


def start(node_type, args=()):
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=run_node, args=(node_type, theirs, args), daemon=True)
    process.start()
    return process, ours


def receive(pipe):
    assert pipe.poll(20), "the node said nothing for 20 s"
    return pipe.recv()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_cut_the_clean_up(number):
    process, pipe = start(IdleNode)
    assert receive(pipe) == "spinning"
    os.kill(process.pid, number)
    assert receive(pipe) == "saving"
    os.kill(process.pid, number)
    os.kill(process.pid, number)
    assert receive(pipe) == "saved"
    process.join(10)
    assert process.exitcode == 0


def test_a_signal_while_starting_stops_the_start():
    process, pipe = start(SlowNode)
    assert receive(pipe) == "starting"
    os.kill(process.pid, signal.SIGINT)
    process.join(10)
    assert process.exitcode == 130


def test_an_external_shutdown_is_a_clean_end():
    process, pipe = start(ShutdownNode)
    assert receive(pipe) == "saved"
    process.join(10)
    assert process.exitcode == 0


def test_a_bug_in_a_callback_is_shown_after_the_clean_up(capfd):
    process, pipe = start(BrokenNode)
    assert receive(pipe) == "saved"
    process.join(10)
    assert process.exitcode == 1
    assert "RuntimeError: a bug" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-p", "voxel_size:=-1.0"], "voxel_size -1.0 must be positive"),
        (["-p", "voxel:=1.0"], "did you mean voxel_size?"),
        (["--params-file", "no_such.yaml"], "no_such.yaml"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_bad_parameters_end_the_start_in_one_line(args, message, capfd):
    process, _ = start(RefusingNode, ["--ros-args", *args])
    process.join(20)
    assert process.exitcode == 2
    error = capfd.readouterr().err
    (line,) = [line for line in error.splitlines() if "[FATAL]" in line]
    assert message in line
    assert "Traceback" not in error


# --- images over DDS --------------------------------------------------------------------------

FRAMES = 60
RATE_HZ = 30


def send_frames():
    rclpy.init(args=[])
    node = Node("sender")
    color = node.create_publisher(Image, "color", ros.RELIABLE)
    depth = node.create_publisher(Image, "depth", ros.RELIABLE)
    while min(color.get_subscription_count(), depth.get_subscription_count()) == 0:
        time.sleep(0.02)
    start = time.monotonic()
    for i in range(FRAMES):
        header = ros.make_header(HEADER.stamp.sec * 10**9 + i, "camera_optical")
        ros.publish(color, ros.image_to_msg(np.roll(COLOR, i), header))
        ros.publish(depth, ros.depth_to_msg(np.roll(DEPTH, i), header))
        time.sleep(max(0, start + (i + 1) / RATE_HZ - time.monotonic()))
    time.sleep(20)  # the reader ends us when it has what it wants


def receive_frames(pipe):
    rclpy.init(args=[])
    node = Node("receiver")
    received = {"color": [], "depth": []}
    for topic, messages in received.items():
        node.create_subscription(Image, topic, messages.append, ros.RELIABLE)
    deadline = time.monotonic() + 25
    while time.monotonic() < deadline and min(map(len, received.values())) < FRAMES:
        rclpy.spin_once(node, timeout_sec=0.1)
    for topic, pixels, decode in (
        ("color", COLOR, ros.color_from_msg),
        ("depth", DEPTH, ros.depth_from_msg),
    ):
        order = [msg.header.stamp.nanosec for msg in received[topic]]
        equal = [
            msg.header.frame_id == "camera_optical"
            and msg.header.stamp.sec == HEADER.stamp.sec
            and np.array_equal(decode(msg), np.roll(pixels, msg.header.stamp.nanosec))
            for msg in received[topic]
        ]
        pipe.send((topic, order, equal))


def test_images_cross_dds_between_processes_unchanged():
    ours, theirs = SPAWN.Pipe()
    sender = SPAWN.Process(target=send_frames, daemon=True)
    receiver = SPAWN.Process(target=receive_frames, args=(theirs,), daemon=True)
    receiver.start()
    sender.start()
    try:
        for _ in range(2):
            assert ours.poll(40)
            topic, order, equal = ours.recv()
            assert order == sorted(set(order)), topic
            assert len(order) >= 0.95 * FRAMES, f"{topic}: {len(order)} of {FRAMES} came"
            assert all(equal), topic
    finally:
        sender.kill()
        receiver.kill()
