# SPDX-License-Identifier: Apache-2.0
"""The two residual blocks of He et al. (CVPR 2016), which ResNet, HRNet and many heads consist of.

Keys are torchvision's: ``conv1``, ``bn1``, ..., ``downsample.0`` and ``downsample.1``.
"""

import torch
import torch.nn.functional as F
from torch import nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1
    """Channels that come out per ``width``."""

    def __init__(self, channels_in: int, width: int, stride: int = 1, dilation: int = 1) -> None:
        """Build a block of ``width`` channels; the stride is the first convolution's."""
        super().__init__()
        self.conv1 = _conv3x3(channels_in, width, stride, dilation)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, 1, dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(channels_in, width, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, width, ceil(H / stride), ceil(W / stride)) for ``x`` (B, in, H, W)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1 to ``width``, 3x3, 1x1 to four times ``width``, beside a shortcut."""

    expansion = 4
    """Channels that come out per ``width``."""

    def __init__(self, channels_in: int, width: int, stride: int = 1, dilation: int = 1) -> None:
        """Build a block of 4 * ``width`` channels; the stride is the 3x3's, as torchvision's."""
        super().__init__()
        channels_out = width * self.expansion
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, stride, dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.downsample = _shortcut(channels_in, channels_out, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, 4 width, ceil(H / stride), ceil(W / stride)) for ``x`` (B, in, H, W)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + self.downsample(x))


def initialise_residual(network: nn.Module) -> None:
    """Draw the convolutions as He et al. (ICCV 2015) do; batch norms start as the identity."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _conv3x3(channels_in: int, channels_out: int, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(
        channels_in, channels_out, 3, stride, padding=dilation, dilation=dilation, bias=False
    )


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    if channels_in == channels_out and stride == 1:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 1, stride, bias=False),
        nn.BatchNorm2d(channels_out),
    )
