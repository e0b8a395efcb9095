# SPDX-License-Identifier: Apache-2.0
"""The perception node's health, once a second: on /diagnostics, and in the log when it is bad.

The status is called ``perception: network``. Its level is OK, or WARN when something is wrong: in
the last second images were dropped or a network was not loaded, none came for a while, or depth
cannot be metric; its message says what. Its values are numbers as text.
"""

import statistics
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.subscription import Subscription

from mtl_perception import ros
from mtl_perception.hardware import hardware_name
from mtl_perception.message_gaps import MessageGaps
from mtl_perception.node_config import PerceptionNodeConfig
from mtl_perception.predictor import Predictor

PERIOD_S = 1.0
SILENCE_S = 5.0
"""No image for so long is reported."""

REPEAT_S = 10.0
"""The same trouble is logged again after so long."""


class PerceptionDiagnostics:
    """Counts what became of the images and tells it.

    Attributes:
        camera_problem: why images have no camera, "" when they have one; the node sets it.
    """

    def __init__(
        self,
        node: Node,
        config: PerceptionNodeConfig,
        predictor: Predictor,
        subscription: Subscription,
    ) -> None:
        """Create the topic and start the timer.

        Args:
            node: whose health it is.
            config: of the node.
            predictor: that answers.
            subscription: of the images.
        """
        self._node = node
        self._subscription = subscription
        self.camera_problem = ""
        self._reload = ""
        self._gaps = MessageGaps()
        self._answered = 0
        self._dropped: Counter[str] = Counter()
        self._recent_s: list[float] = []  # latencies since the last report
        self._recent: dict[str, str] = {}  # trouble since the last report by its kind
        self._age_s: float | None = None
        self._logged: dict[str, float] = {}
        self._told = ""  # of the camera's problem
        self._last_image = self._last_report = time.monotonic()
        self.use(config, predictor)
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady: simulated time may stand still, and that too must be told.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(PERIOD_S, self._report, clock=clock)

    def use(self, config: PerceptionNodeConfig, predictor: Predictor) -> None:
        """Tell of this predictor from now on."""
        self._config, self._predictor = config, predictor
        self._hardware = hardware_name(predictor.device)

    def received(self, info: Mapping[str, Any]) -> None:
        """Take the message info of an image that came."""
        self._last_image = time.monotonic()
        self._gaps.see(info)

    def answered(self, stamp_ns: int, latency_s: float) -> None:
        """Count an image whose labels were published ``latency_s`` after it came in."""
        self._answered += 1
        self._recent_s.append(latency_s)
        self._age_s = (self._node.get_clock().now().nanoseconds - stamp_ns) / 1e9

    def dropped(self, reason: str, detail: str) -> None:
        """Count an image that could not be read; log why, once per reason in a while."""
        self._dropped[reason] += 1
        self._recent[reason] = f"images dropped, {reason}: {detail}"
        self._log_sometimes(reason, f"image dropped, {reason}: {detail}")

    def reload(self, text: str, is_trouble: bool = False) -> None:
        """Tell what becomes of another network that the parameters ask for."""
        self._reload = text
        if is_trouble:
            self._recent["reload"] = text
            self._node.get_logger().error(text)
        else:
            self._node.get_logger().info(text)

    def summary(self) -> str:
        """One line for the log at the end."""
        drops = [f"{count} {reason}" for reason, count in sorted(self._dropped.items())]
        return (
            f"images: {self._answered} answered, {self._skipped()} skipped for newer ones, "
            f"dropped: {', '.join(drops) or 'none'}"
        )

    def _skipped(self) -> str:
        return "unknown" if self._gaps.missed is None else str(self._gaps.missed)

    def _report(self) -> None:
        troubles = [*self._recent.values(), *self._lasting_troubles()]
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if troubles else DiagnosticStatus.OK,
            name=f"{self._node.get_name()}: network",
            message="; ".join(troubles) or "OK",
            hardware_id=self._hardware,
            values=[KeyValue(key=key, value=text) for key, text in self._values().items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        ros.publish(self._publisher, array)
        self._recent.clear()
        self._recent_s.clear()

    def _lasting_troubles(self) -> list[str]:
        troubles = []
        if self.camera_problem and self._predictor.gives_depth:
            text = (
                "depth has no camera_info and is that of the camera the network was trained for: "
                + self.camera_problem
            )
            troubles.append(text)
            # Once: it does not go away by itself.
            if text != self._told and self._log_sometimes("camera_info", text):
                self._told = text
        silence_s = time.monotonic() - self._last_image
        if silence_s > SILENCE_S:
            troubles.append(self._silence(silence_s))
            self._log_sometimes("silence", troubles[-1])
        return troubles

    def _silence(self, silence_s: float) -> str:
        topic = self._subscription.topic_name
        count = self._node.count_publishers(topic)
        if count == 0:
            return f"no image: nobody publishes {topic} (remap image to your camera's topic)"
        return (
            f"no image for {silence_s:.0f} s on {topic}, which has {count} publisher(s) "
            f"(input_qos is {self._config.input_qos}: a best-effort camera needs sensor_latest)"
        )

    def _values(self) -> dict[str, str]:
        now = time.monotonic()
        rate_hz = len(self._recent_s) / (now - self._last_report)
        self._last_report = now
        values = {
            "model": self._config.model,
            "runtime": self._predictor.runtime,
            "device": self._predictor.device,
            "precision": self._predictor.precision,
            "label_set": self._predictor.label_set.name,
            "answered": str(self._answered),
            "skipped": self._skipped(),
            "rate_hz": f"{rate_hz:.1f}",
        }
        if self._reload:
            values["reload"] = self._reload
        if self._recent_s:
            values["latency_ms"] = f"{statistics.median(self._recent_s) * 1e3:.1f}"
            values["latency_max_ms"] = f"{max(self._recent_s) * 1e3:.1f}"
        if self._age_s is not None:
            values["age_of_newest_image_s"] = f"{self._age_s:.3f}"
        for reason, count in sorted(self._dropped.items()):
            values[f"dropped/{reason}"] = str(count)
        for topic, count in sorted(ros.PUBLISH_FAILURES.items()):
            values[f"publish_failures{topic}"] = str(count)
        return values

    def _log_sometimes(self, kind: str, text: str) -> bool:
        """Log unless that was done a short while ago; say whether it was logged now."""
        now = time.monotonic()
        if now - self._logged.get(kind, -REPEAT_S) < REPEAT_S:
            return False
        self._logged[kind] = now
        self._node.get_logger().warning(text)
        return True
