# SPDX-License-Identifier: Apache-2.0
"""VGG-16 (Simonyan and Zisserman, ICLR 2015) as a dense encoder; keys are torchvision's."""

import torch
import torch.nn.functional as F
from torch import nn

STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""Number and width of the 3x3 convolutions of the five stages."""


class PoolRoundedUp(nn.MaxPool2d):
    """Pooling that makes n pixels ceil(n / 2): the last one of an odd number is not lost.

    Of what ReLU returns the border of zeros changes nothing. ``ceil_mode`` would do the same, but
    torch.export cannot follow it for free image sizes.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, C, ceil(H / 2), ceil(W / 2)) for ``x`` (B, C, H, W), nowhere negative."""
        return super().forward(F.pad(x, (0, 1, 0, 1)))


class VGG16(nn.Module):
    """Images to five feature maps; 14,714,688 parameters.

    The last stage keeps the resolution of the one before: its pooling has stride 1 and its
    convolutions are dilated, so that the published weights still see the same surroundings.
    """

    channels = tuple(width for _, width in STAGES)
    """Channels of the feature maps."""

    strides = (1, 2, 4, 8, 8)
    """Pixels of the image per pixel of the feature maps."""

    def __init__(self) -> None:
        """Build ``features``, numbered as torchvision's ``vgg16`` (no batch norm)."""
        super().__init__()
        layers: list[nn.Module] = []
        channels_in = 3
        for stage, (count, width) in enumerate(STAGES):
            dilation = 2 if stage == 4 else 1
            for _ in range(count):
                conv = nn.Conv2d(channels_in, width, 3, padding=dilation, dilation=dilation)
                layers += [conv, nn.ReLU()]
                channels_in = width
            if stage < 3:
                layers.append(PoolRoundedUp(2, stride=2))
            elif stage == 3:
                layers.append(nn.MaxPool2d(3, stride=1, padding=1))
        self.features = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps behind the stages, before pooling.

        Args:
            images: (B, 3, H, W) float32, any size.

        Returns:
            Five of (B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])).
        """
        maps, x = [], images
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
            x = layer(x)
        return [*maps, x]
