# SPDX-License-Identifier: Apache-2.0
"""Joint networks run by OpenVINO on the CPU: the fastest there, with bf16 where the CPU has it."""

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from mtl_perception.inference.graph_network import GraphNetwork
from mtl_perception.inference.network_graph import NetworkGraph, read_graph
from mtl_perception.models import ModelCorrupt, ModelUnsupported
from mtl_perception.networks.graph_builder import EXACT_UNTIL, INPUT

# OpenVINO reports to its makers that it was imported, unless it does not find its reporter. A
# robot calls nobody.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""OpenVINO's name of the precision that is computed in, besides the int8 of a quantised file."""


class OpenVinoNetwork(GraphNetwork):
    """A joint network: RGB image in, scores, depth and normals out."""

    runtime = "openvino"

    def __init__(self, path: Path, device: str, precision: str, threads: int) -> None:
        """Load a network file.

        It is compiled once, for every image size: compiled for one size it is no faster (ratio of
        the fastest runs 0.98 to 1.01).

        Args:
            path: see ``read_graph``.
            device: auto, cpu.
            precision: auto, fp32 or bf16; for a quantised file auto or int8. Auto is bf16 where
                the CPU computes in it and the graph says until where it must not.
            threads: of the CPU kernels.

        Raises:
            ModelMissing, ModelCorrupt, ModelUnsupported: see ``read_graph``; a graph that
                OpenVINO cannot load; no such device or precision.
        """
        if device not in ("auto", "cpu"):
            raise ModelUnsupported(f"{path}: device {device!r}; OpenVINO runs on the CPU here")
        graph, core = read_graph(path), _core()
        precision = _choose(precision, graph, has_bf16())
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned threads could not give way when another program takes their core.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            parts = _parts(core, graph.content, split=precision == "bf16")
            hints = [HINTS["fp32"], HINTS[precision]][-len(parts) :]
            self._requests = [
                core.compile_model(
                    part, "CPU", {**options, "INFERENCE_PRECISION_HINT": hint}
                ).create_infer_request()
                for part, hint in zip(parts, hints, strict=True)
            ]
        except RuntimeError as error:
            raise ModelCorrupt(f"{path}: OpenVINO cannot load it: {error}") from None
        super().__init__(graph, "cpu", precision)

    def run(self, x: np.ndarray) -> Sequence[np.ndarray]:
        """See ``GraphNetwork.run``."""
        first, last = self._requests[0], self._requests[-1]
        first.set_tensor(INPUT, openvino.Tensor(x, shared_memory=True))
        try:
            first.infer()
            if last is not first:
                last.set_input_tensor(first.get_output_tensor())
                last.infer()
        except RuntimeError as error:
            raise ModelUnsupported(f"{self._graph.path}: fails on {x.shape}: {error}") from None
        # Copies: the next run writes where this one did.
        return [last.get_tensor(task).data.copy() for task in self._wanted]


@cache
def _core() -> openvino.Core:
    """Return the one core, which lives as long as the process.

    Its CPU plugin gives the thread that loads it another stack for signals. Unloaded from another
    thread, as by a node that changes its network in the background, it leaves that thread with
    memory that is gone: the next Ctrl-C would be a segmentation fault.
    """
    return openvino.Core()


def _parts(core: openvino.Core, content: bytes, split: bool) -> list[openvino.Model]:
    """Return the network, or what comes until ``EXACT_UNTIL`` and what comes from there on.

    MobileNet-v2 loses most of what bf16 costs in its first layers, where small differences of
    large values count: of a trained network 86 % of the labels were as in fp32, and 99.5 % with
    those layers in fp32, for 3 ms.
    """
    model = core.read_model(content)
    here = [op for op in model.get_ops() for out in op.outputs() if EXACT_UNTIL in out.get_names()]
    if not split or not here:
        return [model]
    rest = core.read_model(content)
    cut = next(
        out for op in rest.get_ops() for out in op.outputs() if EXACT_UNTIL in out.get_names()
    )
    entry = openvino.opset13.parameter(cut.get_partial_shape(), cut.get_element_type())
    for user in cut.get_target_inputs():
        user.replace_source_output(entry.output(0))
    first = openvino.Model([here[0].output(0)], model.get_parameters(), "first")
    return [first, openvino.Model(rest.get_results(), [entry], "rest")]


def has_bf16() -> bool:
    """Whether the CPU multiplies bf16 numbers itself (AVX512_BF16, AMX)."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _choose(precision: str, graph: NetworkGraph, bf16: bool) -> str:
    here = ["int8"] if graph.quantised else ["fp32", "bf16"] if bf16 else ["fp32"]
    if precision == "auto":
        # What bf16 costs is only known of networks that begin in fp32: see docs/design.md.
        return "bf16" if "bf16" in here and EXACT_UNTIL.encode() in graph.content else here[0]
    if precision not in here:
        raise ModelUnsupported(
            f"{graph.path}: precision {precision!r}; OpenVINO has it in {' or '.join(here)} on "
            "this CPU"
        )
    return precision
