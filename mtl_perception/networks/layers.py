# SPDX-License-Identifier: Apache-2.0
"""Blocks that several networks are made of."""

import torch
import torch.nn.functional as F
from torch import nn

from mtl_perception.conventions import InvalidInput

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of RGB in [0, 1]; every network here takes (RGB - mean) / deviation."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of RGB in [0, 1]."""


def conv_bn_act(
    channels_in: int,
    channels_out: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    act: type[nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Return convolution without bias, batch norm, activation (keys ``0``, ``1``, none).

    The padding is ``kernel // 2`` on every side, so that n pixels become ceil(n / stride).
    """
    padding = kernel // 2
    layers: list[nn.Module] = [
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out),
    ]
    if act is not None:
        layers.append(act())
    return nn.Sequential(*layers)


def conv1x1(channels_in: int, channels_out: int, groups: int = 1) -> nn.Conv2d:
    """Return a 1x1 convolution without bias; with ``groups`` = channels it only scales each."""
    return nn.Conv2d(channels_in, channels_out, 1, groups=groups, bias=False)


def resize(x: torch.Tensor, size: torch.Size, align_corners: bool = False) -> torch.Tensor:
    """Return ``x`` (B, C, h, w) bilinearly resized to ``size`` (H, W)."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)


def check_images(images: torch.Tensor, smallest: int = 32) -> torch.Tensor:
    """Return ``images`` if they are (B, 3, H, W) floating point, H and W at least ``smallest``.

    Raises:
        InvalidInput: with the shape and dtype that came.
    """
    shape = images.shape
    if images.ndim != 4 or shape[1] != 3 or min(shape[2:]) < smallest or shape[0] == 0:
        raise InvalidInput(
            f"images: want (B, 3, H, W) with H and W at least {smallest}, got {tuple(shape)}"
        )
    if not images.is_floating_point():
        raise InvalidInput(f"images: want normalised floating point RGB, got {images.dtype}")
    return images
