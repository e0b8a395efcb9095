# SPDX-License-Identifier: Apache-2.0
"""Which labels a frame brings into the map: the recording's, the network's, or none."""

import logging
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from mtl_perception.conventions import InvalidInput
from mtl_perception.labels import LabelSet, remap_table
from slam_fusion.frame import Frame

if TYPE_CHECKING:
    from mtl_perception.predictor import Predictor
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
    """Gives each frame the labels that the user asked for, in one label set."""

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
            InvalidInput: ``source`` needs a network that is not there, or recorded ids whose
                meaning nobody knows.
        """
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
        self._predictor = predictor if wants_network else None
        self._times = mapper.times
        self._warned = False

        network_set = self._predictor.label_set if self._predictor else None
        own_set = recorded_set if self._uses_recorded else network_set
        mapper.label_set = mapper.label_set or own_set
        self._recorded_table = _table(recorded_set, mapper.label_set)
        self._network_table = _table(network_set, mapper.label_set)

    def __call__(self, frame: Frame) -> Frame:
        """Return the frame with the labels to fuse; without any where there are none."""
        if self._uses_recorded and frame.labels is not None:
            return replace(frame, labels=self._recorded_table[frame.labels])
        if frame.labels is not None and self._predictor is None and not self._warned:
            log.warning("recorded labels are left out of the map; labels=recording fuses them")
            self._warned = True
        if self._predictor is None or frame.color is None:
            return replace(frame, labels=None, confidence=None)
        with self._times.stage("predict"):
            prediction = self._predictor(frame.color)
        labels = self._network_table[prediction.labels]
        return replace(frame, labels=labels, confidence=prediction.confidence)


def _table(source: LabelSet | None, target: LabelSet | None) -> np.ndarray:
    """(256,) uint8 map of ids; every id to itself where the sets agree or one is missing."""
    if source is None or target is None or source == target:
        return np.arange(256, dtype=np.uint8)
    return remap_table(source, target)
