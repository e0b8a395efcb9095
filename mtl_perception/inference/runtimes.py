# SPDX-License-Identifier: Apache-2.0
"""Which runtime runs which file, on which device, in which precision."""

import ctypes
import logging
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from mtl_perception.inference.scores import Network
from mtl_perception.models import ModelEntry, ModelUnsupported

logger = logging.getLogger(__name__)

ON_CPU = {
    ".tflite": ("litert",),
    ".onnx": ("openvino", "onnx"),
    ".safetensors": ("openvino", "onnx", "torch"),
}
"""Runtimes of each kind of file on a CPU, fastest first (docs/networks/runtimes.md has figures)."""

ON_CUDA = {".tflite": (), ".onnx": ("onnx",), ".safetensors": ("cuda", "onnx")}
"""The same on a CUDA device."""

WITHOUT = {"onnx": ("bf16",), "torch": ("int8",)}
"""Precisions that a runtime does not have on CPUs, though another one does."""

PACKAGES = {
    "litert": ("ai_edge_litert",),
    "onnx": ("onnxruntime", "onnx", "safetensors"),
    "tensorrt": ("onnxruntime", "onnx", "safetensors"),
    "openvino": ("openvino", "onnx", "safetensors"),
    "torch": ("torch", "safetensors"),
    "torch-eager": ("torch", "safetensors"),
    "torch-compile": ("torch", "safetensors"),
    "cuda": ("torch", "safetensors"),
}
"""What must be installed for each runtime, by the names of its modules."""


def open_network(
    path: Path,
    entry: ModelEntry | None,
    device: str,
    precision: str,
    threads: int,
    runtime: str = "auto",
) -> Network:
    """Load a network file with the runtime that is asked for, or else the best one that is here.

    Args:
        path: the verified file.
        entry: what the registry says of it; None for a file of the user's own.
        device: auto (cuda where there is one and a runtime for it), cpu, cuda or cuda:1.
        precision: auto, or one that a runtime has for the file: int8, fp32, bf16, fp16. Auto is
            int8 for quantised files, bf16 where processor and runtime have it, else fp32.
        threads: of the CPU kernels.
        runtime: auto, or a key of ``RUNTIMES``.

    Raises:
        ModelUnsupported: no runtime for this file, or not on this device or in this precision.
        ModelMissing, ModelCorrupt: the file cannot be read.
    """
    why = "as asked for"
    if runtime == "auto" and entry is not None:
        runtime, why = entry.runtime, "as the registry says"
    if runtime == "auto":
        runtime, why = best_runtime(path, device, precision)
    if runtime not in RUNTIMES:
        raise ModelUnsupported(f"runtime {runtime!r}: want auto or {', '.join(RUNTIMES)}")
    require_modules(f"{path} in {runtime}", *PACKAGES[runtime])
    network = RUNTIMES[runtime](path, device, precision, threads)
    logger.info("%s: %s on %s in %s; %s", path, runtime, network.device, network.precision, why)
    return network


def best_runtime(path: Path, device: str, precision: str) -> tuple[str, str]:
    """Return the runtime for a file, a key of ``RUNTIMES``, and in words why it is that one.

    Args:
        path: the file; its suffix says what it is.
        device: see ``open_network``, as the next.
        precision: of the runtimes that are installed those that lack it are passed over.

    Raises:
        ModelUnsupported: no runtime for this kind of file, or none here for this device.
    """
    kind = path.suffix.lower()
    if kind not in ON_CPU:
        known = ", ".join(sorted(ON_CPU))
        raise ModelUnsupported(f"{path}: no runtime for this kind of file; known: {known}")
    if device != "cpu" and ON_CUDA[kind] and (device != "auto" or cuda_devices()):
        able = [name for name in ON_CUDA[kind] if _runs_on_cuda(name)]
        if able:
            return able[0], f"there are {cuda_devices()} CUDA devices"
        if device != "auto":
            raise ModelUnsupported(
                f"{path}: device {device!r}: the machine has {cuda_devices()} CUDA devices, and "
                f"none of {', '.join(ON_CUDA[kind])} can use one here; take cpu or auto"
            )
    here = [name for name in ON_CPU[kind] if _installed(name)]
    fitting = [name for name in here if precision not in WITHOUT.get(name, ())]
    # With nothing installed its opener says what to type; with nothing fitting, what it has.
    runtime = (fitting or here or ON_CPU[kind][-1:])[0]
    return runtime, f"the fastest of {', '.join(fitting or here)} for {precision!r} on a CPU"


