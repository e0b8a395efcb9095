# SPDX-License-Identifier: Apache-2.0
"""QoS that a bag declares for its topics, so that ``ros2 bag play`` offers the same."""

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

_FOREVER = QosTime(9223372036, 854775807)  # what rosbag2 writes for "no limit"


def _qos(depth: int, durability: QosDurability) -> Qos:
    return Qos(
        QosHistory.KEEP_LAST,
        depth,
        QosReliability.RELIABLE,
        durability,
        deadline=_FOREVER,
        lifespan=_FOREVER,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_FOREVER,
        avoid_ros_namespace_conventions=False,
    )


RELIABLE = _qos(10, QosDurability.VOLATILE)
LATCHED = _qos(1, QosDurability.TRANSIENT_LOCAL)
"""For messages that are sent once and that late subscribers need: /tf_static, label sets."""
