# SPDX-License-Identifier: Apache-2.0
"""ROS 2 node: camera image in; labels, confidence and (where the network has it) depth out."""

import sys
import time

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mtl_perception import ros
from mtl_perception.conventions import InvalidInput
from mtl_perception.image_errors import UnknownEncoding
from mtl_perception.models import ModelUnsupported
from mtl_perception.node_config import PerceptionNodeConfig
from mtl_perception.predictor import Predictor
from mtl_perception.ros_diagnostics import PerceptionDiagnostics
from mtl_perception.ros_outputs import PredictionPublisher


class PerceptionNode(Node):
    """Labels each image it can get hold of; with ``queue_depth`` 1 that is always the newest."""

    def __init__(self) -> None:
        """Declare the parameters of ``PerceptionNodeConfig``, load the network, connect topics.

        Raises:
            DenseSlamError: a parameter that cannot work, or no such network.
        """
        super().__init__("perception")
        ros.forward_logging(self)
        config = ros.declare(self, PerceptionNodeConfig)
        self._predictor = Predictor(config)
        self._predictor.warm_up()
        self._outputs = PredictionPublisher(self, self._predictor)
        self._camera_info: CameraInfo | None = None
        self.create_subscription(CameraInfo, "camera_info", self._on_camera_info, ros.SENSOR_LATEST)
        compressed = config.image_transport == "compressed"
        subscription = self.create_subscription(
            CompressedImage if compressed else Image,
            "image/compressed" if compressed else "image",
            self._on_image,
            QoSProfile(depth=config.queue_depth, reliability=ros.qos(config.input_qos).reliability),
        )
        self._diagnostics = PerceptionDiagnostics(self, config, subscription)

    def on_shutdown(self) -> None:
        """Say what became of the images."""
        self.get_logger().info(self._diagnostics.summary())

    def _on_camera_info(self, info: CameraInfo) -> None:
        if self._camera_info is None and ros.is_distorted(info):
            self.get_logger().warning(
                "camera_info has lens distortion: feed the rectified image (image_proc), or the "
                "labels lie beside the pinhole camera's rays"
            )
        self._camera_info = info

    def _on_image(self, msg: Image | CompressedImage) -> None:
        start = time.perf_counter()
        try:
            rgb = ros.color_from_msg(msg)
            prediction = self._predictor(rgb)
        except UnknownEncoding as error:
            self._diagnostics.dropped("bad_encoding", str(error))
            return
        except InvalidInput as error:  # unreadable, or of a size that the network cannot take
            self._diagnostics.dropped("bad_image", str(error))
            return
        except ModelUnsupported as error:
            self._diagnostics.dropped("bad_scores", str(error))
            return
        self._outputs.publish(rgb, prediction, msg.header, self._camera_info)
        self._diagnostics.answered(ros.stamp_ns(msg.header), time.perf_counter() - start)


def main() -> int:
    """Entry point of ``ros2 run dense_semantic_slam perception_node``."""
    return ros.spin(PerceptionNode)


if __name__ == "__main__":
    sys.exit(main())
