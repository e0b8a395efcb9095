# SPDX-License-Identifier: Apache-2.0
"""What the network adds to a frame, and whose labels it brings: recording's, network's, none."""

import logging
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from mtl_perception.conventions import InvalidInput
from mtl_perception.labels import LabelSet, remap_table
from slam_fusion.frame import Frame

if TYPE_CHECKING:
    from mtl_perception.predictor import Prediction, Predictor
    from slam_fusion.mapper import Mapper
    from slam_fusion.recordings.recording import Recording


log = logging.getLogger(__name__)


class LabelSource(str, Enum):
    """Where the labels of the map come from."""

    AUTO = "auto"  # the recording's, where it says what they mean; else the network's
    RECORDING = "recording"
    NETWORK = "network"
    NONE = "none"


class Labeller:
    """Gives each frame the labels and the predicted depth that the user asked for.

    Labels come out in one label set. The network runs once for both.
    """

    def __init__(
        self,
        source: LabelSource,
        recording: "Recording",
        mapper: "Mapper",
        predictor: "Predictor | None",
    ) -> None:
        """Settle the label set of the map, ``mapper.label_set``, where it is not given.

        A given one says what recorded ids mean when the recording itself does not.

        Raises:
            InvalidInput: ``source`` or ``depth_source`` needs a network that is not there or has
                no depth, or recorded ids whose meaning nobody knows.
        """
        self._wants_depth = mapper.config.depth_source != "sensor"
        if self._wants_depth and (predictor is None or not predictor.gives_depth):
            reason = "no network is loaded" if predictor is None else "this network has no depth"
            raise InvalidInput(f"depth_source={mapper.config.depth_source}, but {reason}")
        if source is LabelSource.NETWORK and predictor is None:
            raise InvalidInput("labels=network, but no network is loaded")
        recorded_set = recording.label_set or mapper.label_set
        if source is LabelSource.RECORDING and recorded_set is None:
            raise InvalidInput(
                "labels=recording, but nothing says what the recorded ids mean: name a label set"
            )
        wants_recorded = source in (LabelSource.AUTO, LabelSource.RECORDING)
        wants_network = source in (LabelSource.AUTO, LabelSource.NETWORK)
        self._uses_recorded = wants_recorded and recorded_set is not None
        self._labels_predicted = wants_network and predictor is not None
        self._predictor = predictor if wants_network or self._wants_depth else None
        self._times = mapper.times
        self._warned = False

        network_set = predictor.label_set if predictor and self._labels_predicted else None
        own_set = recorded_set if self._uses_recorded else network_set
        mapper.label_set = mapper.label_set or own_set
        self._recorded_table = _table(recorded_set, mapper.label_set)
        self._network_table = _table(network_set, mapper.label_set)

    def __call__(self, frame: Frame) -> Frame:
        """Return the frame with what is to be fused; without labels where there are none."""
        prediction = self._predict(frame)
        if prediction is not None and self._wants_depth:
            frame = replace(frame, predicted_depth=prediction.depth)
        if self._uses_recorded and frame.labels is not None:
            return replace(frame, labels=self._recorded_table[frame.labels])
        if frame.labels is not None and not self._labels_predicted and not self._warned:
            log.warning("recorded labels are left out of the map; labels=recording fuses them")
            self._warned = True
        if prediction is None or not self._labels_predicted:
            return replace(frame, labels=None, confidence=None)
        labels = self._network_table[prediction.labels]
        return replace(frame, labels=labels, confidence=prediction.confidence)

    def _predict(self, frame: Frame) -> "Prediction | None":
        """Run the network where something of what it says is wanted."""
        has_labels = self._uses_recorded and frame.labels is not None
        wanted = self._wants_depth or (self._labels_predicted and not has_labels)
        if self._predictor is None or frame.color is None or not wanted:
            return None
        with self._times.stage("predict"):
            return self._predictor(frame.color, frame.intrinsics.fx)


def _table(source: LabelSet | None, target: LabelSet | None) -> np.ndarray:
    """(256,) uint8 map of ids; every id to itself where the sets agree or one is missing."""
    if source is None or target is None or source == target:
        return np.arange(256, dtype=np.uint8)
    return remap_table(source, target)
