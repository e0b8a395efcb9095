# SPDX-License-Identifier: Apache-2.0
"""A stored Nekrasov network as an ONNX graph, straight from its weights: no torch.

Batch normalisation is folded into the convolution before it, in float64: with scale
g = weight / sqrt(variance + eps) it is conv(x, g * W) + (bias - g * mean).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from mtl_perception.conventions import InvalidInput
from mtl_perception.models import ModelUnsupported
from mtl_perception.networks.checkpoint_metadata import NetworkMetadata
from mtl_perception.networks.checkpoint_names import COUNTER, some
from mtl_perception.networks.config import read_config
from mtl_perception.networks.graph_builder import EXACT_UNTIL, INPUT, GraphBuilder
from mtl_perception.networks.nekrasov_config import HEADS, NekrasovConfig
from mtl_perception.networks.weights_file import read_weights_file

EPS = 1e-5
"""Of every batch normalisation."""

WIDTH = 256
"""Channels of everything in the decoder."""

FEW = 6
"""A 3x3 convolution to at most so many channels is done as a 1x1 to nine times as many, one for
each of its taps, and a sum of the nine, each from its place. CPUs compute 16 channels at a time,
so that one of 1 channel costs as much as one of 16: of the 62 ms of a 640x480 image it was 4."""

COARSE = "finest_stage_coarse"
"""Name of what the finest stage of the decoder gets from the coarser ones, before it is resized.
Its other input is ``EXACT_UNTIL``. Named where the stage is as published: see ``has_finest_stage``,
and ``inference.finest_stage`` for who computes it apart."""

HEAD_INPUT = "finest_stage_{}"
"""Name of what the finest stage gives to the head of a task."""

LATERAL = "conv3.weight"
"""Name of the finest stage's 1x1 convolution of ``EXACT_UNTIL``."""

FACTORS = tuple(f"crp1.0.{i}_outvar_dimred.weight" for i in range(1, 5))
"""Names of the finest stage's factors of each channel, one behind each pool."""

GAIN = "pre_{}.weight"
"""Name of the factors before a head."""

ENCODER = (
    ("layer2", 16, 1, 1, 1),
    ("layer3", 24, 6, 2, 2),
    ("layer4", 32, 6, 3, 2),
    ("layer5", 64, 6, 4, 2),
    ("layer6", 96, 6, 3, 1),
    ("layer7", 160, 6, 3, 2),
    ("layer8", 320, 6, 1, 1),
)
"""Name, channels, expansion, blocks and stride of MobileNet-v2's layers after the first."""


def nekrasov_graph(path: Path) -> onnx.ModelProto:
    """Return the ONNX graph of a .safetensors file that ``checkpoint.save_network`` wrote.

    Height and width of the input stay free; outputs are named like the tasks; the file's metadata
    travel along.

    Args:
        path: float32 or float16 weights of a network of method ``nekrasov``.

    Raises:
        ModelMissing, ModelCorrupt: see ``read_weights_file``.
        ModelUnsupported: not a network file of ours, of another method, a configuration that is
            not known here, or weights that do not fit it; the message says which.
    """
    file = read_weights_file(path)
    try:
        return graph_of(file.tensors, file.metadata)
    except InvalidInput as error:
        raise ModelUnsupported(f"{path}: {error}") from None


def graph_of(tensors: Mapping[str, np.ndarray], metadata: NetworkMetadata) -> onnx.ModelProto:
    """Return the ONNX graph of a network's weights, see ``nekrasov_graph``.

    Args:
        tensors: float32 or float16 by stored name.
        metadata: of a network of method ``nekrasov``; travels inside.

    Raises:
        InvalidInput: of another method, a configuration that is not known here, or weights that
            do not fit it; the message says which.
    """
    if metadata.config.get("method") != NekrasovConfig.method:
        raise InvalidInput(f"a network of method {metadata.config.get('method')!r}")
    config = read_config(NekrasovConfig, metadata.config)
    network = _Network(tensors, config)
    outputs = network.build()
    problems = network.problems()
    if problems:
        raise InvalidInput("; ".join(problems))
    return network.graph.finish(outputs, config.channels, metadata.to_strings())


def stored_shapes(config: NekrasovConfig) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every weight that a stored network has, counters left out."""
    network = _Network({}, config)
    network.build()
    return network.shapes


def has_finest_stage(config: NekrasovConfig) -> bool:
    """Whether channels do not meet between the last resizing and the heads' 3x3 convolutions."""
    return config.grouped_crp1 and config.pre_heads and not config.align_corners


