# SPDX-License-Identifier: Apache-2.0
"""Topics of the perception node: a prediction becomes messages with its image's own header."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from mtl_perception import ros
from mtl_perception.labels import LabelSet
from mtl_perception.node_config import PerceptionNodeConfig
from mtl_perception.prediction import Prediction
from mtl_perception.predictor import Predictor
from mtl_perception.ros_camera import ImageCamera


class PredictionPublisher:
    """Publishes what the network says, each topic only while somebody listens to it.

    Depth, normals and the mask have topics only while there is something to say on them.
    """

    def __init__(self, node: Node, config: PerceptionNodeConfig, predictor: Predictor) -> None:
        """Create the topics; the label set is published at once, latched.

        Raises:
            InvalidInput: ``mask_classes`` names a class that the label set does not have.
        """
        self._node = node
        self._encoding = config.label_encoding
        self._topics = {
            name: node.create_publisher(Image, f"~/semantic/{name}", ros.RELIABLE)
            for name in ("labels", "confidence", "color", "overlay")
        }
        self._label_set_topic = node.create_publisher(String, "~/label_set", ros.LATCHED)
        if ros.LabelInfo is not None:
            self._label_info = node.create_publisher(ros.LabelInfo, "~/label_info", ros.LATCHED)
        self.use(config, predictor)

    def use(self, config: PerceptionNodeConfig, predictor: Predictor) -> None:
        """Speak for this predictor from now on.

        Raises:
            InvalidInput: as the constructor; nothing has changed then.
        """
        self._mask = mask_table(predictor.label_set, config.mask_classes)
        self._label_set = predictor.label_set
        self._offer("mask", "~/semantic/mask", Image, bool(config.mask_classes))
        self._offer("depth", "~/depth/image", Image, predictor.gives_depth)
        self._offer("depth_info", "~/depth/camera_info", CameraInfo, predictor.gives_depth)
        self._offer("normals", "~/normals", Image, predictor.gives_normals)
        ros.publish(self._label_set_topic, ros.label_set_to_msg(self._label_set))
        if ros.LabelInfo is not None:
            header = ros.make_header(self._node.get_clock().now().nanoseconds, "")
            info = ros.label_info_to_msg(self._label_set, header, config.confidence_threshold)
            ros.publish(self._label_info, info)

    def publish(
        self, rgb: np.ndarray, prediction: Prediction, header: Header, camera: ImageCamera | None
    ) -> None:
        """Publish one prediction.

        Args:
            rgb: (H, W, 3) uint8 image that was predicted on.
            prediction: of that image.
            header: of that image; fusion pairs messages by its stamp.
            camera: of that image, None where it is not known.
        """
        labels = prediction.labels
        if self._is_wanted("labels"):
            self._send("labels", ros.labels_to_msg(labels, header, self._encoding))
        if self._is_wanted("confidence"):
            self._send("confidence", ros.confidence_to_msg(prediction.confidence, header))
        if self._is_wanted("mask"):
            self._send("mask", ros.labels_to_msg(cv2.LUT(labels, self._mask), header))
        if prediction.depth is not None and self._is_wanted("depth"):
            self._send("depth", ros.depth_to_msg(prediction.depth, header))
        if camera is not None and self._is_wanted("depth_info"):
            self._send("depth_info", camera.info)
        if prediction.normals is not None and self._is_wanted("normals"):
            self._send("normals", ros.normals_to_msg(prediction.normals, header))
        self._publish_pictures(rgb, labels, header)

    def _publish_pictures(self, rgb: np.ndarray, labels: np.ndarray, header: Header) -> None:
        if not (self._is_wanted("color") or self._is_wanted("overlay")):
            return
        color = self._label_set.colorize(labels)
        if self._is_wanted("color"):
            self._send("color", ros.image_to_msg(color, header))
        if self._is_wanted("overlay"):
            blend = cv2.addWeighted(rgb, 0.5, color, 0.5, 0)
            self._send("overlay", ros.image_to_msg(blend, header))

    def _offer(self, name: str, topic: str, kind: type, has: bool) -> None:
        """Create or take back a topic that not every network has something for."""
        if has and name not in self._topics:
            self._topics[name] = self._node.create_publisher(kind, topic, ros.RELIABLE)
        if not has and name in self._topics:
            self._node.destroy_publisher(self._topics.pop(name))

    def _is_wanted(self, name: str) -> bool:
        return name in self._topics and self._topics[name].get_subscription_count() > 0

    def _send(self, name: str, msg: Any) -> None:
        ros.publish(self._topics[name], msg)


def mask_table(label_set: LabelSet, names: Sequence[str]) -> np.ndarray:
    """Return (256,) uint8: 255 for the ids of the classes called ``names``, else 0.

    Raises:
        InvalidInput: the set has no class of that name; near ones are listed.
    """
    table = np.zeros(256, np.uint8)
    table[[label_set.id_of(name) for name in names]] = 255
    return table
