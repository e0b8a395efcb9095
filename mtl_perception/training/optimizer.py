# SPDX-License-Identifier: Apache-2.0
"""Which weights learn how fast, and the running mean of them that is kept."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mtl_perception.conventions import InvalidInput
from mtl_perception.training.config import OptimizerConfig

ENCODERS = ("encoder.", "backbone.")
"""Beginnings of the names, in a network, of the part that starts from ImageNet."""


def freeze(network: nn.Module, names: tuple[str, ...]) -> None:
    """Let the parameters whose names begin so keep their values.

    Raises:
        InvalidInput: no parameter's name begins so.
    """
    for name in names:
        found = [p for key, p in network.named_parameters() if key.startswith(name)]
        if not found:
            raise InvalidInput(f"optimizer.freeze {name!r}: the network has no such parameters")
        for parameter in found:
            parameter.requires_grad_(False)


def make_optimizer(
    network: nn.Module, objective: nn.Module, config: OptimizerConfig
) -> torch.optim.Optimizer:
    """Return an optimizer of a network and of what its objective owns.

    Two learning rates, each with and without weight decay: four groups, whose ``peak`` is what the
    schedule scales.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    named = [(name, p, name.startswith(ENCODERS)) for name, p in network.named_parameters()]
    named += [(name, p, False) for name, p in objective.named_parameters()]
    for _, parameter, is_encoder in named:
        if not parameter.requires_grad:
            continue
        peak = config.encoder_lr if is_encoder else config.decoder_lr
        decay = config.weight_decay if parameter.ndim > 1 else 0.0  # not biases, not batch norm
        groups.setdefault((peak, decay), []).append(parameter)
    settings = [
        {"params": parameters, "lr": peak, "peak": peak, "weight_decay": decay}
        for (peak, decay), parameters in groups.items()
    ]
    if config.kind == "sgd":
        return torch.optim.SGD(settings, lr=config.decoder_lr, momentum=config.momentum)
    return torch.optim.AdamW(settings, lr=config.decoder_lr, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to ``factor`` of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


class RunningMean:
    """Exponential mean of a network's state; what is evaluated and kept (Polyak averaging).

    Early on the mean is shorter, so that it does not remember the random start.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Begin with the network as it is; ``decay`` 0 keeps the newest state only."""
        self.decay = decay
        self.updates = 0
        self.state = {name: t.detach().clone() for name, t in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards the network."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        new = network.state_dict()
        means = [t for t in self.state.values() if t.is_floating_point()]
        values = [new[name] for name, t in self.state.items() if t.is_floating_point()]
        torch._foreach_lerp_(means, values, 1 - decay)
        for name, tensor in self.state.items():
            if not tensor.is_floating_point():  # batch norm's counters
                tensor.copy_(new[name])


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> Tensor:
    """Scale gradients down to a norm of ``largest`` (0 = any) and return the norm they had."""
    with_gradient = [p for p in parameters if p.grad is not None]
    limit = largest if largest > 0 else float("inf")
    return nn.utils.clip_grad_norm_(with_gradient, limit)
