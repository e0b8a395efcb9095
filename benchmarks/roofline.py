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

BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
"""Of one value."""

GEMM = (512, 1024, 1024)
"""Rows, depth and columns of the product that peaks are measured by: some milliseconds, so that on
a busy machine one of the runs is not interrupted."""

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
    """Measure products of large matrices by OpenVINO where it is here, by NumPy where not."""
    rows, depth, columns = GEMM
    operations = 2.0 * rows * depth * columns
    a = np.ones((rows, depth), np.float32)
    try:
        calls = {name: _openvino_gemm(a, name, threads) for name in BYTES}
    except ImportError:
        b = np.ones((depth, columns), np.float32)
        calls = {"fp32": lambda: a @ b}
    peaks = {name: operations / fastest(call) for name, call in calls.items()}
    return Machine(peaks, memory_bandwidth(threads))


def _openvino_gemm(a: np.ndarray, precision: str, threads: int) -> Callable[[], object]:
    from mtl_perception.inference.openvino_network import HINTS, openvino

    proto = _gemm_in_8_bits(a.shape) if precision == "int8" else _gemm(a.shape)
    options = {"INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": threads}
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(proto.SerializeToString()), "CPU", options)
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(a, shared_memory=True))
    return request.infer


def _gemm(shape: tuple[int, int]) -> onnx.ModelProto:
    """Return a graph that multiplies its input by a matrix of constants."""
    b = np.full((shape[1], GEMM[2]), 0.5, np.float32)
    nodes = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    return _model(nodes, shape, {"b": b})


def _gemm_in_8_bits(shape: tuple[int, int]) -> onnx.ModelProto:
    """Return the same, of an input that is rounded to 8 bits and constants of 8 bits."""
    constants = {
        "scale": np.array(0.5, np.float32),
        "zero": np.array(0, np.uint8),
        "scales": np.full(GEMM[2], 0.5, np.float32),
        "zeros": np.zeros(GEMM[2], np.int8),
        "b": np.ones((shape[1], GEMM[2]), np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["a", "scale", "zero"], ["a8"]),
        helper.make_node("DequantizeLinear", ["a8", "scale", "zero"], ["a_again"]),
        helper.make_node("DequantizeLinear", ["b", "scales", "zeros"], ["b_again"], axis=1),
        helper.make_node("MatMul", ["a_again", "b_again"], ["c"]),
    ]
    return _model(nodes, shape, constants)


def _model(
    nodes: list[onnx.NodeProto], shape: tuple[int, int], constants: dict[str, np.ndarray]
) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "gemm",
        [info("a", TensorProto.FLOAT, list(shape))],
        [info("c", TensorProto.FLOAT, [shape[0], GEMM[2]])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
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
    input. Sizes of Resize come from the graph's own sums, so that no value is counted twice.

    Args:
        proto: of ``nekrasov_graph``.
        height: of the image, as the next.
        width: of the image.
    """
    shapes = _shapes(proto, height, width)
    size = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    found = []
    for node in proto.graph.node:
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
