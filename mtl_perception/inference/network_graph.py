# SPDX-License-Identifier: Apache-2.0
"""A joint network's file as the ONNX graph that ONNX Runtime and OpenVINO run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from mtl_perception.conventions import InvalidInput
from mtl_perception.inference.dense_outputs import check_tasks
from mtl_perception.inference.graph_cache import kept_graph
from mtl_perception.inference.runtimes import require_modules
from mtl_perception.models import ModelCorrupt, ModelMissing, ModelUnsupported
from mtl_perception.networks.checkpoint_metadata import NetworkMetadata
from mtl_perception.networks.graph_builder import INPUT
from mtl_perception.networks.nekrasov_config import NekrasovConfig
from mtl_perception.networks.nekrasov_graph import nekrasov_graph
from mtl_perception.networks.weights_file import read_metadata

MAX_ONNX_BYTES = 1 << 30
"""Bound on what is read into memory; the largest network here takes 0.6 GB."""


@dataclass(frozen=True, eq=False)
class NetworkGraph:
    """An ONNX graph that takes an image and gives one map for each task."""

    path: Path  # of the file that it was read from, for messages
    content: bytes  # the serialised graph, complete: no weights in other files
    metadata: NetworkMetadata
    channels: Mapping[str, int]  # by task, in the graph's order
    quantised: bool  # whether it says itself how values become 8-bit numbers


def read_graph(path: Path) -> NetworkGraph:
    """Read a joint network, or make its graph.

    Graphs of Nekrasov networks are made here; other .safetensors files need torch for that, whose
    graphs are kept.

    Args:
        path: .onnx of ``networks.export``, or .safetensors of ``checkpoint.save_network``.

    Raises:
        ModelMissing: the file cannot be read.
        ModelCorrupt: too large, damaged, or with weights in other files.
        ModelUnsupported: not a network of ours, or one that needs torch where there is none.
    """
    proto = _parse(path) if path.suffix.lower() == ".onnx" else _make(path)
    strings = {entry.key: entry.value for entry in proto.metadata_props}
    try:
        metadata = NetworkMetadata.from_strings(strings)
    except InvalidInput as error:
        raise ModelUnsupported(f"{path}: {error}") from None
    _check_input(proto, path)
    channels = {output.name: _channels(output, path) for output in proto.graph.output}
    check_tasks(channels, path)
    quantised = any(node.op_type == "DequantizeLinear" for node in proto.graph.node)
    return NetworkGraph(path, proto.SerializeToString(), metadata, channels, quantised)


def _parse(path: Path) -> onnx.ModelProto:
    try:
        size = path.stat().st_size
        if size > MAX_ONNX_BYTES:
            raise ModelCorrupt(f"{path}: {size} bytes; above {MAX_ONNX_BYTES} they are refused")
        proto = onnx.load_from_string(path.read_bytes())
    except OSError as error:
        raise ModelMissing(f"{path}: cannot be read: {error.strerror}") from None
    except DecodeError as error:
        raise ModelCorrupt(f"{path}: not an ONNX file, or a damaged one: {error}") from None
    if not proto.graph.node:
        raise ModelCorrupt(f"{path}: not an ONNX file: nothing is computed in it")
    for tensor in _tensors(proto.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ModelCorrupt(f"{path}: {tensor.name} lies in another file, which is not read")
    return proto


def _make(path: Path) -> onnx.ModelProto:
    if read_metadata(path).config.get("method") == NekrasovConfig.method:
        return nekrasov_graph(path)

    def make() -> bytes:
        require_modules(
            f"{path}, which is not a {NekrasovConfig.method} network", "torch", "onnxscript"
        )
        from mtl_perception.networks.checkpoint import load_network
        from mtl_perception.networks.export import to_onnx

        stored = load_network(path)
        return to_onnx(stored.model, stored.metadata).SerializeToString()

    return onnx.load_from_string(kept_graph(path, make))


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every constant, also those of graphs inside operators."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _check_input(proto: onnx.ModelProto, path: Path) -> None:
    inputs = [(x.name, x.type.tensor_type.elem_type, _shape(x)[:2]) for x in proto.graph.input]
    if inputs != [(INPUT, onnx.TensorProto.FLOAT, [1, 3])]:
        raise ModelUnsupported(f"{path}: inputs {inputs}, want {INPUT} (1, 3, H, W) float32")


def _channels(output: onnx.ValueInfoProto, path: Path) -> int:
    shape = _shape(output)
    if len(shape) != 4 or shape[1] < 1:
        raise ModelUnsupported(f"{path}: {output.name} is {shape}, want (1, C, h, w)")
    return shape[1]


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    """Return the sizes, 0 for those that are free."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]
