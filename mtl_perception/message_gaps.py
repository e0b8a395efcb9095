# SPDX-License-Identifier: Apache-2.0
"""How many messages were sent and never seen, by the numbers that their publisher gives them.

A subscription of depth 1 keeps the newest message only, and best effort loses some on the way; the
middleware reports neither. Publishers count what they send, so a gap tells both.
"""

from collections.abc import Mapping
from typing import Any

MAX_PUBLISHERS = 64
"""Those that are remembered; a camera that restarts is a new one."""


class MessageGaps:
    """Counts what lies between the messages that are seen.

    Attributes:
        missed: messages since the first that was seen; None where the middleware does not number
            them (CycloneDDS, ROS 2 Humble).
    """

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self.missed: int | None = 0
        self._last: dict[bytes, int] = {}

    def see(self, info: Mapping[str, Any]) -> None:
        """Take the message info that rclpy hands out beside a message."""
        number = info.get("publication_sequence_number")
        if number is None or self.missed is None:
            self.missed = None
            return
        gid = info.get("publisher_gid")  # rclpy before Kilted: all publishers are one
        publisher = bytes(gid["data"]) if gid else b""
        last = self._last.pop(publisher, number - 1)
        self._last[publisher] = number
        if len(self._last) > MAX_PUBLISHERS:
            del self._last[next(iter(self._last))]
        self.missed += max(0, number - last - 1)
