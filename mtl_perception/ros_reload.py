# SPDX-License-Identifier: Apache-2.0
"""Another network while the node runs: its parameters are set, and it is loaded beside the old one.

    ros2 param set /perception model MODEL

What cannot be (no such file, a value out of range) is refused at once. All else takes seconds and
happens in a thread, while the network that is there goes on answering. In the end the new one
takes over between two images, or, when it cannot be loaded, the parameters go back to what runs.

The parameters say what is wanted, ``_config`` what runs; ``_step`` brings one to the other. So
parameters that come in one request, or while a network is being loaded, cost one load together.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import NoReturn

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from mtl_perception import ros
from mtl_perception.conventions import DenseSlamError
from mtl_perception.labels import load_label_set
from mtl_perception.models import locate_model
from mtl_perception.node_config import LIVE, PerceptionNodeConfig
from mtl_perception.predictor import Predictor

FAILURES = (DenseSlamError, MemoryError, OSError, RuntimeError)
"""What loading may end in; the last also is what runtimes raise when a GPU has no memory left."""


THREAD = "load_network"


def end_process(code: int) -> NoReturn:
    """End the process with this exit code, also while a network is being loaded.

    Python waits for its threads, and a load cannot be cut short: a stop would take as long.
    """
    if any(thread.name.startswith(THREAD) for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


class PredictorReloader:
    """Follows the live parameters of a perception node."""

    def __init__(
        self,
        node: Node,
        config: PerceptionNodeConfig,
        load: Callable[[PerceptionNodeConfig], Predictor],
        use: Callable[[PerceptionNodeConfig, Predictor], None],
        tell: Callable[[str, bool], None],
    ) -> None:
        """Watch the parameters.

        Args:
            node: whose parameters they are; they are declared.
            config: what runs now.
            load: makes a predictor that is ready to answer; called in a thread. It may raise
                ``FAILURES``.
            use: takes it over; called between two callbacks of the node.
            tell: is told what happens in words, and whether it is trouble.
        """
        self._node, self._config = node, config
        self._load, self._use, self._tell = load, use, tell
        self._is_open = True
        self._thread = ThreadPoolExecutor(1, THREAD)
        self._loading: tuple[PerceptionNodeConfig, Future[Predictor]] | None = None
        self._wake = node.create_guard_condition(self._step)
        node.add_on_set_parameters_callback(self._check)

    def close(self) -> None:
        """Stop following; what is being loaded comes to nothing."""
        self._is_open = False
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _check(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        """Refuse what can be told to be wrong at once; called before the parameters are set."""
        try:
            wanted = ros.with_values(ros.read(self._node, PerceptionNodeConfig), parameters)
            if wanted.model != self._config.model:  # what runs may have lost its file
                locate_model(wanted.model)
            if wanted.label_set not in ("", self._config.label_set):
                load_label_set(wanted.label_set)
        except DenseSlamError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if LIVE & {parameter.name for parameter in parameters}:
            self._wake.trigger()
        return SetParametersResult(successful=True)

    def _step(self) -> None:
        """Finish a load that is done; start one when the parameters ask for another network."""
        if self._loading is not None:
            wanted, predictor = self._loading
            if not predictor.done():
                return  # its end wakes us again
            self._loading = None
            self._finish(wanted, predictor)
        wanted = ros.read(self._node, PerceptionNodeConfig)
        if wanted != self._config:
            self._start(wanted)

    def _start(self, wanted: PerceptionNodeConfig) -> None:
        self._tell(f"loading {self._words(wanted)}; {self._config.model} answers until then", False)
        future = self._thread.submit(self._load, wanted)
        self._loading = wanted, future
        future.add_done_callback(self._on_done)

    def _on_done(self, _: "Future[Predictor]") -> None:
        if self._is_open:
            self._wake.trigger()

    def _finish(self, wanted: PerceptionNodeConfig, predictor: "Future[Predictor]") -> None:
        words = self._words(wanted)
        try:
            self._use(wanted, predictor.result())
        except FAILURES as error:
            self._tell(f"not loaded: {words}: {error}; {self._config.model} goes on", True)
            if ros.read(self._node, PerceptionNodeConfig) == wanted:
                self._put_back()
            return
        self._config = wanted
        self._tell(f"loaded {words}", False)

    def _words(self, wanted: PerceptionNodeConfig) -> str:
        """Return the model and what else is to change."""
        before, after = asdict(self._config), asdict(wanted)
        changes = (f"{name} {after[name]!r}" for name in after if after[name] != before[name])
        return f"{wanted.model} ({', '.join(changes)})"

    def _put_back(self) -> None:
        values = asdict(self._config)
        self._node.set_parameters_atomically([Parameter(name, value=values[name]) for name in LIVE])
