# SPDX-License-Identifier: Apache-2.0
"""Images between two real processes, over DDS in shared memory."""

import multiprocessing
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from slam_fusion.live.processes import private_environment

rclpy = pytest.importorskip("rclpy", reason="needs rclpy")
from rclpy.node import Node  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from mtl_perception import ros  # noqa: E402

PROFILE = Path(__file__).resolve().parents[1] / "config" / "fastdds_shm.xml"
SPAWN = multiprocessing.get_context("spawn")  # Fast DDS reads its profile once per process
RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (480, 640, 3), dtype=np.uint8)
DEPTH = RNG.uniform(0.1, 5, (480, 640)).astype(np.float32)
SECOND = 1_700_000_000
FRAMES = 45
RATE_HZ = 30
# Room for every frame: on a busy machine the reader may fall behind by any number of them.
ALL = QoSProfile(depth=FRAMES, reliability=ros.RELIABLE.reliability)


def send_frames():
    rclpy.init(args=[])
    node = Node("sender")
    color = node.create_publisher(Image, "color", ALL)
    depth = node.create_publisher(Image, "depth", ALL)
    while min(color.get_subscription_count(), depth.get_subscription_count()) == 0:
        time.sleep(0.02)
    start = time.monotonic()
    for i in range(FRAMES):
        header = ros.make_header(SECOND * 10**9 + i, "camera_optical")
        ros.publish(color, ros.image_to_msg(np.roll(COLOR, i), header))
        ros.publish(depth, ros.depth_to_msg(np.roll(DEPTH, i), header))
        time.sleep(max(0, start + (i + 1) / RATE_HZ - time.monotonic()))
    time.sleep(20)  # the reader ends us when it has what it wants


def receive_frames(pipe):
    rclpy.init(args=[])
    node = Node("receiver")
    received = {"color": [], "depth": []}
    for topic, messages in received.items():
        node.create_subscription(Image, topic, messages.append, ALL)
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
            and msg.header.stamp.sec == SECOND
            and np.array_equal(decode(msg), np.roll(pixels, msg.header.stamp.nanosec))
            for msg in received[topic]
        ]
        pipe.send((topic, order, equal))


def shared_segments(pid):
    """Sizes of the Fast DDS segments that a process has mapped, in bytes."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if "/dev/shm/fastdds_" in line:
            first, last = (int(address, 16) for address in line.split()[0].split("-"))
            yield last - first


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or shutil.disk_usage("/dev/shm").free < 256 << 20,
    reason="needs 256 MiB of /dev/shm",
)
def test_images_cross_between_processes_unchanged(monkeypatch):
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(PROFILE))
    for name, value in private_environment().items():
        monkeypatch.setenv(name, value)
    ours, theirs = SPAWN.Pipe()
    sender = SPAWN.Process(target=send_frames, daemon=True)
    receiver = SPAWN.Process(target=receive_frames, args=(theirs,), daemon=True)
    receiver.start()
    sender.start()
    try:
        for _ in range(2):
            assert ours.poll(40)
            topic, order, equal = ours.recv()
            assert order == list(range(FRAMES)), topic
            assert all(equal), topic
        assert max(shared_segments(sender.pid), default=0) >= 32 << 20
    finally:
        sender.kill()
        receiver.kill()
