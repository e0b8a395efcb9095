# SPDX-License-Identifier: Apache-2.0
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mtl_perception.conventions import Intrinsics, InvalidInput
from mtl_perception.labels import LabelClass, LabelSet
from slam_fusion.frame import Frame
from slam_fusion.geometry import se3
from slam_fusion.live.node_environment import private_environment
from slam_fusion.play.play_config import PlayConfig, ros_arguments
from slam_fusion.play.playback import MAX_LAG_S, PlaybackClock, ReadAhead
from slam_fusion.recordings.bag_write import write_bag

S = 10**9
STEP = S // 20
CAMERA = Intrinsics(64, 48, 60.0, 60.0, 32.0, 24.0)
LABELS = LabelSet("toy", (LabelClass(3, "wall", (1, 2, 3)),))

LISTENER = """
import json, sys, time
import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from geometry_msgs.msg import PoseStamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

rclpy.init()
node = Node("listener")
events = []  # in order of arrival
ns = lambda stamp: stamp.sec * 10**9 + stamp.nanosec
qos = QoSProfile(depth=1000)

def listen(kind, message, topic, note):
    node.create_subscription(message, topic, lambda m: events.append([kind, *note(m)]), qos)

image = lambda m: (ns(m.header.stamp), m.header.frame_id, m.encoding, sum(bytes(m.data)))
listen("color", Image, "/camera/color/image_raw", image)
listen("depth", Image, "/camera/depth/image_raw", image)
listen("labels", Image, "/camera/labels", image)
listen("info", CameraInfo, "/camera/depth/camera_info", lambda m: (ns(m.header.stamp), m.k[0]))
listen("pose", PoseStamped, "camera_pose",
       lambda m: (ns(m.header.stamp), m.header.frame_id, m.pose.position.x))
listen("clock", Clock, "/clock", lambda m: (ns(m.clock),))
node.create_subscription(
    String, "/camera/label_set", lambda m: events.append(["label_set", m.data]),
    QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
end = time.monotonic() + float(sys.argv[1])
count = lambda kind: sum(1 for e in events if e[0] == kind)
while time.monotonic() < end and count("depth") < int(sys.argv[2]):
    rclpy.spin_once(node, timeout_sec=0.1)
extra = time.monotonic() + 0.3
while time.monotonic() < extra:
    rclpy.spin_once(node, timeout_sec=0.05)
print(json.dumps(events))
"""


def fake_bag(path: Path, count: int) -> Path:
    frames = []
    for i in range(count):
        depth = np.full((48, 64), 1 + i, np.float32)
        color = np.full((48, 64, 3), i, np.uint8)
        labels = np.full((48, 64), 3, np.uint8)
        frame = Frame(100 * S + i * STEP, "", CAMERA, depth, color, labels)
        frames.append((frame, se3(np.eye(3), np.array([i, 0.0, 0.0]))))
    write_bag(path, frames, label_set=LABELS)
    return path


