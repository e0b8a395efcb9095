# SPDX-License-Identifier: Apache-2.0
"""Losses of metric depth; unknown depth (0) teaches nothing."""

import torch

from mtl_perception.training.losses.masked import at_size_of, mean_where

BERHU_FRACTION = 0.2
"""Share of the batch's largest error at which berHu turns from linear to quadratic."""

SMALLEST_TURN = 1e-6
"""Metres; a perfect batch would otherwise divide by zero."""


def berhu(depth: torch.Tensor, truth: torch.Tensor, reference: bool = False) -> torch.Tensor:
    """Return the inverse Huber loss (Laina et al., 3DV 2016): |e| up to c, (e^2 + c^2) / 2c above.

    c is a fifth of the largest error of the batch, and a constant to the gradient.

    Args:
        depth: (B, 1, h, w) metres of any sign; resized to the truth's size first.
        truth: (B, 1, H, W) metres, 0 = unknown.
        reference: as the code of Nekrasov et al. has it: negative depth counts as 0 (and gets no
            gradient), c passes gradient on, and the sum is divided by all pixels, known or not.
    """
    predicted = at_size_of(depth, truth)
    if reference:
        predicted = predicted.relu()
    valid = truth > 0
    error = torch.where(valid, predicted - truth, 0).abs()  # (B, 1, H, W)
    largest = error.max() if reference else error.detach().max()
    turn = (BERHU_FRACTION * largest).clamp(min=SMALLEST_TURN)
    loss = torch.where(error <= turn, error, (error.square() + turn.square()) / (2 * turn))
    return loss.mean() if reference else mean_where(loss, valid)


def l1_depth(depth: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute error in metres, as MTI-Net trains; arguments as ``berhu``'s."""
    valid = truth > 0
    return mean_where(torch.where(valid, at_size_of(depth, truth) - truth, 0).abs(), valid)


def l2_depth(depth: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error in m^2, as PAD-Net trains; arguments as ``berhu``'s."""
    valid = truth > 0
    return mean_where(torch.where(valid, at_size_of(depth, truth) - truth, 0).square(), valid)
