# SPDX-License-Identifier: Apache-2.0
"""Topics of the perception node: a prediction becomes messages with its image's own header."""

from copy import copy

import cv2
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from mtl_perception import ros
from mtl_perception.predictor import Prediction, Predictor


class PredictionPublisher:
    """Publishes labels and confidence, pictures for eyes when watched, depth where there is any."""

    def __init__(self, node: Node, predictor: Predictor) -> None:
        """Create the topics; the label set is published at once, latched."""
        self._label_set = predictor.label_set
        self._labels = node.create_publisher(Image, "~/semantic/labels", ros.RELIABLE)
        self._confidence = node.create_publisher(Image, "~/semantic/confidence", ros.RELIABLE)
        self._color = node.create_publisher(Image, "~/semantic/color", ros.RELIABLE)
        self._overlay = node.create_publisher(Image, "~/semantic/overlay", ros.RELIABLE)
        if predictor.gives_depth:
            self._depth = node.create_publisher(Image, "~/depth/image", ros.RELIABLE)
            self._depth_info = node.create_publisher(
                CameraInfo, "~/depth/camera_info", ros.RELIABLE
            )
        self._publish_label_set(node)

    def publish(
        self, rgb: np.ndarray, prediction: Prediction, header: Header, info: CameraInfo | None
    ) -> None:
        """Publish one prediction.

        Args:
            rgb: (H, W, 3) uint8 image that was predicted on.
            prediction: of that image.
            header: of that image; fusion pairs messages by its stamp.
            info: newest CameraInfo of the image's camera, None before the first.
        """
        ros.publish(self._labels, ros.labels_to_msg(prediction.labels, header))
        ros.publish(self._confidence, ros.confidence_to_msg(prediction.confidence, header))
        if prediction.depth is not None:
            self._publish_depth(prediction.depth, header, info)
        self._publish_pictures(rgb, prediction.labels, header)

    def _publish_depth(self, depth: np.ndarray, header: Header, info: CameraInfo | None) -> None:
        ros.publish(self._depth, ros.depth_to_msg(depth, header))
        if info is not None and (info.height, info.width) == depth.shape:
            paired = copy(info)
            paired.header = header
            ros.publish(self._depth_info, paired)

    def _publish_pictures(self, rgb: np.ndarray, labels: np.ndarray, header: Header) -> None:
        wants_color = self._color.get_subscription_count() > 0
        wants_overlay = self._overlay.get_subscription_count() > 0
        if not (wants_color or wants_overlay):
            return
        color = self._label_set.colorize(labels)
        if wants_color:
            ros.publish(self._color, ros.image_to_msg(color, header))
        if wants_overlay:
            blend = cv2.addWeighted(rgb, 0.5, color, 0.5, 0)
            ros.publish(self._overlay, ros.image_to_msg(blend, header))

    def _publish_label_set(self, node: Node) -> None:
        # Kept: a latched message lives as long as its publisher.
        self._label_set_topic = node.create_publisher(String, "~/label_set", ros.LATCHED)
        self._label_set_topic.publish(ros.label_set_to_msg(self._label_set))
        if ros.LabelInfo is None:
            return
        stamp = node.get_clock().now().nanoseconds
        self._label_info_topic = node.create_publisher(ros.LabelInfo, "~/label_info", ros.LATCHED)
        self._label_info_topic.publish(
            ros.label_info_to_msg(self._label_set, ros.make_header(stamp, ""))
        )
