# SPDX-License-Identifier: Apache-2.0
"""How well labels agree with the truth: confusion matrix, accuracy, IoU per class."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from mtl_perception.conventions import UNLABELLED
from mtl_perception.evaluation import segmentation


@dataclass(frozen=True)
class ClassScore:
    """Agreement for one class that the truth contains."""

    id: int
    name: str
    count: int  # samples (pixels, points) that truly have the class
    recall: float  # share of them with the right label
    precision: float  # share right of the samples labelled so; 0 when there are none
    iou: float  # right / (truly so or labelled so); unlabelled samples count as wrong


@dataclass(frozen=True)
class LabelScores:
    """Agreement of labels with the truth, over samples whose true class is known."""

    count: int  # samples with a true class
    labelled: float  # share of them that have a label
    accuracy: float  # share right of those that have a label
    mean_iou: float  # over the classes that the truth contains
    classes: tuple[ClassScore, ...]  # most frequent first

    def to_json(self) -> str:
        """Return the scores as JSON text."""
        return json.dumps(asdict(self), indent=1)

    def table(self) -> str:
        """Return the scores as lines of text for people."""
        lines = [f"{'class':<18}{'samples':>9}{'recall':>9}{'precision':>11}{'IoU':>8}"]
        lines += [
            f"{c.name:<18}{c.count:>9}{c.recall:>9.3f}{c.precision:>11.3f}{c.iou:>8.3f}"
            for c in self.classes
        ]
        lines.append(
            f"labelled {self.labelled:.1%}, of those right {self.accuracy:.1%}, "
            f"mean IoU {self.mean_iou:.3f} over {len(self.classes)} classes"
        )
        return "\n".join(lines)


class Confusion(segmentation.Confusion):
    """Counts of (true class, label) over any number of images or point sets."""

    def scores(self, names: Mapping[int, str]) -> LabelScores:
        """Return the scores so far; classes without a name are called by their id."""
        counts = self.counts
        true = counts.sum(axis=1)
        right = counts.diagonal()
        labelled_so = counts.sum(axis=0)
        present = sorted(np.flatnonzero(true), key=lambda c: (-true[c], c))
        classes = tuple(
            ClassScore(
                id=int(c),
                name=names.get(int(c), f"class {c}"),
                count=int(true[c]),
                recall=_share(right[c], true[c]),
                precision=_share(right[c], labelled_so[c]),
                iou=_share(right[c], true[c] + labelled_so[c] - right[c]),
            )
            for c in present
        )
        labelled = counts[:, :UNLABELLED].sum()
        return LabelScores(
            count=int(true.sum()),
            labelled=_share(labelled, true.sum()),
            accuracy=_share(right.sum(), labelled),
            mean_iou=float(np.mean([c.iou for c in classes])) if classes else 0.0,
            classes=classes,
        )


def _share(part: np.integer, whole: np.integer) -> float:
    return float(part / whole) if whole else 0.0
