# SPDX-License-Identifier: Apache-2.0
"""The training loop: the same for every network, one process or many, resumed or not."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mtl_perception.conventions import DenseSlamError
from mtl_perception.training.batch import Batch
from mtl_perception.training.config import TrainConfig
from mtl_perception.training.distributed import Processes, average
from mtl_perception.training.objective import Losses
from mtl_perception.training.optimizer import (
    RunningMean,
    clip_gradients,
    freeze,
    make_optimizer,
    set_rate,
)
from mtl_perception.training.precision import autocast, precision_of
from mtl_perception.training.run_state import RunState
from mtl_perception.training.schedule import rate


class TrainingDiverged(DenseSlamError):
    """Losses or gradients are not finite, too often to go on; the message says where it began."""


@dataclass(frozen=True)
class Step:
    """What one step told."""

    losses: dict[str, float]  # total, and the parts before they are weighted
    gradient: float  # norm before it is clipped
    problem: str = ""  # why the weights stay as they were; "" = they moved


class Engine:
    """A network, its objective and its optimizer; makes steps."""

    def __init__(
        self,
        config: TrainConfig,
        network: nn.Module,
        objective: nn.Module,
        device: torch.device,
        group: Processes | None = None,
    ) -> None:
        """Put everything on ``device``; ``group`` says which of the processes this one is."""
        self.config, self.device, self.group = config, device, group or Processes()
        self.network = network.to(device, memory_format=torch.channels_last)
        freeze(self.network, config.optimizer.freeze)
        self.objective = objective.to(device)
        self.optimizer = make_optimizer(self.network, self.objective, config.optimizer)
        self.mean = RunningMean(self.network, config.optimizer.average)
        self.dtype = precision_of(config.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.state = RunState()
        self._parameters = [*self.network.parameters(), *self.objective.parameters()]
        self._statistics = [b for b in self.network.buffers() if b.is_floating_point()]

    def step(self, batch: Batch) -> Step:
        """Move the weights once; a loss or gradient that is not finite leaves them as they were."""
        config, world = self.config, self.group.world
        self._training_mode()
        set_rate(self.optimizer, rate(config.schedule, self.state.step, config.steps))
        batch = batch.to(self.device)
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with autocast(self.device, self.dtype):
            # Intermediate predictions too, of networks that have such.
            outputs = getattr(self.network, "forward_all", self.network)(images)
        losses: Losses = self.objective(outputs, batch.thinned(config.loss.stride))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(losses.total).backward()
        self.scaler.unscale_(self.optimizer)
        told = _numbers(losses)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        average([*gradients, *self._statistics, *told.values()], world)
        norm = clip_gradients(self._parameters, config.optimizer.clip)
        problem = self._problem(told["total"], norm)
        if not problem:
            self.scaler.step(self.optimizer)
            self.mean.update(self.network)
        self.scaler.update()
        return Step({k: float(v) for k, v in told.items()}, float(norm), problem)

    def _problem(self, total: Tensor, norm: Tensor) -> str:
        if not torch.isfinite(total):
            return f"loss {float(total)}"
        if not torch.isfinite(norm) and not self.scaler.is_enabled():
            return f"gradient {float(norm)}"
        return ""  # float16 finds its scale by overflowing: the scaler leaves such steps out itself

    def _training_mode(self) -> None:
        self.network.train()
        self.objective.train()
        frozen, all_frozen = self.config.optimizer.freeze, self.config.optimizer.freeze_norm
        for name, module in self.network.named_modules():
            if isinstance(module, nn.BatchNorm2d) and (all_frozen or name.startswith(frozen)):
                module.eval()

    def tensors(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "mean": self.mean.state,
            "mean_updates": self.mean.updates,
        }

    def restore(self, state: RunState, tensors: dict[str, Any]) -> None:
        """Go on from what ``tensors`` returned."""
        self.network.load_state_dict(tensors["network"])
        self.objective.load_state_dict(tensors["objective"])
        self.optimizer.load_state_dict(tensors["optimizer"])
        self.scaler.load_state_dict(tensors["scaler"])
        for name, tensor in self.mean.state.items():
            tensor.copy_(tensors["mean"][name])
        self.mean.updates = tensors["mean_updates"]
        self.state = state


def _numbers(losses: Losses) -> dict[str, Tensor]:
    return {
        "total": losses.total.detach().clone(),
        **{k: v.detach().clone() for k, v in losses.parts.items()},
    }
