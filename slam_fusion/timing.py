# SPDX-License-Identifier: Apache-2.0
"""Wall time per stage, for summaries and diagnostics."""

import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

KEPT_SAMPLES = 4096
"""Samples kept per stage for the median; sums and counts cover everything."""


class StageTimes:
    """Milliseconds spent in named stages."""

    def __init__(self) -> None:
        """Start with no stage."""
        self._samples_ms: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=KEPT_SAMPLES))
        self._total_ms: dict[str, float] = defaultdict(float)
        self._count: dict[str, int] = defaultdict(int)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of a ``with`` statement; a body that raises is not counted."""
        start = time.perf_counter()
        yield
        self._add(name, 1e3 * (time.perf_counter() - start))

    def _add(self, name: str, ms: float) -> None:
        self._samples_ms[name].append(ms)
        self._total_ms[name] += ms
        self._count[name] += 1

    def summary(self) -> dict[str, dict[str, float]]:
        """Per stage: count, total_ms, median_ms and max_ms (of the newest samples), rate_hz."""
        return {
            name: {
                "count": self._count[name],
                "total_ms": round(self._total_ms[name], 3),
                "median_ms": round(median(samples), 3),
                "max_ms": round(max(samples), 3),
                "rate_hz": round(1e3 * self._count[name] / max(self._total_ms[name], 1e-6), 1),
            }
            for name, samples in self._samples_ms.items()
        }
