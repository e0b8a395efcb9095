# SPDX-License-Identifier: Apache-2.0
"""Names of the machine's parts, for people who read diagnostics."""

import platform
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
_BOARD = Path("/proc/device-tree/model")  # of ARM boards, whose cpuinfo does not name the CPU
_GPUS = Path("/proc/driver/nvidia/gpus")


def hardware_name(device: str) -> str:
    """Return the model of what a network runs on.

    Args:
        device: ``cpu``; ``cuda`` of a runtime that does not know its GPU; else a name already.
    """
    if device == "cpu":
        return _entry(_CPU_INFO, "model name") or _text(_BOARD) or platform.machine()
    if device == "cuda":
        names = [_entry(file, "Model") for file in sorted(_GPUS.glob("*/information"))]
        return next(filter(None, names), device)
    return device


def _entry(file: Path, key: str) -> str:
    for line in _text(file).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""