@pytest.fixture(scope="module", autouse=True)
def private_ros():
    """Keep the tests of this file away from other ROS traffic."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in private_environment().items():
            patch.setenv(name, value)
        yield


def start(*command: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def play_and_listen(bag: Path, frames: int, *flags: str) -> tuple[list, subprocess.Popen]:
    """Play ``bag``; return what a subscriber in another process got, and the player."""
    listener = start("-c", LISTENER, "30", str(frames))
    player = start("-m", "slam_fusion.play.node_play", str(bag), "--wait-for-subscribers", *flags)
    try:
        out, err = listener.communicate(timeout=60)
        assert listener.returncode == 0, err
        return json.loads(out), player
    except BaseException:
        listener.kill()
        player.kill()
        raise


def test_a_subscriber_gets_every_frame_with_its_stamp_pose_and_clock(tmp_path):
    pytest.importorskip("rclpy", reason="needs rclpy")
    bag = fake_bag(tmp_path / "bag", 12)
    events, player = play_and_listen(bag, 12, "depth,color,labels,camera_pose")
    _, err = player.communicate(timeout=30)
    assert player.returncode == 0, err

    stamps = [100 * S + i * STEP for i in range(12)]
    for kind in ("color", "depth", "labels", "pose"):
        assert [e[1] for e in events if e[0] == kind] == stamps, kind
    depths = [e for e in events if e[0] == "depth"]
    assert depths[0][2:4] == ["camera_color_optical_frame", "32FC1"]
    sums = [int(np.full((48, 64), 1 + i, np.float32).view(np.uint8).sum()) for i in range(12)]
    assert [e[4] for e in depths] == sums
    poses = [e for e in events if e[0] == "pose"]
    assert [p[2] for p in poses] == ["odom"] * 12
    np.testing.assert_allclose([p[3] for p in poses], range(12), atol=1e-9)
    assert ["info", stamps[-1], 60.0] in events

    clocks = [e[1] for e in events if e[0] == "clock"]
    assert clocks == sorted(clocks) and len(clocks) > 12
    assert clocks[0] >= stamps[0] and clocks[-1] == stamps[-1]
    (label_set,) = [e[1] for e in events if e[0] == "label_set"]
    assert LabelSet.from_json(label_set) == LABELS


def test_a_loop_starts_again_with_the_clock_back_and_stops_on_sigint(tmp_path):
    pytest.importorskip("rclpy", reason="needs rclpy")
    bag = fake_bag(tmp_path / "bag", 4)
    events, player = play_and_listen(bag, 10, "depth", "--loop", "--rate", "2")
    player.send_signal(signal.SIGINT)
    _, err = player.communicate(timeout=30)
    assert player.returncode == 0, err
    stamps = [e[1] for e in events if e[0] == "depth"][:8]
    assert stamps == [100 * S + i * STEP for i in range(4)] * 2
    clocks = [e[1] for e in events if e[0] == "clock"]
    assert np.any(np.diff(clocks) < 0)


def test_what_cannot_be_played_is_one_line_and_exit_code_2(tmp_path):
    pytest.importorskip("rclpy", reason="needs rclpy")
    player = start("-m", "slam_fusion.play.node_play", str(tmp_path / "nowhere"))
    out, err = player.communicate(timeout=30)
    assert player.returncode == 2
    assert "does not exist" in out + err and "Traceback" not in out + err


def test_flags_become_parameters_and_ros_arguments_pass():
    arguments = ros_arguments(["my bag", "--rate", "2", "--loop", "--ros-args", "-r", "a:=b"])
    assert arguments == (
        ["--ros-args", "-p", 'recording:="my bag"', "-p", "rate:=2.0", "-p", "loop:=true"]
        + ["-r", "a:=b"]
    )
    assert ros_arguments(["--wait-for-subscribers"])[-1] == 'wait_for_subscribers:="all"'


def test_a_recording_that_gives_no_frames_is_one_line_and_exit_code_2(tmp_path):
    pytest.importorskip("rclpy", reason="needs rclpy")
    bag = fake_bag(tmp_path / "bag", 2)
    player = start("-m", "slam_fusion.play.node_play", str(bag), "--start", "60")
    out, err = player.communicate(timeout=30)
    assert player.returncode == 2
    assert "gives no frames" in out + err and "Traceback" not in out + err


@pytest.mark.parametrize("wrong", [{"recording": ""}, {"rate": 0.0}, {"clock_hz": float("nan")}])
def test_play_parameters_out_of_range_are_named(wrong):
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        PlayConfig(**{"recording": "bag", **wrong})


def test_reading_ahead_keeps_order_and_is_bounded():
    produced = []

    def items():
        for i in range(100):
            produced.append(i)
            yield i

    with ReadAhead(items(), size=3) as ahead:
        first = next(iter(ahead))
        time.sleep(0.05)
        assert first == 0 and len(produced) <= 6
        assert list(ahead) == list(range(1, 100))


def test_an_error_while_reading_ahead_reaches_the_consumer():
    def items():
        yield 1
        raise InvalidInput("broken here")

    got = []
    with pytest.raises(InvalidInput, match="broken here"), ReadAhead(items()) as ahead:
        for item in ahead:
            got.append(item)
    assert got == [1]


def test_reading_ahead_can_be_left_early():
    def endless():
        while True:
            yield 0

    with ReadAhead(endless(), size=2) as ahead:
        next(iter(ahead))


def test_the_clock_runs_at_its_rate_and_slips_when_late():
    clock = PlaybackClock(S, rate=10.0)
    assert clock.wait_s(2 * S) == pytest.approx(0.1, abs=0.02)
    assert clock.now_ns() >= S
    time.sleep(2 * MAX_LAG_S)
    assert clock.wait_s(S) == 0.0
    assert clock.slipped_s >= MAX_LAG_S
    assert clock.now_ns() == pytest.approx(S, abs=S // 5)
