# SPDX-License-Identifier: Apache-2.0
"""What all network configurations share (no torch)."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import nn

TASKS = ("labels", "depth", "normals", "contours", "parts", "saliency")
"""Every task name that a network may have as a key of its output."""


@dataclass(frozen=True)
class NetworkConfig(ABC):
    """Everything that says how a network is built; a checkpoint stores it beside the weights.

    One subclass per method, with fields of type str, int, float, bool or tuples of them.
    """

    method: ClassVar[str]
    """Name of the method, unique among the subclasses."""

    @abstractmethod
    def build(self) -> "nn.Module":
        """Return the network with fresh random weights."""

    def to_dict(self) -> dict[str, Any]:
        """Return ``method`` and all fields as what JSON can hold (tuples become lists there)."""
        return {"method": self.method, **asdict(self)}
