# SPDX-License-Identifier: Apache-2.0
"""MobileNet-v2 encoder (Sandler et al., CVPR 2018), without its classifier.

The keys are those of the encoder that the multi-task RefineNet was released with: ``layer1`` to
``layer8``, each block's three stages below ``output``.
"""

import torch
from torch import nn

from mtl_perception.networks.layers import conv_bn_act


class InvertedResidual(nn.Module):
    """Expand 1x1, filter each channel 3x3, project 1x1; add the input where shapes agree."""

    def __init__(
        self, channels_in: int, channels_out: int, stride: int, expansion: int, expand: bool = True
    ) -> None:
        """Build the three stages; without ``expand`` the first one is left out, its key too."""
        super().__init__()
        self.is_residual = stride == 1 and channels_in == channels_out
        wide = channels_in * expansion
        self.output = nn.Sequential(
            conv_bn_act(channels_in, wide, 1, act=nn.ReLU6) if expand else nn.Identity(),
            conv_bn_act(wide, wide, 3, stride, groups=wide, act=nn.ReLU6),
            conv_bn_act(wide, channels_out, 1, act=None),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, out, ceil(H / stride), ceil(W / stride)) for ``x`` (B, in, H, W)."""
        y = self.output(x)
        return x + y if self.is_residual else y


class MobileNetV2(nn.Module):
    """Images to six feature maps; 1,812,800 parameters."""

    channels = (24, 32, 64, 96, 160, 320)
    """Channels of the feature maps."""

    strides = (4, 8, 16, 16, 32, 32)
    """Pixels of the image per pixel of the feature maps."""

    def __init__(self, legacy_expand_t1: bool = True) -> None:
        """Build ``layer1`` to ``layer8``.

        Args:
            legacy_expand_t1: keep the expansion of the block with t = 1, which expands nothing
                (32 -> 32 channels). The released weights have it; torchvision's and timm's do not.
        """
        super().__init__()
        self.layer1 = conv_bn_act(3, 32, 3, stride=2, act=nn.ReLU6)
        self.layer2 = _layer(32, 16, t=1, n=1, s=1, expand=legacy_expand_t1)
        self.layer3 = _layer(16, 24, t=6, n=2, s=2)
        self.layer4 = _layer(24, 32, t=6, n=3, s=2)
        self.layer5 = _layer(32, 64, t=6, n=4, s=2)
        self.layer6 = _layer(64, 96, t=6, n=3, s=1)
        self.layer7 = _layer(96, 160, t=6, n=3, s=2)
        self.layer8 = _layer(160, 320, t=6, n=1, s=1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return l3, l4, l5, l6, l7, l8 of (B, 3, H, W) images.

        Sizes are rounded up at each halving: 350 rows become 175, 88, 44, 22, 11.
        """
        x = self.layer1(images)  # (B, 32, H/2, W/2)
        x = self.layer2(x)  # (B, 16, H/2, W/2)
        l3 = self.layer3(x)  # (B, 24, H/4, W/4)
        l4 = self.layer4(l3)  # (B, 32, H/8, W/8)
        l5 = self.layer5(l4)  # (B, 64, H/16, W/16)
        l6 = self.layer6(l5)  # (B, 96, H/16, W/16)
        l7 = self.layer7(l6)  # (B, 160, H/32, W/32)
        l8 = self.layer8(l7)  # (B, 320, H/32, W/32)
        return l3, l4, l5, l6, l7, l8


def _layer(
    channels_in: int, channels_out: int, t: int, n: int, s: int, expand: bool = True
) -> nn.Sequential:
    """``n`` blocks of expansion ``t`` (the paper's letters), the first one with stride ``s``."""
    blocks = [InvertedResidual(channels_in, channels_out, s, t, expand)]
    blocks += [InvertedResidual(channels_out, channels_out, 1, t) for _ in range(n - 1)]
    return nn.Sequential(*blocks)
