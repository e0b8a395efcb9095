# SPDX-License-Identifier: Apache-2.0
"""ROS 2 node: depth, labels, colour and poses in; a labelled 3-D map out."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from mtl_perception import ros
from mtl_perception.conventions import DenseSlamError, InvalidInput
from mtl_perception.labels import LabelSet, load_label_set
from slam_fusion.frame import Frame
from slam_fusion.ledger import Outcome
from slam_fusion.live.ros_diagnostics import FusionDiagnostics
from slam_fusion.live.ros_inputs import ImageInputs
from slam_fusion.live.ros_map_publisher import MapPublisher
from slam_fusion.live.ros_poses import open_pose_source
from slam_fusion.mapper import Mapper
from slam_fusion.node_config import FusionNodeConfig
from slam_fusion.output.export import MAP_FILE, OutputFolderError, package_versions, prepare_folder
from slam_fusion.output.map_io import save_map, snapshot
from slam_fusion.output.ply import write_ply, write_ply_parts
from slam_fusion.sync import CLOCK_JUMP_NS
from slam_fusion.volume import SemanticVolume

POLL_S = 0.05
"""Frames that wait for TF, which calls nobody when it has news, are looked at this often."""

LABEL_SET_WAIT_S = 5.0
"""Depth is subscribed to when the label set has come, at the latest after so long. That shows that
labels will come too: a player that waits for a subscriber of depth loses no first frame."""


class FusionNode(Node):
    """Joins the topics, the mapper and the services; one thread, so nothing needs a lock.

    Attributes:
        mapper: the pipeline and its map.
        inputs: the image topics.
        poses: where the camera was.
    """

    def __init__(self) -> None:
        """Declare the parameters of ``FusionNodeConfig`` and connect the topics and services.

        Raises:
            DenseSlamError: a parameter that cannot work, or no tf2_ros for ``pose_source: tf``.
        """
        super().__init__("fusion")
        ros.forward_logging(self)
        self._config = ros.declare(self, FusionNodeConfig)
        self.mapper = Mapper(self._config)
        self._paused = False
        self._newest_ns = 0
        self.inputs = ImageInputs(self, self._config, self.mapper.ledger, self._on_frame)
        if self._config.label_set:
            self.mapper.label_set = load_label_set(self._config.label_set)
        else:
            self.create_subscription(String, "label_set", self._on_label_set, ros.LATCHED)
        self._publisher = MapPublisher(self, self._config, self.mapper)
        self._diagnostics = FusionDiagnostics(self, self.mapper, self.inputs)
        # Or the first frames would wait for the compiler.
        SemanticVolume.warm_up(self._config.device)
        self.poses = open_pose_source(self, self._config, self._integrate)
        for name, action in (
            ("save_map", self.save_map),
            ("save_mesh", self.save_mesh),
            ("reset", self.reset),
            ("pause", self.pause),
            ("resume", self.resume),
        ):
            self.create_service(Trigger, f"~/{name}", _trigger(action))
        self._start_by = time.monotonic() + LABEL_SET_WAIT_S
        self.create_timer(POLL_S, self._poll, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def save_map(self) -> str:
        """Write the map file and the ledger into ``output_folder``; return what was written."""
        path = self._output_folder() / MAP_FILE
        provenance = {"source": self.get_fully_qualified_name(), "versions": package_versions()}
        size = save_map(path, snapshot(self.mapper, provenance))
        self.mapper.ledger.write_csv(path.with_name("ledger.csv"))
        return (
            f"{self.mapper.volume.block_count} blocks from {self.mapper.ledger.fused} frames, "
            f"{size / 1e6:.1f} MB in {path}"
        )

    def save_mesh(self) -> str:
        """Write mesh.ply into ``output_folder``; return what was written."""
        path = self._output_folder() / "mesh.ply"
        volume = self.mapper.volume
        if volume.paged_count:  # in parts: the whole would not fit in the map's memory
            size = write_ply_parts(path, volume.mesh_parts())
            return f"mesh in parts, {size / 1e6:.1f} MB in {path}"
        mesh = volume.extract_mesh()
        size = write_ply(path, mesh)
        return f"{len(mesh.triangles)} triangles, {size / 1e6:.1f} MB in {path}"

    def reset(self) -> str:
        """Empty the map and all queues; return what is gone."""
        block_count = self.mapper.volume.block_count
        self.inputs.drop_waiting(Outcome.RESET, "the map was reset")
        self.mapper.reset()
        return f"{block_count} blocks forgotten"

    def pause(self) -> str:
        """Count coming frames as paused instead of fusing them."""
        self._paused = True
        return "paused: frames are dropped until ~/resume"

    def resume(self) -> str:
        """Fuse coming frames again."""
        self._paused = False
        return "fusing"

    def on_shutdown(self) -> None:
        """Account for all frames; save the map when ``save_on_shutdown`` is set.

        Raises:
            OutputFolderError: it cannot be saved.
        """
        self._integrate()
        self.inputs.finish()
        self.mapper.finish()
        self.get_logger().info(f"frames: {self.mapper.ledger.counts()}")
        if self._config.save_on_shutdown:
            try:
                self.get_logger().info(self.save_map())
            except OSError as error:
                raise OutputFolderError(f"the map is not saved: {error}") from error

    def _poll(self) -> None:
        """Start when the label set is known, and go on with what waits for a pose."""
        ready = self.mapper.label_set is not None or not self._config.use_labels
        if not self.inputs.started and (ready or time.monotonic() > self._start_by):
            self.inputs.start()
        self._integrate()

    def _on_frame(self, frame: Frame) -> None:
        if frame.stamp_ns < self._newest_ns - CLOCK_JUMP_NS:
            self._on_clock_jump(frame.stamp_ns)
        self._newest_ns = frame.stamp_ns
        if self._paused:
            self.mapper.ledger.record(frame.stamp_ns, Outcome.PAUSED)
            return
        self.mapper.add(frame)
        self._integrate()

    def _integrate(self) -> None:
        self.mapper.integrate_ready(self.poses)

    def _on_clock_jump(self, stamp_ns: int) -> None:
        detail = f"stamps went back from {self._newest_ns} to {stamp_ns}"
        self.mapper.drop_waiting(Outcome.CLOCK_JUMPED_BACK, detail)
        if self._config.reset_on_clock_jump:
            self.mapper.reset()
        fate = "map emptied" if self._config.reset_on_clock_jump else "map kept"
        self.get_logger().warning(f"{detail} (a bag that loops?): {fate}")

    def _on_label_set(self, msg: String) -> None:
        try:
            label_set = LabelSet.from_json(msg.data)
        except InvalidInput as error:
            self.get_logger().error(f"label_set refused: {error}")
            return
        if self.mapper.label_set not in (None, label_set):
            self.get_logger().error(
                f"perception now speaks label set {label_set.name!r} but the map holds "
                f"{self.mapper.label_set.name!r}: restart one of them; the map's stays"
            )
            return
        self.mapper.label_set = label_set

    def _output_folder(self) -> Path:
        folder = Path(self._config.output_folder).resolve()
        prepare_folder(folder)
        return folder


def _trigger(
    action: Callable[[], str],
) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
    """Wrap ``action`` as a service: its text is the reply, its failure too."""

    def serve(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.message, response.success = action(), True
        except (DenseSlamError, OSError) as error:
            response.message, response.success = str(error), False
        return response

    return serve


def main() -> int:
    """Entry point of ``ros2 run dense_semantic_slam fusion_node``."""
    return ros.spin(FusionNode)


if __name__ == "__main__":
    sys.exit(main())
