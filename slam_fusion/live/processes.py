# SPDX-License-Identifier: Apache-2.0
"""Start the nodes as processes with the right environment, and stop them cleanly (no ROS needed).

What ``ros2 launch`` does on a robot, for the command line, the demo and the tests on machines
that have rclpy but no ROS install.
"""

import importlib.util
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn

from slam_fusion.live.node_environment import NodeProcessError as NodeProcessError
from slam_fusion.live.node_environment import config_file as config_file
from slam_fusion.live.node_environment import node_environment as node_environment
from slam_fusion.live.node_environment import private_environment as private_environment

log = logging.getLogger(__name__)

MODULES = {
    "perception": "mtl_perception.node",
    "fusion": "slam_fusion.node",
    "play": "slam_fusion.play.node_play",
}
"""Node name -> module that ``python -m`` runs."""

ParameterValue = str | int | float | bool | Sequence[str] | Sequence[int] | Sequence[float]


@dataclass(frozen=True)
class NodeSpec:
    """One node to start: which, with which parameters, files and remaps."""

    name: str  # key of MODULES; also the node's name
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    parameter_files: Sequence[Path] = ()
    remaps: Mapping[str, str] = field(default_factory=dict)

    def command(self) -> list[str]:
        """Command line of the process; parameters win over parameter files."""
        arguments = [sys.executable, "-m", MODULES[self.name], "--ros-args"]
        for file in self.parameter_files:
            arguments += ["--params-file", str(file)]
        for name, value in self.parameters.items():
            # JSON is YAML, which ROS parses: a quoted "10" stays a string, 1.0 stays a float.
            arguments += ["-p", f"{name}:={json.dumps(value)}"]
        for name, target in self.remaps.items():
            arguments += ["-r", f"{name}:={target}"]
        return arguments


class NodeProcesses:
    """The nodes that were started; a context manager that leaves none behind.

    Each node gets a session of its own, so that Ctrl-C in a terminal reaches only this process,
    which then stops the nodes in order: last started, first stopped.
    """

    def __init__(
        self, environment: Mapping[str, str] | None = None, log_folder: Path | None = None
    ) -> None:
        """Start nothing yet.

        Args:
            environment: variables for the nodes on top of ``node_environment()``.
            log_folder: the nodes' output goes to ``<name>.log`` there, else to ours.
        """
        self.exit_codes: dict[str, int] = {}
        self._environment = {**node_environment(), **(environment or {})}
        self._log_folder = log_folder
        self._logs: list[IO[bytes]] = []
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._previous_sigterm: Any = None

    def __enter__(self) -> "NodeProcesses":
        """Let SIGTERM unwind this process as an exit, or the nodes would outlive it."""
        if threading.current_thread() is threading.main_thread():
            self._previous_sigterm = signal.signal(signal.SIGTERM, _exit_on_sigterm)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop what still runs."""
        self.stop()
        if self._previous_sigterm is not None:
            signal.signal(signal.SIGTERM, self._previous_sigterm)

    def start(self, spec: NodeSpec) -> None:
        """Start a node; returns at once, its topics come later.

        Raises:
            NodeProcessError: a node of that name runs already, or rclpy is not installed.
        """
        if importlib.util.find_spec("rclpy") is None:
            raise NodeProcessError(
                "rclpy is not installed: source a ROS 2 install, or install this package's extra "
                '"ros" (offline mapping works without it)'
            )
        if spec.name in self._running:
            raise NodeProcessError(f"node {spec.name} runs already")
        output = self._log_file(spec.name)
        log.debug("starting %s", " ".join(spec.command()))
        self._running[spec.name] = subprocess.Popen(
            spec.command(),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
        )

    def running(self) -> list[str]:
        """Names of the nodes that still run; collects the exit codes of the others."""
        for name, process in list(self._running.items()):
            if (code := process.poll()) is not None:
                self.exit_codes[name] = code
                del self._running[name]
        return list(self._running)

    def pid(self, name: str) -> int:
        """Process id of a running node."""
        return self._running[name].pid

    def check(self) -> None:
        """Make sure that no node has failed.

        Raises:
            NodeProcessError: names the node, its exit code and the end of its log.
        """
        self.running()
        for name, code in self.exit_codes.items():
            if code != 0:
                raise NodeProcessError(f"node {name} ended with exit code {code}{self._tail(name)}")

    def wait(self, name: str, timeout_s: float) -> int:
        """Wait for a node that ends by itself; return its exit code.

        Raises:
            NodeProcessError: it still runs after ``timeout_s``, or another node failed meanwhile.
        """
        deadline = time.monotonic() + timeout_s
        while name in self.running():
            self.check()
            if time.monotonic() > deadline:
                raise NodeProcessError(f"node {name} still runs after {timeout_s:g} s")
            time.sleep(0.05)
        return self.exit_codes[name]

    def stop(self, timeout_s: float = 20.0) -> dict[str, int]:
        """Stop all nodes: SIGINT, and SIGKILL for those that still run after ``timeout_s`` each.

        Returns:
            Exit code by node name, those of nodes that ended earlier included; -9 was killed.
        """
        try:
            while running := self.running():
                self._stop_node(running[-1], timeout_s)
        finally:
            # Some are left only when a second Ctrl-C cut the wait short.
            while running := self.running():
                self._kill(running[-1])
            for file in self._logs:
                file.close()
            self._logs.clear()
        return self.exit_codes

    def _stop_node(self, name: str, timeout_s: float) -> None:
        process = self._running[name]
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            log.error("node %s did not stop within %g s and is killed", name, timeout_s)
            self._kill(name)

    def _kill(self, name: str) -> None:
        self._running[name].kill()
        self._running[name].wait()

    def _log_file(self, name: str) -> IO[bytes] | None:
        if self._log_folder is None:
            return None
        self._log_folder.mkdir(parents=True, exist_ok=True)
        self._logs.append((self._log_folder / f"{name}.log").open("wb"))
        return self._logs[-1]

    def _tail(self, name: str) -> str:
        if self._log_folder is None:
            return ""
        text = (self._log_folder / f"{name}.log").read_text(errors="replace")
        return ":\n" + "\n".join(text.splitlines()[-8:])


def _exit_on_sigterm(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
