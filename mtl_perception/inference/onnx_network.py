# SPDX-License-Identifier: Apache-2.0
"""Joint networks run by ONNX Runtime, on the CPU or on CUDA."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from mtl_perception.inference.graph_network import GraphNetwork
from mtl_perception.inference.network_graph import NetworkGraph, read_graph
from mtl_perception.models import ModelCorrupt, ModelUnsupported, user_folder
from mtl_perception.networks.graph_builder import INPUT

# UnicodeDecodeError: a message of its own that quotes a damaged name.
_FAILURES = (
    UnicodeDecodeError,
    state.EPFail,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"


class OnnxNetwork(GraphNetwork):
    """A joint network: RGB image in, scores, depth and normals out."""

    runtime = "onnx"

    def __init__(self, path: Path, device: str, precision: str, threads: int) -> None:
        """Load a network file.

        Args:
            path: see ``read_graph``.
            device: auto (cuda where ONNX Runtime has it), cpu, cuda.
            precision: auto, or the one that there is: int8 for a quantised file, else fp32; with
                TensorRT also fp16.
            threads: of the CPU kernels.

        Raises:
            ModelMissing, ModelCorrupt, ModelUnsupported: see ``read_graph``; a graph that ONNX
                Runtime cannot load; no such device or precision.
        """
        graph = read_graph(path)
        providers = choose_providers(device, onnxruntime.get_available_providers())
        own = "int8" if graph.quantised else "fp32"
        if precision not in ("auto", own, "fp16" if TENSORRT in providers else own):
            raise ModelUnsupported(
                f"{path}: precision {precision!r}; ONNX Runtime has it in {own} on "
                f"{', '.join(providers)}"
            )
        precision = own if precision == "auto" else precision
        self._session = _open(graph, providers, precision, threads)
        if CUDA in providers and self._session.get_providers() == [CPU]:
            raise ModelUnsupported(f"{path}: CUDA is there, but ONNX Runtime cannot start it")
        super().__init__(graph, "cuda" if CUDA in providers else "cpu", precision)

    def run(self, x: np.ndarray) -> Sequence[np.ndarray]:
        """See ``GraphNetwork.run``."""
        try:
            return self._session.run(self._wanted, {INPUT: x})
        except _FAILURES as error:
            raise ModelUnsupported(f"{self._graph.path}: fails on {x.shape}: {error}") from None


def choose_providers(device: str, here: Sequence[str]) -> list[str]:
    """Return the execution providers to try, best first.

    Args:
        device: auto, cpu or cuda.
        here: those that the installed ONNX Runtime was built with.

    Raises:
        ModelUnsupported: it has none for this device.
    """
    on_gpu = [provider for provider in (TENSORRT, CUDA) if provider in here]
    if device == "cpu" or (device == "auto" and CUDA not in here):
        return [CPU]
    if device not in ("auto", "cuda") or CUDA not in here:
        raise ModelUnsupported(f"device {device!r}; ONNX Runtime has {', '.join(here)}")
    return [*on_gpu, CPU]


def _open(
    graph: NetworkGraph, providers: list[str], precision: str, threads: int
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait take the cores from what follows: measured on two cores, the
    # whole call is 2 ms faster without and takes 24 ms less of the CPU, the network takes as long.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # what it warns of while optimising is not for the user
    own: dict[str, dict[str, Any]] = {TENSORRT: _tensorrt_options(precision)}
    try:
        return onnxruntime.InferenceSession(
            graph.content, options, providers=[(name, own.get(name, {})) for name in providers]
        )
    except _FAILURES as error:
        raise ModelCorrupt(f"{graph.path}: ONNX Runtime cannot load it: {error}") from None


def _tensorrt_options(precision: str) -> dict[str, Any]:
    """Building for a GPU and an image size takes minutes; what was built is kept."""
    return {
        "trt_fp16_enable": precision == "fp16",
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(user_folder() / "tensorrt"),
    }
