# SPDX-License-Identifier: Apache-2.0
"""What the networks of Nekrasov et al. are built from, as numbers (no torch)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mtl_perception.conventions import InvalidInput
from mtl_perception.networks.config import LabelledConfig, NetworkConfig

if TYPE_CHECKING:
    from mtl_perception.networks.nekrasov import NekrasovNet

HEADS = {"depth": "depth", "labels": "segm", "normals": "normal"}
"""Released name of each task's head, in the order of the released keys."""


@dataclass(frozen=True)
class NekrasovConfig(LabelledConfig):
    """One network of the family; the defaults are the released NYUD network."""

    method: ClassVar[str] = "nekrasov"

    align_corners: bool = False  # of the decoder's resizing; DenseTorch trained with True
    legacy_expand_t1: bool = True  # the released weights have the convolution that expands nothing
    grouped_crp1: bool = True  # False in the single-task Light-Weight RefineNet
    pre_heads: bool = True  # False there as well
    separable_pool: bool = False  # same values, faster training and compiled code on CPUs

    def __post_init__(self) -> None:
        """Refuse what no head can be built for.

        Raises:
            InvalidInput: with the offending values.
        """
        super().__post_init__()
        if not set(self.tasks) <= set(HEADS):
            raise InvalidInput(f"tasks {self.tasks}: {self.method} has {', '.join(HEADS)}")

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each task's output."""
        known = {"labels": self.label_channels, "depth": 1, "normals": 3}
        return {task: known[task] for task in self.tasks}

    def build(self) -> "NekrasovNet":
        """Return the network with fresh random weights."""
        from mtl_perception.networks.nekrasov import NekrasovNet

        return NekrasovNet(self)


def presets() -> dict[str, NetworkConfig]:
    """Return the four published networks by name."""
    three = ("labels", "depth", "normals")
    kitti, both = (("kitti6", 6),), (("nyu40", 40), ("kitti6", 6))
    return {
        "nekrasov-nyud": NekrasovConfig(),
        "nekrasov-kitti": NekrasovConfig(label_sets=kitti),
        "nekrasov-nyud-normals": NekrasovConfig(tasks=three),
        "nekrasov-nyud-kitti": NekrasovConfig(label_sets=both),
    }
