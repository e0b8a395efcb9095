# SPDX-License-Identifier: Apache-2.0
"""X-Distill's cross-task supervision: what a depth map must look like to be segmented well.

A segmentation network that does not learn (the teacher) says what is where in the image. A small
network must find the same in the predicted depth alone, and its loss teaches the depth network.
"""

from dataclasses import dataclass

import torch
from torch import nn

from mtl_perception.conventions import InvalidInput
from mtl_perception.networks.layers import conv_bn_act, resize
from mtl_perception.networks.xdistill_depth import DepthNet, DepthPredictions
from mtl_perception.networks.xdistill_groups import ClassGroups


class DepthToSegmentation(nn.Module):
    """Depth to scores of class groups; small, so that the depth has to carry the meaning."""

    def __init__(self, groups: int, width: int = 64) -> None:
        """Build for this many groups."""
        super().__init__()
        self.features = nn.Sequential(conv_bn_act(1, width, 3), conv_bn_act(width, width, 3))
        self.scores = nn.Conv2d(width, groups, 1)

    def forward(self, depth: torch.Tensor) -> torch.Tensor:
        """Return (B, groups, H, W) scores for (B, 1, H, W) depth."""
        x = self.features(depth)  # (B, width, H, W)
        return self.scores(x)  # (B, groups, H, W)


@dataclass(frozen=True, eq=False)
class CrossTaskPredictions:
    """What the losses of one training step are computed from."""

    depth: DepthPredictions  # for the self-supervised losses
    scores: torch.Tensor  # (B, groups, H, W), from the depth
    target: torch.Tensor  # (B, H, W) int64 group, 255 = ignore, from the teacher


class CrossTaskDistillation(nn.Module):
    """The depth network together with what exists only while it trains."""

    def __init__(self, depth_net: DepthNet, teacher: nn.Module, groups: ClassGroups) -> None:
        """Put the three networks together; the teacher is frozen from now on.

        Args:
            depth_net: learns; it is held, not copied, and stays usable by itself.
            teacher: any network whose ``forward`` gives ``labels`` scores of ``groups.source``.
            groups: which of the teacher's classes depth should tell apart.
        """
        super().__init__()
        self.depth_net = depth_net
        self.depth_to_segmentation = DepthToSegmentation(len(groups))
        self.teacher = teacher.requires_grad_(False).eval()
        self.classes = len(groups.source)
        table = torch.from_numpy(groups.table.astype("int64"))
        self.register_buffer("group_of", table, persistent=False)

    def train(self, mode: bool = True) -> "CrossTaskDistillation":
        """Switch to training, or back; the teacher's statistics stay frozen in both."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, images: torch.Tensor) -> CrossTaskPredictions:
        """Return depth at all scales, and at the finest its groups beside the teacher's.

        Args:
            images: (B, 3, H, W) floating point RGB, ImageNet-normalised.

        Raises:
            InvalidInput: the teacher's classes are not those of the groups' label set.
        """
        depth = self.depth_net.forward_all(images)
        # Nothing is detached: the gradient of the scores is to reach the depth network.
        scores = self.depth_to_segmentation(depth.depth[0])  # (B, groups, H, W)
        return CrossTaskPredictions(depth, scores, self._target(images))

    @torch.no_grad()
    def _target(self, images: torch.Tensor) -> torch.Tensor:
        scores = self.teacher(images)["labels"]  # (B, classes, h, w)
        if scores.shape[1] != self.classes:
            raise InvalidInput(f"teacher gives {scores.shape[1]} classes, groups {self.classes}")
        classes = resize(scores, images.shape[-2:]).argmax(dim=1)  # (B, H, W)
        return self.group_of[classes]  # (B, H, W)
