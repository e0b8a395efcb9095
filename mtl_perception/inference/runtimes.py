# SPDX-License-Identifier: Apache-2.0
"""Which runtime runs which kind of file."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from mtl_perception.inference.scores import Network
from mtl_perception.models import ModelEntry, ModelUnsupported

RUNTIME_OF_SUFFIX = {".tflite": "litert", ".safetensors": "torch", ".onnx": "onnx"}
"""For files of the user's own; the registry names the runtime of the files it knows."""


def open_network(
    path: Path, entry: ModelEntry | None, device: str, precision: str, threads: int
) -> Network:
    """Load a network file with the runtime it needs.

    Args:
        path: the verified file.
        entry: what the registry says of it; None for a file of the user's own.
        device: auto, or one that the runtime has: cpu, and cuda for torch and ONNX Runtime.
        precision: auto, or one that the runtime has for the file: int8, fp32, bf16.
        threads: of the CPU kernels.

    Raises:
        ModelUnsupported: no runtime for this file, or not on this device or in this precision.
        ModelCorrupt: the file cannot be read.
    """
    runtime = entry.runtime if entry else RUNTIME_OF_SUFFIX.get(path.suffix.lower())
    if runtime not in RUNTIMES:
        known = ", ".join(sorted(RUNTIME_OF_SUFFIX))
        raise ModelUnsupported(f"{path}: no runtime for this kind of file; known: {known}")
    return RUNTIMES[runtime](path, device, precision, threads)


def _open_litert(path: Path, device: str, precision: str, threads: int) -> Network:
    from mtl_perception.inference.litert import LiteRtSegmenter

    if device not in ("auto", "cpu") or precision not in ("auto", "int8"):
        raise ModelUnsupported(
            f"{path}: LiteRT runs on device cpu in precision int8, not on {device!r} in "
            f"{precision!r}; leave both at auto"
        )
    return LiteRtSegmenter(path, threads)


def _open_torch(path: Path, device: str, precision: str, threads: int) -> Network:
    require_modules(str(path), "torch", "safetensors")
    from mtl_perception.inference.torch_network import TorchNetwork

    return TorchNetwork(path, device, precision, threads)


def _open_onnx(path: Path, device: str, precision: str, threads: int) -> Network:
    require_modules(str(path), "onnxruntime")
    from mtl_perception.inference.onnx_network import OnnxNetwork

    return OnnxNetwork(path, device, precision, threads)


def require_modules(purpose: str, *modules: str) -> None:
    """Check that optional packages are here, by the names that pip and import share.

    Args:
        purpose: what they are needed for.
        modules: all that it needs.

    Raises:
        ModelUnsupported: naming those that are missing, and what to type.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ModelUnsupported(
            f"{purpose}: needs {' and '.join(missing)}, not installed here; type "
            f"`{sys.executable} -m pip install {' '.join(missing)}` (see docs/installation.md)"
        )


RUNTIMES: dict[str, Callable[[Path, str, str, int], Network]] = {
    "litert": _open_litert,
    "onnx": _open_onnx,
    "torch": _open_torch,
}
"""Openers by runtime name; each imports its library when first called."""
