# SPDX-License-Identifier: Apache-2.0
"""A camera in front of the perception node, and everything that listens to the node."""

import time
from collections.abc import Callable

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import GetParameters, SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter, parameter_value_to_python
from sensor_msgs.msg import Image

from mtl_perception import ros

START_NS = 1_700_000_000_123_456_789
FRAME = "kitchen_camera_optical"
TIMEOUT_S = 60.0  # of a hang, not of slowness


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
        """Collect the messages of a topic under the last part of its name."""
        messages = self.received[topic.rsplit("/", 1)[1]] = []
        self.node.create_subscription(kind, topic, messages.append, qos)

    def spin_until(self, reached: Callable[[], bool], what: str) -> None:
        """Serve the node until something is so."""
        deadline = time.monotonic() + TIMEOUT_S
        while not reached():
            assert time.monotonic() < deadline, f"{what} did not happen"
            self.executor.spin_once(timeout_sec=0.02)

    def connect(self) -> None:
        """Wait for the perception node."""

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

    def status(self) -> DiagnosticStatus:
        """Newest status of the node."""
        for array in reversed(self.received["diagnostics"]):
            if array.status[0].name == "perception: network":
                return array.status[0]
        return DiagnosticStatus()

    def values(self) -> dict[str, str]:
        """Newest diagnostic values."""
        return {value.key: value.value for value in self.status().values}

    def fresh_status(self) -> DiagnosticStatus:
        """Status that is still to come."""
        self.received["diagnostics"].clear()
        self.spin_until(lambda: bool(self.values()), "a report")
        return self.status()

    def fresh_values(self) -> dict[str, str]:
        """Diagnostic values of a report that is still to come."""
        self.fresh_status()
        return self.values()

    def set_parameters(self, **values: object) -> SetParametersResult:
        """Set parameters of the node, all or none, as ``ros2 param`` does."""
        request = SetParametersAtomically.Request()
        request.parameters = [
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()
        ]
        service = "/perception/set_parameters_atomically"
        return self._call(SetParametersAtomically, service, request).result

    def parameter(self, name: str) -> object:
        """Value of a parameter of the node."""
        request = GetParameters.Request(names=[name])
        (value,) = self._call(GetParameters, "/perception/get_parameters", request).values
        return parameter_value_to_python(value)

    def _call(self, kind: type, service: str, request: object) -> object:
        client = self.node.create_client(kind, service)
        self.spin_until(client.service_is_ready, service)
        future = client.call_async(request)
        self.spin_until(future.done, f"an answer of {service}")
        self.node.destroy_client(client)
        return future.result()

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()
