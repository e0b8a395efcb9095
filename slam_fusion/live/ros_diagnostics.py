# SPDX-License-Identifier: Apache-2.0
"""The fusion node's health, once a second: on /diagnostics, and in the log when something is wrong.

The status is called ``fusion: map``. Its level is OK, WARN (frames were dropped in the last second,
or an input is silent) or ERROR (the map is full or damaged); its message says why. Its values are
numbers as text: see ``FusionDiagnostics._values``.
"""

import logging
import time
from collections import Counter

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from slam_fusion.ledger import Outcome
from slam_fusion.live.ros_inputs import ImageInputs
from slam_fusion.mapper import Mapper

log = logging.getLogger(__name__)

PERIOD_S = 1.0
SILENCE_S = 5.0
"""An input that has brought nothing for so long is reported."""

REPEAT_S = 10.0
"""The same trouble is logged again after so long."""

_NOT_TROUBLE = {Outcome.FUSED, Outcome.RATE_LIMIT, Outcome.PAUSED, Outcome.RESET}


class FusionDiagnostics:
    """Publishes the status of one mapper and its inputs, and logs new trouble in words."""

    def __init__(self, node: Node, mapper: Mapper, inputs: ImageInputs) -> None:
        """Create the topic and start the timer."""
        self._node = node
        self._mapper = mapper
        self._inputs = inputs
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._started = self._last_time = time.monotonic()
        self._last_total = self._last_fused = 0
        self._logged: dict[str, float] = {}
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(PERIOD_S, self.publish, clock=clock)

    def publish(self) -> None:
        """Publish the state now; log what is wrong."""
        level, messages = self._judge()
        for message in messages:
            self._log_once(message)
        status = DiagnosticStatus(
            level=level,
            name=f"{self._node.get_name()}: map",
            message="; ".join(messages) or "OK",
            values=[KeyValue(key=key, value=text) for key, text in self._values().items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)

    def _judge(self) -> tuple[bytes, list[str]]:
        """Level and messages, from what happened since the last call."""
        ledger = self._mapper.ledger
        new = ledger.total - self._last_total
        self._last_total = ledger.total
        rows = [r for r in ledger.rows[-new:] if r.outcome not in _NOT_TROUBLE] if new else []
        details = {row.outcome: row.detail for row in rows}
        counts = Counter(row.outcome for row in rows)
        messages = [
            f"{count} frames dropped, {outcome.value}: {details[outcome]}"
            for outcome, count in counts.items()
        ]
        if time.monotonic() - self._started > SILENCE_S:
            messages += self._inputs.problems()
        if Outcome.VOLUME_FULL in counts or Outcome.PAGE_DAMAGED in counts:
            return DiagnosticStatus.ERROR, messages
        return (DiagnosticStatus.WARN if messages else DiagnosticStatus.OK), messages

    def _values(self) -> dict[str, str]:
        """Every number that tells how the node does, as text."""
        mapper, volume = self._mapper, self._mapper.volume
        now = time.monotonic()
        rate_hz = (mapper.ledger.fused - self._last_fused) / max(now - self._last_time, 1e-3)
        self._last_time, self._last_fused = now, mapper.ledger.fused
        values = {
            "frames": str(mapper.ledger.total),
            "fused": str(mapper.ledger.fused),
            "fused_rate_hz": f"{rate_hz:.1f}",
            "waiting_for_images": str(len(self._inputs)),
            "waiting_for_pose": str(mapper.waiting),
            "blocks": str(volume.block_count),
            "block_capacity": str(volume.block_capacity),
            "memory_mb": f"{volume.memory_bytes / 2**20:.1f}",
            "paged_blocks": str(volume.paged_count),
            "page_outs": str(volume.page_outs),
            "page_ins": str(volume.page_ins),
            "disk_mb": f"{volume.disk_bytes / 2**20:.1f}",
            "label_set": mapper.label_set.name if mapper.label_set else "",
        }
        if mapper.trajectory:
            age_ns = self._node.get_clock().now().nanoseconds - mapper.trajectory[-1][0]
            values["age_of_newest_frame_s"] = f"{age_ns / 1e9:.3f}"
        for kind, count in self._inputs.received.items():
            values[f"received/{kind}"] = str(count)
        for outcome, count in mapper.ledger.counts().items():
            if outcome != Outcome.FUSED.value:
                values[f"dropped/{outcome}"] = str(count)
        for stage, times in mapper.times.summary().items():
            values[f"{stage}_ms"] = f"{times['median_ms']:.1f}"
        return values

    def _log_once(self, message: str) -> None:
        """Log trouble when it is new, and every ``REPEAT_S`` while it lasts; numbers may differ."""
        kind = "".join(c for c in message if not c.isdigit())
        if time.monotonic() - self._logged.get(kind, -REPEAT_S) < REPEAT_S:
            return
        if len(self._logged) > 1000:
            self._logged.clear()
        self._logged[kind] = time.monotonic()
        log.warning("%s", message)