class _Network:
    """Builds the graph from the image to the heads; weights are asked for by their stored name."""

    def __init__(self, tensors: Mapping[str, np.ndarray], config: NekrasovConfig) -> None:
        self.graph = GraphBuilder()
        self.shapes: dict[str, tuple[int, ...]] = {}  # of the weights that were asked for
        self._tensors = dict(tensors)
        self._config = config
        self._finest = has_finest_stage(config)
        self._missing: list[str] = []
        self._misshapen: list[str] = []
        self._not_finite: list[str] = []

    def build(self) -> dict[str, str]:
        """Return the value of each task, in the order of the configuration."""
        shared = self._decoder(self._encoder())
        return {task: self._head(task, shared) for task in self._config.tasks}

    def problems(self) -> list[str]:
        """Say why the stored weights do not fit, once the graph is built."""
        found = {
            "missing": self._missing,
            "not in the network": [n for n in self._tensors if not n.endswith(COUNTER)],
            "wrong shape": self._misshapen,
            "not finite": self._not_finite,
        }
        return [f"{what}: {some(names)}" for what, names in found.items() if names]

    def _encoder(self) -> list[tuple[str, int]]:
        """Return value and channels of l3 to l8."""
        x, c = self._conv_bn(INPUT, "layer1.0", "layer1.1", 3, 32, 3, stride=2), 32
        x = self.graph.relu6(x)
        features = []
        for layer, out, expansion, blocks, stride in ENCODER:
            for i in range(blocks):
                x = self._block(f"{layer}.{i}.output", x, c, out, expansion, 1 if i else stride)
                c = out
            if layer == "layer3":
                x = self.graph.rename(x, EXACT_UNTIL)
            features.append((x, c))
        return features[1:]

    def _block(self, name: str, x: str, c: int, out: int, expansion: int, stride: int) -> str:
        """Expand 1x1, filter each channel 3x3, project 1x1; add the input where shapes agree."""
        wide, y = c * expansion, x
        if expansion > 1 or self._config.legacy_expand_t1:
            y = self.graph.relu6(self._conv_bn(y, f"{name}.0.0", f"{name}.0.1", c, wide, 1))
        y = self._conv_bn(y, f"{name}.1.0", f"{name}.1.1", wide, wide, 3, stride, groups=wide)
        y = self._conv_bn(self.graph.relu6(y), f"{name}.2.0", f"{name}.2.1", wide, out, 1)
        return self.graph.add(x, y) if stride == 1 and c == out else y

    def _decoder(self, features: Sequence[tuple[str, int]]) -> str:
        """Light-Weight RefineNet: l3 to l8 become one value at a quarter of the image."""
        (l3, _), (l4, _), (l5, _), (l6, _), (l7, _), (l8, _) = features
        side = {i: self._lateral(f"conv{i}", *f) for i, f in enumerate(features, 3)}
        add, relu6 = self.graph.add, self.graph.relu6

        y = self._chain("crp4", relu6(add(side[8], side[7])))
        y = self._adapt("conv_adapt4", y, l6)
        y = self._chain("crp3", relu6(add(add(side[5], side[6]), y)))
        y = self._adapt("conv_adapt3", y, l4)
        y = self._chain("crp2", relu6(add(side[4], y)))
        y = self._adapt("conv_adapt2", y, l3, COARSE)
        groups = WIDTH if self._config.grouped_crp1 else 1
        return self._chain("crp1", relu6(add(side[3], y)), groups)

    def _lateral(self, name: str, x: str, c: int) -> str:
        name = f"{name}.weight"
        return self.graph.conv(x, self._take(name, (WIDTH, c, 1, 1)), name=name)

    def _adapt(self, name: str, x: str, like: str, mixed: str = "") -> str:
        """Mix the channels, which is then called ``mixed``; resize to the next finer scale."""
        y = self._lateral(name, x, WIDTH)
        if mixed and self._finest:
            y = self.graph.rename(y, mixed)
        return self.graph.resize(y, like, self._config.align_corners)

    def _chain(self, name: str, x: str, groups: int = 1) -> str:
        """Chained residual pooling: each stage pools and mixes what the one before gave."""
        top = x
        for i in range(1, 5):
            pooled = self.graph.max_pool(top, 5)
            top = self._mix(f"{name}.0.{i}_outvar_dimred.weight", pooled, groups)
            x = self.graph.add(x, top)
        return x

    def _mix(self, name: str, x: str, groups: int) -> str:
        """1x1 convolution; where every channel is a group of its own it only scales each."""
        weight = self._take(name, (WIDTH, WIDTH // groups, 1, 1))
        if groups == WIDTH:
            return self.graph.scale(x, weight.ravel(), name)
        return self.graph.conv(x, weight, name=name)

    def _head(self, task: str, x: str) -> str:
        name, channels = HEADS[task], self._config.channels[task]
        if self._config.pre_heads:
            x = self.graph.relu6(self._mix(GAIN.format(name), x, WIDTH))
        if self._finest:
            x = self.graph.rename(x, HEAD_INPUT.format(task))
        weight = self._take(f"{name}.weight", (channels, WIDTH, 3, 3))
        bias = self._take(f"{name}.bias", (channels,))
        if channels > FEW:
            return self.graph.conv(x, weight, bias)
        taps = weight.transpose(2, 3, 0, 1).reshape(9 * channels, WIDTH, 1, 1)
        return self.graph.conv(self.graph.conv(x, taps), _gather(channels), bias)

    def _conv_bn(
        self,
        x: str,
        conv: str,
        norm: str,
        c: int,
        out: int,
        k: int,
        stride: int = 1,
        groups: int = 1,
    ) -> str:
        """Convolution with its batch normalisation folded in."""
        weight = self._take(f"{conv}.weight", (out, c // groups, k, k)).astype(np.float64)
        gain, shift, mean, variance = (
            self._take(f"{norm}.{part}", (out,)).astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain /= np.sqrt(variance + EPS)
        weight *= gain[:, None, None, None]
        bias = shift - gain * mean
        return self.graph.conv(
            x, weight.astype(np.float32), bias.astype(np.float32), stride, groups
        )

    def _take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return a stored weight as float32, or zeros and a note of what is wrong with it."""
        self.shapes[name] = shape
        tensor = self._tensors.pop(name, None)
        if tensor is None:
            self._missing.append(name)
        elif tensor.shape != shape:
            self._misshapen.append(f"{name} {tensor.shape}, want {shape}")
        elif not np.isfinite(tensor).all():
            self._not_finite.append(name)
        else:
            return tensor.astype(np.float32)
        return np.zeros(shape, np.float32)


def _gather(channels: int) -> np.ndarray:
    """Return the 3x3 kernel that sums nine taps, each from its neighbour: of zeros and ones."""
    kernel = np.zeros((channels, 9 * channels, 3, 3), np.float32)
    for tap in range(9):
        for channel in range(channels):
            kernel[channel, tap * channels + channel, tap // 3, tap % 3] = 1
    return kernel
