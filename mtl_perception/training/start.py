# SPDX-License-Identifier: Apache-2.0
"""What a network knows before it is trained here: published weights, or an encoder's."""

import logging
from pathlib import Path

import numpy as np
from torch import nn

from mtl_perception.data.sample import Sample
from mtl_perception.networks.checkpoint import load_weights
from mtl_perception.training.batch import stack
from mtl_perception.training.initial import start_decoder
from mtl_perception.training.loader import Mixture
from mtl_perception.training.transforms import look, whole

CALIBRATION_IMAGES = 32

FIRST_DEPTH = 2.0
"""Metres that an untrained depth head says."""

logger = logging.getLogger(__name__)


def start_weights(network: nn.Module, path: Path, mixture: Mixture) -> str:
    """Load weights to start from; return a sentence on what was matched.

    Raises:
        ModelMissing, ModelCorrupt, ModelUnsupported: see ``checkpoint.load_weights``.
    """
    if path.suffix != ".tflite":
        return str(load_weights(network, path))
    # Imported here: reading TFLite needs a package that training otherwise does not.
    from mtl_perception.networks.tflite_encoder import load_encoder

    start_decoder(network)
    nn.init.constant_(network.heads["depth"].bias, FIRST_DEPTH)
    samples = [_spread(mixture, i) for i in range(CALIBRATION_IMAGES)]
    images = stack([look(sample, whole(sample, 240)) for sample in samples]).images
    return load_encoder(network.encoder, path, images)


def _spread(mixture: Mixture, number: int) -> Sample:
    """Return samples from all data sets in turn, evenly spread in each."""
    datasets = mixture.datasets
    dataset = datasets[number % len(datasets)]
    place = number // len(datasets) / max(1, CALIBRATION_IMAGES // len(datasets))
    return dataset[int(np.floor(place * len(dataset)))]
