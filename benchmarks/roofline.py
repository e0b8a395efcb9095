# SPDX-License-Identifier: Apache-2.0
"""What the machine can do at best, and what a network's graph asks of it."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnx
from numba import njit
from onnx import TensorProto, helper, numpy_helper

from mtl_perception.inference.finest_stage import stage_nodes
from mtl_perception.networks.nekrasov_graph import HEAD_INPUT

BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
"""Of one value."""

CHANNELS, SIDE, LAYERS = 256, 32, 8
"""Peaks are measured by so many 1x1 convolutions of so many channels in a row, at the size of the
decoder's: they run from caches, and for few milliseconds, so that on a busy machine one of the runs
is not interrupted. Its matrix products OpenVINO leaves to a slower library."""

TRIAD = 1 << 24
"""Numbers in each of its three arrays: 64 MiB, twice what a large cache holds."""


@dataclass(frozen=True)
class Machine:
    """Measured limits of the cores that are used."""

    operations: Mapping[str, float]  # per second by precision, a multiply-add counts as two
    bandwidth: float  # bytes per second


@dataclass(frozen=True)
class Step:
    """One operator of a graph for one image size."""

    operations: int
    values: int  # read and written, each once


def fastest(call: Callable[[], object], runs: int = 40) -> float:
    """Return the seconds of the fastest of some runs, after one that does not count."""
    call()
    best = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def measure_machine(threads: int) -> Machine:
    """Measure convolutions by OpenVINO where it is here, a matrix product by NumPy where not."""
    operations = 2.0 * LAYERS * SIDE**2 * CHANNELS**2
    try:
        calls = {name: _convolutions(name, threads) for name in BYTES}
    except ImportError:
        a, b = np.ones((LAYERS * SIDE**2, CHANNELS)), np.ones((CHANNELS, CHANNELS))
        a, b = a.astype(np.float32), b.astype(np.float32)
        calls = {"fp32": lambda: a @ b}
    peaks = {name: operations / fastest(call, 200) for name, call in calls.items()}
    return Machine(peaks, memory_bandwidth(threads))


def _convolutions(precision: str, threads: int) -> Callable[[], object]:
    from mtl_perception.inference.openvino_network import HINTS
    from mtl_perception.inference.openvino_parts import core, shared

    options = {"INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": threads}
    model = core().read_model(_chain(precision == "int8").SerializeToString())
    request = core().compile_model(model, "CPU", options).create_infer_request()
    request.set_input_tensor(shared(np.ones((1, CHANNELS, SIDE, SIDE), np.float32)))
    return request.infer


def _chain(in_8_bits: bool) -> onnx.ModelProto:
    """Return a graph of means over all channels, one behind the other."""
    shape = (CHANNELS, CHANNELS, 1, 1)
    constants = {"w": np.full(shape, 1 / CHANNELS, np.float32)}
    if in_8_bits:
        constants = {
            "scale": np.array(1 / 128, np.float32),
            "zero": np.array(0, np.uint8),
            "scales": np.full(CHANNELS, 1 / CHANNELS, np.float32),
            "zeros": np.zeros(CHANNELS, np.int8),
            "w8": np.ones(shape, np.int8),
        }
    nodes = []
    for i in range(LAYERS):
        x, w = f"x{i}", "w"
        if in_8_bits:
            x, w = f"x{i} again", f"w{i}"
            nodes += [
                helper.make_node("QuantizeLinear", [f"x{i}", "scale", "zero"], [f"x{i} in 8"]),
                helper.make_node("DequantizeLinear", [f"x{i} in 8", "scale", "zero"], [x]),
                helper.make_node("DequantizeLinear", ["w8", "scales", "zeros"], [w], axis=0),
            ]
        nodes.append(helper.make_node("Conv", [x, w], [f"x{i + 1}"]))
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, CHANNELS, SIDE, SIDE])
        for name in ("x0", f"x{LAYERS}")
    ]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "chain", values[:1], values[1:], stored)
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])


@njit(nogil=True, fastmath=True)
def _add_scaled(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    for i in range(len(a)):
        a[i] = b[i] + np.float32(3) * c[i]


def memory_bandwidth(threads: int) -> float:
    """Return bytes per second of a = b + 3 c (McCalpin's STREAM), on arrays that no cache holds."""
    arrays = [np.ones(TRIAD, np.float32) for _ in range(3)]
    parts = [np.array_split(array, threads) for array in arrays]
    with ThreadPoolExecutor(threads) as pool:
        return 3 * 4 * TRIAD / fastest(lambda: list(pool.map(_add_scaled, *parts)))


def steps(proto: onnx.ModelProto, height: int, width: int) -> list[Step]:
    """Return what each operator costs on one image, at least.

    Clip and Add ride along with the operator whose output they take; Add still reads its other
    input. Sizes of Resize come from the graph's own sums, so that no value is counted twice. The
    finest stage of the decoder is one operator, which runs from caches, as ``FinestStage`` does.

    Args:
        proto: of ``nekrasov_graph``.
        height: of the image, as the next.
        width: of the image.
    """
    shapes = _shapes(proto, height, width)
    size = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    stage = stage_nodes(proto.graph)
    within = [node for node in proto.graph.node if node.name in stage]
    inside = {name for node in within for name in node.output}
    ends = {name for node in within for name in node.input if name in size} - inside
    ends |= {HEAD_INPUT.format(output.name) for output in proto.graph.output} & inside
    lateral = sum(
        2 * int(np.prod(shapes[node.input[1]][1:])) * size[node.output[0]]
        for node in within
        if node.op_type == "Conv"
    )
    found = [Step(lateral, sum(size[name] for name in ends))] if stage else []
    for node in proto.graph.node:
        if node.name in stage:
            continue
        inputs = [size[name] for name in node.input if name in size]
        out = sum(size[name] for name in node.output if name in size)
        if node.op_type == "Conv":
            kernel = int(np.prod(shapes[node.input[1]][1:]))
            found.append(Step(2 * kernel * out, sum(inputs) + out))
        elif node.op_type in ("MaxPool", "Mul", "Resize"):
            found.append(Step(0, sum(inputs) + out))
        elif node.op_type == "Add":
            found.append(Step(0, inputs[1]))
    return found


def bounds(found: list[Step], machine: Machine, precision: str) -> tuple[float, float, float]:
    """Return milliseconds that a network takes at least: by sums, by memory, step by step.

    The third lets every operator take the longer of its own two, and assumes that what one wrote
    has left the cache before the next reads it.
    """
    peak, bandwidth = machine.operations[precision], machine.bandwidth
    sums = [step.operations / peak * 1e3 for step in found]
    memory = [step.values * BYTES[precision] / bandwidth * 1e3 for step in found]
    return sum(sums), sum(memory), sum(map(max, sums, memory))


def _shapes(proto: onnx.ModelProto, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every floating point value for one image size."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    image = fixed.graph.input[0].type.tensor_type.shape.dim
    image[2].dim_value, image[3].dim_value = height, width
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    found = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            found[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    return found
