# SPDX-License-Identifier: Apache-2.0
"""Joint networks run by ONNX Runtime, on the CPU or on CUDA."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from mtl_perception.inference.graph_network import GraphNetwork
from mtl_perception.inference.network_graph import NetworkGraph, read_graph
from mtl_perception.models import ModelCorrupt, ModelUnsupported
from mtl_perception.networks.graph_builder import INPUT

# UnicodeDecodeError: a message of its own that quotes a damaged name.
FAILURES = (
    UnicodeDecodeError,
    state.EPFail,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)
"""What ONNX Runtime raises when a graph cannot be loaded or run."""

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

Options = dict[str, dict[str, Any]]
"""Settings of execution providers by their names, best first."""


class SessionNetwork(GraphNetwork):
    """What ONNX Runtime's networks share, whichever of its providers computes."""

    def __init__(
        self, graph: NetworkGraph, providers: Options, device: str, precision: str, threads: int
    ) -> None:
        """Load a graph, see ``open_session``, and take over what it says of itself."""
        self._session = open_session(graph, providers, threads)
        super().__init__(graph, device, precision)

    def run(self, x: np.ndarray) -> Sequence[np.ndarray]:
        """See ``GraphNetwork.run``."""
        try:
            return self._session.run(self._wanted, {INPUT: x})
        except FAILURES as error:
            raise ModelUnsupported(f"{self._graph.path}: fails on {x.shape}: {error}") from None


class OnnxNetwork(SessionNetwork):
    """A joint network: RGB image in, scores, depth and normals out."""

    runtime = "onnx"

    def __init__(self, path: Path, device: str, precision: str, threads: int) -> None:
        """Load a network file.

        Args:
            path: see ``read_graph``.
            device: auto (cuda where ONNX Runtime has it), cpu, cuda or cuda:1.
            precision: auto, or the one that there is: int8 for a quantised file, else fp32.
            threads: of the CPU kernels.

        Raises:
            ModelMissing, ModelCorrupt, ModelUnsupported: see ``read_graph``; a graph that ONNX
                Runtime cannot load; no such device or precision.
        """
        graph = read_graph(path)
        provider, options = choose_provider(device, onnxruntime.get_available_providers())
        own = "int8" if graph.quantised else "fp32"
        if precision not in ("auto", own):
            raise ModelUnsupported(
                f"{path}: precision {precision!r}; ONNX Runtime has it in {own} on {provider}"
            )
        providers = {provider: options} if provider == CPU else {provider: options, CPU: {}}
        device = "cpu" if provider == CPU else "cuda"
        super().__init__(graph, providers, device, own, threads)


def choose_provider(device: str, here: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return the execution provider for a device, and its settings.

    Args:
        device: auto, cpu, cuda or cuda:1.
        here: providers that the installed ONNX Runtime was built with.

    Raises:
        ModelUnsupported: it has none for this device.
    """
    if device == "cpu" or (device == "auto" and CUDA not in here):
        return CPU, {}
    asked = re.fullmatch(r"auto|cuda(?::(\d+))?", device)
    if asked is None or CUDA not in here:
        raise ModelUnsupported(f"device {device!r}; ONNX Runtime has {', '.join(here)}")
    # TF32, which keeps 10 of fp32's 23 bits, is not what is called fp32 here.
    return CUDA, {"device_id": int(asked[1] or 0), "use_tf32": 0}


def open_session(
    graph: NetworkGraph, providers: Options, threads: int
) -> onnxruntime.InferenceSession:
    """Load a graph.

    Args:
        graph: what to run.
        providers: see ``Options``; the first one must do it, the others what it cannot.
        threads: of the CPU kernels.

    Raises:
        ModelCorrupt: a graph that ONNX Runtime cannot load.
        ModelUnsupported: the first provider does not start, as when its libraries are missing.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait take the cores from what follows: measured on two cores, the
    # whole call is 2 ms faster without and takes 24 ms less of the CPU, the network takes as long.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # what it warns of while optimising is not for the user
    try:
        session = onnxruntime.InferenceSession(
            graph.content, options, providers=list(providers.items())
        )
    except FAILURES as error:
        raise ModelCorrupt(f"{graph.path}: ONNX Runtime cannot load it: {error}") from None
    first = next(iter(providers))
    if first not in session.get_providers():
        raise ModelUnsupported(
            f"{graph.path}: ONNX Runtime has {first}, but cannot start it: are its libraries "
            "installed, in the version that ONNX Runtime was built for?"
        )
    return session
