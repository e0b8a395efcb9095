# SPDX-License-Identifier: Apache-2.0
"""How tasks learn from each other's features (PAD-Net, CVPR 2018, modules A, B and C).

F_t are the features of task t, * is a 3x3 convolution without bias, and k receives:

| module    | result for k                                          |
|-----------|-------------------------------------------------------|
| none      | F_k                                                   |
| A         | all F_t side by side                                  |
| B         | F_k + sum over t != k of W_tk * F_t                    |
| C         | F_k + sum over t != k of sigmoid(V_k * F_k) . (W_t * F_t)   |
| C, sender | F_k + sum over t != k of sigmoid(V_tk * F_t) . (W_tk * F_t) |

C is the publication's: the receiver decides what it lets in, and a sender says the same to all.
In the public re-implementation of PAD-Net and MTI-Net the sender decides, pair by pair.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import nn

from mtl_perception.networks.multi_task import PUBLIC_NAMES

Features = Mapping[str, torch.Tensor]
"""(B, width of the task, H, W) by task, H and W the same for all."""

conv3x3 = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False)
"""Of (channels in, channels out)."""


class NoExchange(nn.Module):
    """Every receiver keeps its own features; what the modules are compared with, no weights."""

    def __init__(self, widths: Mapping[str, int], receivers: Sequence[str]) -> None:
        """Say the channels of every task's features, and who receives."""
        super().__init__()
        self.channels = {k: widths[k] for k in receivers}

    def forward(self, features: Features) -> dict[str, torch.Tensor]:
        """Return (B, width of the receiver, H, W) by receiver."""
        return {k: features[k] for k in self.channels}


class ModuleA(nn.Module):
    """Every receiver gets the features of all tasks; no weights."""

    def __init__(self, widths: Mapping[str, int], receivers: Sequence[str]) -> None:
        """Say the channels of every task's features, and who receives."""
        super().__init__()
        self.receivers = tuple(receivers)
        self.channels = dict.fromkeys(receivers, sum(widths.values()))

    def forward(self, features: Features) -> dict[str, torch.Tensor]:
        """Return (B, sum of widths, H, W) by receiver, one and the same tensor."""
        return dict.fromkeys(self.receivers, torch.cat(list(features.values()), dim=1))


class ModuleB(nn.Module):
    """Every receiver adds what each other task says to it."""

    def __init__(self, widths: Mapping[str, int], receivers: Sequence[str]) -> None:
        """Say the channels of every task's features, and who receives."""
        super().__init__()
        self.channels = {k: widths[k] for k in receivers}
        self.messages = _pairs(widths, receivers, conv3x3)

    def forward(self, features: Features) -> dict[str, torch.Tensor]:
        """Return (B, width of the receiver, H, W) by receiver."""
        return {k: features[k] + _received(self.messages, k, features) for k in self.channels}


class ModuleC(nn.Module):
    """As B, but the receiver's own features gate what it adds."""

    def __init__(self, widths: Mapping[str, int], receivers: Sequence[str]) -> None:
        """Say the channels of every task's features, and who receives: all of equal width."""
        super().__init__()
        self.channels = {k: widths[k] for k in receivers}
        (width,) = set(self.channels.values())
        self.gates = nn.ModuleDict({PUBLIC_NAMES[k]: conv3x3(width, width) for k in receivers})
        heard = [t for t in widths if set(receivers) - {t}]
        self.messages = nn.ModuleDict({PUBLIC_NAMES[t]: conv3x3(widths[t], width) for t in heard})

    def forward(self, features: Features) -> dict[str, torch.Tensor]:
        """Return (B, width of the receiver, H, W) by receiver."""
        said = {
            t: self.messages[PUBLIC_NAMES[t]](x)
            for t, x in features.items()
            if PUBLIC_NAMES[t] in self.messages
        }
        return {k: features[k] + self._let_in(k, features[k], said) for k in self.channels}

    def _let_in(self, k: str, own: torch.Tensor, said: Features) -> torch.Tensor:
        gate = torch.sigmoid(self.gates[PUBLIC_NAMES[k]](own))
        return gate * sum(x for t, x in said.items() if t != k)


class SenderGated(nn.Module):
    """As B, but the sender's features gate what it says; keys of the public files."""

    def __init__(self, widths: Mapping[str, int], receivers: Sequence[str]) -> None:
        """Say the channels of every task's features, and who receives."""
        super().__init__()
        self.channels = {k: widths[k] for k in receivers}
        self.self_attention = _pairs(widths, receivers, SelfGatedConv)

    def forward(self, features: Features) -> dict[str, torch.Tensor]:
        """Return (B, width of the receiver, H, W) by receiver."""
        return {k: features[k] + _received(self.self_attention, k, features) for k in self.channels}


class SelfGatedConv(nn.Module):
    """A convolution times the sigmoid of another one of the same input."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        """Build both convolutions."""
        super().__init__()
        self.attention = nn.Sequential(conv3x3(channels_in, channels_out), nn.Sigmoid())
        self.conv = conv3x3(channels_in, channels_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, out, H, W) for ``x`` (B, in, H, W)."""
        return self.conv(x) * self.attention(x)


def _pairs(
    widths: Mapping[str, int], receivers: Sequence[str], block: Callable[[int, int], nn.Module]
) -> nn.ModuleDict:
    """One block for every receiver and every other task, by the public names of both."""
    return nn.ModuleDict(
        {
            PUBLIC_NAMES[k]: nn.ModuleDict(
                {PUBLIC_NAMES[t]: block(widths[t], widths[k]) for t in widths if t != k}
            )
            for k in receivers
        }
    )


def _received(blocks: nn.ModuleDict, k: str, features: Features) -> torch.Tensor:
    own = blocks[PUBLIC_NAMES[k]]
    return sum(own[PUBLIC_NAMES[t]](x) for t, x in features.items() if t != k)


Distillation = NoExchange | ModuleA | ModuleB | ModuleC | SenderGated

MODULES: Mapping[tuple[str, str], type[Distillation]] = {
    ("none", "receiver"): NoExchange,
    ("A", "receiver"): ModuleA,
    ("B", "receiver"): ModuleB,
    ("C", "receiver"): ModuleC,
    ("C", "sender"): SenderGated,
}
"""Distillation by module and gate; only C has a gate."""
