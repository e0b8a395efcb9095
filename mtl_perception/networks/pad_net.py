# SPDX-License-Identifier: Apache-2.0
"""PAD-Net (Xu et al., CVPR 2018, arXiv 1805.04409): predict, distil, and predict again.

A shared encoder feeds one intermediate prediction per task, also of tasks that cost no annotation
(normals follow from depth, contours from labels). What the tasks know is exchanged, and decoded
into the final predictions. Built as published, or as publicly re-implemented on HRNet.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn

from mtl_perception.networks import pad_net_parts as parts
from mtl_perception.networks.aggregation import HighResolutionHead, MultiScaleAggregation
from mtl_perception.networks.alexnet import AlexNet
from mtl_perception.networks.config import NetworkConfig
from mtl_perception.networks.distillation import MODULES
from mtl_perception.networks.hrnet import SIZES, HRNet
from mtl_perception.networks.layers import check_images, conv_bn_act
from mtl_perception.networks.multi_task import (
    FIVE_TASKS,
    FOUR_TASKS,
    PUBLIC_NAMES,
    TWO_TASKS,
    MultiTaskConfig,
    Predictions,
)
from mtl_perception.networks.resnet import ResNet
from mtl_perception.networks.vgg import VGG16

FrontEnd = AlexNet | VGG16 | ResNet | HRNet

FRONT_ENDS: dict[str, Callable[[], FrontEnd]] = {
    "alexnet": AlexNet,
    "vgg16": VGG16,
    "resnet50": lambda: ResNet(50, output_stride=8),
    "resnet101": lambda: ResNet(101, output_stride=8),
    "hrnet18": lambda: HRNet(SIZES["hrnet18"]),
}
"""Encoders, with random weights. HRNet's features have stride 4, those of the others 8."""


@dataclass(frozen=True)
class PadNetConfig(MultiTaskConfig):
    """One network of the family; the defaults are the published ones for NYUD."""

    method: ClassVar[str] = "pad-net"

    intermediate: tuple[str, ...] = FOUR_TASKS
    front_end: str = "resnet50"  # of FRONT_ENDS
    decoder: str = "deconv"  # as published, or "bottleneck" as re-implemented
    exchange: str = "predictions"  # lifted by a convolution, as published; or "features"
    module: str = "C"  # how tasks learn from each other: A, B, C, or "none"
    gate: str = "receiver"  # of C as published, or "sender" as re-implemented

    def __post_init__(self) -> None:
        """Refuse what no network can be built for.

        Raises:
            InvalidInput: with the offending values.
        """
        super().__post_init__()
        self.check_choice("front_end", FRONT_ENDS)
        self.check_choice("decoder", ("deconv", "bottleneck"))
        self.check_choice("exchange", ("predictions", "features"))
        self.check_choice("module", ("none", "A", "B", "C"))
        self.check_choice("gate", [gate for module, gate in MODULES if module == self.module])

    @property
    def widths(self) -> dict[str, int]:
        """Channels of every task's features."""
        if self.decoder == "bottleneck":
            return dict.fromkeys(self.intermediate, parts.BOTTLENECK_WIDTH)
        narrow = dict.fromkeys(self.intermediate, parts.AUXILIARY_WIDTH)
        return narrow | dict.fromkeys(self.tasks, parts.FINAL_WIDTH)

    def build(self) -> "PadNet":
        """Return the network with fresh random weights."""
        return PadNet(self)