def cuda_devices() -> int:
    """Return how many CUDA devices the driver sees; asking it is quicker than loading torch."""
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def _installed(runtime: str) -> bool:
    return all(find_spec(module) is not None for module in PACKAGES[runtime])


def _runs_on_cuda(runtime: str) -> bool:
    """Whether the installed build of the runtime can use CUDA devices, not only the machine."""
    if not _installed(runtime):
        return False
    if runtime == "onnx":
        import onnxruntime

        return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    import torch

    return bool(torch.cuda.is_available())


def require_modules(purpose: str, *modules: str) -> None:
    """Check that optional packages are here, by the names of their modules.

    Args:
        purpose: what they are needed for.
        modules: all that it needs.

    Raises:
        ModelUnsupported: naming those that are missing, and what to type.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        packages = " ".join(missing).replace("_", "-")
        raise ModelUnsupported(
            f"{purpose}: needs {' and '.join(missing)}, not installed here; type "
            f"`{sys.executable} -m pip install {packages}` (see docs/installation.md)"
        )


def _open_litert(path: Path, device: str, precision: str, threads: int) -> Network:
    from mtl_perception.inference.litert import LiteRtSegmenter

    if device not in ("auto", "cpu") or precision not in ("auto", "int8"):
        raise ModelUnsupported(
            f"{path}: LiteRT runs on device cpu in precision int8, not on {device!r} in "
            f"{precision!r}; leave both at auto"
        )
    return LiteRtSegmenter(path, threads)


def _open_onnx(path: Path, device: str, precision: str, threads: int) -> Network:
    from mtl_perception.inference.onnx_network import OnnxNetwork

    return OnnxNetwork(path, device, precision, threads)


def _open_openvino(path: Path, device: str, precision: str, threads: int) -> Network:
    from mtl_perception.inference.openvino_network import OpenVinoNetwork

    return OpenVinoNetwork(path, device, precision, threads)


def _open_tensorrt(path: Path, device: str, precision: str, threads: int) -> Network:
    from mtl_perception.inference.tensorrt_network import TensorRtNetwork

    return TensorRtNetwork(path, device, precision, threads)


def _open_torch(path: Path, device: str, precision: str, threads: int) -> Network:
    from mtl_perception.inference.torch_network import TorchNetwork

    return TorchNetwork(path, device, precision, threads)


def _open_torch_eager(path: Path, device: str, precision: str, threads: int) -> Network:
    from mtl_perception.inference.torch_network import TorchNetwork

    return TorchNetwork(path, device, precision, threads, "torch-eager")


def _open_torch_compile(path: Path, device: str, precision: str, threads: int) -> Network:
    from mtl_perception.inference.torch_compiled import CompiledNetwork

    return CompiledNetwork(path, device, precision, threads)


def _open_cuda(path: Path, device: str, precision: str, threads: int) -> Network:
    from mtl_perception.inference.cuda_network import CudaNetwork

    return CudaNetwork(path, device, precision, threads)


RUNTIMES: dict[str, Callable[[Path, str, str, int], Network]] = {
    "litert": _open_litert,
    "onnx": _open_onnx,
    "tensorrt": _open_tensorrt,
    "openvino": _open_openvino,
    "torch": _open_torch,
    "torch-eager": _open_torch_eager,
    "torch-compile": _open_torch_compile,
    "cuda": _open_cuda,
}
"""Openers by runtime name; each imports its library when first called."""
