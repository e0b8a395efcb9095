# SPDX-License-Identifier: Apache-2.0
"""Joint networks run by TensorRT, through ONNX Runtime, where both are installed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from mtl_perception.inference.network_graph import read_graph
from mtl_perception.inference.onnx_network import (
    CPU,
    CUDA,
    Options,
    SessionNetwork,
    choose_provider,
)
from mtl_perception.models import ModelUnsupported, user_folder

TENSORRT = "TensorrtExecutionProvider"


class TensorRtNetwork(SessionNetwork):
    """A joint network: RGB image in, scores, depth and normals out.

    Never chosen by itself: building for a GPU and an image size takes minutes, once; what was
    built is kept in the user's cache.
    """

    runtime = "tensorrt"

    def __init__(self, path: Path, device: str, precision: str, threads: int) -> None:
        """Load a network file.

        Args:
            path: see ``read_graph``.
            device: auto (the first CUDA device), cuda or cuda:1.
            precision: auto (int8 for a quantised file, else fp16), fp16, fp32.
            threads: of what is left to the CPU.

        Raises:
            ModelMissing, ModelCorrupt, ModelUnsupported: see ``read_graph``; no TensorRT or no
                such device or precision here.
        """
        graph = read_graph(path)
        options = tensorrt_options(device, onnxruntime.get_available_providers())
        here = ("int8",) if graph.quantised else ("fp16", "fp32")
        if precision not in ("auto", *here):
            raise ModelUnsupported(
                f"{path}: precision {precision!r}; TensorRT has it in {' or '.join(here)}"
            )
        precision = here[0] if precision == "auto" else precision
        options[TENSORRT] |= {
            "trt_fp16_enable": precision != "fp32",
            "trt_int8_enable": precision == "int8",
        }
        super().__init__(graph, options, "cuda", precision, threads)


def tensorrt_options(device: str, here: Sequence[str]) -> Options:
    """Return the execution providers to use, TensorRT's first, and their settings.

    Args:
        device: auto, cuda or cuda:1.
        here: providers that the installed ONNX Runtime was built with.

    Raises:
        ModelUnsupported: TensorRT is not among them, or another device.
    """
    if TENSORRT not in here:
        raise ModelUnsupported(
            f"runtime 'tensorrt': ONNX Runtime has {', '.join(here)} here; {TENSORRT} comes with "
            "onnxruntime-gpu and NVIDIA's TensorRT"
        )
    _, cuda = choose_provider("cuda" if device == "auto" else device, here)
    if not cuda:
        raise ModelUnsupported(f"device {device!r}; TensorRT runs on cuda")
    kept: dict[str, Any] = {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(user_folder() / "tensorrt"),
    }
    return {TENSORRT: {"device_id": cuda["device_id"], **kept}, CUDA: cuda, CPU: {}}
