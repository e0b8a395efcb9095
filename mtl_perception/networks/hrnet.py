# SPDX-License-Identifier: Apache-2.0
"""HRNet encoders (Wang et al., TPAMI 2020) without their classifier.

Branches of different resolution run side by side and exchange features after every few blocks.
Keys are those of the published ImageNet files. Those files were trained with nearest upsampling
in the exchange; PAD-Net and MTI-Net of the public re-implementation resize bilinearly, and so
does this one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from mtl_perception.networks.layers import conv_bn_act, resize
from mtl_perception.networks.residual import BasicBlock, Bottleneck, initialise_residual

BATCH_NORM_MOMENTUM = 0.01
"""Share of a new batch in the running statistics; torch's own default is 0.1."""


@dataclass(frozen=True)
class HRNetSize:
    """How wide and deep an HRNet is."""

    width: int  # channels at 1/4; each coarser branch has twice as many
    bottlenecks: int  # blocks of the first stage
    blocks: int  # blocks per branch between two exchanges
    exchanges: tuple[int, int, int]  # of the stages with two, three and four branches


SIZES = {
    "hrnet18": HRNetSize(18, bottlenecks=2, blocks=2, exchanges=(1, 3, 2)),
    "hrnet48": HRNetSize(48, bottlenecks=4, blocks=4, exchanges=(1, 4, 3)),
}
"""``hrnet18`` is HRNet-W18-small-v2, which the public PAD-Net and MTI-Net call "hrnet_w18"."""


class HRNet(nn.Module):
    """Images to four feature maps of 1/4 to 1/32; 3,860,720 parameters for ``hrnet18``."""

    strides = (4, 8, 16, 32)
    """Pixels of the image per pixel of the feature maps."""

    def __init__(self, size: HRNetSize) -> None:
        """Build the encoder with random weights."""
        super().__init__()
        self.channels = tuple(size.width << i for i in range(4))
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        stem_blocks = [Bottleneck(64 if i == 0 else 256, 64) for i in range(size.bottlenecks)]
        self.layer1 = nn.Sequential(*stem_blocks)
        self.transition1 = _transition((256,), self.channels[:2])
        self.stage2 = _stage(self.channels[:2], size.blocks, size.exchanges[0])
        self.transition2 = _transition(self.channels[:2], self.channels[:3])
        self.stage3 = _stage(self.channels[:3], size.blocks, size.exchanges[1])
        self.transition3 = _transition(self.channels[:3], self.channels)
        self.stage4 = _stage(self.channels, size.blocks, size.exchanges[2])
        initialise_residual(self)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = BATCH_NORM_MOMENTUM

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the four branches, finest first.

        Args:
            images: (B, 3, H, W) float32, any size.

        Returns:
            Four of (B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])).
        """
        x = F.relu(self.bn1(self.conv1(images)))  # (B, 64, H/2, W/2)
        x = F.relu(self.bn2(self.conv2(x)))  # (B, 64, H/4, W/4)
        x = self.layer1(x)  # (B, 256, H/4, W/4)
        branches = self.stage2([branch(x) for branch in self.transition1])
        branches = self.stage3(_add_branch(self.transition2, branches))
        return self.stage4(_add_branch(self.transition3, branches))


class Exchange(nn.Module):
    """Some blocks on each branch, then every branch becomes the sum over all of them."""

    def __init__(self, channels: Sequence[int], blocks: int) -> None:
        """Build the blocks and the paths between branches of ``channels``, finest first."""
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, width) for _ in range(blocks))) for width in channels
        )
        count = range(len(channels))
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_path(channels, source, target) for source in count) for target in count
        )

    def forward(self, branches: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return one map per branch, of the sizes that came."""
        maps = [run(branch) for run, branch in zip(self.branches, branches, strict=True)]
        return [self._arrive(target, maps) for target in range(len(maps))]

    def _arrive(self, target: int, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        total = maps[target]
        for source, path in enumerate(self.fuse_layers[target]):
            if source < target:  # its convolutions have strides
                total = total + path(maps[source])
            elif source > target:
                total = total + resize(path(maps[source]), total.shape[-2:])
        return F.relu(total)


def _path(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """From one branch to another: 1x1 towards finer ones, a 3x3 of stride 2 per coarser step."""
    wide, narrow = channels[source], channels[target]
    if source == target:
        return nn.Identity()
    if source > target:
        return conv_bn_act(wide, narrow, 1, act=None)
    steps = [conv_bn_act(wide, wide, 3, stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, conv_bn_act(wide, narrow, 3, stride=2, act=None))


def _stage(channels: Sequence[int], blocks: int, exchanges: int) -> nn.Sequential:
    return nn.Sequential(*(Exchange(channels, blocks) for _ in range(exchanges)))


def _transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    """To the widths of the next stage, one entry per branch of it; the last one is new."""
    paths: list[nn.Module] = [
        nn.Identity() if wide == width else conv_bn_act(wide, width, 3)
        for wide, width in zip(before, after, strict=False)
    ]
    # A sequence of one, as the published keys have it ("transition1.1.0.0.weight").
    new = nn.Sequential(conv_bn_act(before[-1], after[-1], 3, stride=2))
    return nn.ModuleList([*paths, new])


def _add_branch(transition: nn.ModuleList, branches: list[torch.Tensor]) -> list[torch.Tensor]:
    """Every branch through its path; the coarsest one also starts the new branch."""
    sources = [*branches, branches[-1]]
    return [path(x) for path, x in zip(transition, sources, strict=True)]