class PadNet(nn.Module):
    """Images to intermediate and final predictions.

    Attributes:
        intermediate_stride: pixels of the image per pixel of the intermediate predictions:
            4, or 8 with bottlenecks on another front end than HRNet.
        stride: the same of the final predictions: 1 behind deconvolutions, otherwise as above.
    """

    def __init__(self, config: PadNetConfig) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.config = config
        self.tasks = config.tasks
        front_end = FRONT_ENDS[config.front_end]()
        aggregation, stride = _aggregation(front_end)
        self.backbone = nn.Sequential(front_end, aggregation)
        is_deconv = config.decoder == "deconv"
        self.intermediate_stride = 4 if is_deconv else stride
        self.stride = 1 if is_deconv else stride

        widths, channels = config.widths, config.channels
        shared = aggregation.channels
        layers = {
            t: parts.deconv_layers(shared, width, stride)
            if is_deconv
            else parts.bottleneck_layers(shared)
            for t, width in widths.items()
        }
        self.initial_task_prediction_heads = parts.InitialPredictions(layers, widths, channels)
        if config.exchange == "predictions":
            lifting = {t: conv_bn_act(channels[t], width, 3) for t, width in widths.items()}
            self.lifting = nn.ModuleDict({PUBLIC_NAMES[t]: lift for t, lift in lifting.items()})
        distillation = MODULES[config.module, config.gate](widths, config.tasks)
        self.multi_modal_distillation = distillation
        decoder = parts.deconv_decoder if is_deconv else parts.bottleneck_decoder
        heads = {t: decoder(distillation.channels[t], channels[t]) for t in config.tasks}
        self.heads = nn.ModuleDict({PUBLIC_NAMES[t]: head for t, head in heads.items()})

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the raw final prediction of every task of ``self.tasks``, in that order.

        Args:
            images: (B, 3, H, W) floating point RGB, ImageNet-normalised, any size from 32.

        Returns:
            (B, channels of the task, ceil(H / self.stride), ceil(W / self.stride)) by task.
        """
        return self.forward_all(images).final

    def forward_all(self, images: torch.Tensor) -> Predictions:
        """Return the final predictions as ``forward`` does, and the intermediate ones.

        The latter are one dict of (B, channels, ceil(H / s), ceil(W / s)) by task, with
        s = ``self.intermediate_stride``.
        """
        features, predicted = self.initial_task_prediction_heads(
            self.backbone(check_images(images))
        )
        if self.config.exchange == "predictions":
            features = {t: self.lifting[PUBLIC_NAMES[t]](y) for t, y in predicted.items()}
        distilled = self.multi_modal_distillation(features)
        final = {t: self.heads[PUBLIC_NAMES[t]](distilled[t]) for t in self.tasks}
        if self.config.decoder == "deconv":
            predicted = self._crop(predicted, images, self.intermediate_stride)
            final = self._crop(final, images, self.stride)
        return Predictions(final, (predicted,))

    @staticmethod
    def _crop(
        maps: dict[str, torch.Tensor], images: torch.Tensor, stride: int
    ) -> dict[str, torch.Tensor]:
        return {t: parts.crop(y, images, stride) for t, y in maps.items()}


def presets() -> dict[str, NetworkConfig]:
    """Return the published networks by name, and the re-implemented ones (``-hrnet18``)."""
    published = PadNetConfig()
    again = replace(
        published,
        intermediate=TWO_TASKS,
        front_end="hrnet18",
        decoder="bottleneck",
        exchange="features",
        gate="sender",
    )
    cityscapes, pascal = (("cityscapes19", 19),), (("voc21", 21),)
    return {
        "pad-net-nyud": published,
        "pad-net-nyud-vgg16": replace(published, front_end="vgg16"),
        "pad-net-nyud-alexnet": replace(published, front_end="alexnet"),
        "pad-net-cityscapes": replace(published, front_end="resnet101", label_sets=cityscapes),
        "pad-net-nyud-hrnet18": again,
        "pad-net-nyud-hrnet18-auxiliary": replace(again, intermediate=FOUR_TASKS),
        "pad-net-pascal-hrnet18": replace(
            again, tasks=FIVE_TASKS, intermediate=FIVE_TASKS, label_sets=pascal
        ),
    }


def _aggregation(
    front_end: FrontEnd,
) -> tuple[HighResolutionHead | MultiScaleAggregation, int]:
    """Return what makes one map of the front end's, and the stride of that map."""
    if isinstance(front_end, HRNet):
        return HighResolutionHead(front_end.channels), front_end.strides[0]
    return MultiScaleAggregation(front_end.channels, front_end.strides), front_end.strides[-1]
