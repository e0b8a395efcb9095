# SPDX-License-Identifier: Apache-2.0
"""Joint networks run by OpenVINO on the CPU: the fastest there, with bf16 where the CPU has it."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mtl_perception.inference.finest_stage import FinestStage, finest_weights
from mtl_perception.inference.graph_network import GraphNetwork
from mtl_perception.inference.network_graph import NetworkGraph, read_graph
from mtl_perception.inference.openvino_parts import (
    core,
    heads_model,
    openvino,
    shared,
    start_heads,
    start_part,
)
from mtl_perception.models import ModelCorrupt, ModelUnsupported
from mtl_perception.networks.graph_builder import EXACT_UNTIL, INPUT
from mtl_perception.networks.nekrasov_graph import COARSE, HEAD_INPUT

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""OpenVINO's name of the precision that is computed in, besides the int8 of a quantised file."""

SIZES = 2
"""Image sizes for which heads are kept compiled."""


class OpenVinoNetwork(GraphNetwork):
    """A joint network: RGB image in, scores, depth and normals out."""

    runtime = "openvino"

    def __init__(self, path: Path, device: str, precision: str, threads: int) -> None:
        """Load a network file.

        It is compiled once, for every image size: compiled for one size it is no faster (ratio of
        the fastest runs 0.98 to 1.01). The last convolutions are compiled for each size, in a few
        milliseconds: their input comes from ``FinestStage``.

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
        graph = read_graph(path)
        precision = _choose(precision, graph, has_bf16())
        exact = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned threads could not give way when another program takes their core.
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": HINTS["fp32"],
        }
        self._options = {**exact, "INFERENCE_PRECISION_HINT": HINTS[precision]}
        self._in_bf16 = precision == "bf16"
        weights = finest_weights(graph.content)
        self._finest = None if weights is None else FinestStage(weights, threads, self._in_bf16)
        self._heads: OrderedDict[tuple[int, ...], openvino.InferRequest] = OrderedDict()
        end = "" if weights is None else COARSE
        apart = weights is not None or (self._in_bf16 and _says_what_is_exact(graph))
        try:
            if apart:
                # MobileNet-v2 loses most of what bf16 costs in its first layers, where small
                # differences of large values count: of a trained network 86 % of the labels were
                # as in fp32, and 99.5 % with those layers in fp32, for 3 ms.
                first = start_part(graph.content, "", EXACT_UNTIL, exact)
                rest = start_part(graph.content, EXACT_UNTIL, end, self._options)
                self._requests = [first, rest]
                if weights is not None:
                    names = [HEAD_INPUT.format(task) for task in weights.gains]
                    self._heads_model = heads_model(graph.content, names, self._in_bf16)
            else:
                self._requests = [start_part(graph.content, "", "", self._options)]
        except RuntimeError as error:
            raise ModelCorrupt(f"{path}: OpenVINO cannot load it: {error}") from None
        super().__init__(graph, "cpu", precision)

    def run(self, x: np.ndarray) -> Sequence[np.ndarray]:
        """See ``GraphNetwork.run``."""
        first, last = self._requests[0], self._requests[-1]
        first.set_tensor(INPUT, shared(x))
        try:
            first.infer()
            if last is not first:
                last.set_input_tensor(first.get_output_tensor())
                last.infer()
            if self._finest is not None:
                fine, coarse = (part.get_output_tensor().data[0] for part in self._requests)
                last = self._run_heads(self._finest(fine, coarse))
        except RuntimeError as error:
            raise ModelUnsupported(f"{self._graph.path}: fails on {x.shape}: {error}") from None
        # Copies: the next run writes where this one did.
        return [last.get_tensor(task).data.copy() for task in self._wanted]

    def _run_heads(self, values: Mapping[str, np.ndarray]) -> openvino.InferRequest:
        """Run the last convolutions on what the finest stage gives them, (1, h, w, C) by task."""
        shape = next(iter(values.values())).shape
        if shape not in self._heads:
            if len(self._heads) == SIZES:
                self._heads.popitem(last=False)
            self._heads[shape] = start_heads(self._heads_model, shape, self._options)
        self._heads.move_to_end(shape)
        heads = self._heads[shape]
        for i, array in enumerate(values.values()):
            heads.set_input_tensor(i, shared(array))
        heads.infer()
        return heads


def has_bf16() -> bool:
    """Whether the CPU multiplies bf16 numbers itself (AVX512_BF16, AMX)."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _says_what_is_exact(graph: NetworkGraph) -> bool:
    return EXACT_UNTIL.encode() in graph.content


def _choose(precision: str, graph: NetworkGraph, bf16: bool) -> str:
    here = ["int8"] if graph.quantised else ["fp32", "bf16"] if bf16 else ["fp32"]
    if precision == "auto":
        # What bf16 costs is known of networks that begin in fp32 (docs/networks/runtimes.md).
        return "bf16" if "bf16" in here and _says_what_is_exact(graph) else here[0]
    if precision not in here:
        raise ModelUnsupported(
            f"{graph.path}: precision {precision!r}; OpenVINO has it in {' or '.join(here)} on "
            "this CPU"
        )
    return precision
