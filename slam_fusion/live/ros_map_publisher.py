# SPDX-License-Identifier: Apache-2.0
"""Publishes the map while it grows: cloud, mesh, legend, objects, when it changed and one looks.

Only what changed is extracted. The cloud is then sent whole, for that is what one latched message
must be; of the mesh what changed. Objects, which are not local, are found anew, less often.
"""

import time
from collections.abc import Callable

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from mtl_perception import ros
from slam_fusion.live.cloud_parts import CloudParts
from slam_fusion.live.ros_mesh import MeshStream
from slam_fusion.live.ros_messages import (
    cloud_to_msg,
    corner_colors,
    legend_to_msg,
    surface_colors,
)
from slam_fusion.live.ros_objects import objects_to_msg
from slam_fusion.mapper import Mapper
from slam_fusion.node_config import FusionNodeConfig
from slam_fusion.objects import find_objects
from slam_fusion.tsdf.kernels_blocks import BLOCK_SIDE

UP = np.array([0.0, 0.0, 1.0])
"""REP 103: z of ``global_frame`` points up."""

MAX_SHARE = 0.2
"""Share of the time that publishing may take: it runs between frames, in the same thread."""


class MapPublisher:
    """Latched topics of one map: ``~/semantic_cloud``, ``~/mesh``, ``~/legend``, ``~/objects``."""

    def __init__(self, node: Node, config: FusionNodeConfig, mapper: Mapper) -> None:
        """Create the topics, and a timer for each that is not switched off."""
        self._config = config
        self._mapper = mapper
        self._cloud = node.create_publisher(PointCloud2, "~/semantic_cloud", ros.LATCHED)
        self._legend = node.create_publisher(MarkerArray, "~/legend", ros.LATCHED)
        self._mesh = node.create_publisher(MarkerArray, "~/mesh", ros.LATCHED)
        self._objects = node.create_publisher(MarkerArray, "~/objects", ros.LATCHED)
        block_size = BLOCK_SIDE * config.voxel_size
        group_blocks = max(1, round(config.mesh_group_size / block_size))
        self._cloud_parts = CloudParts()
        self._stream = MeshStream(config.global_frame, group_blocks)
        self._mesh_viewers = 0
        self._objects_version = -1
        self._mesh_seen = (-1, mapper.label_set)  # version, and what its colours mean
        self._timers = []
        # Steady time: viewers also want the map while a bag's clock stands still.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        for rate_hz, publish in (
            (config.publish_cloud_rate_hz, self.publish_cloud),
            (config.publish_mesh_rate_hz, self.publish_mesh),
            (config.publish_objects_rate_hz, self.publish_objects),
        ):
            if rate_hz > 0:
                self._timers.append(
                    node.create_timer(1 / rate_hz, _at_most(MAX_SHARE, publish), clock=clock)
                )

    def publish_cloud(self) -> None:
        """Publish cloud and legend if the map changed and one of them has a subscriber."""
        viewers = self._cloud.get_subscription_count() + self._legend.get_subscription_count()
        if not viewers or self._cloud_parts.version == self._mapper.volume.version:
            return
        with self._mapper.times.stage("publish_cloud"):
            parts = self._cloud_parts
            parts.update(self._mapper.volume.cloud_since(parts.version))
            surface = parts.whole()
            label_set = self._mapper.label_set
            colors = surface_colors(surface, label_set, self._config.color_mode)
            ros.publish(self._cloud, cloud_to_msg(surface, colors, self._header()))
            if label_set is not None:
                ros.publish(self._legend, legend_to_msg(surface, label_set, self._header()))

    def publish_mesh(self) -> None:
        """Publish the changed parts of the mesh, as many as the bandwidth limit allows."""
        viewers = self._mesh.get_subscription_count()
        if viewers > self._mesh_viewers:
            self._stream.resend_all()
        self._mesh_viewers = viewers
        if not viewers:
            return
        with self._mapper.times.stage("publish_mesh"):
            self._follow_mesh()
            budget = 1e6 / 8 * self._config.bandwidth_limit_mbps / self._config.publish_mesh_rate_hz
            message = self._stream.next_message(int(budget), self._header().stamp)
            if message is not None:
                ros.publish(self._mesh, message)

    def publish_objects(self) -> None:
        """Publish the objects on the map if it changed and there is a subscriber."""
        volume, label_set = self._mapper.volume, self._mapper.label_set
        is_new = self._objects_version != volume.version
        if label_set is None or not is_new or not self._objects.get_subscription_count():
            return
        with self._mapper.times.stage("publish_objects"):
            self._objects_version = volume.version
            found = find_objects(volume.extract_mesh(), label_set, UP)
            ros.publish(self._objects, objects_to_msg(found, label_set, self._header()))

    def _follow_mesh(self) -> None:
        """Bring the stream up to date with the map."""
        label_set, (version, colored_by) = self._mapper.label_set, self._mesh_seen
        if label_set is not colored_by:
            version = -1  # everything gets its class colours
        if version != self._mapper.volume.version:
            change = self._mapper.volume.mesh_since(version)
            colors = corner_colors(change.surface, label_set, self._config.color_mode)
            self._stream.update(change, colors)
            self._mesh_seen = (change.version, label_set)

    def _header(self) -> Header:
        trajectory = self._mapper.trajectory
        return ros.make_header(trajectory[-1][0] if trajectory else 0, self._config.global_frame)


def _at_most(share: float, call: Callable[[], None]) -> Callable[[], None]:
    """Wrap a timer's callback so that slow calls are skipped until they fill ``share`` of time."""
    free_at = 0.0

    def limited() -> None:
        nonlocal free_at
        start = time.monotonic()
        if start < free_at:
            return
        call()
        free_at = start + (time.monotonic() - start) / share

    return limited
