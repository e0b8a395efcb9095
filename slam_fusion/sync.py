# SPDX-License-Identifier: Apache-2.0
"""Images of one stamp meet here, and whole frames wait here for their pose; both bounded.

ROS's ``message_filters`` drops incomplete sets without a word. Here each one is entered in the
ledger with the image that was missing, which is why the package has its own matcher.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slam_fusion.frame import Frame
from slam_fusion.ledger import Ledger, Outcome

CLOCK_JUMP_NS = 1_000_000_000
"""A stamp this much older than the newest is a restarted clock (a looped bag), not a late image."""


KEPT_STAMPS = 1000
"""Stamps of dropped sets that are remembered: their late images belong to a frame that is counted
already. Half a minute at 30 Hz."""


@dataclass
class _PartialSet:
    stamp_ns: int
    values: dict[str, Any] = field(default_factory=dict)
    stamps_ns: dict[str, int] = field(default_factory=dict)  # own stamp of each value


class StampMatcher:
    """Collect one value of each kind per stamp.

    Kinds must arrive in stamp order each, as a DDS topic delivers them; kinds may interleave
    freely. A set is keyed by the stamp of its first member. When a set completes, older
    incomplete sets can never complete and are dropped, each under its missing kind's reason. What
    such a set lacked may come later still; it is passed over, or its frame would count twice.
    """

    def __init__(
        self,
        missing: Mapping[str, Outcome],
        ledger: Ledger,
        queue_size: int = 10,
        tolerance_ns: int = 0,
    ) -> None:
        """Expect the kinds that ``missing`` names.

        Args:
            missing: kind -> outcome recorded when a set ends without it. The first kind's
                stamp becomes the set's stamp.
            ledger: where dropped sets are entered.
            queue_size: incomplete sets kept; the oldest gives way.
            tolerance_ns: 0 pairs equal stamps only; otherwise the nearest set within it.
        """
        self._missing = dict(missing)
        self._reference = next(iter(self._missing))
        self._ledger = ledger
        self._queue_size = queue_size
        self._tolerance_ns = tolerance_ns
        self._pending: list[_PartialSet] = []  # sorted by stamp
        self._newest_ns: dict[str, int] = {}
        self._dropped: deque[tuple[str, int]] = deque(maxlen=KEPT_STAMPS)  # (lacking kind, stamp)

    def __len__(self) -> int:
        """Count of incomplete sets."""
        return len(self._pending)

    def add(self, kind: str, stamp_ns: int, value: Any) -> tuple[int, dict[str, Any]] | None:
        """Take one value; return (stamp_ns, {kind: value}) when it completes a set."""
        newest_ns = self._newest_ns.get(kind)
        behind_ns = 0 if newest_ns is None else newest_ns - stamp_ns
        if (kind, stamp_ns) in self._dropped and behind_ns < CLOCK_JUMP_NS:
            self._dropped.remove((kind, stamp_ns))
            return None
        if newest_ns is not None and behind_ns >= 0:
            if behind_ns < CLOCK_JUMP_NS:
                self._ledger.record(stamp_ns, Outcome.OUT_OF_ORDER, f"{kind} after {newest_ns}")
                return None
            self.clear(Outcome.CLOCK_JUMPED_BACK, f"{kind} went from {newest_ns} to {stamp_ns}")
        self._newest_ns[kind] = stamp_ns

        partial = self._set_for(kind, stamp_ns)
        partial.values[kind], partial.stamps_ns[kind] = value, stamp_ns
        if kind == self._reference:
            partial.stamp_ns = stamp_ns
        if len(partial.values) == len(self._missing):
            while self._pending[0] is not partial:
                self._drop(self._pending.pop(0))
            self._pending.pop(0)
            return partial.stamp_ns, partial.values
        while len(self._pending) > self._queue_size:
            self._drop(self._pending.pop(0))
        return None

    def clear(self, outcome: Outcome, detail: str = "") -> None:
        """Drop all incomplete sets for ``outcome`` and forget all stamps: they may come again."""
        for partial in self._pending:
            self._ledger.record(partial.stamp_ns, outcome, detail)
        self._pending.clear()
        self._newest_ns.clear()
        self._dropped.clear()

    def finish(self) -> None:
        """Drop all incomplete sets, each for the kind that it lacks: no more values will come."""
        for partial in self._pending:
            self._drop(partial)
        self._pending.clear()

    def _set_for(self, kind: str, stamp_ns: int) -> _PartialSet:
        open_sets = [p for p in self._pending if kind not in p.values]
        nearest = min(open_sets, key=lambda p: abs(p.stamp_ns - stamp_ns), default=None)
        if nearest and abs(nearest.stamp_ns - stamp_ns) <= self._tolerance_ns:
            return nearest
        partial = _PartialSet(stamp_ns)
        self._pending.append(partial)
        self._pending.sort(key=lambda p: p.stamp_ns)
        return partial

    def _drop(self, partial: _PartialSet) -> None:
        lacking = [kind for kind in self._missing if kind not in partial.values]
        self._ledger.record(partial.stamp_ns, self._missing[lacking[0]], "no " + ", ".join(lacking))
        stamps_ns = set(partial.stamps_ns.values())
        self._dropped.extend((kind, stamp_ns) for kind in lacking for stamp_ns in stamps_ns)


class FrameQueue:
    """Whole frames in stamp order, waiting for their pose; the oldest gives way."""

    def __init__(self, ledger: Ledger, size: int) -> None:
        """Hold at most ``size`` frames; enter what gives way in ``ledger``."""
        self._ledger = ledger
        self._size = size
        self._frames: deque[Frame] = deque()
        self._newest_ns: int | None = None

    def __len__(self) -> int:
        """Count of waiting frames."""
        return len(self._frames)

    @property
    def head(self) -> Frame:
        """The oldest waiting frame."""
        return self._frames[0]

    def add(self, frame: Frame) -> None:
        """Append a frame; late ones and the oldest of a full queue are dropped and counted."""
        if self._newest_ns is not None and frame.stamp_ns <= self._newest_ns:
            behind_ns = self._newest_ns - frame.stamp_ns
            if behind_ns < CLOCK_JUMP_NS:
                detail = f"{behind_ns / 1e6:.1f} ms behind the newest frame"
                self._ledger.record(frame.stamp_ns, Outcome.OUT_OF_ORDER, detail)
                return
            self.clear(Outcome.CLOCK_JUMPED_BACK, f"stamps went back by {behind_ns / 1e9:.3f} s")
        self._newest_ns = frame.stamp_ns
        self._frames.append(frame)
        if len(self._frames) > self._size:
            dropped = self.pop()
            detail = f"{self._size} newer frames wait for their pose"
            self._ledger.record(dropped.stamp_ns, Outcome.QUEUE_FULL, detail)

    def pop(self) -> Frame:
        """Remove and return the oldest frame."""
        return self._frames.popleft()

    def head_wait_ns(self) -> int:
        """How far the newest frame is ahead of the oldest one, in stamps."""
        assert self._newest_ns is not None
        return self._newest_ns - self.head.stamp_ns

    def clear(self, outcome: Outcome, detail: str = "") -> None:
        """Drop all waiting frames for ``outcome`` and forget the newest stamp."""
        while self._frames:
            self._ledger.record(self.pop().stamp_ns, outcome, detail)
        self._newest_ns = None
