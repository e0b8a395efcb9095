# SPDX-License-Identifier: Apache-2.0
"""When a network warms up, and what goes on while another is loaded: a node in this process."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy wheels or a ROS install)")
for module in ("torch", "safetensors"):
    pytest.importorskip(module, reason=f"needs {module}: see docs/installation.md")

from joint_networks import save_indoor, save_outdoor  # noqa: E402
from perception_reader import FRAME, START_NS, Reader  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from mtl_perception import ros  # noqa: E402
from mtl_perception.conventions import Intrinsics  # noqa: E402
from mtl_perception.node import PerceptionNode  # noqa: E402
from mtl_perception.predictor import Prediction, Predictor  # noqa: E402
from slam_fusion.live.processes import private_environment  # noqa: E402

SHAPE = 48, 64
RGB = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)


@pytest.fixture(scope="module", autouse=True)
def private_ros() -> Iterator[None]:
    """Keep this file's topics away from other ROS traffic."""
    keep = dict(os.environ)
    os.environ.update(private_environment())
    yield
    os.environ.clear()
    os.environ.update(keep)


@pytest.fixture(scope="module")
def indoor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_indoor(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def outdoor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_outdoor(tmp_path_factory.mktemp("models"))


class Pair:
    """The node and its reader, spun in turns."""

    def __init__(self, node: PerceptionNode) -> None:
        self.node = node
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(node)
        self.reader = Reader("/image", Image)
        self.info = self.reader.node.create_publisher(CameraInfo, "/camera_info", ros.RELIABLE)
        self.count = 0
        self.until(lambda: self.reader.camera.get_subscription_count() > 0, "the camera")
        self.until(lambda: self.info.get_subscription_count() > 0, "camera_info")
        labels = node._outputs._topics["labels"]
        self.until(lambda: labels.get_subscription_count() > 0, "the reader")

    def until(self, reached: Callable[[], bool], what: str) -> None:
        def spin() -> bool:
            self.executor.spin_once(timeout_sec=0.0)
            return reached()

        self.reader.spin_until(spin, what)

    def send(self) -> int:
        """Publish the image under a stamp of its own, and return that."""
        self.count += 1
        header = ros.make_header(START_NS + self.count, FRAME)
        self.reader.camera.publish(ros.image_to_msg(RGB, header))
        return START_NS + self.count

    def labels_of(self, stamp_ns: int) -> list[np.ndarray]:
        messages = self.reader.received["labels"]
        return [ros.labels_from_msg(m) for m in messages if ros.stamp_ns(m.header) == stamp_ns]

    def labels(self) -> np.ndarray:
        """Labels that come for the image now."""
        stamp_ns = self.send()
        self.until(lambda: bool(self.labels_of(stamp_ns)), "an answer")
        return self.labels_of(stamp_ns)[0]

    def close(self) -> None:
        self.executor.remove_node(self.node)
        self.executor.shutdown()
        self.node.on_shutdown()
        self.node.destroy_node()
        self.reader.close()


@pytest.fixture
def start(indoor: Path) -> Iterator[Callable[[], Pair]]:
    pairs = []

    def make() -> Pair:
        rclpy.init(args=["--ros-args", "-p", f"model:={indoor}"])
        pairs.append(Pair(PerceptionNode()))
        return pairs[-1]

    yield make
    for pair in pairs:
        pair.close()
    rclpy.try_shutdown()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Sizes of the images that predictors are run on, in order."""
    sizes: list[tuple[int, int]] = []
    call = Predictor.__call__

    def recorded(self: Predictor, rgb: np.ndarray, focal_px: float | None = None) -> Prediction:
        sizes.append(rgb.shape[:2])
        return call(self, rgb, focal_px)

    monkeypatch.setattr(Predictor, "__call__", recorded)
    return sizes


def camera_info(height: int, width: int) -> CameraInfo:
    camera = Intrinsics(width, height, 60.0, 60.0, width / 2, height / 2)
    return ros.camera_info_to_msg(camera, ros.make_header(0, ""))


def test_the_first_image_finds_a_network_that_ran_at_its_size(
    start: Callable[[], Pair], runs: list[tuple[int, int]]
) -> None:
    pair = start()
    pair.labels()
    pair.labels()
    assert runs == [(480, 640), SHAPE, SHAPE, SHAPE]


def test_a_camera_that_says_its_size_is_expected_before_its_first_image(
    start: Callable[[], Pair], runs: list[tuple[int, int]]
) -> None:
    pair = start()
    for info in (camera_info(*SHAPE), camera_info(*SHAPE)):
        pair.info.publish(info)
        pair.until(lambda: SHAPE in runs, "the warm-up")
    assert runs == [(480, 640), SHAPE]
    pair.labels()
    assert runs == [(480, 640), SHAPE, SHAPE]


def test_a_camera_that_says_nonsense_does_not_hurt(
    start: Callable[[], Pair], runs: list[tuple[int, int]]
) -> None:
    pair = start()
    for width, height in ((0, 0), (2**32 - 1, 2**32 - 1), (16_000, 16_000), (8, 8)):
        info = camera_info(*SHAPE)
        info.width, info.height = width, height
        pair.info.publish(info)
        pair.labels()
    assert set(runs) <= {(480, 640), SHAPE, (8, 8)}


def test_the_old_network_answers_until_the_new_one_is_ready(
    start: Callable[[], Pair],
    outdoor: Path,
    runs: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair, gate, loads = start(), threading.Event(), []
    old = pair.labels()
    load = pair.node._reloader._load

    def slow_load(config: object) -> Predictor:
        loads.append((config.model, config.temperature, config.threads))
        assert gate.wait(60)
        return load(config)

    monkeypatch.setattr(pair.node._reloader, "_load", slow_load)
    parameters = [Parameter("model", value=str(outdoor)), Parameter("temperature", value=2)]
    assert all(result.successful for result in pair.node.set_parameters(parameters))
    pair.until(lambda: bool(loads), "the load")
    for _ in range(3):
        np.testing.assert_array_equal(pair.labels(), old)
    # More wishes while it loads: the last one is loaded next, those between never.
    for threads in (5, 4, 1):
        pair.node.set_parameters([Parameter("threads", value=threads)])
        np.testing.assert_array_equal(pair.labels(), old)
    first = str(outdoor), 2.0
    assert loads == [(*first, 2)]
    gate.set()
    pair.until(lambda: len(loads) == 2 and not pair.node._reloader._loading, "both loads")
    assert loads == [(*first, 2), (*first, 1)]
    new = pair.labels()
    assert new.max() < 6 and not np.array_equal(new, old)
    assert runs[-1] == runs[-2] == SHAPE  # it was warm at the camera's size


def test_a_network_that_does_not_fit_is_told_and_its_parameters_go_back(
    start: Callable[[], Pair], indoor: Path, outdoor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = start()
    old = pair.labels()
    for error in (MemoryError("no room"), RuntimeError("CUDA out of memory")):

        def too_large(_: object, error: Exception = error) -> Predictor:
            raise error

        monkeypatch.setattr(pair.node._reloader, "_load", too_large)
        pair.node.set_parameters([Parameter("model", value=str(outdoor))])
        pair.until(lambda text=str(error): text in pair.reader.status().message, "the report")
        assert pair.node.get_parameter("model").value == str(indoor)
    np.testing.assert_array_equal(pair.labels(), old)


SLOW_NODE = """
import time
from mtl_perception import node

load = node.PerceptionNode._load

def slow_load(self, config):
    if config.temperature != 1.0:
        print("slow load", flush=True)
        time.sleep(600)
    return load(self, config)

node.PerceptionNode._load = slow_load
node.main()
"""


def test_a_stop_does_not_wait_for_a_network_that_is_being_loaded(indoor: Path) -> None:
    command = [sys.executable, "-c", SLOW_NODE, "--ros-args", "-p", f"model:={indoor}"]
    reader = Reader("/image", Image)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as node:
        try:
            reader.connect()
            reader.set_parameters(temperature=2.0)
            assert node.stdout is not None
            assert any(b"slow load" in line for line in node.stdout)
            node.send_signal(signal.SIGINT)
            rest, _ = node.communicate(timeout=60)
        finally:
            node.kill()
            reader.close()
    assert node.returncode == 0
    assert b"images: 0 answered" in rest and b"Traceback" not in rest


def test_what_runs_can_be_had_back_when_its_file_is_gone(
    start: Callable[[], Pair], indoor: Path, outdoor: Path
) -> None:
    pair = start()
    away = indoor.rename(indoor.with_name("away"))
    try:
        broken = outdoor.with_name("broken.safetensors")
        broken.write_bytes(b"not a network")
        pair.node.set_parameters([Parameter("model", value=str(broken))])
        pair.until(lambda: "not loaded" in pair.reader.status().message, "the report")
    finally:
        away.rename(indoor)
    assert pair.node.get_parameter("model").value == str(indoor)
