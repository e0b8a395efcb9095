# SPDX-License-Identifier: Apache-2.0
"""A joint network in 8-bit numbers: quantised after training, by what it computes on some images.

Convolutions, pools, sums and resizes get 8-bit inputs and outputs: activations as unsigned numbers
with one range for each value, weights as signed ones with one for each output channel. The first
layers, the decoder's finest stage and the last layers of depth and normals stay in floating point.
The graph says so by pairs of QuantizeLinear and DequantizeLinear, which ONNX Runtime and OpenVINO
turn into integer arithmetic.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from mtl_perception.atomic_file import atomic_file
from mtl_perception.conventions import InvalidInput
from mtl_perception.data.sample import Dataset
from mtl_perception.inference.finest_stage import stage_nodes
from mtl_perception.inference.graph_network import normalise
from mtl_perception.inference.network_graph import read_graph
from mtl_perception.networks.graph_builder import EXACT_UNTIL, INPUT

REGRESSIONS = ("depth", "normals")
"""Tasks whose last layer stays in floating point: 256 steps over 10 m of depth are 4 cm each."""


class Calibration(Sequence[np.ndarray]):
    """Some images of a data set, evenly spread, each read when it is asked for."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        """Choose ``count`` of the samples, or all if there are fewer."""
        self._dataset = dataset
        self._chosen = np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int))

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._chosen)

    def __getitem__(self, i: int) -> np.ndarray:  # type: ignore[override]
        """Return one (H, W, 3) uint8 RGB image."""
        return self._dataset[int(self._chosen[i])].color


def quantise(model: Path, images: Sequence[np.ndarray], output: Path) -> None:
    """Write a network with 8-bit weights and activations; whole, or not at all.

    Args:
        model: .onnx or .safetensors, see ``network_graph.read_graph``.
        images: (H, W, 3) uint8 RGB, of the network's own kind of scenes; they are brought to the
            height that it wants. The ranges of all values are the smallest that hold what it
            computes on these.
        output: .onnx; replaced if it is there.

    Raises:
        InvalidInput: no images, a network that is quantised already, or another suffix.
        ModelMissing, ModelCorrupt, ModelUnsupported: see ``read_graph``.
        OSError: the folder cannot be written, or the disk is full.
    """
    graph = read_graph(model)
    if graph.quantised:
        raise InvalidInput(f"{model} is quantised already")
    if not images:
        raise InvalidInput("quantising needs images to find the range of every value")
    if output.suffix != ".onnx":
        raise InvalidInput(f"{output}: want a name that ends in .onnx")
    proto = onnx.load_from_string(graph.content)
    # Rounded, they cost OpenVINO 14 ms of 45, for it rounds each apart: by the kernel half of that.
    finest = stage_nodes(proto.graph)
    _scales_to_convolutions(proto, finest)
    last = [node.name for node in proto.graph.node if set(node.output) & set(REGRESSIONS)]
    names = [name for node in proto.graph.node for name in node.output]
    start = names.index(EXACT_UNTIL) + 1 if EXACT_UNTIL in names else 0
    first = [node.name for node in proto.graph.node[:start]]
    with TemporaryDirectory() as folder, _quiet():
        quantize_static(
            proto,
            Path(folder) / "quantised.onnx",
            _Images(images, graph.metadata.input_height),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*first, *finest, *last],
        )
        quantised = onnx.load(Path(folder) / "quantised.onnx")
    _read_floats(quantised, {*finest, *last})
    _leave_float(quantised, set(graph.channels))
    del quantised.metadata_props[:]
    helper.set_model_props(quantised, graph.metadata.to_strings())
    with atomic_file(output) as file:
        file.write(quantised.SerializeToString())


class _Images(CalibrationDataReader):
    """Hands one normalised image after the other to ONNX Runtime."""

    def __init__(self, images: Sequence[np.ndarray], height: int) -> None:
        self._rest, self._height = iter(images), height

    def get_next(self) -> dict[str, np.ndarray] | None:
        rgb = next(self._rest, None)
        if rgb is None:
            return None
        return {INPUT: normalise(_at_height(rgb, self._height or rgb.shape[0]))}


def _at_height(rgb: np.ndarray, height: int) -> np.ndarray:
    rows, columns = rgb.shape[:2]
    if height == rows:
        return rgb
    how = cv2.INTER_AREA if height < rows else cv2.INTER_LINEAR
    return cv2.resize(rgb, (round(columns * height / rows), height), interpolation=how)


def _scales_to_convolutions(proto: onnx.ModelProto, but: set[str]) -> None:
    """Make products with one number for each channel depthwise convolutions.

    A factor is a weight there, with a range for each channel, so that no precision is lost.
    """
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type != "Mul" or node.name in but or node.input[1] not in constants:
            continue
        factors = numpy_helper.to_array(constants[node.input[1]])
        if factors.ndim != 4 or factors.shape != (1, factors.size, 1, 1):
            continue
        weight = numpy_helper.from_array(factors.reshape(-1, 1, 1, 1), node.input[1])
        constants[node.input[1]].CopyFrom(weight)
        node.op_type = "Conv"
        node.attribute.append(helper.make_attribute("group", factors.size))


def _read_floats(proto: onnx.ModelProto, names: set[str]) -> None:
    """Let some nodes read values as they were before rounding; rounding for nobody goes."""
    nodes = proto.graph.node
    makers = {name: node for node in nodes for name in node.output}
    for node in nodes:
        if node.name not in names:
            continue
        for i, name in enumerate(node.input):
            rounding = _rounding(makers.get(name), makers)
            if rounding is not None:
                node.input[i] = rounding.input[0]
    for kind in ("DequantizeLinear", "QuantizeLinear"):
        read = {name for node in nodes for name in node.input} | {
            o.name for o in proto.graph.output
        }
        for node in [n for n in nodes if n.op_type == kind and n.output[0] not in read]:
            nodes.remove(node)


def _leave_float(proto: onnx.ModelProto, outputs: set[str]) -> None:
    """Take away the rounding to 8 bits of some of the graph's outputs."""
    nodes = proto.graph.node
    makers = {name: node for node in nodes for name in node.output}
    for name in outputs:
        rounding = _rounding(makers[name], makers)
        if rounding is None:
            continue
        source = makers[rounding.input[0]]
        source.output[list(source.output).index(rounding.input[0])] = name
        nodes.remove(makers[name])
        nodes.remove(rounding)


def _rounding(
    node: onnx.NodeProto | None, makers: Mapping[str, onnx.NodeProto]
) -> onnx.NodeProto | None:
    """Return what rounded the value that a node brings back to floating point."""
    if node is None or node.op_type != "DequantizeLinear":
        return None
    rounding = makers.get(node.input[0])
    return rounding if rounding is not None and rounding.op_type == "QuantizeLinear" else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime's advice on how to call it from the user's log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
