# SPDX-License-Identifier: Apache-2.0
"""Losses of surface normals; the zero vector is unknown and teaches nothing."""

import torch
import torch.nn.functional as F

from mtl_perception.training.losses.masked import at_size_of, mean_where

SHORTEST = 1e-3
"""Shorter predictions are not made unit: their direction is noise, its gradient without bound."""


def normal_cosine(normals: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the mean of 1 - cos(angle to the truth), as the authors' three-task training has it.

    Args:
        normals: (B, 3, h, w) of any length; resized to the truth's size first, unit second.
        truth: (B, 3, H, W) unit, zero vector = unknown.
    """
    unit, known = _unit(normals, truth)
    return mean_where(1 - (unit * truth).sum(dim=1, keepdim=True), known)


def normal_l1(normals: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute difference of the components, as MTI-Net trains.

    Arguments as ``normal_cosine``'s.
    """
    unit, known = _unit(normals, truth)
    return mean_where((unit - truth).abs(), known.expand_as(truth))


def normal_l2(normals: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the mean squared Euclidean distance, as PAD-Net trains.

    The prediction is taken as it is, not made unit; arguments as ``normal_cosine``'s.
    """
    difference = at_size_of(normals, truth) - truth  # (B, 3, H, W)
    return mean_where(difference.square().sum(dim=1, keepdim=True), _known(truth))


def _unit(normals: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (B, 3, H, W) unit predictions, and (B, 1, H, W) bool where the truth is known."""
    unit = F.normalize(at_size_of(normals, truth), dim=1, eps=SHORTEST)
    return unit, _known(truth)


def _known(truth: torch.Tensor) -> torch.Tensor:
    return (truth != 0).any(dim=1, keepdim=True)
