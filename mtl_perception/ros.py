# SPDX-License-Identifier: Apache-2.0
"""The one ROS adapter: messages <-> numpy and value types, quality of service.

Running a node (parameters, logging, spinning) is in ``ros_node`` and can be had from here too:
nodes say ``from mtl_perception import ros`` and need nothing else.
"""

import array
import sys
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from mtl_perception.camera_info import is_distorted
from mtl_perception.conventions import (
    UNLABELLED,
    Intrinsics,
    InvalidInput,
    check_color,
    check_float_image,
    check_labels,
)
from mtl_perception.encodings import decode_color as color_from_msg
from mtl_perception.encodings import decode_confidence as confidence_from_msg
from mtl_perception.encodings import decode_depth as depth_from_msg
from mtl_perception.encodings import decode_intrinsics as intrinsics_from_msg
from mtl_perception.encodings import decode_labels as labels_from_msg
from mtl_perception.labels import LabelSet
from mtl_perception.ros_node import (
    PUBLISH_FAILURES,
    declare,
    declare_all,
    forward_logging,
    publish,
    read,
    spin,
    with_values,
)

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ModuleNotFoundError as error:
    if error.name != "vision_msgs":
        raise
    LabelInfo = None

__all__ = [
    "LATCHED",
    "PUBLISH_FAILURES",
    "RELIABLE",
    "SENSOR_LATEST",
    "SENSOR_QUEUE",
    "LabelInfo",
    "camera_info_to_msg",
    "color_from_msg",
    "confidence_from_msg",
    "confidence_to_msg",
    "declare",
    "declare_all",
    "depth_from_msg",
    "depth_to_msg",
    "forward_logging",
    "image_to_msg",
    "intrinsics_from_msg",
    "is_distorted",
    "label_info_to_msg",
    "label_set_to_msg",
    "labels_from_msg",
    "labels_to_msg",
    "make_header",
    "normals_to_msg",
    "publish",
    "qos",
    "read",
    "spin",
    "stamp_ns",
    "stamp_to_msg",
    "with_values",
]

NS_PER_S = 1_000_000_000

_SIGNED = np.where(np.arange(256) == UNLABELLED, -1, np.arange(256)).astype(np.int16)

_BEST_EFFORT = ReliabilityPolicy.BEST_EFFORT

SENSOR_LATEST = QoSProfile(depth=1, reliability=_BEST_EFFORT)
"""Reading images of which only the newest matters; what comes while we work is dropped."""

SENSOR_QUEUE = QoSProfile(depth=10, reliability=_BEST_EFFORT)
"""Reading images that must find their partners by stamp."""

RELIABLE = QoSProfile(depth=30, reliability=ReliabilityPolicy.RELIABLE)
"""Publishing results: readers of either reliability can connect."""

LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""The map, the label set: whoever comes later still gets the last one."""

_QOS = {
    "sensor_latest": SENSOR_LATEST,
    "sensor_queue": SENSOR_QUEUE,
    "reliable": RELIABLE,
    "latched": LATCHED,
}


def qos(name: str) -> QoSProfile:
    """Return the profile that a parameter names.

    Raises:
        InvalidInput: lists the names there are.
    """
    if name not in _QOS:
        raise InvalidInput(f"quality of service {name!r} is not one of {', '.join(_QOS)}")
    return _QOS[name]


def stamp_ns(stamped: Header | Time) -> int:
    """Return the time of a header, or a time message, in nanoseconds."""
    stamp = stamped.stamp if hasattr(stamped, "stamp") else stamped
    return stamp.sec * NS_PER_S + stamp.nanosec


def stamp_to_msg(stamp_ns: int) -> Time:
    """Return the time message of integer nanoseconds.

    Raises:
        InvalidInput: the seconds do not fit the message's 32 bits.
    """
    sec, nanosec = divmod(int(stamp_ns), NS_PER_S)
    if not -(2**31) <= sec < 2**31:
        raise InvalidInput(f"stamp {stamp_ns} ns does not fit a ROS time")
    return Time(sec=sec, nanosec=nanosec)


def make_header(stamp_ns: int, frame_id: str) -> Header:
    """Return a header; results of an image pass that image's own header on instead."""
    return Header(stamp=stamp_to_msg(stamp_ns), frame_id=frame_id)


