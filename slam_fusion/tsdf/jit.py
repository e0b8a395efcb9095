# SPDX-License-Identifier: Apache-2.0
"""How the package's kernels are compiled: the one place that sets numba up.

Compiled code is cached beside the source, or in the user's cache folder where that is read-only.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

# OpenMP first: its threads may be shared by callers in several Python threads. Without libgomp
# numba falls through to its own pool, for which callers must take turns, as the mapper does.
numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]


_FOLDER = Path(__file__).parent
_CALLED = sorted([*_FOLDER.glob("kernels_*.py"), _FOLDER / "evidence.py", Path(__file__)])
"""Files that hold what kernels of other files call."""


@cache
def _sources(file: str) -> str:
    """Hex sha256 of a kernel's own file and of all that it may call."""
    return hashlib.sha256(b"".join(p.read_bytes() for p in [Path(file), *_CALLED])).hexdigest()


def _compile(function: Callable, *, parallel: bool) -> Any:
    # The "numpy" error model divides by zero like numpy: its checks would forbid vector code.
    # No fast-math: results must not depend on how the compiler orders sums, NaN tests must hold.
    kernel = numba.njit(function, cache=True, nogil=True, error_model="numpy", parallel=parallel)
    if not numba.config.DISABLE_JIT:
        # Numba notices edits of the file that holds a kernel, not of the kernels that it calls:
        # after an update it would run old code. There is no public way to tell it.
        kernel._cache._cache_file._source_stamp = _sources(function.__code__.co_filename)
    return kernel


def jit(function: Callable) -> Any:
    """Compile a function that runs in one thread."""
    return _compile(function, parallel=False)


def jit_parallel(function: Callable) -> Any:
    """Compile a function whose ``numba.prange`` loops run on all cores."""
    return _compile(function, parallel=True)
