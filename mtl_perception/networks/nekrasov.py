# SPDX-License-Identifier: Apache-2.0
"""The joint network of Nekrasov et al. (ICRA 2019, arXiv 1809.04766): one pass, all tasks.

MobileNet-v2, a Light-Weight RefineNet decoder that all tasks share, one small head per task.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mtl_perception.networks.layers import check_images, conv1x1
from mtl_perception.networks.light_weight_refinenet import WIDTH, LightWeightRefineNet
from mtl_perception.networks.mobilenet_v2 import MobileNetV2
from mtl_perception.networks.nekrasov_config import HEADS, NekrasovConfig

PARTS = ("encoder", "decoder", "heads")
"""Modules of the network whose own names the released keys do not have."""


class NekrasovNet(nn.Module):
    """Images to labels, depth and normals at a quarter of the resolution."""

    def __init__(self, config: NekrasovConfig) -> None:
        """Build the network with weights from N(0, 0.01), as the authors start it."""
        super().__init__()
        self.config = config
        self.tasks = config.tasks
        self.encoder = MobileNetV2(config.legacy_expand_t1)
        self.decoder = LightWeightRefineNet(
            self.encoder.channels,
            config.grouped_crp1,
            config.align_corners,
            config.separable_pool,
        )
        self.heads = nn.ModuleDict()
        for task, name in HEADS.items():
            if task not in config.tasks:
                continue
            if config.pre_heads:
                self.heads[f"pre_{name}"] = conv1x1(WIDTH, WIDTH, groups=WIDTH)
            self.heads[name] = nn.Conv2d(WIDTH, config.channels[task], 3, padding=1)
        self.apply(_init)
        self.register_state_dict_post_hook(_to_released_names)
        self.register_load_state_dict_pre_hook(_from_released_names)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the raw output of every task of ``self.tasks``, in that order.

        Args:
            images: (B, 3, H, W) floating point RGB, ImageNet-normalised, any size from 32.

        Returns:
            ``labels`` (B, classes, h, w) scores before softmax; ``depth`` (B, 1, h, w) metres,
            of any sign (the metric is taken of its absolute value); ``normals`` (B, 3, h, w), of
            any length. h = ceil(H / 4), w likewise. Resize first; argmax, abs, normalise second.
        """
        features = self.encoder(check_images(images))  # (B, 24..320, H/4..H/32, W/4..W/32)
        shared = self.decoder(features)  # (B, 256, H/4, W/4)
        return {task: self._head(task, shared) for task in self.tasks}

    def _head(self, task: str, shared: torch.Tensor) -> torch.Tensor:
        name = HEADS[task]
        if self.config.pre_heads:
            shared = F.relu6(self.heads[f"pre_{name}"](shared))  # (B, 256, H/4, W/4)
        return self.heads[name](shared)  # (B, channels of the task, H/4, W/4)


def _init(module: nn.Module) -> None:
    """Convolutions start at N(0, 0.01) without bias; batch norm starts as the identity."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _to_released_names(net: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    """Leave out the part's name: "decoder.conv8.weight" was released as "conv8.weight"."""
    for key in [key for key in state if key.startswith(prefix)]:
        part, _, name = key.removeprefix(prefix).partition(".")
        # Every entry is put back, for the order to stay.
        state[prefix + name if part in PARTS else key] = state.pop(key)


def _from_released_names(net: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Find the part again: no two have a child of the same name."""
    owner: Mapping[str, str] = {
        child: part for part in PARTS for child, _ in net.get_submodule(part).named_children()
    }
    for key in [key for key in state if key.startswith(prefix)]:
        name = key.removeprefix(prefix)
        part = owner.get(name.split(".", 1)[0])
        if part is not None:  # else load_state_dict reports the key as it came
            state[f"{prefix}{part}.{name}"] = state.pop(key)
