# SPDX-License-Identifier: Apache-2.0
"""The perception node as a process of its own, a camera and a reader here, real DDS between."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy wheels or a ROS install)")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

from mtl_perception import ros
from mtl_perception.conventions import Intrinsics, InvalidInput
from mtl_perception.labels import LABEL_SETS, LabelSet
from mtl_perception.models import FOLDERS_VARIABLE, MODELS
from mtl_perception.node_config import PerceptionNodeConfig
from mtl_perception.predictor import Prediction, Predictor, PredictorConfig
from mtl_perception.ros_outputs import PredictionPublisher
from slam_fusion.live.processes import (
    NodeProcesses,
    NodeSpec,
    node_environment,
    private_environment,
)

START_NS = 1_700_000_000_123_456_789
FRAME = "kitchen_camera_optical"
TIMEOUT_S = 60.0  # of a hang, not of slowness


@pytest.fixture(scope="module", autouse=True)
def private_ros() -> Iterator[None]:
    """Keep this file's topics away from other ROS traffic."""
    keep = dict(os.environ)
    os.environ.update(node_environment() | private_environment())
    yield
    os.environ.clear()
    os.environ.update(keep)


@pytest.fixture(scope="module")
def jpeg_files(shared_data: Path) -> list[Path]:
    return sorted((shared_data / "seven_scenes_kitchen").glob("*.color.jpg"))[:200:20]


@pytest.fixture(scope="module")
def predictor(shared_data: Path) -> Predictor:
    return Predictor(PredictorConfig(model=model_of(shared_data)))


def model_of(shared_data: Path) -> str:
    return str(shared_data / "models" / MODELS["deeplab-ade20k"].file)


def read_rgb(file: Path) -> np.ndarray:
    return cv2.imread(str(file))[..., ::-1].copy()


