# SPDX-License-Identifier: Apache-2.0
"""The frame ledger: what became of every frame, and why."""

import csv
import io
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mtl_perception.atomic_file import atomic_file

KEPT_ROWS = 200_000
"""Rows kept for the file: about two hours at 30 Hz; the counts go on for ever."""


class Outcome(str, Enum):
    """What became of a frame: fused, or dropped for one named reason."""

    FUSED = "fused"
    # A message that could not be read.
    BAD_ENCODING = "bad_encoding"
    BAD_IMAGE = "bad_image"
    BAD_CAMERA_INFO = "bad_camera_info"
    SIZE_MISMATCH = "size_mismatch"
    # A set of images that did not come together.
    NO_CAMERA_INFO = "no_camera_info"
    NO_DEPTH = "no_depth"
    NO_LABELS = "no_labels"
    NO_COLOR = "no_color"
    OUT_OF_ORDER = "out_of_order"
    CLOCK_JUMPED_BACK = "clock_jumped_back"
    # A frame that could not be placed.
    POSE_TIMEOUT = "pose_timeout"
    POSE_NEVER = "pose_never"
    BAD_POSE = "bad_pose"
    QUEUE_FULL = "queue_full"
    # A placed frame that could not be fused.
    DEPTH_EMPTY = "depth_empty"
    DEPTH_UNIT = "depth_unit"
    VOLUME_FULL = "volume_full"
    PAGE_DAMAGED = "page_damaged"
    RATE_LIMIT = "rate_limit"
    PAUSED = "paused"
    RESET = "reset"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True)
class LedgerRow:
    """One frame's end: its stamp, what became of it, and a detail for people."""

    stamp_ns: int
    outcome: Outcome
    detail: str


class Ledger:
    """Counts every frame's outcome; keeps the newest rows for the file."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.rows: list[LedgerRow] = []
        self._counts: Counter[Outcome] = Counter()

    def record(self, stamp_ns: int, outcome: Outcome, detail: str = "") -> None:
        """Add one frame's outcome; ``detail`` says what a person needs to mend it."""
        self._counts[outcome] += 1
        self.rows.append(LedgerRow(stamp_ns, outcome, detail))
        if len(self.rows) > KEPT_ROWS:
            del self.rows[: KEPT_ROWS // 10]

    @property
    def fused(self) -> int:
        """Count of fused frames."""
        return self._counts[Outcome.FUSED]

    @property
    def total(self) -> int:
        """Count of all frames that came."""
        return sum(self._counts.values())

    def counts(self) -> dict[str, int]:
        """Count of frames by outcome name, only those that happened, in the enum's order."""
        return {o.value: self._counts[o] for o in Outcome if self._counts[o]}

    def write_csv(self, path: Path) -> None:
        """Write ``stamp_ns,outcome,detail`` rows, atomically."""
        with atomic_file(path) as file:
            # Names of files and frames may hold what UTF-8 cannot say.
            text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="")
            writer = csv.writer(text)
            writer.writerow(["stamp_ns", "outcome", "detail"])
            writer.writerows((r.stamp_ns, r.outcome.value, r.detail) for r in self.rows)
            text.detach()  # its end would close what atomic_file has yet to bring to the disk
