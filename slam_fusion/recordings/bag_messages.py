# SPDX-License-Identifier: Apache-2.0
"""Frames and transforms as the message objects that ``rosbags`` writes; no ROS installed."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from mtl_perception.conventions import Intrinsics
from slam_fusion.frame import Frame
from slam_fusion.geometry import quat_xyzw_from_matrix, se3

ROBOT_CAMERA_FRAME = "camera_link"
OPTICAL_FRAME = "camera_color_optical_frame"

T_LINK_OPTICAL = se3(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))
"""REP 103: a link looks along x with z up, an optical frame along z with y down."""


class BagMessages:
    """Makes the messages of one camera."""

    def __init__(self, depth_encoding: str, global_frame: str) -> None:
        """Write depth as ``depth_encoding`` (32FC1 or 16UC1), poses from ``global_frame``."""
        self._types = get_typestore(Stores.ROS2_HUMBLE).types
        self._depth_encoding = depth_encoding
        self._global_frame = global_frame

    def text(self, data: str) -> Any:
        """Return a std_msgs String."""
        return self._types["std_msgs/msg/String"](data=data)

    def static_transform(self, stamp_ns: int) -> Any:
        """Return the TFMessage camera_link -> camera_color_optical_frame."""
        return self._tf(stamp_ns, ROBOT_CAMERA_FRAME, OPTICAL_FRAME, T_LINK_OPTICAL)

    def transform(self, stamp_ns: int, T_global_link: np.ndarray) -> Any:
        """Return the TFMessage global_frame -> camera_link."""
        return self._tf(stamp_ns, self._global_frame, ROBOT_CAMERA_FRAME, T_global_link)

    def images(self, frame: Frame) -> Iterator[tuple[str, Any]]:
        """Yield (topic, message) of a frame's CameraInfo and images."""
        header = self._header(frame.stamp_ns, OPTICAL_FRAME)
        info = self._camera_info(header, frame.intrinsics)
        yield "/camera/depth/camera_info", info
        yield "/camera/depth/image_raw", self._depth(header, frame.depth)
        if frame.color is not None:
            yield "/camera/color/camera_info", info
            yield "/camera/color/image_raw", self._image(header, frame.color, "rgb8")
        if frame.labels is not None:
            yield "/camera/labels", self._image(header, frame.labels, "mono8")
        if frame.confidence is not None:
            yield "/camera/confidence", self._image(header, frame.confidence, "32FC1")

    def _depth(self, header: Any, depth: np.ndarray) -> Any:
        if self._depth_encoding == "32FC1":
            return self._image(header, depth, "32FC1")
        millimetres = np.nan_to_num(np.rint(depth * np.float32(1000)), posinf=0, neginf=0)
        # Beyond 65.5 m the format has no value: unknown, not the largest distance.
        millimetres[millimetres > 65535] = 0
        return self._image(header, millimetres.astype(np.uint16), "16UC1")

    def _image(self, header: Any, pixels: np.ndarray, encoding: str) -> Any:
        little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
        return self._types["sensor_msgs/msg/Image"](
            header=header,
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=little.strides[0],
            data=little.reshape(-1).view(np.uint8),
        )

    def _camera_info(self, header: Any, camera: Intrinsics) -> Any:
        projection = np.hstack([camera.K, np.zeros((3, 1))])
        return self._types["sensor_msgs/msg/CameraInfo"](
            header=header,
            height=camera.height,
            width=camera.width,
            distortion_model="plumb_bob",
            d=np.zeros(5),
            k=camera.K.ravel(),
            r=np.eye(3).ravel(),
            p=projection.ravel(),
            binning_x=0,
            binning_y=0,
            roi=self._types["sensor_msgs/msg/RegionOfInterest"](
                x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
            ),
        )

    def _tf(self, stamp_ns: int, parent: str, child: str, T_parent_child: np.ndarray) -> Any:
        x, y, z = T_parent_child[:3, 3].tolist()
        qx, qy, qz, qw = quat_xyzw_from_matrix(T_parent_child[:3, :3]).tolist()
        transform = self._types["geometry_msgs/msg/Transform"](
            translation=self._types["geometry_msgs/msg/Vector3"](x=x, y=y, z=z),
            rotation=self._types["geometry_msgs/msg/Quaternion"](x=qx, y=qy, z=qz, w=qw),
        )
        stamped = self._types["geometry_msgs/msg/TransformStamped"](
            header=self._header(stamp_ns, parent), child_frame_id=child, transform=transform
        )
        return self._types["tf2_msgs/msg/TFMessage"](transforms=[stamped])

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        seconds, nanoseconds = divmod(stamp_ns, 10**9)
        stamp = self._types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
        return self._types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)
