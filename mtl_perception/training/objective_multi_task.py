# SPDX-License-Identifier: Apache-2.0
"""What PAD-Net and MTI-Net are trained for: every prediction, intermediate and final, is judged."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from mtl_perception.conventions import InvalidInput
from mtl_perception.networks.mti_net import MtiNetConfig
from mtl_perception.networks.multi_task import MultiTaskConfig, Predictions
from mtl_perception.networks.pad_net import PadNetConfig
from mtl_perception.training.batch import TARGETS, Batch
from mtl_perception.training.config import LossConfig
from mtl_perception.training.losses.contours import balanced_bce, binary_cross_entropy
from mtl_perception.training.losses.depth import l1_depth, l2_depth
from mtl_perception.training.losses.labels import cross_entropy
from mtl_perception.training.losses.normals import normal_l1, normal_l2
from mtl_perception.training.losses.total import Losses

TaskLosses = Mapping[str, Callable[[Tensor, Tensor], Tensor]]
"""Loss of (prediction, truth) by task."""

PAD_NET: TaskLosses = {
    "depth": l2_depth,
    "normals": normal_l2,
    "contours": binary_cross_entropy,
}
"""As PAD-Net was published, besides cross-entropy for labels."""

MTI_NET: TaskLosses = {
    "depth": l1_depth,
    "normals": normal_l1,
    "contours": balanced_bce,
}
"""As MTI-Net was published, and PAD-Net re-implemented beside it; labels likewise."""


class MultiTaskObjective(nn.Module):
    """The weighted sum over the final and over all intermediate predictions."""

    def __init__(self, config: MultiTaskConfig, losses: TaskLosses, weights: LossConfig) -> None:
        """Take the losses of all tasks but labels, and the weights of the sum."""
        super().__init__()
        self.losses = losses
        self.weights = weights
        # Of each class's pixels, see ``balance``; kept with the run.
        self.register_buffer("class_weights", torch.ones(config.label_channels))

    def forward(self, outputs: Predictions, batch: Batch) -> Losses:
        """Judge what ``forward_all`` of the network returned.

        The parts are, by task, the loss of the final prediction, and as "intermediate TASK" the
        sum of those of all scales. A task without annotation is exactly 0.
        """
        parts: dict[str, Tensor] = {}
        weighted = []
        for task in outputs.intermediate[0]:
            weight = getattr(self.weights, task)
            if task in outputs.final:
                parts[task] = self._loss(task, outputs.final, batch)
                weighted.append(weight * parts[task])
            early = sum(self._loss(task, scale, batch) for scale in outputs.intermediate)
            parts[f"intermediate {task}"] = early
            weighted.append(weight * self.weights.intermediate * early)
        return Losses(sum(weighted), parts)

    def _loss(self, task: str, predictions: Mapping[str, Tensor], batch: Batch) -> Tensor:
        if task == "labels":
            return cross_entropy(predictions[task], batch.labels, self.class_weights)
        return self.losses[task](predictions[task], getattr(batch, task))


def pad_net_objective(config: PadNetConfig, weights: LossConfig) -> MultiTaskObjective:
    """Return the six (or fewer, or more) losses of PAD-Net.

    Of the network as published they are the published ones; behind the re-implementation's decoder
    those of the re-implementation.

    Raises:
        InvalidInput: the network has a task that batches have no annotation of, or label sets.
    """
    _check(config)
    losses = PAD_NET if config.decoder == "deconv" else MTI_NET
    return MultiTaskObjective(config, losses, weights)


def mti_net_objective(config: MtiNetConfig, weights: LossConfig) -> MultiTaskObjective:
    """Return MTI-Net's deep supervision: four scales of every intermediate task, and the final.

    Raises:
        InvalidInput: as ``pad_net_objective``.
    """
    _check(config)
    return MultiTaskObjective(config, MTI_NET, weights)


def _check(config: MultiTaskConfig) -> None:
    strangers: Iterable[str] = [task for task in config.intermediate if task not in TARGETS]
    if strangers:
        raise InvalidInput(
            f"{config.method}: nothing here has annotations of {', '.join(strangers)}, only of "
            f"{', '.join(TARGETS)}"
        )
    if len(config.label_sets) != 1:
        names = ", ".join(name for name, _ in config.label_sets)
        raise InvalidInput(f"{config.method}: labels are of one set, the network's of {names}")
