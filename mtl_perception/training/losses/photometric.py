# SPDX-License-Identifier: Apache-2.0
"""Losses of self-supervised depth (monodepth2, ICCV 2019): no annotation but the next frames."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

SSIM_SHARE = 0.85
"""Of structural dissimilarity in the photometric error; the rest is the absolute difference."""

C1, C2 = 0.01**2, 0.03**2
"""Constants of SSIM for images in 0..1."""

TIE_NOISE = 1e-5
"""Standard deviation of what decides between a warped and an unwarped image that are equal."""


def dissimilarity(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return (1 - SSIM) / 2 in 0..1 per pixel and channel, over 3x3 windows, borders reflected.

    Args:
        a: (B, C, H, W) float32 in 0..1.
        b: the other image, of the same shape.
    """
    a, b = (F.pad(x, (1, 1, 1, 1), mode="reflect") for x in (a, b))
    mean_a, mean_b = (F.avg_pool2d(x, 3, 1) for x in (a, b))  # (B, C, H, W)
    var_a = F.avg_pool2d(a * a, 3, 1) - mean_a * mean_a
    var_b = F.avg_pool2d(b * b, 3, 1) - mean_b * mean_b
    covariance = F.avg_pool2d(a * b, 3, 1) - mean_a * mean_b
    above = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    below = (mean_a * mean_a + mean_b * mean_b + C1) * (var_a + var_b + C2)
    return ((1 - above / below) / 2).clamp(0, 1)


def photometric_error(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return (B, 1, H, W): 0.85 of the dissimilarity plus 0.15 of |a - b|, means over channels.

    Arguments as ``dissimilarity``'s.
    """
    difference = (a - b).abs().mean(dim=1, keepdim=True)
    structure = dissimilarity(a, b).mean(dim=1, keepdim=True)
    return SSIM_SHARE * structure + (1 - SSIM_SHARE) * difference


@torch.no_grad()
def unmoved_error(image: torch.Tensor, sources: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return (B, sources, H, W): the photometric error of each source as it is, not warped.

    Args:
        image: (B, 3, H, W) float32 in 0..1, the frame whose depth is learnt.
        sources: other frames, of the same shape.
    """
    still = torch.cat([photometric_error(image, source) for source in sources], dim=1)
    return still + TIE_NOISE * torch.randn_like(still)


def reprojection_loss(
    image: torch.Tensor, warped: Sequence[torch.Tensor], still: torch.Tensor
) -> torch.Tensor:
    """Return the mean over pixels of the least photometric error of all sources.

    The least, not the mean: what one source does not see, another may. A source that fits better
    unwarped takes the pixel out: there nothing moved against the camera (auto-masking).

    Args:
        image: (B, 3, H, W) float32 in 0..1, the frame whose depth is learnt.
        warped: each source as seen from ``image``, of the same shape.
        still: (B, sources, H, W) of ``unmoved_error``.
    """
    moved = [photometric_error(image, source) for source in warped]
    return torch.cat([still, *moved], dim=1).amin(dim=1).mean()


def smoothness(disparity: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Return the mean disparity step between neighbours, less where the image has a step too.

    Disparity is divided by its mean first, or shrinking it would be the way to be smooth.

    Args:
        disparity: (B, 1, H, W) float32, positive.
        image: (B, 3, H, W) float32 in 0..1.
    """
    relative = disparity / (disparity.mean(dim=(2, 3), keepdim=True) + 1e-7)
    loss = relative.new_zeros(())
    for axis in (2, 3):
        step = relative.diff(dim=axis).abs()
        edge = image.diff(dim=axis).abs().mean(dim=1, keepdim=True)
        loss = loss + (step * torch.exp(-edge)).mean()
    return loss
