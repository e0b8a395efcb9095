# SPDX-License-Identifier: Apache-2.0
"""Losses of one-channel yes or no predictions: contours, saliency. Truth below 0 is unknown."""

import torch
import torch.nn.functional as F

from mtl_perception.training.losses.masked import at_size_of, mean_where

CONTOUR_WEIGHT = 0.95
"""Weight of contour pixels in the public MTI-Net code; of the others it is the rest to 1."""


def binary_cross_entropy(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the mean binary cross-entropy of the known pixels, as PAD-Net trains contours.

    Args:
        logits: (B, 1, h, w) scores before the sigmoid; resized to the truth's size first.
        truth: (B, 1, H, W) float, 1 = yes, 0 = no, below 0 = unknown.
    """
    loss, yes, known = _pixelwise(logits, truth)
    return mean_where(loss, known)


def balanced_bce(
    logits: torch.Tensor, truth: torch.Tensor, positive_weight: float | None = CONTOUR_WEIGHT
) -> torch.Tensor:
    """Return binary cross-entropy with one weight for yes and the rest to 1 for no.

    Args:
        logits: as ``binary_cross_entropy``'s.
        truth: likewise.
        positive_weight: in 0..1; None takes the batch's share of no, so that both kinds weigh the
            same in sum (Xie and Tu, HED, ICCV 2015, eq. 2).
    """
    loss, yes, known = _pixelwise(logits, truth)
    if positive_weight is None:
        weight = 1 - mean_where(yes.float(), known)
    else:
        weight = loss.new_tensor(positive_weight)
    return mean_where(loss * torch.where(yes, weight, 1 - weight), known)


def _pixelwise(
    logits: torch.Tensor, truth: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return loss (float32), yes (bool), known (bool), all (B, 1, H, W)."""
    yes = truth > 0
    scores = at_size_of(logits, truth)
    loss = F.binary_cross_entropy_with_logits(scores, yes.float(), reduction="none")
    return loss, yes, truth >= 0
