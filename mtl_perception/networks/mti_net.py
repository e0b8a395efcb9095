# SPDX-License-Identifier: Apache-2.0
"""MTI-Net (Vandenhende et al., ECCV 2020, arXiv 2001.06902): tasks interact at every scale.

At each of four scales every task is predicted and the tasks' features are distilled as in PAD-Net;
features propagate from coarse scales to fine ones. A head per task joins its four scales.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn

from mtl_perception.networks.aggregation import FeaturePyramid, HighResolutionHead
from mtl_perception.networks.config import NetworkConfig
from mtl_perception.networks.distillation import NoExchange, SenderGated
from mtl_perception.networks.feature_propagation import GROUPINGS, FeaturePropagation
from mtl_perception.networks.hrnet import SIZES, HRNet
from mtl_perception.networks.layers import check_images, resize
from mtl_perception.networks.multi_task import (
    FIVE_TASKS,
    FOUR_TASKS,
    PUBLIC_NAMES,
    MultiTaskConfig,
    Predictions,
)
from mtl_perception.networks.residual import BasicBlock
from mtl_perception.networks.resnet import ResNet

RESNETS = {"resnet18": 18, "resnet50": 50}
"""Depth of the ResNets that a feature pyramid makes a backbone."""

STRIDES = (4, 8, 16, 32)
"""Pixels of the image per pixel of each scale."""

COARSE_TO_FINE = (3, 2, 1, 0)
"""The scales in the order in which they are predicted."""


@dataclass(frozen=True)
class MtiNetConfig(MultiTaskConfig):
    """One network of the family; the defaults are the published network for NYUD's two tasks."""

    method: ClassVar[str] = "mti-net"

    backbone: str = "hrnet18"  # of hrnet.SIZES, or RESNETS
    softmax_over: str = "consecutive"  # channels, as the public weights want it, or "tasks"
    propagation: bool = True  # of features from coarse scales to fine ones
    distilled_scales: int = 4  # the finest so many exchange features between tasks

    def __post_init__(self) -> None:
        """Refuse what no network can be built for.

        Raises:
            InvalidInput: with the offending values.
        """
        super().__post_init__()
        self.check_choice("backbone", (*SIZES, *RESNETS))
        self.check_choice("softmax_over", GROUPINGS)
        self.check_choice("distilled_scales", range(len(STRIDES) + 1))

    def build(self) -> "MtiNet":
        """Return the network with fresh random weights."""
        return MtiNet(self)


