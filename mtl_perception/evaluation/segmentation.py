# SPDX-License-Identifier: Apache-2.0
"""Labels against true labels: accuracy and intersection over union (IoU)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mtl_perception.conventions import UNLABELLED, InvalidInput
from mtl_perception.labels import LabelSet


@dataclass(frozen=True)
class ClassMetrics:
    """Agreement for one class."""

    id: int
    name: str
    pixels: int  # that truly are of the class
    predicted: int  # that are labelled so, of those whose true class is known
    iou: float  # right / (truly so or labelled so); 0 where nothing is either
    recall: float  # right / truly so; 0 where nothing is
    precision: float  # right / labelled so; 0 where nothing is


@dataclass(frozen=True)
class SegmentationMetrics:
    """Agreement over all pixels whose true class is known, pooled over the images.

    A pixel that the prediction leaves unlabelled is a wrong one. Literature treats classes that
    are absent in three ways, so there are three means: compare like with like.
    """

    pixels: int
    labelled: float  # share that the prediction labels
    pixel_accuracy: float  # share right
    mean_accuracy: float  # mean recall of the classes that the truth has
    mean_iou: float  # over the classes that the truth has
    mean_iou_either: float  # over the classes that the truth or the prediction has (torchmetrics)
    mean_iou_all: float  # over all classes of the set, absent ones as 0 (Vandenhende's survey)
    classes: tuple[ClassMetrics, ...]  # by id; those that the truth or the prediction has


class Confusion:
    """Counts of (true class, label) pairs."""

    def __init__(self) -> None:
        """Start with nothing counted."""
        self.counts = np.zeros((256, 256), np.int64)  # [true class, label]; row 255 stays empty

    def add(self, truth: np.ndarray, labels: np.ndarray) -> None:
        """Count pixels, or other samples; those whose truth is 255 are left out.

        Args:
            truth: uint8 class ids of any shape.
            labels: uint8 class ids of the same shape, 255 = unlabelled.

        Raises:
            InvalidInput: shapes or types differ from that.
        """
        if truth.shape != labels.shape or truth.dtype != np.uint8 or labels.dtype != np.uint8:
            raise InvalidInput(
                f"truth {truth.shape} {truth.dtype} against labels {labels.shape} {labels.dtype}: "
                "want equal shapes of uint8"
            )
        known = truth != UNLABELLED
        pairs = truth[known].astype(np.int64) * 256 + labels[known]
        self.counts += np.bincount(pairs, minlength=256 * 256).reshape(256, 256)

    def metrics(self, label_set: LabelSet) -> SegmentationMetrics | None:
        """Return the agreement so far; None where no pixel has a known class."""
        pixels = int(self.counts.sum())
        if pixels == 0:
            return None
        true, predicted = self.counts.sum(axis=1), self.counts.sum(axis=0)
        right = self.counts.diagonal()
        iou = _ratio(right, true + predicted - right)
        recall = _ratio(right, true)
        ids = np.array([c.id for c in label_set.classes])
        in_truth, in_either = ids[true[ids] > 0], ids[true[ids] + predicted[ids] > 0]
        return SegmentationMetrics(
            pixels=pixels,
            labelled=float(1 - predicted[UNLABELLED] / pixels),
            pixel_accuracy=float(right.sum() / pixels),
            mean_accuracy=float(recall[in_truth].mean()),
            mean_iou=float(iou[in_truth].mean()),
            mean_iou_either=float(iou[in_either].mean()),
            mean_iou_all=float(iou[ids].mean()),
            classes=tuple(
                ClassMetrics(
                    int(i),
                    label_set.names[int(i)],
                    int(true[i]),
                    int(predicted[i]),
                    float(iou[i]),
                    float(recall[i]),
                    float(_ratio(right, predicted)[i]),
                )
                for i in in_either
            ),
        )


def keep_classes(truth: np.ndarray, ids: Iterable[int]) -> np.ndarray:
    """Return true labels with every class that is not among ``ids`` as unknown: (H, W) uint8."""
    table = np.full(256, UNLABELLED, np.uint8)
    kept = np.array(sorted(ids), np.uint8)
    table[kept] = kept
    return table[truth]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return part / np.maximum(whole, 1)
