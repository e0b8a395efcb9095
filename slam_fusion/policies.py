# SPDX-License-Identifier: Apache-2.0
"""What becomes of the pixels of a class, by the class's name."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from mtl_perception.conventions import InvalidInput
from mtl_perception.labels import LabelSet

POLICIES = ("integrate", "ignore", "dynamic", "decay")
"""What a class may be.

* integrate: part of the map; what is not named.
* ignore: as if the camera had not looked there. For what depth sensors get wrong, mirrors say.
* dynamic: never part of the map, but what is seen before it is free. For people.
* decay: part of the map, with a short memory: its voxels weigh ``DECAY_WEIGHT`` at most, so what
  has moved is gone after few looks, and what is new counts at once. For chairs.
"""

DEFAULT_POLICIES = ("person=dynamic",)

DECAY_WEIGHT = 16
"""One near reading, see ``pixel_weights``, or as many far ones."""

RIM = 9
"""Pixels across by which dynamic things are widened: labels do not end where depth does."""

_NO_LIMIT = np.uint16(65535)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PolicyConfig:
    """What belongs to the map, and what leaves it."""

    class_policies: tuple[str, ...] = DEFAULT_POLICIES  # each as person=dynamic; see POLICIES
    carve_free_space: bool = True  # what a camera sees through leaves the map

    def __post_init__(self) -> None:
        """Refuse entries that are none.

        Raises:
            InvalidInput: names the entry, and what it should be.
        """
        names = [_parse(entry)[0] for entry in self.class_policies]
        if len(set(names)) < len(names):
            raise InvalidInput(f"class_policies={list(self.class_policies)}: a class comes twice")


class ClassPolicies:
    """The policies of one label set's classes."""

    def __init__(self, entries: tuple[str, ...], label_set: LabelSet | None) -> None:
        """Look the classes up; without a label set, as long as none is known, nothing applies.

        Raises:
            InvalidInput: a class that the set does not have, unless the entry is a default.
        """
        hidden, unseen = np.zeros(256, bool), np.zeros(256, bool)
        limits = np.full(256, _NO_LIMIT)
        for class_id, policy in _by_id(entries, label_set) if label_set else ():
            hidden[class_id] = policy in ("ignore", "dynamic")
            unseen[class_id] = policy == "ignore"
            if policy == "decay":
                limits[class_id] = DECAY_WEIGHT
        self._hidden, self._unseen = _Classes(hidden), _Classes(unseen)
        self.limits = limits if (limits < _NO_LIMIT).any() else None
        """(256,) uint16 as ``SemanticVolume.integrate`` takes them; None: no class decays."""

    def surface(self, depth: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """Return the depth of what belongs to the map.

        Args:
            depth: (H, W) float32 metres, 0 = unknown.
            labels: (H, W) uint8 class ids.

        Returns:
            (H, W) float32 metres, 0 also on and around what is dynamic or ignored.
        """
        return self._hidden.cut_out(depth, labels)

    def looked_at(self, depth: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """Return the depth up to which the camera saw; as ``surface``, with what is dynamic."""
        return self._unseen.cut_out(depth, labels)


class _Classes:
    """Some of the 256 class ids."""

    def __init__(self, members: np.ndarray) -> None:
        self._table = members.astype(np.uint8)
        self._any = bool(members.any())

    def cut_out(self, depth: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """Return depth that is 0 on and around the pixels of these classes."""
        if not self._any or labels is None:
            return depth
        mask = cv2.LUT(labels, self._table)
        if not mask.any():
            return depth
        return np.where(cv2.dilate(mask, np.ones((RIM, RIM), np.uint8)), np.float32(0), depth)


def _by_id(entries: tuple[str, ...], label_set: LabelSet) -> Iterator[tuple[int, str]]:
    """Yield class ids and their policies."""
    for name, policy in map(_parse, entries):
        if f"{name}={policy}" in DEFAULT_POLICIES and name not in label_set.names.values():
            logger.debug("label set %s has no class %s to be %s", label_set.name, name, policy)
        else:
            yield label_set.id_of(name), policy


def _parse(entry: str) -> tuple[str, str]:
    """Part ``name=policy``; names may hold anything, spaces and = too."""
    name, _, policy = entry.rpartition("=")
    name, policy = name.strip(), policy.strip()
    if not name or policy not in POLICIES:
        raise InvalidInput(
            f"class_policies: {entry!r} is not a class name, =, and one of {', '.join(POLICIES)}"
        )
    return name, policy