class Reader:
    """A camera and everything that listens to the node, spun by hand."""

    def __init__(self, image_topic: str, image_type: type) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("reader", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.camera = self.node.create_publisher(image_type, image_topic, ros.RELIABLE)
        self.received: dict[str, list] = {}
        for topic in ("labels", "confidence"):
            self.listen(Image, f"/perception/semantic/{topic}")
        self.listen(DiagnosticArray, "/diagnostics")

    def listen(self, kind: type, topic: str, qos: object = ros.RELIABLE) -> None:
        messages = self.received[topic.rsplit("/", 1)[1]] = []
        self.node.create_subscription(kind, topic, messages.append, qos)

    def spin_until(self, reached: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not reached():
            assert time.monotonic() < deadline, f"{what} did not happen"
            self.executor.spin_once(timeout_sec=0.02)

    def connect(self) -> None:
        def is_up() -> bool:
            topics = ("/perception/semantic/labels", "/perception/semantic/confidence")
            return self.camera.get_subscription_count() > 0 and all(
                self.node.count_publishers(topic) for topic in topics
            )

        self.spin_until(is_up, "the node coming up")

    def ask(self, msg: Image) -> tuple[Image, Image]:
        """Labels and confidence that come for an image; sent again if best effort loses it."""
        stamp_ns = ros.stamp_ns(msg.header)

        def find(topic: str) -> list[Image]:
            return [m for m in self.received[topic] if ros.stamp_ns(m.header) == stamp_ns]

        def answered() -> bool:
            nonlocal next_send
            if time.monotonic() > next_send:
                self.camera.publish(msg)
                next_send = time.monotonic() + 2.0
            return bool(find("labels") and find("confidence"))

        next_send = 0.0
        self.spin_until(answered, f"an answer to {stamp_ns}")
        return find("labels")[0], find("confidence")[0]

    def values(self) -> dict[str, str]:
        """Newest diagnostic values."""
        for array in reversed(self.received["diagnostics"]):
            if array.status[0].name == "perception: network":
                return {value.key: value.value for value in array.status[0].values}
        return {}

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


class Setup:
    """The node's process, its log, and a reader that it is connected to."""

    def __init__(self, reader: Reader, nodes: NodeProcesses, log: Path) -> None:
        self.reader, self.nodes, self.log = reader, nodes, log


@pytest.fixture(scope="module")
def raw(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """The node with default parameters."""
    folder = tmp_path_factory.mktemp("log")
    reader = Reader("/image", Image)
    with NodeProcesses({}, folder) as nodes:
        nodes.start(NodeSpec("perception", {"model": model_of(shared_data)}))
        reader.connect()
        yield Setup(reader, nodes, folder / "perception.log")
    reader.close()


def test_labels_over_dds_are_the_predictors_with_the_images_header(
    raw: Setup, predictor: Predictor, jpeg_files: list[Path]
) -> None:
    rgb = read_rgb(jpeg_files[0])
    header = ros.make_header(START_NS, FRAME)
    labels, confidence = raw.reader.ask(ros.image_to_msg(rgb, header))
    expected = predictor(rgb)
    assert labels.header == header and confidence.header == header
    assert labels.encoding == confidence.encoding == "mono8"
    np.testing.assert_array_equal(ros.labels_from_msg(labels), expected.labels)
    np.testing.assert_allclose(
        ros.confidence_from_msg(confidence), expected.confidence, atol=0.51 / 255
    )


def test_a_bad_message_is_counted_and_the_next_image_answered(
    raw: Setup, jpeg_files: list[Path]
) -> None:
    header = ros.make_header(START_NS + 1, FRAME)
    good = ros.image_to_msg(read_rgb(jpeg_files[0])[::4, ::4], header)
    unknown = Image(header=header, width=4, height=4, step=4, encoding="plaid8", data=bytes(16))
    empty = Image(header=header, encoding="rgb8")
    for bad, reason in ((unknown, "bad_encoding"), (empty, "bad_image")):
        raw.reader.camera.publish(bad)
        raw.reader.spin_until(
            lambda reason=reason: raw.reader.values().get(f"dropped/{reason}") == "1", reason
        )
    raw.reader.ask(good)
    assert raw.log.read_text().count("'plaid8' is not one of") == 1
    assert raw.log.read_text().count("image size 0x0") == 1
    raw.nodes.check()


def test_the_label_set_is_latched(raw: Setup) -> None:
    raw.reader.listen(String, "/perception/label_set", ros.LATCHED)
    raw.reader.spin_until(lambda: bool(raw.reader.received["label_set"]), "the label set")
    assert LabelSet.from_json(raw.reader.received["label_set"][0].data) == LABEL_SETS["ade20k32"]


def test_pictures_come_to_who_watches(
    raw: Setup, predictor: Predictor, jpeg_files: list[Path]
) -> None:
    rgb = read_rgb(jpeg_files[1])[::4, ::4]
    for name in ("color", "overlay"):
        raw.reader.listen(Image, f"/perception/semantic/{name}")
    # Discovery reaches the node a moment after it reaches us: send until a picture comes.
    pictures, sent = raw.reader.received, 0

    def came() -> bool:
        nonlocal sent
        sent += 1
        stamp_ns = START_NS + 100 + sent
        raw.reader.ask(ros.image_to_msg(rgb, ros.make_header(stamp_ns, FRAME)))
        return bool(pictures["color"] and pictures["overlay"])

    raw.reader.spin_until(came, "a picture")
    color = predictor.label_set.colorize(predictor(rgb).labels)
    np.testing.assert_array_equal(ros.color_from_msg(pictures["color"][0]), color)
    overlay = ros.color_from_msg(pictures["overlay"][0]).astype(int)
    assert np.abs(overlay * 2 - rgb - color.astype(int)).max() <= 1


def test_sigint_ends_the_node_with_a_summary(raw: Setup) -> None:
    """Last of the tests that use the node of ``raw``."""
    assert raw.nodes.stop() == {"perception": 0}
    assert "dropped: 1 bad_encoding, 1 bad_image" in raw.log.read_text()
    assert "Traceback" not in raw.log.read_text()


def test_compressed_images_in_a_deep_queue_are_all_answered_in_order(
    shared_data: Path, predictor: Predictor, jpeg_files: list[Path], tmp_path: Path
) -> None:
    parameters = {
        "model": model_of(shared_data),
        "image_transport": "compressed",
        "input_qos": "reliable",
        "queue_depth": 20,
        "use_sim_time": True,  # and no clock: images are answered all the same
    }
    reader = Reader("/image/compressed", CompressedImage)
    with NodeProcesses({}, tmp_path) as nodes:
        nodes.start(NodeSpec("perception", parameters))
        reader.connect()
        for i, file in enumerate(jpeg_files):
            header = ros.make_header(START_NS + i, FRAME)
            data = file.read_bytes()
            reader.camera.publish(CompressedImage(header=header, format="jpeg", data=data))
        reader.spin_until(lambda: len(reader.received["labels"]) == len(jpeg_files), "all answers")
    reader.close()
    stamps = [ros.stamp_ns(msg.header) - START_NS for msg in reader.received["labels"]]
    assert stamps == list(range(len(jpeg_files)))
    last = ros.labels_from_msg(reader.received["labels"][-1])
    np.testing.assert_array_equal(last, predictor(read_rgb(jpeg_files[-1])).labels)


def test_a_joint_network_answers_with_depth_and_drops_what_it_cannot_take(
    tmp_path: Path, jpeg_files: list[Path]
) -> None:
    for module in ("torch", "safetensors"):
        pytest.importorskip(module, reason=f"needs {module}: see docs/installation.md")
    from joint_networks import lively_network

    from mtl_perception.networks.checkpoint import save_network

    model = tmp_path / "joint.safetensors"
    save_network(model, lively_network("nekrasov-nyud"), LABEL_SETS["nyu40"])
    reader = Reader("/image", Image)
    with NodeProcesses({}, tmp_path) as nodes:
        nodes.start(NodeSpec("perception", {"model": str(model)}))
        reader.listen(Image, "/perception/depth/image")
        reader.connect()
        rgb = read_rgb(jpeg_files[0])[::4, ::4]
        reader.camera.publish(ros.image_to_msg(rgb[:16, :16], ros.make_header(START_NS, FRAME)))
        reader.spin_until(lambda: reader.values().get("dropped/bad_image") == "1", "the drop")
        header = ros.make_header(START_NS + 1, FRAME)
        labels, _ = reader.ask(ros.image_to_msg(rgb, header))
        reader.spin_until(lambda: bool(reader.received["image"]), "depth")
    reader.close()
    expected = Predictor(PredictorConfig(model=str(model)))(rgb)
    depth = ros.depth_from_msg(reader.received["image"][0])
    assert reader.received["image"][0].header == header
    assert (ros.labels_from_msg(labels) == expected.labels).mean() > 0.999
    np.testing.assert_allclose(depth, expected.depth, rtol=1e-4, atol=1e-4)


def test_a_missing_model_ends_the_node_with_one_clear_line(tmp_path: Path) -> None:
    environment = {FOLDERS_VARIABLE: "", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        NodeSpec("perception").command(),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("[FATAL]")]
    assert len(lines) == 1
    assert "dense-semantic-slam models download deeplab-ade20k" in lines[0]
    assert "Traceback" not in done.stderr


def test_depth_goes_out_with_a_camera_info_of_its_own() -> None:
    """A network with a depth head: depth carries the image's header, and so does its camera."""
    reader = Reader("/unused", Image)
    network = SimpleNamespace(label_set=LABEL_SETS["nyu40"], gives_depth=True)
    publisher = PredictionPublisher(reader.node, network)
    reader.listen(Image, "/reader/depth/image")
    reader.listen(CameraInfo, "/reader/depth/camera_info")
    reader.spin_until(
        lambda: (
            publisher._depth_info.get_subscription_count() > 0
            and publisher._depth.get_subscription_count() > 0
        ),
        "discovery",
    )
    depth = np.linspace(0, 5, 12, dtype=np.float32).reshape(3, 4)
    prediction = Prediction(np.zeros((3, 4), np.uint8), np.ones((3, 4), np.float32), depth, None)
    camera = Intrinsics(width=4, height=3, fx=4.0, fy=4.0, cx=1.5, cy=1.0)
    header = ros.make_header(START_NS, FRAME)
    info = ros.camera_info_to_msg(camera, ros.make_header(START_NS - 10**9, FRAME))
    rgb = np.zeros((3, 4, 3), np.uint8)
    publisher.publish(rgb, prediction, header, info)
    received = reader.received
    reader.spin_until(lambda: bool(received["image"] and received["camera_info"]), "depth")
    np.testing.assert_array_equal(ros.depth_from_msg(received["image"][0]), depth)
    assert received["image"][0].header == received["camera_info"][0].header == header
    assert ros.intrinsics_from_msg(received["camera_info"][0]) == camera
    reader.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [("image_transport", "theora"), ("input_qos", "best"), ("queue_depth", 0), ("threads", 999)],
)
def test_a_parameter_out_of_range_is_named(name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=name):
        PerceptionNodeConfig(**{name: value})
