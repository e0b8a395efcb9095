# SPDX-License-Identifier: Apache-2.0
"""Talk to running nodes from a command or a test: are they up, are they idle, save now."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from std_srvs.srv import Trigger

from mtl_perception.conventions import DenseSlamError

SPIN_S = 0.05


class NodeTimeout(DenseSlamError):
    """A node did not do in time what was waited for; says which and what."""


class NodeClient:
    """A small node of its own, in a context of its own; a context manager."""

    def __init__(self, name: str = "dense_semantic_slam_client") -> None:
        """Join the ROS graph of this process's environment."""
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._diagnostics: dict[str, dict[str, str]] = {}
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def __enter__(self) -> "NodeClient":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def wait_until(
        self,
        reached: Callable[[], bool],
        what: str,
        timeout_s: float,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        """Serve callbacks until ``reached()``.

        Args:
            reached: condition.
            what: its name in the error.
            timeout_s: how long to wait.
            watch: called all the time; may raise, for example ``NodeProcesses.check``.

        Raises:
            NodeTimeout: with ``what``.
        """
        deadline = time.monotonic() + timeout_s
        while not reached():
            watch()
            if time.monotonic() > deadline:
                raise NodeTimeout(f"{what} did not happen within {timeout_s:g} s")
            self._executor.spin_once(timeout_sec=SPIN_S)

    def wait_for_services(
        self, names: Sequence[str], timeout_s: float, watch: Callable[[], None] = lambda: None
    ) -> None:
        """Wait until all services, given by full name, answer.

        Raises:
            NodeTimeout: names those that are missing.
        """
        clients = [self._node.create_client(Trigger, name) for name in names]
        try:
            for client, name in zip(clients, names, strict=True):
                self.wait_until(
                    client.service_is_ready, f"service {name} coming up", timeout_s, watch
                )
        finally:
            for client in clients:
                self._node.destroy_client(client)

    def wait_for_publishers(
        self, topics: Sequence[str], timeout_s: float, watch: Callable[[], None] = lambda: None
    ) -> None:
        """Wait until each topic, given by full name, has a publisher.

        Raises:
            NodeTimeout: names the topic that has none.
        """
        for topic in topics:

            def published(topic: str = topic) -> bool:
                return self._node.count_publishers(topic) > 0

            self.wait_until(published, f"a publisher of {topic} coming up", timeout_s, watch)

    def trigger(self, name: str, timeout_s: float = 60.0) -> str:
        """Call a Trigger service; return its message.

        Raises:
            DenseSlamError: the service says no, with its message.
            NodeTimeout: no answer.
        """
        client = self._node.create_client(Trigger, name)
        try:
            self.wait_until(client.service_is_ready, f"service {name} coming up", timeout_s)
            future = client.call_async(Trigger.Request())
            self.wait_until(future.done, f"an answer of {name}", timeout_s)
            response = future.result()
        finally:
            self._node.destroy_client(client)
        if not response.success:
            raise DenseSlamError(f"{name}: {response.message}")
        return response.message

    def diagnostics(self, status: str = "fusion: map") -> dict[str, str]:
        """Newest values of a diagnostic status, empty before the first."""
        return self._diagnostics.get(status, {})

    def wait_for_frames(
        self,
        frame_count: int,
        timeout_s: float,
        status: str = "fusion: map",
        watch: Callable[[], None] = lambda: None,
    ) -> dict[str, str]:
        """Wait until the fusion node has accounted for ``frame_count`` frames; return its values.

        Raises:
            NodeTimeout: with the counts that were reached.
        """

        def reached() -> bool:
            return int(self.diagnostics(status).get("frames", 0)) >= frame_count

        try:
            self.wait_until(reached, f"frame {frame_count}", timeout_s, watch)
        except NodeTimeout as error:
            raise NodeTimeout(f"{error}; last diagnostics: {self.diagnostics(status)}") from None
        return self.diagnostics(status)

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            self._diagnostics[status.name] = {pair.key: pair.value for pair in status.values}
