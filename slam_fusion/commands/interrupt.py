# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM as an event, so that long work ends at a place of its own choosing."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signal(notice: str) -> Iterator[threading.Event]:
    """Set the event at the first SIGINT or SIGTERM; a second raises KeyboardInterrupt.

    Only the main thread of a program may use it. Handlers are set even where the shell made the
    program ignore SIGINT, as it does in the background of a script.

    Args:
        notice: what to tell the user at the first signal.
    """
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        log.warning("%s (Ctrl-C again to give up)", notice)
        stop.set()
        for number in _SIGNALS:
            signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
