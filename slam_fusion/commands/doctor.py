# SPDX-License-Identifier: Apache-2.0
"""What this machine can do, in words, with the remedy for what it cannot."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from mtl_perception.models import (
    FOLDERS_VARIABLE,
    ModelCorrupt,
    ModelMissing,
    find_model,
    list_models,
)

SHARED_MEMORY = Path("/dev/shm")
WANTED_SHARED_MEMORY_MB = 64
"""The profile that ships with the package asks Fast DDS for a 32 MB segment per process."""

OPEN3D_LIBRARIES = "apt-get install libusb-1.0-0 libgl1 libegl1 libgomp1 libx11-6"
_NUMBA_THREADS = """
import numba
import slam_fusion.tsdf.jit
def count(n):
    total = 0
    for _ in numba.prange(n):
        total += 1
    return total
numba.njit(parallel=True)(count)(8)
print(numba.get_num_threads(), "threads of", numba.threading_layer())
"""

IMPORT_TIMEOUT_S = 120


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str
    remedy: str = ""  # what to type or change; empty when ok
    needed: bool = True  # False: only some commands need it


def examine() -> list[Check]:
    """Look at everything; takes a few seconds."""
    return [check for look in _LOOKS for check in look()]


def _python() -> Iterator[Check]:
    ok = (3, 10) <= sys.version_info[:2] <= (3, 12)
    remedy = "" if ok else "use Python 3.10, 3.11 or 3.12: make PYTHON=python3.11"
    yield Check("python", ok, f"{platform.python_version()} at {sys.executable}", remedy)
    yield Check("processors", True, f"{len(os.sched_getaffinity(0))}, {platform.machine()}")


def _mapping() -> Iterator[Check]:
    for name, module, needed in (
        ("open3d", "open3d", True),
        ("numba", "numba", True),
        ("opencv", "cv2", True),
        ("rosbags", "rosbags", True),
        ("ai-edge-litert", "ai_edge_litert.interpreter", False),
    ):
        yield _import(name, module, needed)
    yield _command_output(
        "numba threads", _NUMBA_THREADS, "apt-get install libgomp1, so that numba finds OpenMP"
    )


def _import(name: str, module: str, needed: bool) -> Check:
    remedy = OPEN3D_LIBRARIES if module == "open3d" else f"pip install {name}"
    check = _command_output(name, f"import {module}", remedy, needed)
    if not check.ok:
        return check
    dist = {"opencv": "opencv-python"}.get(name, name)
    return Check(name, True, _version(dist), needed=needed)


def _command_output(name: str, code: str, remedy: str, needed: bool = True) -> Check:
    """Run code in a process of its own: a broken native library must not end this one."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=IMPORT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Check(name, False, f"no answer within {IMPORT_TIMEOUT_S} s", remedy, needed)
    if done.returncode == 0:
        return Check(name, True, done.stdout.strip(), needed=needed)
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return Check(name, False, lines[-1], remedy, needed)


def _version(dist: str) -> str:
    try:
        return metadata.version(dist)
    except metadata.PackageNotFoundError:
        return "installed, version unknown"


def _ros() -> Iterator[Check]:
    if util.find_spec("rclpy") is None:
        remedy = 'source /opt/ros/DISTRO/setup.bash, or pip install "dense_semantic_slam[ros]"'
        yield Check("rclpy", False, "not installed; offline commands do not need it", remedy, False)
        return
    middleware = os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp (default)")
    yield Check("rclpy", True, f"{_version('ros-rclpy')}, {middleware}", needed=False)
    without = "not installed: poses come from pose topics; `play` turns a bag's TF into one"
    yield Check("tf2_ros", True, "installed" if util.find_spec("tf2_ros") else without)


def _shared_memory() -> Iterator[Check]:
    if not SHARED_MEMORY.is_dir():
        yield Check(
            "shared memory", False, "no /dev/shm", "images between nodes go over UDP", False
        )
        return
    free_mb = shutil.disk_usage(SHARED_MEMORY).free >> 20
    ok = free_mb >= WANTED_SHARED_MEMORY_MB
    remedy = "" if ok else "in a container: docker run --shm-size=256m, or --ipc=host"
    yield Check("shared memory", ok, f"{free_mb} MiB free in /dev/shm", remedy, needed=False)


def _models() -> Iterator[Check]:
    for entry in list_models():
        name = f"model {entry.name}"
        try:
            yield Check(name, True, str(find_model(entry.name)), needed=False)
        except ModelMissing:
            remedy = f"dense-semantic-slam models download {entry.name}, or {FOLDERS_VARIABLE}"
            yield Check(name, False, "no copy here", remedy, needed=False)
        except ModelCorrupt as error:
            yield Check(name, False, str(error), needed=False)


_LOOKS: tuple[Callable[[], Iterator[Check]], ...] = (
    _python,
    _mapping,
    _ros,
    _shared_memory,
    _models,
)
