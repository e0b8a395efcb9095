# SPDX-License-Identifier: Apache-2.0
"""ResNet encoders (He et al., CVPR 2016) without their classifier; keys are torchvision's."""

import torch
import torch.nn.functional as F
from torch import nn

from mtl_perception.conventions import InvalidInput
from mtl_perception.networks.residual import BasicBlock, Bottleneck, initialise_residual

DEPTHS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}
"""Depth -> kind of block, and how many each of the four layers has."""


class ResNet(nn.Module):
    """Images to five feature maps."""

    channels: tuple[int, ...]
    """Channels of the feature maps: 64, then 64..512 (18, 34) or 256..2048 (50, 101)."""

    strides: tuple[int, ...]
    """Pixels of the image per pixel of the feature maps."""

    def __init__(self, depth: int, output_stride: int = 32, channels_in: int = 3) -> None:
        """Build the encoder with random weights.

        Args:
            depth: a key of ``DEPTHS``.
            output_stride: 8, 16 or 32 pixels per pixel of the last map. Below 32 the last layers
                are dilated instead of strided: same weights, larger maps.
            channels_in: 3 per stacked image.

        Raises:
            InvalidInput: another depth or output stride.
        """
        super().__init__()
        if depth not in DEPTHS or output_stride not in (8, 16, 32):
            raise InvalidInput(
                f"ResNet-{depth} of output stride {output_stride}: want a depth of "
                f"{', '.join(map(str, DEPTHS))} and an output stride of 8, 16 or 32"
            )
        block, counts = DEPTHS[depth]
        self.conv1 = nn.Conv2d(channels_in, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        wide = block.expansion
        d3, d4 = {32: (1, 1), 16: (1, 2), 8: (2, 4)}[output_stride]
        self.layer1 = _layer(block, 64, 64, counts[0], 1)
        self.layer2 = _layer(block, 64 * wide, 128, counts[1], 2)
        self.layer3 = _layer(block, 128 * wide, 256, counts[2], 2, d3)
        self.layer4 = _layer(block, 256 * wide, 512, counts[3], 2, d4, d3)
        self.channels = (64, 64 * wide, 128 * wide, 256 * wide, 512 * wide)
        self.strides = (2, 4, 8, min(16, output_stride), output_stride)
        initialise_residual(self)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps behind ``conv1`` and the four layers.

        Args:
            images: (B, channels_in, H, W) float32, any size.

        Returns:
            Five of (B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])).
        """
        x = F.relu(self.bn1(self.conv1(images)))
        maps = [x]  # (B, 64, H/2, W/2)
        x = self.maxpool(x)  # (B, 64, H/4, W/4)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps


def _layer(
    block: type[BasicBlock] | type[Bottleneck],
    channels_in: int,
    width: int,
    count: int,
    stride: int,
    dilation: int = 1,
    dilation_before: int = 1,
) -> nn.Sequential:
    """``count`` blocks. Where the dilation grows it replaces the stride, behind the first block."""
    if dilation > dilation_before:
        stride = 1
    blocks = [block(channels_in, width, stride, dilation_before)]
    blocks += [block(width * block.expansion, width, 1, dilation) for _ in range(count - 1)]
    return nn.Sequential(*blocks)
