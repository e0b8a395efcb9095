# SPDX-License-Identifier: Apache-2.0
"""Parameters of the perception node and their checks; no ROS, so tests and tools can read them."""

from dataclasses import dataclass, fields

from mtl_perception.conventions import InvalidInput
from mtl_perception.predictor import PredictorConfig

IMAGE_TRANSPORTS = ("raw", "compressed")
INPUT_QOS = ("sensor_latest", "sensor_queue", "reliable")
LABEL_ENCODINGS = ("mono8", "16SC1")

LIVE = frozenset({field.name for field in fields(PredictorConfig)} | {"mask_classes"})
"""Parameters that may be set while the node runs: a network is loaded for them."""


@dataclass(frozen=True)
class PerceptionNodeConfig(PredictorConfig):
    """ROS parameters of ``perception_node``; those of the predictor come with it."""

    image_transport: str = "raw"  # or compressed: CompressedImage on image/compressed
    input_qos: str = "sensor_latest"  # or sensor_queue (best effort too), reliable
    queue_depth: int = 1  # images that may wait; 1 = the newest wins, more suit a replay
    label_encoding: str = "mono8"  # 255 = unlabelled; or 16SC1: -1 = unlabelled
    mask_classes: tuple[str, ...] = ()  # names of classes whose pixels are 255 in ~/semantic/mask

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InvalidInput: names the parameter, its value and what is allowed.
        """
        super().__post_init__()
        for name, choices in (
            ("image_transport", IMAGE_TRANSPORTS),
            ("input_qos", INPUT_QOS),
            ("label_encoding", LABEL_ENCODINGS),
        ):
            if getattr(self, name) not in choices:
                raise InvalidInput(
                    f"{name} {getattr(self, name)!r} is not one of {', '.join(choices)}"
                )
        if not 1 <= self.queue_depth <= 1000:
            raise InvalidInput(f"queue_depth {self.queue_depth} is not in 1..1000")
