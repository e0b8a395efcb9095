# SPDX-License-Identifier: Apache-2.0
"""Feature maps of several scales into one, or into maps of one width."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from mtl_perception.networks.layers import conv_bn_act, resize


class HighResolutionHead(nn.Module):
    """HRNet's head: all maps at the size of the finest one, mixed by 1x1 convolutions."""

    def __init__(self, channels: Sequence[int], channels_out: int = 0) -> None:
        """Build the head.

        Args:
            channels: of the maps.
            channels_out: of the prediction; 0 to end before it, with as many as came.
        """
        super().__init__()
        self.channels = channels_out or sum(channels)
        self.last_layer = nn.Sequential(
            nn.Conv2d(sum(channels), sum(channels), 1),
            nn.BatchNorm2d(sum(channels)),
            nn.ReLU(),
        )
        if channels_out:
            self.last_layer.append(nn.Conv2d(sum(channels), channels_out, 1))

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return (B, self.channels, H, W) for ``maps`` whose first one is (B, C, H, W)."""
        size = maps[0].shape[-2:]
        return self.last_layer(torch.cat([maps[0], *(resize(x, size) for x in maps[1:])], dim=1))


class MultiScaleAggregation(nn.Module):
    """The last map of a front end, with the shallower ones brought to its size beside it."""

    NARROW = 128
    """Channels that each shallower map gets; PAD-Net's own number is not known here."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        """Build a 3x3 convolution for each map of stride 4 and more but the last one."""
        super().__init__()
        self.first = sum(stride < 4 for stride in strides)
        shallow = channels[self.first : -1]
        self.narrow = nn.ModuleList(conv_bn_act(c, self.NARROW, 3) for c in shallow)
        self.channels = channels[-1] + self.NARROW * len(shallow)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return (B, self.channels, H, W) for ``maps`` whose last one is (B, C, H, W)."""
        last = maps[-1]
        shallow = zip(self.narrow, maps[self.first : -1], strict=True)
        resized = [resize(conv(x), last.shape[-2:]) for conv, x in shallow]
        return torch.cat([*resized, last], dim=1)


class FeaturePyramid(nn.Module):
    """Feature pyramid (Lin et al., CVPR 2017): coarse maps are added to finer ones, top down."""

    WIDTH = 256
    """Channels of every map that comes out."""

    def __init__(self, channels: Sequence[int]) -> None:
        """Build a lateral 1x1 and an output 3x3 convolution for each map, finest first."""
        super().__init__()
        width = self.WIDTH
        self.channels = (width,) * len(channels)
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.output = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return (B, 256, H, W) for each (B, C, H, W) of the last ``maps``, finest first."""
        maps = maps[-len(self.lateral) :]
        summed = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for i in reversed(range(len(summed) - 1)):
            coarse = F.interpolate(summed[i + 1], size=summed[i].shape[-2:], mode="nearest")
            summed[i] = summed[i] + coarse
        return [output(x) for output, x in zip(self.output, summed, strict=True)]
