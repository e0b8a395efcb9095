# SPDX-License-Identifier: Apache-2.0
"""PAD-Net's layers on both sides of the distillation, as published and as re-implemented."""

from collections.abc import Mapping

import torch
from torch import nn

from mtl_perception.networks.layers import conv_bn_act
from mtl_perception.networks.multi_task import PUBLIC_NAMES
from mtl_perception.networks.residual import Bottleneck

FINAL_WIDTH, AUXILIARY_WIDTH = 512, 256
"""Channels of the published features of tasks that are predicted finally, and of the others."""

BOTTLENECK_WIDTH = 256
"""Channels of all features in the re-implementation."""


class InitialPredictions(nn.Module):
    """The intermediate predictions, and the features they are made of."""

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        widths: Mapping[str, int],
        channels: Mapping[str, int],
    ) -> None:
        """Join the layers of each task, of so many channels, with a 1x1 convolution to its own."""
        super().__init__()
        self.tasks = tuple(layers)
        self.layers = nn.ModuleDict({PUBLIC_NAMES[t]: layers[t] for t in layers})
        self.conv_out = nn.ModuleDict(
            {PUBLIC_NAMES[t]: nn.Conv2d(widths[t], channels[t], 1) for t in layers}
        )

    def forward(
        self, shared: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Return features and predictions by task, for the encoder's map."""
        names = {t: PUBLIC_NAMES[t] for t in self.tasks}
        features = {t: self.layers[name](shared) for t, name in names.items()}
        return features, {t: self.conv_out[name](features[t]) for t, name in names.items()}


def deconv_layers(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    """Return the published layers before the distillation: features of a quarter of the image.

    Args:
        channels_in: of the encoder's map.
        channels_out: of the features.
        stride: of the encoder's map: 8; or 4, where there is nothing to enlarge.
    """
    if stride == 4:
        return conv_bn_act(channels_in, channels_out, 3)
    return _deconv(channels_in, channels_out)


def deconv_decoder(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return the published decoder: four times the resolution."""
    half, quarter = FINAL_WIDTH // 2, FINAL_WIDTH // 4
    return nn.Sequential(
        _deconv(channels_in, half), _deconv(half, quarter), nn.Conv2d(quarter, channels_out, 1)
    )


def bottleneck_layers(channels_in: int) -> nn.Sequential:
    """Return the re-implementation's layers before the distillation: the resolution stays."""
    width = BOTTLENECK_WIDTH // Bottleneck.expansion
    return nn.Sequential(Bottleneck(channels_in, width), Bottleneck(BOTTLENECK_WIDTH, width))


def bottleneck_decoder(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return the decoder of the re-implementation: the resolution stays."""
    return nn.Sequential(
        *bottleneck_layers(channels_in), nn.Conv2d(BOTTLENECK_WIDTH, channels_out, 1)
    )


def crop(y: torch.Tensor, images: torch.Tensor, stride: int) -> torch.Tensor:
    """Return ``y`` of ``stride`` without what deconvolutions add right and below the image.

    Where a stride made n cells of 2n - 1 pixels, they make 2n pixels of them: the last is none.
    """
    for axis in (-2, -1):
        cells = (images.shape[axis] + stride - 1) // stride
        # Not a slice: torch.export cannot prove that its end is inside for every image size.
        y = y.index_select(axis, torch.arange(cells, device=y.device))
    return y


def _deconv(channels_in: int, channels_out: int) -> nn.Sequential:
    """Twice the resolution; the kernel is a multiple of the stride, so no checkerboard."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )
