# SPDX-License-Identifier: Apache-2.0
"""Loss of semantic labels."""

import torch
import torch.nn.functional as F

from mtl_perception.conventions import UNLABELLED
from mtl_perception.training.losses.masked import at_size_of


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the mean softmax cross-entropy of the labelled pixels; 0 if there are none.

    Args:
        logits: (B, C, h, w) scores; resized to the labels' size first.
        labels: (B, H, W) int64 class ids below C, 255 = unlabelled.
        weights: (C,) float32 factor of each class's pixels; None = 1. The mean is over the count
            of pixels, not over their weights, so an image of one rare class weighs more.
    """
    scores = at_size_of(logits, labels)
    total = F.cross_entropy(scores, labels, weights, ignore_index=UNLABELLED, reduction="sum")
    return total / (labels != UNLABELLED).sum().clamp(min=1)
