# SPDX-License-Identifier: Apache-2.0
"""When to send what during a replay: reading ahead, and the clock of the recording; no ROS."""

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_LAG_S = 0.05
"""A replay that is later than this slows its clock down instead of sending a burst."""

_END = object()


class ReadAhead(Generic[T]):
    """Iterates over ``items`` a few steps ahead, on a thread; a context manager.

    An error of the items is raised where they are consumed.
    """

    def __init__(self, items: Iterable[T], size: int = 8) -> None:
        """Start reading.

        Args:
            items: what to read; touched by the thread only.
            size: how many may wait to be consumed.
        """
        self._queue: queue.Queue[object] = queue.Queue(size)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, args=(items,), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        """Yield the items in order."""
        while (item := self._queue.get()) is not _END:
            yield item  # type: ignore[misc]  # the queue holds T and _END
        if self._error is not None:
            raise self._error

    def __enter__(self) -> "ReadAhead[T]":
        """Enter the context."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading."""
        self._stop.set()
        while self._thread.is_alive():
            self._make_room()
            self._thread.join(timeout=0.05)

    def _read(self, items: Iterable[T]) -> None:
        try:
            for item in items:
                self._queue.put(item)
                if self._stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  handed to the consumer, whatever it is
            self._error = error
        finally:
            self._queue.put(_END)

    def _make_room(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()


class PlaybackClock:
    """Maps wall time to recording time at a rate; late replays slow it down."""

    def __init__(self, first_ns: int, rate: float) -> None:
        """Start at ``first_ns`` now.

        Args:
            first_ns: stamp that is shown now.
            rate: seconds of the recording per second.
        """
        self._rate = rate
        self._first_ns = first_ns
        self._start_s = time.monotonic()
        self.slipped_s = 0.0  # wall time by which the replay was slowed down

    def now_ns(self) -> int:
        """Time of the recording now."""
        elapsed_s = time.monotonic() - self._start_s
        return self._first_ns + round(elapsed_s * self._rate * 1e9)

    def wait_s(self, stamp_ns: int) -> float:
        """Wall seconds until ``stamp_ns`` is due; 0 when it is, and then the clock slips if late.

        The clock never runs far ahead of what is sent, so a consumer that goes by it does not
        give up on images that are only slow to read.
        """
        due_s = (stamp_ns - self._first_ns) / 1e9 / self._rate
        wait_s = due_s - (time.monotonic() - self._start_s)
        if wait_s < -MAX_LAG_S:
            self._start_s -= wait_s
            self.slipped_s -= wait_s
        return max(0.0, wait_s)
