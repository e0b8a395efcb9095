# SPDX-License-Identifier: Apache-2.0
"""A data set and whatever predicts: every measure that the two have in common."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Protocol

import numpy as np

from mtl_perception.conventions import InvalidInput
from mtl_perception.data.sample import Dataset, Sample
from mtl_perception.evaluation.calibration import CalibrationMeter, CalibrationMetrics
from mtl_perception.evaluation.depth import DepthConfig, DepthMeter, DepthMetrics
from mtl_perception.evaluation.normals import NormalMeter, NormalMetrics
from mtl_perception.evaluation.segmentation import Confusion, SegmentationMetrics, keep_classes
from mtl_perception.labels import LabelSet


class Predicted(Protocol):
    """What is judged: ``predictor.Prediction``, or anything that has its arrays."""

    @property
    def labels(self) -> np.ndarray | None:
        """(H, W) uint8 class ids of the data set's label set, 255 = unlabelled."""
        ...

    @property
    def confidence(self) -> np.ndarray | None:
        """(H, W) float32 probability of the label."""
        ...

    @property
    def depth(self) -> np.ndarray | None:
        """(H, W) float32 metres, 0 = unknown."""
        ...

    @property
    def normals(self) -> np.ndarray | None:
        """(H, W, 3) float32 unit, 0 = unknown."""
        ...


@dataclass(frozen=True)
class EvaluationConfig:
    """What counts."""

    depth: DepthConfig = field(default_factory=DepthConfig)
    classes: tuple[int, ...] = ()  # true classes that count, the rest is unknown; () = all


@dataclass(frozen=True)
class ImageScores:
    """One image on its own; None: not judged."""

    name: str
    pixel_accuracy: float | None
    mean_iou: float | None  # over the classes that its truth has
    depth_abs_rel: float | None
    normal_angle: float | None  # mean, degrees


@dataclass(frozen=True)
class Evaluation:
    """All that was measured; None: the data set or the prediction does not have it."""

    dataset: str
    label_set: str  # "" = no labels
    segmentation: SegmentationMetrics | None
    calibration: CalibrationMetrics | None
    depth: DepthMetrics | None
    normals: NormalMetrics | None
    images: tuple[ImageScores, ...]  # every one, in the data set's order

    def to_json(self) -> str:
        """Return the whole as JSON text."""
        return json.dumps(asdict(self), indent=1)

    def table(self) -> str:
        """Return the main figures as lines of text for people."""
        lines = [f"{len(self.images)} images of {self.dataset}"]
        if s := self.segmentation:
            lines.append(
                f"labels   mean IoU {s.mean_iou:.3f} (classes of the truth; of truth or prediction "
                f"{s.mean_iou_either:.3f}, all {s.mean_iou_all:.3f}), pixel accuracy "
                f"{s.pixel_accuracy:.3f}, mean accuracy {s.mean_accuracy:.3f}"
            )
        if c := self.calibration:
            lines.append(f"trust    ECE {c.ece:.3f}, overconfident by {c.overconfidence:+.3f}")
        if d := self.depth:
            p = d.pooled
            lines.append(
                f"depth    rel {p.abs_rel:.3f}, RMSE {p.rmse:.3f} m, log10 {p.log10:.3f}, deltas "
                f"{p.delta1:.3f} {p.delta2:.3f} {p.delta3:.3f} (pooled); per image rel "
                f"{d.per_image.abs_rel:.3f}, RMSE {d.per_image.rmse:.3f} m; covers {d.coverage:.1%}"
            )
        if n := self.normals:
            lines.append(
                f"normals  mean {n.mean:.1f}, median {n.median:.1f} degrees, within 11.25: "
                f"{n.within_11:.1%}, 22.5: {n.within_22:.1%}, 30: {n.within_30:.1%}"
            )
        return "\n".join(lines)


def evaluate_model(
    predict: Callable[[Sample], Predicted],
    dataset: Dataset,
    config: EvaluationConfig | None = None,
    watch: Callable[[Sample, Predicted, ImageScores], None] = lambda *_: None,
) -> Evaluation:
    """Judge predictions for every sample of a data set.

    Args:
        predict: gives labels in ``dataset.label_set``, all arrays of the image's size.
        dataset: images and truth; a sample without an annotation does not count for its measures.
        config: what counts; None = the defaults.
        watch: told about every sample after it is judged.

    Raises:
        DataMissing, DataCorrupt: a file of the data set; evaluations do not pass over samples.
        InvalidInput: a prediction that does not fit its image, or an empty data set.
    """
    if not len(dataset):
        raise InvalidInput(f"{dataset.name} has no samples")
    meters = _Meters(config or EvaluationConfig(), dataset.label_set)
    images = []
    for i in range(len(dataset)):
        sample = dataset[i]
        prediction = predict(sample)
        images.append(meters.add(sample, prediction))
        watch(sample, prediction, images[-1])
    label_set = dataset.label_set
    return Evaluation(
        dataset.name,
        label_set.name if label_set else "",
        meters.confusion.metrics(label_set) if label_set else None,
        meters.calibration.metrics(),
        meters.depth.metrics(),
        meters.normals.metrics(),
        tuple(images),
    )


class _Meters:
    """The measures of a run, and of each image on its own."""

    def __init__(self, config: EvaluationConfig, label_set: LabelSet | None) -> None:
        self._label_set, self._classes = label_set, config.classes
        self.confusion, self.calibration = Confusion(), CalibrationMeter()
        self.depth, self.normals = DepthMeter(config.depth), NormalMeter()

    def add(self, sample: Sample, predicted: Predicted) -> ImageScores:
        own = self._add_labels(sample, predicted)
        errors = angle = None
        if sample.depth is not None and predicted.depth is not None:
            errors = self.depth.add(sample.depth, predicted.depth)
        if sample.normals is not None and predicted.normals is not None:
            angle = self.normals.add(sample.normals, predicted.normals)
        return ImageScores(
            sample.name,
            own.pixel_accuracy if own else None,
            own.mean_iou if own else None,
            errors.abs_rel if errors else None,
            angle,
        )

    def _add_labels(self, sample: Sample, predicted: Predicted) -> SegmentationMetrics | None:
        if sample.labels is None or predicted.labels is None or self._label_set is None:
            return None
        truth = keep_classes(sample.labels, self._classes) if self._classes else sample.labels
        single = Confusion()
        single.add(truth, predicted.labels)
        self.confusion.counts += single.counts
        if predicted.confidence is not None:
            self.calibration.add(truth, predicted.labels, predicted.confidence)
        return single.metrics(self._label_set)
