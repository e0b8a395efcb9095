# SPDX-License-Identifier: Apache-2.0
"""The images on which a network fails most, kept while an evaluation runs."""

import heapq
from dataclasses import dataclass

from mtl_perception.data.sample import Sample
from mtl_perception.evaluation.evaluate import ImageScores, Predicted


@dataclass(frozen=True, eq=False)
class Failure:
    """An image and what was said of it."""

    sample: Sample
    predicted: Predicted
    scores: ImageScores


class WorstImages:
    """The few worst images by labels and by depth, in bounded memory."""

    def __init__(self, count: int) -> None:
        """Keep ``count`` images for each."""
        self._count = count
        self._labels: list[tuple[float, int, Failure]] = []
        self._depth: list[tuple[float, int, Failure]] = []
        self._seen = 0

    def add(self, sample: Sample, predicted: Predicted, scores: ImageScores) -> None:
        """Look at one more image; the ``watch`` of ``evaluate_model``."""
        self._seen += 1
        failure = Failure(sample, predicted, scores)
        if scores.mean_iou is not None:
            self._push(self._labels, -scores.mean_iou, failure)
        if scores.depth_abs_rel is not None:
            self._push(self._depth, scores.depth_abs_rel, failure)

    def by_labels(self) -> list[Failure]:
        """Return the images of lowest mean IoU, worst first."""
        return [failure for _, _, failure in sorted(self._labels, reverse=True)]

    def by_depth(self) -> list[Failure]:
        """Return the images of highest relative depth error, worst first."""
        return [failure for _, _, failure in sorted(self._depth, reverse=True)]

    def _push(
        self, heap: list[tuple[float, int, Failure]], badness: float, failure: Failure
    ) -> None:
        # Of equal ones the first stays, and failures themselves are never compared.
        heapq.heappush(heap, (badness, -self._seen, failure))
        if len(heap) > self._count:
            heapq.heappop(heap)
