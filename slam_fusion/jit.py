# SPDX-License-Identifier: Apache-2.0
"""How the package's kernels are compiled: the one place that sets numba up.

Compiled code is cached beside the source. Numba notices edits of the file that holds a kernel,
not of the functions it calls in other files: after editing ``evidence.py`` or
``kernels_blocks.py`` remove ``slam_fusion/__pycache__``.
"""

import numba

# OpenMP first: its threads may be shared by callers in several Python threads. Without libgomp
# numba falls through to its own pool, for which callers must take turns, as the mapper does.
numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]

# The "numpy" error model divides by zero like numpy: its checks would forbid vector code.
# No fast-math: results must not depend on how the compiler orders sums, NaN tests must hold.
jit = numba.njit(cache=True, nogil=True, error_model="numpy")
"""Compile a function that runs in one thread."""

jit_parallel = numba.njit(cache=True, nogil=True, error_model="numpy", parallel=True)
"""Compile a function whose ``numba.prange`` loops run on all cores."""
