# SPDX-License-Identifier: Apache-2.0
"""The perception node as a process of its own, a camera and a reader here, real DDS between."""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy wheels or a ROS install)")

from perception_reader import FRAME, START_NS, Reader
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from mtl_perception import ros
from mtl_perception.conventions import InvalidInput
from mtl_perception.labels import LABEL_SETS, LabelSet
from mtl_perception.models import FOLDERS_VARIABLE, MODELS
from mtl_perception.node_config import PerceptionNodeConfig
from mtl_perception.predictor import Predictor, PredictorConfig
from slam_fusion.live.processes import (
    NodeProcesses,
    NodeSpec,
    node_environment,
    private_environment,
)


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


def test_bad_messages_are_counted_and_the_next_image_answered(
    raw: Setup, jpeg_files: list[Path]
) -> None:
    header = ros.make_header(START_NS + 1, FRAME)
    good = ros.image_to_msg(read_rgb(jpeg_files[0])[::4, ::4], header)
    grey = Image(header=header, width=64, height=48, step=64, encoding="mono8", data=bytes(48 * 64))
    unknown = Image(header=header, width=4, height=4, step=4, encoding="plaid8", data=bytes(16))
    depth = Image(header=header, width=4, height=4, step=16, encoding="32FC1", data=bytes(64))
    empty = Image(header=header, encoding="rgb8")
    cut = Image(header=header, width=64, height=48, step=192, encoding="rgb8", data=bytes(9000))
    narrow = Image(header=header, width=64, height=48, step=64, encoding="rgb8", data=bytes(9216))
    huge = Image(header=header, width=2**31, height=2**31, encoding="rgb8", data=bytes(16))
    told = Counter[str]()
    for bad, reason in (
        (unknown, "bad_encoding"),
        (depth, "bad_encoding"),
        (empty, "bad_image"),
        (cut, "bad_image"),
        (narrow, "bad_image"),
        (huge, "bad_image"),
    ):
        told[reason] += 1
        raw.reader.camera.publish(bad)
        raw.reader.spin_until(
            lambda reason=reason: raw.reader.values().get(f"dropped/{reason}") == str(told[reason]),
            f"drop {told[reason]} of {reason}",
        )
    raw.reader.ask(good)
    grey.header = ros.make_header(START_NS + 2, FRAME)
    raw.reader.ask(grey)  # one channel is a picture, too
    assert raw.log.read_text().count("'plaid8' is not one of") == 1
    assert raw.log.read_text().count("image size 0x0") == 1
    raw.nodes.check()


def test_the_newest_image_wins_and_the_skipped_ones_are_counted(
    raw: Setup, jpeg_files: list[Path]
) -> None:
    """A burst that no network keeps up with; its last image is sent until it was not lost."""
    reader, first, sent = raw.reader, START_NS + 1_000, 0
    reader.received["labels"].clear()
    before = reader.fresh_values()
    msg = ros.image_to_msg(read_rgb(jpeg_files[0]), ros.make_header(first, FRAME))

    def answered() -> list[int]:
        return [ros.stamp_ns(msg.header) - first for msg in reader.received["labels"]]

    def send() -> None:
        nonlocal sent, last_sent
        msg.header = ros.make_header(first + sent, FRAME)
        reader.camera.publish(msg)
        sent, last_sent = sent + 1, time.monotonic()

    def newest_is_answered() -> bool:
        if time.monotonic() > last_sent + 1.0:
            send()
        return answered()[-1:] == [sent - 1]

    last_sent = 0.0
    for _ in range(60):
        send()
        reader.executor.spin_once(timeout_sec=0.005)
    while_busy = len(answered())
    reader.spin_until(newest_is_answered, "the newest one's answer")
    assert answered() == sorted(set(answered())) and len(answered()) < sent
    # After the burst: the one that was worked on, the newest, and one that was on its way to us.
    assert len(answered()) - while_busy <= 3

    def grown(name: str) -> int:
        return int(reader.values()[name]) - int(before[name])

    reader.spin_until(lambda: grown("answered") == len(answered()), "the count")
    assert grown("answered") + grown("skipped") == sent


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
    assert "dropped: 2 bad_encoding, 4 bad_image" in raw.log.read_text()
    assert "skipped for newer ones" in raw.log.read_text()
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


def test_a_missing_model_ends_the_node_with_one_clear_line(tmp_path: Path) -> None:
    environment = {FOLDERS_VARIABLE: "", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        NodeSpec("perception", {"model": "deeplab-ade20k"}).command(),
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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_transport", "theora"),
        ("input_qos", "best"),
        ("queue_depth", 0),
        ("threads", 999),
        ("label_encoding", "32SC1"),
    ],
)
def test_a_parameter_out_of_range_is_named(name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=name):
        PerceptionNodeConfig(**{name: value})
