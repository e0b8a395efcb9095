# SPDX-License-Identifier: Apache-2.0
"""Parts of a network's graph, compiled by OpenVINO each for itself."""

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

# OpenVINO reports to its makers that it was imported, unless it does not find its reporter. A
# robot calls nobody.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402
from openvino import opset13  # noqa: E402

TO_PLANES = (0, 3, 1, 2)
"""Axes that bring (1, h, w, C) to (1, C, h, w)."""


@cache
def core() -> openvino.Core:
    """Return the one core, which lives as long as the process.

    Its CPU plugin gives the thread that loads it another stack for signals. Unloaded from another
    thread, as by a node that changes its network in the background, it leaves that thread with
    memory that is gone: the next Ctrl-C would be a segmentation fault.
    """
    return openvino.Core()


def start_part(
    content: bytes, begin: str, end: str, options: Mapping[str, Any]
) -> openvino.InferRequest:
    """Compile what a graph computes from one of its values to another, for images of any size.

    Args:
        content: the serialised ONNX graph.
        begin: name of a value; "" = the graph's input.
        end: name of a value; "" = the graph's outputs.
        options: of the compilation.
    """
    model = core().read_model(content)
    entries = model.get_parameters()
    if begin:
        value = _value(model, begin)
        entries = [opset13.parameter(value.get_partial_shape(), value.get_element_type())]
        _feed(value, entries[0].output(0))
    results = [_value(model, end)] if end else model.get_results()
    return _compile(openvino.Model(results, entries, end or "rest"), options)


def heads_model(content: bytes, names: Sequence[str], bf16: bool) -> openvino.Model:
    """Return what follows some values of a graph, which come pixel by pixel: (1, h, w, C).

    Args:
        content: the serialised ONNX graph.
        names: of the values, which the inputs are in order of.
        bf16: whether they come in bf16, else in float32.
    """
    model = core().read_model(content)
    kind = openvino.Type.bf16 if bf16 else openvino.Type.f32
    entries = []
    for name in names:
        value = _value(model, name)
        one, channels, height, width = value.get_partial_shape()
        entry = opset13.parameter(openvino.PartialShape([one, height, width, channels]), kind)
        values = opset13.convert(entry, openvino.Type.f32) if bf16 else entry
        _feed(value, opset13.transpose(values, np.array(TO_PLANES)).output(0))
        entries.append(entry)
    return openvino.Model(model.get_results(), entries, "heads")


def start_heads(
    model: openvino.Model, shape: Sequence[int], options: Mapping[str, Any]
) -> openvino.InferRequest:
    """Compile heads for one size.

    With the size fixed their inputs lie in the order in which OpenVINO computes, and nothing is
    copied.

    Args:
        model: of ``heads_model``; stays as it is.
        shape: (1, h, w, C) of all inputs.
        options: of the compilation.
    """
    fixed = model.clone()
    fixed.reshape({entry: list(shape) for entry in fixed.inputs})
    return _compile(fixed, options)


def shared(array: np.ndarray) -> openvino.Tensor:
    """Return an array as a tensor in the same memory; uint16 holds the bits of bf16."""
    if array.dtype == np.uint16:
        return openvino.Tensor(array, array.shape, openvino.Type.bf16)
    return openvino.Tensor(array, shared_memory=True)


def _value(model: openvino.Model, name: str) -> openvino.Output:
    return next(out for op in model.get_ops() for out in op.outputs() if name in out.get_names())


def _feed(value: openvino.Output, source: openvino.Output) -> None:
    for user in value.get_target_inputs():
        user.replace_source_output(source)


def _compile(model: openvino.Model, options: Mapping[str, Any]) -> openvino.InferRequest:
    return core().compile_model(model, "CPU", dict(options)).create_infer_request()
