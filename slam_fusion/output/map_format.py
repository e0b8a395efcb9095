# SPDX-License-Identifier: Apache-2.0
"""What a map file holds, and how: one zip of plain arrays and a JSON header.

``header.json`` holds the format version, the volume's configuration, the label set, the frame
of the map, the ledger's counts, the provenance, and the shapes of all arrays. The arrays are
``.npy`` entries, which ``numpy.load`` can open as well. Nothing is pickled.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtl_perception.conventions import DenseSlamError
from mtl_perception.labels import LabelSet
from slam_fusion.tsdf.volume_state import StateStream, VolumeState, voxel_layout

FORMAT = "dense_semantic_slam map"
VERSION = 1
MAX_HEADER_BYTES = 1 << 20


class MapFileError(DenseSlamError):
    """A file that is not a map of this package, or a damaged one; the message says how."""


@dataclass(frozen=True, eq=False)
class SavedMap:
    """All that a map file holds."""

    state: VolumeState | StateStream  # of ``load_map`` the former
    label_set: LabelSet | None
    global_frame: str  # TF name of the frame that the map is in
    stamps_ns: np.ndarray  # (N,) int64, of the fused frames, rising
    T_world_camera: np.ndarray  # (N, 4, 4) float64, their poses
    ledger_counts: dict[str, int]  # frames by outcome
    provenance: dict[str, Any]  # JSON values: source, versions, settings


def layout(blocks: int, poses: int) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Return type and shape of every array of a map."""
    return {
        "block_keys": (np.dtype("<i4"), (blocks, 3)),
        **{name: (dtype, shape) for name, (shape, dtype) in voxel_layout(blocks).items()},
        "stamps_ns": (np.dtype("<i8"), (poses,)),
        "T_world_camera": (np.dtype("<f8"), (poses, 4, 4)),
    }


def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """Return the .npy 1.0 header, spelled out so that reading compares it and parses nothing."""
    text = repr({"descr": dtype.str, "fortran_order": False, "shape": shape}).encode("ascii")
    text += b" " * (-(10 + len(text) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
