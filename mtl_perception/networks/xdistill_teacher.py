# SPDX-License-Identifier: Apache-2.0
"""X-Distill's cross-task supervision: what a depth map must look like to be segmented well.

A segmentation network that does not learn (the teacher) says what is where in the image. A small
network must find the same in the predicted depth alone, and its loss teaches the depth network.
"""

import torch
from torch import nn

from mtl_perception.conventions import InvalidInput
from mtl_perception.labels import LabelSet
from mtl_perception.networks.layers import conv_bn_act, resize


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


class FrozenTeacher(nn.Module):
    """A segmentation network that says what is where, and does not learn."""

    def __init__(self, teacher: nn.Module, label_set: LabelSet) -> None:
        """Freeze the teacher from now on.

        Args:
            teacher: any network whose ``forward`` gives ``labels`` scores.
            label_set: what they are scores of.
        """
        super().__init__()
        self.teacher = teacher.requires_grad_(False).eval()
        self.label_set = label_set

    def train(self, mode: bool = True) -> "FrozenTeacher":
        """Switch to training, or back; the teacher's statistics stay frozen in both."""
        super().train(mode)
        self.teacher.eval()
        return self

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (B, H, W) int64 class ids.

        Args:
            images: (B, 3, H, W) floating point RGB, ImageNet-normalised.

        Raises:
            InvalidInput: the teacher has not as many classes as the label set.
        """
        scores = self.teacher(images)["labels"]  # (B, classes, h, w)
        if scores.shape[1] != len(self.label_set):
            raise InvalidInput(
                f"teacher gives {scores.shape[1]} classes, {self.label_set.name!r} has "
                f"{len(self.label_set)}"
            )
        return resize(scores, images.shape[-2:]).argmax(dim=1)