class MtiNet(nn.Module):
    """Images to predictions at four scales, and to the final ones at 1/4."""

    def __init__(self, config: MtiNetConfig) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.config = config
        self.tasks = config.tasks
        self.backbone, channels = _backbone(config.backbone)
        for scale, width in enumerate(channels):
            has_coarser = config.propagation and scale < COARSE_TO_FINE[0]
            coarser = channels[scale + 1] if has_coarser else 0
            initial = ScalePredictions(coarser + width, width, config.channels)
            self.add_module(f"scale_{scale}", initial)
            if config.propagation and scale > COARSE_TO_FINE[-1]:
                propagation = FeaturePropagation(width, config.intermediate, config.softmax_over)
                self.add_module(f"fpm_scale_{scale}", propagation)
            widths = dict.fromkeys(config.intermediate, width)
            exchange = SenderGated if scale < config.distilled_scales else NoExchange
            self.add_module(f"distillation_scale_{scale}", exchange(widths, self.tasks))
        self.heads = nn.ModuleDict(
            {PUBLIC_NAMES[t]: HighResolutionHead(channels, config.channels[t]) for t in self.tasks}
        )

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the raw final prediction of every task of ``self.tasks``, in that order.

        Args:
            images: (B, 3, H, W) floating point RGB, ImageNet-normalised, any size from 32.

        Returns:
            (B, channels of the task, ceil(H / 4), ceil(W / 4)) by task.
        """
        return self.forward_all(images).final

    def forward_all(self, images: torch.Tensor) -> Predictions:
        """Return the final predictions as ``forward`` does, and the intermediate ones.

        The latter are four dicts of (B, channels, ceil(H / s), ceil(W / s)) by task, for s in
        ``STRIDES``: the deep supervision.
        """
        maps = self.backbone(check_images(images))
        features, predicted = self._predict(maps)
        distilled = [
            self.get_submodule(f"distillation_scale_{scale}")(features[scale])
            for scale in sorted(features)
        ]
        final = {t: self.heads[PUBLIC_NAMES[t]]([x[t] for x in distilled]) for t in self.tasks}
        return Predictions(final, tuple(predicted[scale] for scale in sorted(predicted)))

    def _predict(
        self, maps: list[torch.Tensor]
    ) -> tuple[dict[int, dict[str, torch.Tensor]], dict[int, dict[str, torch.Tensor]]]:
        """Return features and predictions, by scale and task."""
        features: dict[int, dict[str, torch.Tensor]] = {}
        predicted: dict[int, dict[str, torch.Tensor]] = {}
        for scale in COARSE_TO_FINE:
            own = maps[scale]
            inputs = dict.fromkeys(self.config.intermediate, own)
            if self.config.propagation and scale + 1 in features:
                coarser = self.get_submodule(f"fpm_scale_{scale + 1}")(features[scale + 1])
                inputs = {
                    t: torch.cat([own, resize(x, own.shape[-2:])], dim=1)
                    for t, x in coarser.items()
                }
            predict = self.get_submodule(f"scale_{scale}")
            features[scale], predicted[scale] = predict(inputs)
        return features, predicted


class ScalePredictions(nn.Module):
    """The predictions at one scale, and the features they are made of."""

    def __init__(self, channels_in: int, width: int, channels: Mapping[str, int]) -> None:
        """Build two blocks of ``width`` for each task, and a 1x1 convolution to its channels."""
        super().__init__()
        self.refinement = nn.ModuleDict(
            {
                PUBLIC_NAMES[t]: nn.Sequential(
                    BasicBlock(channels_in, width), BasicBlock(width, width)
                )
                for t in channels
            }
        )
        self.decoders = nn.ModuleDict(
            {PUBLIC_NAMES[t]: nn.Conv2d(width, count, 1) for t, count in channels.items()}
        )

    def forward(
        self, inputs: Mapping[str, torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Return (B, width, H, W) features and (B, channels, H, W) predictions by task.

        Args:
            inputs: (B, channels_in, H, W) by task.
        """
        features = {t: self.refinement[PUBLIC_NAMES[t]](x) for t, x in inputs.items()}
        return features, {t: self.decoders[PUBLIC_NAMES[t]](x) for t, x in features.items()}


def presets() -> dict[str, NetworkConfig]:
    """Return the published networks by name."""
    nyud = MtiNetConfig()
    auxiliary = replace(nyud, intermediate=FOUR_TASKS)
    pascal = MtiNetConfig(FIVE_TASKS, (("voc21", 21),), FIVE_TASKS)
    return {
        "mti-net-nyud-hrnet18": nyud,
        "mti-net-nyud-hrnet18-auxiliary": auxiliary,
        "mti-net-nyud-hrnet48": replace(nyud, backbone="hrnet48"),
        "mti-net-nyud-hrnet48-auxiliary": replace(auxiliary, backbone="hrnet48"),
        "mti-net-nyud-resnet50": replace(nyud, backbone="resnet50"),
        "mti-net-pascal-hrnet18": pascal,
        "mti-net-pascal-hrnet48": replace(pascal, backbone="hrnet48"),
        "mti-net-pascal-resnet18": replace(pascal, backbone="resnet18"),
    }


def _backbone(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the encoder, and the channels of its four maps."""
    if name in SIZES:
        hrnet = HRNet(SIZES[name])
        return hrnet, hrnet.channels
    resnet = ResNet(RESNETS[name])
    pyramid = FeaturePyramid(resnet.channels[1:])  # without the map of 1/2
    return nn.Sequential(resnet, pyramid), pyramid.channels
