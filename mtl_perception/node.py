# SPDX-License-Identifier: Apache-2.0
"""ROS 2 node: camera image in; labels, confidence and what else the network has out."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mtl_perception import ros
from mtl_perception.conventions import InvalidInput
from mtl_perception.image_errors import UnknownEncoding, check_image_size
from mtl_perception.models import ModelUnsupported
from mtl_perception.node_config import LIVE, PerceptionNodeConfig
from mtl_perception.predictor import Predictor
from mtl_perception.ros_camera import CameraOfImages
from mtl_perception.ros_diagnostics import PerceptionDiagnostics
from mtl_perception.ros_outputs import PredictionPublisher, mask_table
from mtl_perception.ros_reload import PredictorReloader, end_process


class PerceptionNode(Node):
    """Labels each image it can get hold of; with ``queue_depth`` 1 that is always the newest."""

    def __init__(self) -> None:
        """Declare the parameters of ``PerceptionNodeConfig``, load the network, connect topics.

        Raises:
            DenseSlamError: a parameter that cannot work, or no such network.
        """
        super().__init__("perception")
        ros.forward_logging(self)
        config = ros.declare(self, PerceptionNodeConfig, LIVE)
        self._shape = 480, 640  # of the images, as far as is known
        self._predictor = self._load(config)
        self._outputs = PredictionPublisher(self, config, self._predictor)
        self._camera = CameraOfImages()
        self._has_answered = False
        self.create_subscription(CameraInfo, "camera_info", self._on_camera_info, ros.SENSOR_LATEST)
        subscription = self._subscribe(config)
        self._diagnostics = PerceptionDiagnostics(self, config, self._predictor, subscription)
        self._reloader = PredictorReloader(
            self, config, self._load, self._use, self._diagnostics.reload
        )

    def on_shutdown(self) -> None:
        """Say what became of the images."""
        self._reloader.close()
        self.get_logger().info(self._diagnostics.summary())

    def _subscribe(self, config: PerceptionNodeConfig) -> Subscription:
        compressed = config.image_transport == "compressed"
        callback: Callable[..., None] = self._on_image
        if not hasattr(Subscription, "CallbackType"):  # Humble hands out no message info
            callback = partial(self._on_image, info={})
        return self.create_subscription(
            CompressedImage if compressed else Image,
            "image/compressed" if compressed else "image",
            callback,
            QoSProfile(depth=config.queue_depth, reliability=ros.qos(config.input_qos).reliability),
        )

    def _load(self, config: PerceptionNodeConfig) -> Predictor:
        """Return a predictor that has run once on an image of the camera's size."""
        predictor = Predictor(config)
        mask_table(predictor.label_set, config.mask_classes)  # has to fit the classes
        predictor.warm_up(self._shape)
        return predictor

    def _use(self, config: PerceptionNodeConfig, predictor: Predictor) -> None:
        self._outputs.use(config, predictor)
        self._diagnostics.use(config, predictor)
        self._predictor = predictor

    def _on_camera_info(self, info: CameraInfo) -> None:
        is_first = not self._camera.is_known
        self._camera.update(info)
        if is_first and ros.is_distorted(info):
            self.get_logger().warning(
                "camera_info has lens distortion: feed the rectified image (image_proc), or the "
                "labels lie beside the pinhole camera's rays"
            )
        if not self._has_answered and (shape := self._camera.shape()) is not None:
            self._warm_up(shape)

    def _on_image(self, msg: Image | CompressedImage, info: Mapping[str, Any]) -> None:
        self._diagnostics.received(info)
        start = time.perf_counter()
        try:
            rgb = ros.color_from_msg(msg)
            camera = self._camera.of(rgb.shape[:2], msg.header)
            if not self._has_answered:
                self._warm_up(rgb.shape[:2])
                start = time.perf_counter()
            prediction = self._predictor(rgb, None if camera is None else camera.focal_px)
        except UnknownEncoding as error:
            self._diagnostics.dropped("bad_encoding", str(error))
            return
        except InvalidInput as error:  # unreadable, or of a size that the network cannot take
            self._diagnostics.dropped("bad_image", str(error))
            return
        except ModelUnsupported as error:
            self._diagnostics.dropped("bad_scores", str(error))
            return
        self._outputs.publish(rgb, prediction, msg.header, camera)
        self._has_answered, self._shape = True, rgb.shape[:2]
        self._diagnostics.camera_problem = self._camera.problem
        self._diagnostics.answered(ros.stamp_ns(msg.header), time.perf_counter() - start)

    def _warm_up(self, shape: tuple[int, int]) -> None:
        """Run once on an image of this size before the first that counts."""
        if shape == self._shape:
            return
        try:
            check_image_size(shape[1], shape[0])
            self._predictor.warm_up(shape)
        except (InvalidInput, ModelUnsupported) as error:
            self.get_logger().debug(f"no warm-up at {shape[1]}x{shape[0]}: {error}")
            return  # such an image will be a counted drop
        self._shape = shape


def main() -> NoReturn:
    """Entry point of ``ros2 run dense_semantic_slam perception_node``."""
    end_process(ros.spin(PerceptionNode))


if __name__ == "__main__":
    main()
