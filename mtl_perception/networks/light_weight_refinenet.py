# SPDX-License-Identifier: Apache-2.0
"""Light-Weight RefineNet decoder (Nekrasov et al., BMVC 2018) on MobileNet-v2 features.

All convolutions are 1x1 without bias and without batch norm; the keys are those of the released
networks.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from mtl_perception.networks.layers import conv1x1, resize

WIDTH = 256
"""Channels of everything in the decoder."""


class ChainedResidualPooling(nn.Module):
    """Context from ever larger windows: each stage pools and mixes what the stage before gave."""

    stages = 4

    def __init__(self, channels: int, groups: int, separable_pool: bool) -> None:
        """Build the convolutions ``1_outvar_dimred`` to ``4_outvar_dimred``."""
        super().__init__()
        self.separable_pool = separable_pool
        for i in range(1, self.stages + 1):
            self.add_module(f"{i}_outvar_dimred", conv1x1(channels, channels, groups))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of ``x`` (B, C, H, W) and all stages, in the same shape."""
        top = x
        for conv in self.children():
            top = conv(self._pool(top))
            x = x + top
        return x

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        """Maximum over 5x5 windows; rows then columns find the very same one, faster on CPUs."""
        if self.separable_pool:
            x = F.max_pool2d(x, (1, 5), stride=1, padding=(0, 2))
            return F.max_pool2d(x, (5, 1), stride=1, padding=(2, 0))
        return F.max_pool2d(x, 5, stride=1, padding=2)


class LightWeightRefineNet(nn.Module):
    """Six feature maps of MobileNet-v2 to one of 256 channels at a quarter of the image."""

    def __init__(
        self,
        channels: Sequence[int],
        grouped_crp1: bool = True,
        align_corners: bool = False,
        separable_pool: bool = False,
    ) -> None:
        """Build laterals, pooling chains and adaptions, in the order of the released keys.

        Args:
            channels: of l3, l4, l5, l6, l7, l8.
            grouped_crp1: the chain at the highest resolution scales its channels one by one
                (multi-task network) instead of mixing them (single-task network).
            align_corners: of the bilinear resizing.
            separable_pool: pool rows, then columns: same values, and gradients that differ only
                where a window has its maximum twice.
        """
        super().__init__()
        self.align_corners = align_corners
        c3, c4, c5, c6, c7, c8 = channels
        self.conv8 = conv1x1(c8, WIDTH)
        self.conv7 = conv1x1(c7, WIDTH)
        self.conv6 = conv1x1(c6, WIDTH)
        self.conv5 = conv1x1(c5, WIDTH)
        self.conv4 = conv1x1(c4, WIDTH)
        self.conv3 = conv1x1(c3, WIDTH)

        def crp(groups: int = 1) -> nn.Sequential:
            # A Sequential of one: the released keys read "crp4.0.1_outvar_dimred".
            return nn.Sequential(ChainedResidualPooling(WIDTH, groups, separable_pool))

        self.crp4 = crp()
        self.crp3 = crp()
        self.crp2 = crp()
        self.crp1 = crp(groups=WIDTH if grouped_crp1 else 1)
        self.conv_adapt4 = conv1x1(WIDTH, WIDTH)
        self.conv_adapt3 = conv1x1(WIDTH, WIDTH)
        self.conv_adapt2 = conv1x1(WIDTH, WIDTH)

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return (B, 256, H/4, W/4) for l3, l4, l5, l6, l7, l8 of images (B, 3, H, W)."""
        l3, l4, l5, l6, l7, l8 = features

        y = F.relu6(self.conv8(l8) + self.conv7(l7))  # (B, 256, H/32, W/32)
        y = self.conv_adapt4(self.crp4(y))
        y = self._resize(y, l6)  # (B, 256, H/16, W/16)

        y = F.relu6(self.conv5(l5) + self.conv6(l6) + y)  # (B, 256, H/16, W/16)
        y = self.conv_adapt3(self.crp3(y))
        y = self._resize(y, l4)  # (B, 256, H/8, W/8)

        y = F.relu6(self.conv4(l4) + y)  # (B, 256, H/8, W/8)
        y = self.conv_adapt2(self.crp2(y))
        y = self._resize(y, l3)  # (B, 256, H/4, W/4)

        y = F.relu6(self.conv3(l3) + y)  # (B, 256, H/4, W/4)
        return self.crp1(y)

    def _resize(self, y: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """To the size of ``skip``: twice the size would miss odd ones by a pixel."""
        return resize(y, skip.shape[-2:], self.align_corners)
