# SPDX-License-Identifier: Apache-2.0
"""What a network is trained for: its outputs and a batch to one number and its parts."""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from mtl_perception.conventions import InvalidInput
from mtl_perception.networks.config import NetworkConfig
from mtl_perception.networks.mti_net import MtiNetConfig
from mtl_perception.networks.nekrasov import NekrasovConfig
from mtl_perception.networks.pad_net import PadNetConfig
from mtl_perception.networks.xdistill_depth import XDistillConfig
from mtl_perception.training.batch import Batch
from mtl_perception.training.config import LossConfig
from mtl_perception.training.losses.depth import berhu
from mtl_perception.training.losses.labels import cross_entropy
from mtl_perception.training.losses.normals import normal_cosine
from mtl_perception.training.losses.total import Losses
from mtl_perception.training.objective_multi_task import mti_net_objective, pad_net_objective
from mtl_perception.training.objective_xdistill import XDistillObjective


class Objective(Protocol):
    """A torch module; modules of its own are trained too, and are not part of the network."""

    def __call__(self, outputs: object, batch: Batch) -> Losses:
        """Judge what the network said about ``batch.images``."""
        ...


class NekrasovObjective(nn.Module):
    """The losses of Nekrasov et al. 2018: cross-entropy, berHu, and cosine where normals are.

    An image without an annotation teaches the others' heads only: its loss is exactly 0.
    """

    def __init__(self, config: NekrasovConfig, weights: LossConfig) -> None:
        """Take the weights of the sum."""
        super().__init__()
        self.weights = weights
        # Of each class's pixels, see ``balance``; kept with the run.
        self.register_buffer("class_weights", torch.ones(config.label_channels))

    def forward(self, outputs: Mapping[str, Tensor], batch: Batch) -> Losses:
        """Judge the raw outputs by task, (B, C, h, w) each; tasks that are not there count 0."""
        parts = {}
        if "labels" in outputs:
            parts["labels"] = cross_entropy(outputs["labels"], batch.labels, self.class_weights)
        if "depth" in outputs:
            parts["depth"] = berhu(outputs["depth"], batch.depth)
        if "normals" in outputs:
            parts["normals"] = normal_cosine(outputs["normals"], batch.normals)
        total = torch.stack([getattr(self.weights, task) * part for task, part in parts.items()])
        return Losses(total.sum(), parts)


OBJECTIVES: Mapping[type[NetworkConfig], Callable[..., nn.Module]] = {
    NekrasovConfig: NekrasovObjective,
    PadNetConfig: pad_net_objective,
    MtiNetConfig: mti_net_objective,
    XDistillConfig: XDistillObjective,
}
"""Objective by kind of network."""


def objective_for(config: NetworkConfig, weights: LossConfig) -> nn.Module:
    """Return the objective that a network is trained for.

    Raises:
        InvalidInput: networks of that kind cannot be trained here.
    """
    if type(config) not in OBJECTIVES:
        raise InvalidInput(f"{config.method} networks have no training objective")
    return OBJECTIVES[type(config)](config, weights)
