# SPDX-License-Identifier: Apache-2.0
"""Depth network of self-supervised training (monodepth2, ICCV 2019), which X-Distill improves.

X-Distill (Cai et al., BMVC 2021, arXiv 2110.12516) changes how this network is trained, never the
network: ``xdistill_teacher`` holds what training adds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from mtl_perception.conventions import InvalidInput
from mtl_perception.networks.config import NetworkConfig
from mtl_perception.networks.layers import IMAGENET_MEAN, IMAGENET_STD, check_images
from mtl_perception.networks.resnet import ResNet

WIDTHS = (16, 32, 64, 128, 256)
"""Channels of the decoder at 1, 1/2, 1/4, 1/8 and 1/16 of the image."""

SCALES = (0, 1, 2, 3)
"""Disparity is predicted at 1, 1/2, 1/4 and 1/8 of the image."""

SMALLEST_SIDE = 33
"""Reflection needs two pixels, here at 1/32 of the image."""


@dataclass(frozen=True)
class XDistillConfig(NetworkConfig):
    """The depth network; the defaults are what most publications compare with."""

    method: ClassVar[str] = "x-distill"
    tasks: ClassVar[tuple[str, ...]] = ("depth",)
    is_metric: ClassVar[bool] = False

    encoder_depth: int = 18  # layers of the ResNet: 18 or 50
    min_depth: float = 0.1  # metres, up to the unknown scale of monocular training
    max_depth: float = 100.0

    def __post_init__(self) -> None:
        """Refuse a range that is none.

        Raises:
            InvalidInput: with the offending values.
        """
        if self.encoder_depth not in (18, 50):
            raise InvalidInput(f"encoder_depth {self.encoder_depth}: want 18 or 50")
        if not 0 < self.min_depth < self.max_depth < float("inf"):
            raise InvalidInput(
                f"want 0 < min_depth < max_depth: {self.min_depth}, {self.max_depth}"
            )

    def build(self) -> "DepthNet":
        """Return the network with fresh random weights."""
        return DepthNet(self)


@dataclass(frozen=True, eq=False)
class DepthPredictions:
    """What training looks at: one prediction per scale of ``SCALES``, finest first."""

    disparity: tuple[torch.Tensor, ...]  # (B, 1, ceil(H / 2^s), ceil(W / 2^s)) in 0..1
    depth: tuple[torch.Tensor, ...]  # the same as depth


class DepthNet(nn.Module):
    """Images to depth at full resolution."""

    def __init__(self, config: XDistillConfig) -> None:
        """Build encoder and decoder with random weights."""
        super().__init__()
        self.config = config
        self.tasks = config.tasks
        self.encoder = ResNet(config.encoder_depth)
        self.decoder = DisparityDecoder(self.encoder.channels)
        # Callers normalise for ImageNet; this network was published for (RGB - 0.45) / 0.225.
        mean, std = (torch.tensor(x).view(3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("gain", std / 0.225, persistent=False)
        self.register_buffer("offset", (mean - 0.45) / 0.225, persistent=False)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return ``depth`` (B, 1, H, W) between ``min_depth`` and ``max_depth``.

        Args:
            images: (B, 3, H, W) floating point RGB, ImageNet-normalised, any size from 33.
        """
        (disparity,) = self._disparity(images, SCALES[:1])
        return {"depth": self._depth(disparity)}

    def forward_all(self, images: torch.Tensor) -> DepthPredictions:
        """Return disparity and depth at all scales; the first depth is that of ``forward``."""
        disparity = self._disparity(images, SCALES)
        return DepthPredictions(disparity, tuple(self._depth(d) for d in disparity))

    def _disparity(self, images: torch.Tensor, scales: Sequence[int]) -> tuple[torch.Tensor, ...]:
        check_images(images, SMALLEST_SIDE)
        x = images * self.gain + self.offset  # (B, 3, H, W)
        features = self.encoder(x)  # five: (B, 64.., H/2, W/2) to (B, 512.., H/32, W/32)
        return self.decoder(features, x.shape[-2:], scales)

    def _depth(self, disparity: torch.Tensor) -> torch.Tensor:
        return disparity_to_depth(disparity, self.config.min_depth, self.config.max_depth)


class DisparityDecoder(nn.Module):
    """Five feature maps to disparity: five times convolve, double, join the skip, convolve."""

    def __init__(self, channels: Sequence[int]) -> None:
        """Build for feature maps of these channels at 1/2, 1/4, 1/8, 1/16, 1/32."""
        super().__init__()
        below = (*WIDTHS[1:], channels[-1])  # what level i gets from level i + 1
        skips = (0, *channels[:-1])  # what joins it; the full image has no features
        self.reduce = nn.ModuleList(_conv_elu(b, w) for b, w in zip(below, WIDTHS, strict=True))
        self.join = nn.ModuleList(_conv_elu(w + s, w) for w, s in zip(WIDTHS, skips, strict=True))
        self.disparity = nn.ModuleList(_conv3x3(WIDTHS[s], 1) for s in SCALES)

    def forward(
        self, features: Sequence[torch.Tensor], size: torch.Size, scales: Sequence[int]
    ) -> tuple[torch.Tensor, ...]:
        """Return the disparities of ``scales`` in 0..1, finest first.

        Args:
            features: of the encoder, finest first.
            size: (H, W) of the images.
            scales: which of ``SCALES``, ascending.
        """
        sizes = (size, *(f.shape[-2:] for f in features[:-1]))
        y = features[-1]  # (B, 512 or 2048, H/32, W/32)
        found = []
        for level in reversed(range(len(WIDTHS))):
            y = self.reduce[level](y)  # (B, width, H/2^(level+1), W/2^(level+1))
            y = F.interpolate(y, size=sizes[level], mode="nearest")  # (B, width, H/2^level, ..)
            if level > 0:
                y = torch.cat([y, features[level - 1]], dim=1)  # (B, width + skip, ..)
            y = self.join[level](y)  # (B, width, H/2^level, W/2^level)
            if level in scales:
                found.append(torch.sigmoid(self.disparity[level](y)))  # (B, 1, H/2^level, ..)
        return tuple(reversed(found))


def disparity_to_depth(disparity: torch.Tensor, min_depth: float, max_depth: float) -> torch.Tensor:
    """Return 1 / d, where d runs from 1/``max_depth`` to 1/``min_depth`` as disparity from 0 to 1.

    Resize disparities before, never depths after: disparity is linear across a plane's image.
    """
    far, near = 1 / max_depth, 1 / min_depth
    return 1 / (far + (near - far) * disparity)


def presets() -> dict[str, NetworkConfig]:
    """Return the two encoders' networks by name."""
    return {"x-distill-r18": XDistillConfig(), "x-distill-r50": XDistillConfig(encoder_depth=50)}


def _conv3x3(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, padding_mode="reflect")


def _conv_elu(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(_conv3x3(channels_in, channels_out), nn.ELU())
