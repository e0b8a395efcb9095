# SPDX-License-Identifier: Apache-2.0
"""One image with the annotations that it has; what it lacks is None, not zeros."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mtl_perception.conventions import UNLABELLED, DenseSlamError, Intrinsics, InvalidInput
from mtl_perception.labels import LabelSet


class DataMissing(DenseSlamError):
    """A data set's file or folder is not there; the message says which, and where it is from."""


class DataCorrupt(DenseSlamError):
    """A file of a data set is not what it should be; the message names it and what is wrong."""


@dataclass(frozen=True, eq=False)
class Sample:
    """An image and its annotations, all of the image's size and in the camera's optical frame."""

    name: str  # unique within its data set, for messages and reports
    color: np.ndarray  # (H, W, 3) uint8 RGB
    intrinsics: Intrinsics  # of this very image
    depth: np.ndarray | None = None  # (H, W) float32 metres along optical z, 0 = unknown
    labels: np.ndarray | None = None  # (H, W) uint8 class id, 255 = unlabelled
    normals: np.ndarray | None = None  # (H, W, 3) float32 unit, towards the camera; 0 = unknown
    instances: np.ndarray | None = None  # (H, W) uint16 object number, 0 = none
    neighbours: tuple[np.ndarray, ...] = ()  # colour of the frames before and after, if a video

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit each other.

        Raises:
            InvalidInput: naming the sample and the array, with what came and what was wanted.
        """
        shape = self.intrinsics.shape
        wanted = {
            "color": ((*shape, 3), np.uint8),
            "depth": (shape, np.float32),
            "labels": (shape, np.uint8),
            "normals": ((*shape, 3), np.float32),
            "instances": (shape, np.uint16),
        }
        for name, (size, dtype) in wanted.items():
            array = getattr(self, name)
            if array is not None and (array.shape != size or array.dtype != dtype):
                raise InvalidInput(
                    f"sample {self.name}: {name} is {array.shape} {array.dtype}, want {size} "
                    f"{np.dtype(dtype).name}"
                )
        for image in self.neighbours:
            if image.shape != (*shape, 3) or image.dtype != np.uint8:
                raise InvalidInput(
                    f"sample {self.name}: a neighbour is {image.shape} {image.dtype}, want "
                    f"{(*shape, 3)} uint8"
                )


def check_labels(labels: np.ndarray, label_set: LabelSet, name: str) -> None:
    """Refuse class ids that the label set does not have.

    Args:
        labels: (H, W) uint8; 255 is always allowed.
        label_set: what the ids mean.
        name: of the file, for the message.

    Raises:
        DataCorrupt: naming the ids.
    """
    known = np.zeros(256, bool)
    known[[c.id for c in label_set.classes]] = True
    known[UNLABELLED] = True
    present = np.bincount(labels.ravel(), minlength=256) > 0
    if (present & ~known).any():
        ids = np.flatnonzero(present & ~known).tolist()
        raise DataCorrupt(f"{name}: class ids {ids} are not in label set {label_set.name!r}")


class Dataset(Protocol):
    """Samples by number, in a fixed order; reading one twice gives the same bytes."""

    name: str
    label_set: LabelSet | None  # what labels mean; None: it has none

    def __len__(self) -> int:
        """Return the count of samples."""
        ...

    def __getitem__(self, index: int) -> Sample:
        """Read a sample.

        Raises:
            DataMissing, DataCorrupt: naming the file.
            IndexError: no such sample.
        """
        ...
