# SPDX-License-Identifier: Apache-2.0
"""How far two networks differ, and what it costs: one before and one after quantising, say."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from mtl_perception.conventions import UNLABELLED, InvalidInput
from mtl_perception.data.sample import Dataset, Sample
from mtl_perception.evaluation.evaluate import (
    Evaluation,
    EvaluationConfig,
    Predicted,
    evaluate_model,
)


@dataclass(frozen=True)
class Agreement:
    """What two networks say of the same images; None where one of them does not say it."""

    images: int
    labels_equal: float | None  # share of the pixels that either labels
    confidence_difference: float | None  # mean absolute, over the pixels of equal label
    depth_difference: float | None  # mean of |second - first| / first, where both know it


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two networks beside each other."""

    agreement: Agreement
    first: Evaluation
    second: Evaluation

    def to_json(self) -> str:
        """Return everything, for machines."""
        parts = {name: json.loads(getattr(self, name).to_json()) for name in ("first", "second")}
        return json.dumps({"agreement": asdict(self.agreement), **parts})

    def table(self) -> str:
        """Return the agreement, and each measure of both that the data set has truth for."""
        a = self.agreement
        lines = [f"{a.images} images"]
        if a.labels_equal is not None:
            lines.append(f"equal labels       {a.labels_equal:8.2%}")
            lines.append(f"confidence differs {a.confidence_difference:8.4f}")
        if a.depth_difference is not None:
            lines.append(f"depth differs      {a.depth_difference:8.2%}")
        measures = zip(_measures(self.first), _measures(self.second), strict=True)
        for (name, x), (_, y) in measures:
            if x is not None and y is not None:
                lines.append(f"{name:18s} {x:8.4f} -> {y:8.4f}  {y - x:+.4f}")
        return "\n".join(lines)


def _measures(evaluation: Evaluation) -> list[tuple[str, float | None]]:
    labels, depth = evaluation.segmentation, evaluation.depth
    return [
        ("mean IoU", labels.mean_iou if labels else None),
        ("pixel accuracy", labels.pixel_accuracy if labels else None),
        ("depth abs rel", depth.pooled.abs_rel if depth else None),
        ("depth RMSE, m", depth.pooled.rmse if depth else None),
        ("normals, degrees", evaluation.normals.mean if evaluation.normals else None),
    ]


def compare(
    first: Callable[[Sample], Predicted],
    second: Callable[[Sample], Predicted],
    dataset: Dataset,
    config: EvaluationConfig | None = None,
) -> Comparison:
    """Run two networks on every image of a data set, with or without truth.

    Args:
        first: see ``evaluate_model``; the differences are relative to it.
        second: the other one.
        dataset: images and, where there is, truth.
        config: what of the truth counts.

    Raises:
        DataMissing, DataCorrupt, InvalidInput: see ``evaluate_model``.
    """
    meter = _Meter()
    judged = evaluate_model(first, dataset, config)
    # The first one runs twice rather than keep its answers to all images.
    other = evaluate_model(second, dataset, config, lambda s, b, _: meter.add(first(s), b))
    return Comparison(meter.agreement(), judged, other)


class _Meter:
    """Sums over pixels."""

    def __init__(self) -> None:
        self.images = 0
        self.labels = np.zeros(3)  # equal, either labelled, sum of differences of confidence
        self.depth = np.zeros(2)  # sum of relative differences, pixels

    def add(self, a: Predicted, b: Predicted) -> None:
        """Count one image."""
        self.images += 1
        if a.labels is not None and b.labels is not None:
            if a.labels.shape != b.labels.shape:
                raise InvalidInput(f"labels are {a.labels.shape} and {b.labels.shape}")
            either = (a.labels != UNLABELLED) | (b.labels != UNLABELLED)
            equal = either & (a.labels == b.labels)
            self.labels[:2] += equal.sum(), either.sum()
            if a.confidence is not None and b.confidence is not None:
                self.labels[2] += np.abs(a.confidence - b.confidence)[equal].sum(dtype=np.float64)
        if a.depth is not None and b.depth is not None:
            both = (a.depth > 0) & (b.depth > 0)
            x, y = a.depth[both].astype(np.float64), b.depth[both]
            self.depth += (np.abs(y - x) / x).sum(), both.sum()

    def agreement(self) -> Agreement:
        equal, labelled, difference = self.labels
        depth, known = self.depth
        return Agreement(
            self.images,
            float(equal / labelled) if labelled else None,
            float(difference / equal) if equal else None,
            float(depth / known) if known else None,
        )
