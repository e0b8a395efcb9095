# SPDX-License-Identifier: Apache-2.0
"""PAD-Net and MTI-Net a second time: plain formulas on a state_dict with the published names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Maps = Mapping[str, Tensor]
"""By published name of the task."""


def lively(net: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation mode, with batch norms that do something."""
    torch.manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


def joined(maps: Sequence[Tensor]) -> Tensor:
    """At the size of the first one, side by side."""
    size = maps[0].shape[-2:]
    resized = [F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in maps]
    return torch.cat(resized, dim=1)


@dataclass
class Published:
    """The layers below ``prefix`` of a state_dict."""

    state: Mapping[str, Tensor]
    prefix: str = ""

    def below(self, name: str) -> "Published":
        return Published(self.state, f"{self.prefix}{name}.")

    def has(self, name: str) -> bool:
        return any(key.startswith(f"{self.prefix}{name}.") for key in self.state)

    def tasks(self) -> list[str]:
        names = [key.removeprefix(self.prefix) for key in self.state if key.startswith(self.prefix)]
        return list(dict.fromkeys(name.split(".")[0] for name in names))

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.state[f"{self.prefix}{name}.weight"]
        bias = self.state.get(f"{self.prefix}{name}.bias")
        return F.conv2d(x, weight, bias, stride, padding=weight.shape[-1] // 2)

    def bn(self, name: str, x: Tensor) -> Tensor:
        own = f"{self.prefix}{name}"
        mean, variance = self.state[f"{own}.running_mean"], self.state[f"{own}.running_var"]
        return F.batch_norm(
            x, mean, variance, self.state[f"{own}.weight"], self.state[f"{own}.bias"]
        )

    def conv_bn(self, x: Tensor, stride: int = 1) -> Tensor:
        return self.bn("1", self.conv("0", x, stride))

    def block(self, x: Tensor) -> Tensor:
        """A basic block or a bottleneck."""
        y, numbers = x, [n for n in (1, 2, 3) if self.has(f"conv{n}")]
        for n in numbers:
            y = self.bn(f"bn{n}", self.conv(f"conv{n}", y))
            y = y if n == numbers[-1] else F.relu(y)
        return F.relu(y + (self.below("downsample").conv_bn(x) if self.has("downsample") else x))

    def blocks(self, x: Tensor) -> Tensor:
        """As many as there are."""
        for i in count():
            if not self.has(f"{i}.conv1"):
                return x
            x = self.below(str(i)).block(x)
        raise AssertionError

    def hrnet(self, images: Tensor) -> list[Tensor]:
        x = images
        for n in (1, 2):
            x = F.relu(self.bn(f"bn{n}", self.conv(f"conv{n}", x, stride=2)))
        x = self.below("layer1").blocks(x)
        branches = [
            F.relu(self.below("transition1.0").conv_bn(x)),
            F.relu(self.below("transition1.1.0").conv_bn(x, stride=2)),
        ]
        for stage in (2, 3, 4):
            if stage > 2:
                new = self.below(f"transition{stage - 1}.{stage - 1}.0")
                branches.append(F.relu(new.conv_bn(branches[-1], stride=2)))
            for module in count():
                if not self.has(f"stage{stage}.{module}"):
                    break
                branches = self.below(f"stage{stage}.{module}").exchange(branches)
        return branches

    def exchange(self, branches: list[Tensor]) -> list[Tensor]:
        maps = [self.below(f"branches.{i}").blocks(x) for i, x in enumerate(branches)]
        return [
            F.relu(sum(self.path(i, j, maps) for j in range(len(maps)))) for i in range(len(maps))
        ]

    def path(self, target: int, source: int, maps: list[Tensor]) -> Tensor:
        x, layers = maps[source], self.below(f"fuse_layers.{target}.{source}")
        if source > target:
            size = maps[target].shape[-2:]
            return F.interpolate(layers.conv_bn(x), size=size, mode="bilinear", align_corners=False)
        for step in range(target - source):
            x = layers.below(str(step)).conv_bn(x, stride=2)
            x = x if step == target - source - 1 else F.relu(x)
        return x

    def sender_gated(self, features: Maps) -> dict[str, Tensor]:
        """Distillation, below its name."""
        pairs = self.below("self_attention")
        out = {}
        for k in pairs.tasks():
            out[k] = features[k]
            for a in pairs.below(k).tasks():
                gate = torch.sigmoid(pairs.conv(f"{k}.{a}.attention.0", features[a]))
                out[k] = out[k] + gate * pairs.conv(f"{k}.{a}.conv", features[a])
        return out

    def propagate(self, features: Maps, softmax_over: str) -> dict[str, Tensor]:
        """MTI-Net's feature propagation, below its name."""
        names = list(features)
        x = torch.cat(list(features.values()), dim=1)
        scores = self.conv("non_linear.2", self.below("non_linear").blocks(x))
        weights = torch.empty_like(scores)
        width = scores.shape[1] // len(names)
        for channel in range(width):
            if softmax_over == "tasks":
                group = [t * width + channel for t in range(len(names))]
            else:
                group = [channel * len(names) + t for t in range(len(names))]
            weights[:, group] = F.softmax(scores[:, group], dim=1)
        shared = self.below("dimensionality_reduction").block(weights * x)
        return {t: features[t] + self.excited(t, shared) for t in names}

    def excited(self, task: str, x: Tensor) -> Tensor:
        y = F.adaptive_avg_pool2d(x, 1).flatten(1)
        squeeze = f"{self.prefix}se.{task}.squeeze"
        y = F.relu(F.linear(y, self.state[f"{squeeze}.0.weight"], self.state[f"{squeeze}.0.bias"]))
        y = F.linear(y, self.state[f"{squeeze}.2.weight"], self.state[f"{squeeze}.2.bias"])
        return torch.sigmoid(y)[:, :, None, None] * x


def pad_net(state: Mapping[str, Tensor], images: Tensor) -> tuple[Maps, Maps]:
    """Final and intermediate predictions of the re-implementation on HRNet-18."""
    net = Published(state)
    maps = net.below("backbone.0").hrnet(images)
    shared = F.relu(net.below("backbone.1.last_layer").conv_bn(joined(maps)))
    initial = net.below("initial_task_prediction_heads")
    tasks = initial.below("layers").tasks()
    features = {t: initial.below(f"layers.{t}").blocks(shared) for t in tasks}
    predicted = {t: initial.conv(f"conv_out.{t}", features[t]) for t in tasks}
    distilled = net.below("multi_modal_distillation").sender_gated(features)
    heads = net.below("heads")
    final = {t: heads.conv(f"{t}.2", heads.below(t).blocks(x)) for t, x in distilled.items()}
    return final, predicted


def mti_net(
    state: Mapping[str, Tensor], images: Tensor, softmax_over: str
) -> tuple[Maps, list[Maps]]:
    """Final predictions on HRNet, and those at the four scales."""
    net = Published(state)
    maps = net.below("backbone").hrnet(images)
    tasks = net.below("scale_0.decoders").tasks()
    features: list[Maps] = [{}, {}, {}, {}]
    predicted: list[Maps] = [{}, {}, {}, {}]
    inputs = dict.fromkeys(tasks, maps[3])
    for s in (3, 2, 1, 0):
        scale = net.below(f"scale_{s}")
        features[s] = {t: scale.below(f"refinement.{t}").blocks(inputs[t]) for t in tasks}
        predicted[s] = {t: scale.conv(f"decoders.{t}", features[s][t]) for t in tasks}
        if s > 0:
            passed = net.below(f"fpm_scale_{s}").propagate(features[s], softmax_over)
            inputs = {t: joined([maps[s - 1], passed[t]]) for t in tasks}
    distilled = [net.below(f"distillation_scale_{s}").sender_gated(features[s]) for s in range(4)]
    final = {}
    for t in net.below("heads").tasks():
        layers = net.below(f"heads.{t}.last_layer")
        y = F.relu(layers.conv_bn(joined([distilled[s][t] for s in range(4)])))
        final[t] = layers.conv("3", y)
    return final, predicted
