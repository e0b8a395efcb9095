# SPDX-License-Identifier: Apache-2.0
"""How the kernels of this folder are compiled: the one place that sets numba up for them.

Compiled code is cached beside the source, or in the user's cache folder where that is read-only.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def _kernel_sources() -> str:
    """Hex sha256 of the files that kernels are written in."""
    folder = Path(__file__).parent
    files = [*folder.glob("*_kernel.py"), folder / "lanes.py", Path(__file__)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).hexdigest()


_SOURCES = _kernel_sources()

# The "numpy" error model divides by zero like numpy: its checks would forbid vector code.
jit_inline = numba.njit(inline="always", error_model="numpy")
"""Decorator of functions that become part of the kernels that call them."""


def jit(function: Callable) -> Any:
    """Compile a function that runs in one thread, with the GIL free."""
    kernel = numba.njit(function, cache=True, nogil=True, error_model="numpy")
    if not numba.config.DISABLE_JIT:
        # Numba notices edits of the file that holds a kernel, not of what it is made of: after an
        # update it would run old code. There is no public way to tell it.
        kernel._cache._cache_file._source_stamp = _SOURCES
    return kernel
