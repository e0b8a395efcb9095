# SPDX-License-Identifier: Apache-2.0
"""MTI-Net's step from one scale to the next finer one: all tasks together refine each task."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mtl_perception.networks.multi_task import PUBLIC_NAMES
from mtl_perception.networks.residual import BasicBlock

GROUPINGS = ("consecutive", "tasks")
"""What the softmax runs over.

``tasks``: the tasks' features at one channel, as the publication says. ``consecutive``: as many
neighbouring channels of the concatenation, mostly of one task, as the public code does.
"""


class FeaturePropagation(nn.Module):
    """Features of each task, from those of all tasks at the same scale."""

    def __init__(self, width: int, tasks: Sequence[str], softmax_over: str) -> None:
        """Build the module.

        Args:
            width: channels of each task's features.
            tasks: in the order in which the features are joined.
            softmax_over: of ``GROUPINGS``.
        """
        super().__init__()
        self.tasks = tuple(tasks)
        self.softmax_over = softmax_over
        joined = len(tasks) * width
        self.non_linear = nn.Sequential(
            BasicBlock(joined, joined // 4),
            BasicBlock(joined // 4, joined // 4),
            nn.Conv2d(joined // 4, joined, 1),
        )
        self.dimensionality_reduction = BasicBlock(joined, width)
        self.se = nn.ModuleDict({PUBLIC_NAMES[t]: SqueezeExcitation(width) for t in tasks})

    def forward(self, features: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return (B, width, H, W) by task, for features of that shape."""
        joined = torch.cat([features[t] for t in self.tasks], dim=1)  # (B, tasks * width, H, W)
        weights = self._softmax(self.non_linear(joined))
        shared = self.dimensionality_reduction(weights * joined)  # (B, width, H, W)
        return {t: features[t] + self.se[PUBLIC_NAMES[t]](shared) for t in self.tasks}

    def _softmax(self, x: torch.Tensor) -> torch.Tensor:
        if self.softmax_over == "tasks":
            return x.unflatten(1, (len(self.tasks), -1)).softmax(dim=1).flatten(1, 2)
        return x.unflatten(1, (-1, len(self.tasks))).softmax(dim=2).flatten(1, 2)


class SqueezeExcitation(nn.Module):
    """Each channel scaled by what all channels' means say (Hu et al., CVPR 2018)."""

    REDUCTION = 16
    """Channels per channel of the hidden layer."""

    def __init__(self, width: int) -> None:
        """Build the two layers for ``width`` channels."""
        super().__init__()
        hidden = width // self.REDUCTION
        self.squeeze = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width), nn.Sigmoid()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, width, H, W) for ``x`` of that shape."""
        return x * self.squeeze(x.mean(dim=(2, 3)))[:, :, None, None]
