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
    """The few worst images for each task, in bounded memory."""

    def __init__(self, count: int) -> None:
        """Keep ``count`` images for each task."""
        self._count = count
        self._seen = 0
        self._heaps: dict[str, list[tuple[float, int, Failure]]] = {}

    def add(self, sample: Sample, predicted: Predicted, scores: ImageScores) -> None:
        """Look at one more image; the ``watch`` of ``evaluate_model``."""
        self._seen += 1
        failure = Failure(sample, predicted, scores)
        badness = {
            "labels": None if scores.mean_iou is None else -scores.mean_iou,
            "depth": scores.depth_abs_rel,
            "normals": scores.normal_angle,
        }
        for task, value in badness.items():
            if value is None:
                continue
            heap = self._heaps.setdefault(task, [])
            # Of equal ones the first stays, and failures themselves are never compared.
            heapq.heappush(heap, (value, -self._seen, failure))
            if len(heap) > self._count:
                heapq.heappop(heap)

    def by_task(self) -> dict[str, list[Failure]]:
        """Return the worst images, worst first, of each task that was judged.

        Tasks are called "labels" (by mean IoU), "depth" (relative error), "normals" (angle).
        """
        return {
            task: [failure for _, _, failure in sorted(heap, reverse=True)]
            for task, heap in self._heaps.items()
        }
