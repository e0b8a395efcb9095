# SPDX-License-Identifier: Apache-2.0
"""Exact sizes of networks: parameters, and multiply-adds of the convolutions."""

import copy

import torch
from torch import nn

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def parameter_count(model: nn.Module) -> int:
    """Return how many numbers a training would learn; buffers are not counted."""
    return sum(p.numel() for p in model.parameters())


def conv_macs(model: nn.Module, size: tuple[int, int], channels: int = 3) -> int:
    """Return the multiply-adds of all convolutions for one image, biases not counted.

    The network runs on torch's meta device: shapes without numbers, so that the count is exact
    and takes no time. ``model`` itself is left as it is.

    Args:
        model: network whose ``forward`` takes one tensor of images.
        size: (H, W) of the image in pixels.
        channels: of the image.
    """
    total = 0

    def count(conv: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal total
        # The weight is (out, in / groups, kh, kw); transposed convolutions have (in, out / groups,
        # kh, kw). Each weight meets every pixel of the output, or there of the input, once.
        grid = inputs[0] if isinstance(conv, nn.ConvTranspose2d) else output
        total += conv.weight.numel() * grid.shape[-2] * grid.shape[-1]

    ghost = copy.deepcopy(model).eval().to("meta")
    for module in ghost.modules():
        if isinstance(module, CONVOLUTIONS):
            module.register_forward_hook(count)
    with torch.no_grad():
        ghost(torch.empty(1, channels, *size, device="meta"))
    return total
