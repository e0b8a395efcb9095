# SPDX-License-Identifier: Apache-2.0
"""What all network configurations share (no torch)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from mtl_perception.conventions import MAX_CLASSES, InvalidInput

if TYPE_CHECKING:
    from torch import nn

C = TypeVar("C", bound="NetworkConfig")

TASKS = ("labels", "depth", "normals", "contours", "parts", "saliency")
"""Every task name that a network may have as a key of its output."""


@dataclass(frozen=True)
class NetworkConfig(ABC):
    """Everything that says how a network is built; a checkpoint stores it beside the weights.

    One subclass per method, with fields of type str, int, float, bool or tuples of them.
    """

    method: ClassVar[str]
    """Name of the method, unique among the subclasses."""

    is_metric: ClassVar[bool] = True
    """Whether depth is in metres; False: right up to a factor that nothing in training tells."""

    @abstractmethod
    def build(self) -> "nn.Module":
        """Return the network with fresh random weights."""

    def to_dict(self) -> dict[str, Any]:
        """Return ``method`` and all fields as what JSON can hold (tuples become lists there)."""
        return {"method": self.method, **asdict(self)}


@dataclass(frozen=True)
class LabelledConfig(NetworkConfig):
    """Configuration of a network that predicts labels, of one or of several label sets at once."""

    tasks: tuple[str, ...] = ("labels", "depth")  # what the network predicts, of TASKS
    label_sets: tuple[tuple[str, int], ...] = (("nyu40", 40),)  # (name, classes) in channel order

    def __post_init__(self) -> None:
        """Refuse what no output can be made for; checkpoints of strangers bring configurations.

        Raises:
            InvalidInput: with the offending values.
        """
        if not self.tasks or not all(task in TASKS for task in self.tasks):
            raise InvalidInput(f"tasks {self.tasks}: want some of {', '.join(TASKS)}")
        if len(set(self.tasks)) != len(self.tasks):
            raise InvalidInput(f"tasks {self.tasks}: one is named twice")
        types = [tuple(map(type, entry)) for entry in self.label_sets if type(entry) is tuple]
        if not types or types != [(str, int)] * len(self.label_sets):
            raise InvalidInput(f"label sets {self.label_sets}: want (name, classes) of each")
        counts = [count for _, count in self.label_sets]
        if min(counts) < 1 or self.label_channels > MAX_CLASSES:
            raise InvalidInput(f"label sets {self.label_sets}: want 1 to {MAX_CLASSES} classes")
        if len(self.label_slices) != len(counts):
            raise InvalidInput(f"label sets {self.label_sets}: one is named twice")

    @property
    def label_channels(self) -> int:
        """Channels of ``labels``: the classes of all label sets."""
        return sum(count for _, count in self.label_sets)

    @property
    def label_slices(self) -> dict[str, slice]:
        """Channels of ``labels`` by label set; take the slice first, its argmax second."""
        slices, start = {}, 0
        for name, count in self.label_sets:
            slices[name] = slice(start, start + count)
            start += count
        return slices


def read_config(config_type: type[C], values: Mapping[str, Any]) -> C:
    """Return the configuration that ``to_dict`` wrote of a known method, from JSON as well.

    Raises:
        InvalidInput: a field that the method does not have, lacks, or has with another type.
    """
    method = config_type.method
    given = {name: _as_tuple(value) for name, value in values.items() if name != "method"}
    wanted = {f.name: f.default for f in fields(config_type)}
    if given.keys() != wanted.keys():
        raise InvalidInput(
            f"{method} network: want the fields {sorted(wanted)}, got {sorted(given)}"
        )
    for name, default in wanted.items():
        if type(given[name]) is not type(default):
            raise InvalidInput(
                f"{method} network: {name}={given[name]!r} is not a {type(default).__name__}"
            )
    return config_type(**given)


def _as_tuple(value: Any) -> Any:
    """JSON knows no tuples."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list | tuple) else value
