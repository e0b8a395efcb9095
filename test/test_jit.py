# SPDX-License-Identifier: Apache-2.0

import os
import shutil
import subprocess
import sys
from pathlib import Path

import slam_fusion

PROBE = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from slam_fusion.tsdf.kernels_probe import twice_units
print(twice_units(1.0))
"""

KERNEL = """
from slam_fusion.tsdf.evidence import evidence_of
from slam_fusion.tsdf.jit import jit


@jit
def twice_units(confidence):
    return 2 * evidence_of(confidence)
"""


def test_an_edit_of_a_called_kernel_in_another_file_is_noticed(tmp_path):
    source = Path(slam_fusion.__file__).parent
    copy = tmp_path / "slam_fusion"
    (copy / "tsdf").mkdir(parents=True)
    for name in ("__init__.py", "tsdf/__init__.py", "tsdf/jit.py", "tsdf/evidence.py"):
        shutil.copy(source / name, copy / name)
    (copy / "tsdf" / "kernels_probe.py").write_text(KERNEL)

    def probe() -> int:
        command = [sys.executable, "-c", PROBE, str(tmp_path)]
        environment = os.environ | {
            "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
            # Python itself misses an edit of equal length within a second of the last.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return int(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)

    assert probe() == 128
    assert list((tmp_path / "cache").rglob("*.nbi"))
    evidence = copy / "tsdf" / "evidence.py"
    evidence.write_text(evidence.read_text().replace("UNIT = 64", "UNIT = 32"))
    assert probe() == 64


def test_an_edit_of_a_kernel_outside_the_folder_is_noticed(tmp_path):
    source = Path(slam_fusion.__file__).parent
    copy = tmp_path / "slam_fusion"
    (copy / "tsdf").mkdir(parents=True)
    for name in ("__init__.py", "tsdf/__init__.py", "tsdf/jit.py", "tsdf/evidence.py"):
        shutil.copy(source / name, copy / name)
    outside = copy / "outside.py"
    outside.write_text(
        "from slam_fusion.tsdf.jit import jit\nN = 3\n\n\n@jit\ndef f():\n    return N\n"
    )
    probe = (
        "import sys; sys.path.insert(0, sys.argv[1]); from slam_fusion.outside import f; print(f())"
    )
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run() -> int:
        command = [sys.executable, "-c", probe, str(tmp_path)]
        return int(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)

    assert run() == 3
    outside.write_text(outside.read_text().replace("N = 3", "N = 4"))
    assert run() == 4
