# SPDX-License-Identifier: Apache-2.0
"""Small images that stay in memory, and data sets that lack some of their labels."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from mtl_perception.data.sample import Dataset, Sample
from mtl_perception.labels import LabelSet

PART = 1 / 8
"""Share of the images that keep their labels where labels are made scarce."""


@dataclass(eq=False)
class SampleList:
    """Samples in memory: a data set."""

    name: str
    label_set: LabelSet | None
    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        """Return the count of samples."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        """Return a sample."""
        return self.samples[index]

    @property
    def fingerprint(self) -> str:
        """Name, count, and a checksum over the names of the samples."""
        names = "\n".join(sample.name for sample in self.samples)
        return f"{self.name}, {len(self)} images, {hashlib.sha256(names.encode()).hexdigest()[:12]}"

    def first(self, share: float) -> "SampleList":
        """Return the first of the samples: of shards, those of the first rooms."""
        return replace(self, samples=self.samples[: max(1, round(share * len(self)))])

    def relabelled(
        self, share: float, labels_of: Callable[[Sample], np.ndarray | None]
    ) -> "SampleList":
        """Return the samples with other labels, but for the first ``share``."""
        kept = self.first(share).samples
        others = (replace(s, labels=labels_of(s)) for s in self.samples[len(kept) :])
        return replace(self, samples=(*kept, *others))


def load_small(dataset: Dataset, height: int, most: int) -> SampleList:
    """Read at most ``most`` samples, evenly spread, and shrink them to ``height`` pixels.

    Raises:
        DataMissing, DataCorrupt: what the data set says of its files.
    """
    count = min(most, len(dataset))
    chosen = (np.arange(count) * len(dataset)) // max(1, count)
    samples = tuple(shrink(dataset[int(i)], height) for i in chosen)
    return SampleList(dataset.name, dataset.label_set, samples)


def shrink(sample: Sample, height: int) -> Sample:
    """Return a sample at another height, aspect kept; targets are those of the nearest pixel."""
    camera = sample.intrinsics
    width = round(camera.width * height / camera.height)

    def nearest(array: np.ndarray | None) -> np.ndarray | None:
        if array is None:
            return None
        return cv2.resize(array, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)

    def mean(image: np.ndarray) -> np.ndarray:
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)

    return replace(
        sample,
        color=mean(sample.color),
        intrinsics=camera.resized(width, height),
        depth=nearest(sample.depth),
        labels=nearest(sample.labels),
        normals=nearest(sample.normals),
        instances=None,
        neighbours=tuple(mean(image) for image in sample.neighbours),
    )
