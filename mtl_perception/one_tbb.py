# SPDX-License-Identifier: Apache-2.0
"""Open3D and OpenVINO bring one library each under the same name; the newer must be loaded first.

Both wheels hold a ``libtbb.so.12``. Whichever is loaded first serves both, and oneTBB only promises
that programs run on the version that they were built with or a later one. OpenVINO's is the later.
"""

import ctypes
from importlib.util import find_spec
from pathlib import Path

NAME = "libtbb.so.12"


def load_newer_tbb() -> None:
    """Load OpenVINO's copy, where OpenVINO is installed: a millisecond, and no more of OpenVINO."""
    spec = find_spec("openvino")
    for folder in spec.submodule_search_locations or [] if spec else []:
        library = Path(folder) / "libs" / NAME
        if library.is_file():
            ctypes.CDLL(str(library))
