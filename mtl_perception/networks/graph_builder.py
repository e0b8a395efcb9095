# SPDX-License-Identifier: Apache-2.0
"""ONNX graphs by hand: one method per operator that the networks here are made of (no torch)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
"""Version of ONNX's operators: the oldest whose Resize has what the networks need."""

IR_VERSION = 9
"""Version of the file format: the oldest that goes with the operators' version is read widely."""

EXACT_UNTIL = "exact_until_here"
"""Name of the value, if there is one, that runtimes of less precision should still compute in fp32.
Nothing after it may need anything from before it but itself."""

INPUT = "images"
"""Name of the input: (1, 3, height, width) float32 RGB, ImageNet-normalised."""


class GraphBuilder:
    """Collects operators; every method takes and returns names of (1, C, h, w) float32 values."""

    def __init__(self) -> None:
        """Begin with the input and nothing else."""
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, np.ndarray] = {}

    def conv(
        self,
        x: str,
        weight: np.ndarray,
        bias: np.ndarray | None = None,
        stride: int = 1,
        groups: int = 1,
        name: str = "",
    ) -> str:
        """Convolve with padding k // 2 on every side, so that n pixels become ceil(n / stride).

        Args:
            x: the value to convolve.
            weight: (out, in / groups, k, k) float32.
            bias: (out,) float32, or none.
            stride: along both axes.
            groups: of channels.
            name: of the weights in the graph; "" = any.
        """
        k = weight.shape[-1]
        inputs = [x, self._constant("weight", weight, name)]
        if bias is not None:
            inputs.append(self._constant("bias", bias))
        return self._add(
            "Conv",
            inputs,
            kernel_shape=[k, k],
            strides=[stride, stride],
            pads=[k // 2] * 4,
            group=groups,
        )

    def relu6(self, x: str) -> str:
        """Clip to 0..6."""
        for name, value in (("zero", 0.0), ("six", 6.0)):
            self._constants[name] = np.array(value, np.float32)
        return self._add("Clip", [x, "zero", "six"])

    def add(self, a: str, b: str) -> str:
        """Add two values of one shape."""
        return self._add("Add", [a, b])

    def scale(self, x: str, factors: np.ndarray, name: str = "") -> str:
        """Multiply each channel by a number of its own, (C,) float32; ``name`` as in ``conv``."""
        return self._add("Mul", [x, self._constant("factors", factors[None, :, None, None], name)])

    def max_pool(self, x: str, size: int) -> str:
        """Take the maximum over windows of ``size`` x ``size``, at stride 1; the shape stays.

        Rows, then columns: the very same maximum from 2 * size values instead of size^2.
        """
        half = size // 2
        for kernel, pads in (([1, size], [0, half, 0, half]), ([size, 1], [half, 0, half, 0])):
            x = self._add("MaxPool", [x], kernel_shape=kernel, pads=pads, strides=[1, 1])
        return x

    def rename(self, x: str, name: str) -> str:
        """Give the newest value a name that others may look for."""
        self._nodes[-1].output[0] = name
        return name

    def resize(self, x: str, like: str, align_corners: bool) -> str:
        """Resize bilinearly to the height and width of another value, as torch does."""
        size = self._add("Shape", [like], start=2, end=4)
        self._constants["kept"] = np.array([1], np.int64)
        channels = self._add("Shape", [x], start=1, end=2)
        size = self._add("Concat", ["kept", channels, size], axis=0)
        how = "align_corners" if align_corners else "pytorch_half_pixel"
        return self._add(
            "Resize", [x, "", "", size], mode="linear", coordinate_transformation_mode=how
        )

    def finish(
        self, outputs: Mapping[str, str], channels: Mapping[str, int], metadata: Mapping[str, str]
    ) -> onnx.ModelProto:
        """Return the model, checked by ONNX.

        Args:
            outputs: the value of each task.
            channels: of each task's value.
            metadata: travels inside.
        """
        names = {value: task for task, value in outputs.items()}
        for node in self._nodes:
            node.output[0] = names.get(node.output[0], node.output[0])
        infos = [
            helper.make_tensor_value_info(
                task, TensorProto.FLOAT, [1, channels[task], f"{task}_height", f"{task}_width"]
            )
            for task in outputs
        ]
        image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, 3, "height", "width"])
        constants = [numpy_helper.from_array(v, name) for name, v in self._constants.items()]
        graph = helper.make_graph(self._nodes, "network", [image], infos, constants)
        opsets = [helper.make_opsetid("", OPSET)]
        proto = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=opsets)
        helper.set_model_props(proto, dict(metadata))
        onnx.checker.check_model(proto)
        return proto

    def _constant(self, kind: str, value: np.ndarray, name: str = "") -> str:
        name = name or f"{kind}_{len(self._constants)}"
        self._constants[name] = value
        return name

    def _add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name
