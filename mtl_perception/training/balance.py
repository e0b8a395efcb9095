# SPDX-License-Identifier: Apache-2.0
"""How much more a rare class's pixels count than a common one's."""

import numpy as np
import torch

from mtl_perception.training.loader import Mixture

IMAGES = 150
"""Images whose pixels are counted."""

LARGEST = 8.0
"""No class counts more than so many times, or less than by this part of, the middle one."""


def class_weights(mixture: Mixture, classes: int, power: float, seed: int) -> torch.Tensor:
    """Return (classes,) float32 weights; their mean over the pixels of the mixture is 1.

    Args:
        mixture: counted are the first images that a run of this seed would show.
        classes: of the network's channels.
        power: a class's weight is its frequency to the power -``power``: 0 = all equal, 1 = every
            class weighs the same whatever its size.
        seed: of the run.
    """
    counts = np.zeros(classes)
    for position in range(IMAGES):
        which, index = mixture.draw(seed, position)
        labels = mixture.datasets[which][index].labels
        if labels is not None:
            counts += np.bincount(labels.ravel(), minlength=256)[:classes]
    seen = counts > 0
    weights = np.ones(classes)
    if seen.any():
        weights[seen] = (counts[seen] / np.median(counts[seen])) ** -power
        weights = weights.clip(1 / LARGEST, LARGEST)
        weights /= (weights * counts).sum() / counts.sum()
    return torch.from_numpy(weights.astype(np.float32))
