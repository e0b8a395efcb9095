# SPDX-License-Identifier: Apache-2.0
"""Whether blocks are fused on a GPU; Warp is imported only where there may be one."""

import ctypes
import sys
from importlib.util import find_spec

from mtl_perception.conventions import DenseSlamError

DEVICES = ("auto", "cpu", "cuda")
"""auto is the GPU where there is one and Warp is installed, and the CPU elsewhere."""


class GpuMissing(DenseSlamError):
    """``device: cuda`` where it cannot be; the message says why and what to do."""


def choose_device(setting: str) -> str | None:
    """Decide where blocks are fused.

    Args:
        setting: one of ``DEVICES``.

    Returns:
        Warp's name of the GPU; None = on the CPU, by the numba kernels.

    Raises:
        GpuMissing: cuda is asked for and cannot be used.
    """
    if setting == "cpu":
        return None
    problem = _problem()
    if problem and setting == "cuda":
        raise GpuMissing(f"device=cuda: {problem}")
    return None if problem else "cuda:0"


def _problem() -> str:
    """Say why there is no GPU to use; "" when there is one."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver is installed here (libcuda.so.1); use device=cpu"
    if find_spec("warp") is None:
        return (
            "warp-lang is not installed; type "
            f"`{sys.executable} -m pip install warp-lang` (see docs/installation.md)"
        )
    from slam_fusion.tsdf.warp_arrays import gpu_count

    return "" if gpu_count() else "the NVIDIA driver shows no GPU to this process"
