# SPDX-License-Identifier: Apache-2.0
"""The ROS adapter: arrays and value types become messages, and come back."""

import time

import numpy as np
import pytest

from mtl_perception.conventions import Intrinsics, InvalidInput
from mtl_perception.labels import LABEL_SETS, LabelSet

pytest.importorskip("rclpy", reason="needs rclpy")
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy  # noqa: E402

from mtl_perception import ros  # noqa: E402

HEADER = ros.make_header(1_700_000_000_123_456_789, "camera_optical")
RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (480, 640, 3), dtype=np.uint8)
DEPTH = RNG.uniform(0.1, 5, (480, 640)).astype(np.float32)


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


def test_label_set_travels_as_json():
    nyu40 = LABEL_SETS["nyu40"]
    assert LabelSet.from_json(ros.label_set_to_msg(nyu40).data) == nyu40


def test_signed_labels_have_minus_one_for_unlabelled():
    labels = np.array([[0, 7, 253], [255, 128, 1]], np.uint8)
    msg = ros.labels_to_msg(labels, HEADER, "16SC1")
    assert (msg.encoding, msg.step) == ("16SC1", 6)
    np.testing.assert_array_equal(
        np.frombuffer(msg.data, np.int16).reshape(2, 3), [[0, 7, 253], [-1, 128, 1]]
    )
    np.testing.assert_array_equal(ros.labels_from_msg(msg), labels)


def test_normals_are_three_floats_per_pixel():
    normals = RNG.normal(size=(4, 6, 3)).astype(np.float32)
    msg = ros.normals_to_msg(normals, HEADER)
    assert (msg.encoding, msg.height, msg.width, msg.step) == ("32FC3", 4, 6, 72)
    np.testing.assert_array_equal(np.frombuffer(msg.data, np.float32).reshape(4, 6, 3), normals)
    for wrong in (normals.astype(np.float64), normals[..., :2], normals[..., 0]):
        with pytest.raises(InvalidInput, match="normals: want"):
            ros.normals_to_msg(wrong, HEADER)


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


def test_qos_profiles_have_names():
    assert ros.qos("latched") is ros.LATCHED
    assert ros.LATCHED.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert ros.SENSOR_LATEST.depth == 1
    assert ros.SENSOR_LATEST.reliability == ReliabilityPolicy.BEST_EFFORT
    with pytest.raises(InvalidInput, match="sensor_queue"):
        ros.qos("sensor")
