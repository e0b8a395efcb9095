# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Fast DDS reads its profile once per process, so it must be named before the first node starts.
os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(ROOT / "config" / "fastdds_shm.xml"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real recordings and models, or a visible skip where there is none."""
    folder = Path(os.environ.get("DENSE_SLAM_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder} (set DENSE_SLAM_DATA)")
    return folder
