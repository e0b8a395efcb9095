# SPDX-License-Identifier: Apache-2.0
"""Means over the annotated pixels, with a gradient that is zero, not NaN, where there are none."""

import torch

from mtl_perception.networks.layers import resize


def at_size_of(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return raw (B, C, h, w) predictions as float32, bilinearly resized to the target's size.

    Args:
        prediction: (B, C, h, w) floating point, of half precision too.
        target: (..., H, W).
    """
    prediction = prediction.float()
    size = target.shape[-2:]
    return prediction if prediction.shape[-2:] == size else resize(prediction, size)


def mean_where(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return the mean of ``values`` (any shape) where ``valid`` (bool, same shape); 0 if nowhere.

    Values elsewhere get no gradient, but what made them must be finite: mask errors first.
    """
    total = torch.where(valid, values, 0).sum()
    return total / valid.sum().clamp(min=1)
