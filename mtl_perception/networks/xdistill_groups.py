# SPDX-License-Identifier: Apache-2.0
"""Semantic classes grouped by geometry, which a depth map can tell apart (no torch)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources

import numpy as np
import yaml

from mtl_perception.conventions import UNLABELLED, InvalidInput
from mtl_perception.labels import LABEL_SETS, LabelSet


@dataclass(frozen=True)
class ClassGroups:
    """A partition of (some of) the classes of a label set; groups are numbered in their order."""

    source: LabelSet
    groups: Mapping[str, tuple[str, ...]]  # group name -> names of classes of ``source``

    def __post_init__(self) -> None:
        """Refuse groups that are no partition.

        Raises:
            InvalidInput: no group, an empty one, a class that is not in ``source`` or is named
                twice.
        """
        if not self.groups:
            raise InvalidInput(f"class groups of {self.source.name!r}: there is no group")
        seen: set[str] = set()
        for group, classes in self.groups.items():
            if not classes:
                raise InvalidInput(f"class group {group!r} is empty")
            for name in classes:
                self.source.id_of(name)
                if name in seen:
                    raise InvalidInput(f"class group {group!r}: {name!r} is named twice")
                seen.add(name)

    def __len__(self) -> int:
        """Count of groups."""
        return len(self.groups)

    @cached_property
    def table(self) -> np.ndarray:
        """(256,) uint8: group by class id; 255 for 255 and for classes in no group. Read-only."""
        table = np.full(256, UNLABELLED, np.uint8)
        for number, classes in enumerate(self.groups.values()):
            table[[self.source.id_of(name) for name in classes]] = number
        table.setflags(write=False)
        return table


def load_class_groups(name: str) -> ClassGroups:
    """Return a grouping of ``data/class_groups.yaml``.

    Raises:
        InvalidInput: none there has that name.
    """
    groupings = _built_in()
    if name not in groupings:
        raise InvalidInput(f"no class groups {name!r}: there are {', '.join(groupings)}")
    return groupings[name]


@cache
def _built_in() -> dict[str, ClassGroups]:
    file = resources.files("mtl_perception") / "networks" / "data" / "class_groups.yaml"
    return {
        name: ClassGroups(
            LABEL_SETS[entry["source"]],
            {group: tuple(classes) for group, classes in entry["groups"].items()},
        )
        for name, entry in yaml.safe_load(file.read_text("utf-8")).items()
    }