def image_to_msg(color: np.ndarray, header: Header, encoding: str = "rgb8") -> Image:
    """Return the Image of (H, W, 3) uint8 colours, whose channels are as ``encoding`` says.

    Raises:
        InvalidInput: another shape or dtype.
    """
    return _image(check_color(color), header, encoding)


def depth_to_msg(depth: np.ndarray, header: Header) -> Image:
    """Return the 32FC1 Image of (H, W) float32 metres.

    Raises:
        InvalidInput: another shape or dtype.
    """
    return _image(check_float_image(depth, "depth"), header, "32FC1")


def labels_to_msg(labels: np.ndarray, header: Header, encoding: str = "mono8") -> Image:
    """Return the Image of (H, W) uint8 class ids.

    Args:
        labels: 255 = unlabelled.
        header: of the image that they are of.
        encoding: mono8, or 16SC1 where -1 = unlabelled.

    Raises:
        InvalidInput: another shape or dtype.
    """
    check_labels(labels)
    return _image(_SIGNED[labels] if encoding == "16SC1" else labels, header, encoding)


def normals_to_msg(normals: np.ndarray, header: Header) -> Image:
    """Return the 32FC3 Image of (H, W, 3) float32 unit vectors.

    Raises:
        InvalidInput: another shape or dtype.
    """
    if normals.dtype != np.float32 or normals.ndim != 3 or normals.shape[2] != 3:
        raise InvalidInput(f"normals: want (H, W, 3) float32, got {normals.shape} {normals.dtype}")
    return _image(normals, header, "32FC3")


def confidence_to_msg(confidence: np.ndarray, header: Header) -> Image:
    """Return the mono8 Image of (H, W) float32 in [0, 1]: 255 = certain.

    Raises:
        InvalidInput: another shape or dtype.
    """
    scaled = check_float_image(confidence, "confidence") * np.float32(255)
    return _image(np.rint(scaled).astype(np.uint8), header, "mono8")


def camera_info_to_msg(intrinsics: Intrinsics, header: Header) -> CameraInfo:
    """Return the CameraInfo of a rectified image."""
    K = intrinsics.K
    return CameraInfo(
        header=header,
        width=intrinsics.width,
        height=intrinsics.height,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=K.ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=np.column_stack([K, np.zeros(3)]).ravel().tolist(),
    )


def label_set_to_msg(label_set: LabelSet) -> String:
    """Return the String that carries a label set as JSON (``LabelSet.from_json`` reads it)."""
    return String(data=label_set.to_json())


def label_info_to_msg(label_set: LabelSet, header: Header, threshold: float = 0.0) -> Any:
    """Return the vision_msgs/LabelInfo of a label set, or None where vision_msgs is missing.

    Args:
        label_set: its classes.
        header: the stamp says when they came to hold.
        threshold: confidence below which a pixel has no label.
    """
    if LabelInfo is None:
        return None
    classes = [VisionClass(class_id=c.id, class_name=c.name) for c in label_set.classes]
    return LabelInfo(header=header, class_map=classes, threshold=threshold)


def _image(pixels: np.ndarray, header: Header, encoding: str) -> Image:
    pixels = np.ascontiguousarray(pixels)
    # rclpy checks any other kind of data value by value, which takes 40-65 ms for a VGA image.
    data = array.array("B")
    data.frombytes(pixels.data.cast("B"))
    height, width = pixels.shape[:2]
    return Image(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=pixels.nbytes // height,
        data=data,
    )
