# SPDX-License-Identifier: Apache-2.0
"""The volume as values: its parameters, and its whole content as plain arrays."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from mtl_perception.conventions import InvalidInput
from slam_fusion.tsdf.evidence import SLOTS
from slam_fusion.tsdf.gpu_device import DEVICES
from slam_fusion.tsdf.kernels_blocks import BLOCK_SIDE, KEY_LIMIT, pack_keys
from slam_fusion.tsdf.spill import folder_problem

BATCH = 64
"""Blocks in one piece of a volume that is read piece by piece: 6 MiB."""

FILE_PARAMETERS = (
    "voxel_size",
    "truncation_voxels",
    "min_depth",
    "max_depth",
    "memory_limit_mb",
)
"""Parameters that belong to a map, and to its file; the others to the machine that it is on."""


@dataclass(frozen=True)
class VolumeConfig:
    """Parameters of the volume."""

    voxel_size: float = 0.04  # metres
    truncation_voxels: float = 4.0  # band around the surface, in voxels
    min_depth: float = 0.1  # metres; nearer depth is unknown
    max_depth: float = 5.0  # metres; farther depth is unknown
    memory_limit_mb: int = 2048  # MiB of voxel blocks in memory
    disk_limit_mb: int = 16384  # MiB of voxel blocks that wait on disk; 0 = none do
    page_folder: str = ""  # where they wait; "" = TMPDIR or /var/tmp
    device: str = "auto"  # where frames are fused: auto, cpu, cuda

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InvalidInput: names the parameter and its value.
        """
        for name, low, high in (
            ("voxel_size", 0.001, 1.0),
            ("truncation_voxels", 1.0, 64.0),
            ("min_depth", 0.0, 1000.0),
            ("max_depth", 0.001, 1000.0),
            ("memory_limit_mb", 1, 12288),  # Open3D indexes buffer elements with 32 bits
            ("disk_limit_mb", 0, 2**24),
        ):
            if not low <= getattr(self, name) <= high:
                raise InvalidInput(f"{name}={getattr(self, name)} is not in {low}..{high}")
        for name in ("memory_limit_mb", "disk_limit_mb"):
            if not isinstance(getattr(self, name), int):
                raise InvalidInput(f"{name}={getattr(self, name)!r} is not a whole number")
        if problem := folder_problem(self.page_folder):
            raise InvalidInput(f"page_folder={self.page_folder!r} {problem}")
        if self.device not in DEVICES:
            raise InvalidInput(f"device={self.device!r} is not one of {', '.join(DEVICES)}")
        if self.min_depth >= self.max_depth:
            raise InvalidInput(
                f"min_depth={self.min_depth} is not below max_depth={self.max_depth}"
            )

    @property
    def truncation(self) -> float:
        """Truncation distance in metres."""
        return self.truncation_voxels * self.voxel_size


@dataclass(frozen=True, eq=False)
class VolumeState:
    """A whole volume as plain arrays, blocks in lexicographic order of their keys.

    Voxel arrays are indexed [block, z, y, x]; the voxel's centre is at
    ``(block_key * 16 + (x, y, z)) * voxel_size``. Encodings: see ``block_store.VoxelArrays``.
    """

    config: VolumeConfig
    block_keys: np.ndarray  # (B, 3) int32 block coordinates x, y, z
    tsdf: np.ndarray  # (B, 16, 16, 16) float32
    weight: np.ndarray  # (B, 16, 16, 16) uint16
    color: np.ndarray  # (B, 16, 16, 16, 3) uint16
    label: np.ndarray  # (B, 16, 16, 16, 4) uint8
    evidence: np.ndarray  # (B, 16, 16, 16, 4) uint16

    def __post_init__(self) -> None:
        """Refuse arrays that are not a volume: they may come from a stranger's file.

        Raises:
            InvalidInput: names the array, what came and what was wanted.
        """
        count = len(self.block_keys)
        layout = {"block_keys": ((count, 3), np.dtype("<i4"))} | voxel_layout(count)
        for name, (shape, dtype) in layout.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                raise InvalidInput(f"{name}: want {shape} {dtype}, got {array.shape} {array.dtype}")
        check_keys(self.block_keys)
        check_voxels("tsdf", self.tsdf)

    def batches(self, name: str) -> Iterator[np.ndarray]:
        """Yield a voxel array in pieces; see ``StateStream``."""
        for start in range(0, len(self.block_keys), BATCH):
            yield getattr(self, name)[start : start + BATCH]


@dataclass(frozen=True, eq=False)
class StateStream:
    """A whole volume as ``VolumeState`` has it, read piece by piece."""

    config: VolumeConfig
    block_keys: np.ndarray  # (B, 3) int32 block coordinates x, y, z
    batches: Callable[[str], Iterator[np.ndarray]]  # name -> pieces (n, 16, 16, 16, ...)

    def to_state(self) -> VolumeState:
        """Read all of it into memory."""
        arrays = {}
        for name, (shape, dtype) in voxel_layout(len(self.block_keys)).items():
            arrays[name], start = np.empty(shape, dtype), 0
            for batch in self.batches(name):
                arrays[name][start : start + len(batch)] = batch
                start += len(batch)
        return VolumeState(self.config, self.block_keys, **arrays)


def check_keys(block_keys: np.ndarray) -> None:
    """Refuse (B, 3) int32 keys that are out of reach, not in lexicographic order, or twice there.

    Raises:
        InvalidInput: says what is wrong.
    """
    if np.any(np.abs(block_keys.astype(np.int64)) >= KEY_LIMIT):
        raise InvalidInput(f"block_keys: coordinates beyond +-{KEY_LIMIT}")
    if np.any(np.diff(pack_keys(block_keys)) <= 0):
        raise InvalidInput("block_keys are not sorted, or not distinct")


def check_voxels(name: str, array: np.ndarray) -> None:
    """Refuse values that no volume has; of all voxel arrays only distances have such values.

    Raises:
        InvalidInput: says what is wrong.
    """
    if name == "tsdf" and not np.all(np.abs(array) <= 1 + 1e-5):  # NaN is not
        raise InvalidInput("tsdf: values outside -1..1")


def voxel_layout(blocks: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Return the shape and type of every voxel array of a state of so many blocks."""
    cube = (blocks, BLOCK_SIDE, BLOCK_SIDE, BLOCK_SIDE)
    return {
        "tsdf": (cube, np.dtype("<f4")),
        "weight": (cube, np.dtype("<u2")),
        "color": ((*cube, 3), np.dtype("<u2")),
        "label": ((*cube, SLOTS), np.dtype("u1")),
        "evidence": ((*cube, SLOTS), np.dtype("<u2")),
    }
