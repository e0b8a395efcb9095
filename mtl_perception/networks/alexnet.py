# SPDX-License-Identifier: Apache-2.0
"""AlexNet (Krizhevsky 2014, one column) as a dense encoder; keys are torchvision's."""

import torch
from torch import nn


class AlexNet(nn.Module):
    """Images to three feature maps; 2,469,696 parameters.

    Two changes make it dense, neither of the weights: every layer is padded so that n pixels
    become ceil(n / stride), and the second pooling has stride 1 with dilated convolutions behind.
    """

    channels = (64, 192, 256)
    """Channels of the feature maps."""

    strides = (4, 8, 8)
    """Pixels of the image per pixel of the feature maps."""

    def __init__(self) -> None:
        """Build ``features``, numbered as torchvision's ``alexnet``."""
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=5),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=1, padding=1),
            nn.Conv2d(192, 384, 3, padding=2, dilation=2),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=2, dilation=2),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=2, dilation=2),
            nn.ReLU(),
        )

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps before the two poolings, and the last one.

        Args:
            images: (B, 3, H, W) float32, any size.

        Returns:
            Three of (B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])).
        """
        maps, x = [], images
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
            x = layer(x)
        return [*maps, x]
