# SPDX-License-Identifier: Apache-2.0
"""Map files, written and read piece by piece: see ``map_format``. Equal maps give equal bytes."""

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from mtl_perception.atomic_file import atomic_file
from mtl_perception.conventions import DenseSlamError
from mtl_perception.labels import LabelSet
from slam_fusion.geometry import ROTATION_TOLERANCE
from slam_fusion.output.map_format import (
    FORMAT,
    MAX_HEADER_BYTES,
    VERSION,
    MapFileError,
    SavedMap,
    layout,
    npy_header,
)
from slam_fusion.tsdf.volume_state import (
    BATCH,
    FILE_PARAMETERS,
    StateStream,
    VolumeConfig,
    check_keys,
    check_voxels,
    voxel_layout,
)

if TYPE_CHECKING:
    from slam_fusion.mapper import Mapper

MEMORY_LIMIT_MB = 4096
"""MiB that a file of a stranger may make us take, unless the caller says otherwise."""

_POSES_AND_KEYS_BYTES = 1 << 30  # held in memory whole, however the voxels are read
_LONGEST_REASON = 400  # letters: the layers below quote what a forged file gives as names
# What the zip, JSON and dataclass layers raise on damaged or forged bytes.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    OSError,
)


def snapshot(mapper: "Mapper", provenance: dict[str, Any]) -> SavedMap:
    """Take all of a mapper that a map file keeps; ``provenance`` holds JSON values.

    The voxels are not copied: it is valid until the mapper fuses or forgets a frame.
    """
    poses = mapper.poses_by_stamp()
    stamps_ns = np.array([stamp_ns for stamp_ns, _ in poses], np.int64)
    T_world_camera = np.array([T for _, T in poses], np.float64).reshape(-1, 4, 4)
    return SavedMap(
        state=mapper.volume.stream(),
        label_set=mapper.label_set,
        global_frame=mapper.config.global_frame,
        stamps_ns=stamps_ns,
        T_world_camera=T_world_camera,
        ledger_counts=mapper.ledger.counts(),
        provenance=provenance,
    )


def save_map(path: Path, saved: SavedMap) -> int:
    """Write a map file, atomically: a crash leaves the old file or the new one, whole.

    Returns:
        Size of the file in bytes.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    state = saved.state
    header = {
        "format": FORMAT,
        "version": VERSION,
        "config": {name: getattr(state.config, name) for name in FILE_PARAMETERS},
        "label_set": None if saved.label_set is None else json.loads(saved.label_set.to_json()),
        "global_frame": saved.global_frame,
        "ledger": saved.ledger_counts,
        "provenance": saved.provenance,
        "blocks": len(state.block_keys),
        "poses": len(saved.stamps_ns),
    }
    arrays = layout(len(state.block_keys), len(saved.stamps_ns))
    with atomic_file(path) as file:
        # Level 1: level 6 takes 2.4 times as long for 7 % less.
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            # Entries opened by name are dated 1980, so equal maps give equal bytes.
            with archive.open("header.json", "w") as entry:
                entry.write(json.dumps(header, indent=1).encode())
            for name, (dtype, shape) in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    entry.write(npy_header(dtype, shape))
                    _write_array(entry, _pieces(saved, name), name, dtype, shape)
        file.seek(0, 2)
        return file.tell()


def load_map(path: Path, memory_limit_mb: int = MEMORY_LIMIT_MB) -> SavedMap:
    """Read a map file, which may come from a stranger, into memory.

    Sizes are checked against the header and ``memory_limit_mb`` before memory is taken.

    Raises:
        MapFileError: no such file, not a map, another version, truncated, damaged, larger
            than the limit, or holding numbers that no map has (NaN, a pose that is none,
            one block twice).
    """
    with open_map(path, memory_limit_mb) as saved:
        total = sum(_nbytes(*a) for a in layout(len(saved.state.block_keys), 0).values())
        if total > memory_limit_mb << 20:
            raise MapFileError(
                f"{path}: map needs {total >> 20} MiB, the limit is {memory_limit_mb} MiB"
            )
        assert isinstance(saved.state, StateStream)
        return replace(saved, state=saved.state.to_state())


@contextmanager
def open_map(path: Path, memory_limit_mb: int = MEMORY_LIMIT_MB) -> Iterator[SavedMap]:
    """Open a map file, of any size, whose voxels are read and checked as ``state`` gives them.

    For ``SemanticVolume.from_state``, within the context: the volume's ``memory_limit_mb`` is
    the file's, but not more than the one given here, and what is beyond waits on disk.

    Raises:
        MapFileError: as ``load_map``, but for large maps; reading the voxels may raise it too.
    """
    with _damage_of(path):
        archive = zipfile.ZipFile(path)
    with archive:
        with _damage_of(path):
            saved = _open_archive(path, archive, memory_limit_mb)
        yield saved


@contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    """Name the file in the error that damaged bytes cause."""
    try:
        yield
    except MapFileError as error:
        raise MapFileError(f"{path}: {str(error)[:_LONGEST_REASON]}") from None
    except (*_DAMAGE, DenseSlamError) as error:
        reason = str(error)[:_LONGEST_REASON] or type(error).__name__
        raise MapFileError(f"{path}: not a readable map ({reason})") from error


def _open_archive(path: Path, archive: zipfile.ZipFile, memory_limit_mb: int) -> SavedMap:
    header = _read_header(archive)
    arrays = layout(header["blocks"], header["poses"])
    _check_entries(archive, arrays)
    block_keys = _read_whole(archive, "block_keys", *arrays["block_keys"])
    check_keys(block_keys)
    stamps_ns = _read_whole(archive, "stamps_ns", *arrays["stamps_ns"])
    T_world_camera = _read_whole(archive, "T_world_camera", *arrays["T_world_camera"])
    _check_trajectory(stamps_ns, T_world_camera)
    config, label_set = _read_config(header["config"]), header["label_set"]
    config = replace(config, memory_limit_mb=min(config.memory_limit_mb, memory_limit_mb))

    def batches(name: str) -> Iterator[np.ndarray]:
        with _damage_of(path):
            for piece in _read_array(archive, name, *arrays[name]):
                check_voxels(name, piece)
                yield piece

    return SavedMap(
        state=StateStream(config, block_keys, batches),
        label_set=None if label_set is None else LabelSet.from_json(json.dumps(label_set)),
        global_frame=str(header["global_frame"]),
        stamps_ns=stamps_ns,
        T_world_camera=T_world_camera,
        ledger_counts={str(k): int(v) for k, v in dict(header["ledger"]).items()},
        provenance=dict(header["provenance"]),
    )


def _read_config(values: dict[str, Any]) -> VolumeConfig:
    # A stranger's file must not say where on this machine blocks are written.
    if strange := sorted(set(values) - set(FILE_PARAMETERS)):
        raise MapFileError(f"config holds {strange[:12]}, which no map has")
    return VolumeConfig(**values)


def _pieces(saved: SavedMap, name: str) -> Iterator[np.ndarray]:
    """Yield an array of a map, part by part along its first axis."""
    if name in voxel_layout(0):
        return saved.state.batches(name)
    return iter([getattr(saved.state if name == "block_keys" else saved, name)])


def _write_array(
    entry: IO[bytes],
    pieces: Iterator[np.ndarray],
    name: str,
    dtype: np.dtype,
    shape: tuple[int, ...],
) -> None:
    count = 0
    for piece in pieces:
        if piece.dtype != dtype or piece.shape[1:] != shape[1:]:
            raise MapFileError(f"{name} is {piece.dtype} {piece.shape}, not {dtype} {shape}")
        count += len(piece)
        if piece.size:
            entry.write(np.ascontiguousarray(piece).data.cast("B"))
    if count != shape[0]:
        raise MapFileError(f"{name} has {count} rows, not {shape[0]}")


def _read_header(archive: zipfile.ZipFile) -> dict[str, Any]:
    with archive.open("header.json") as entry:
        text = entry.read(MAX_HEADER_BYTES + 1)
    if len(text) > MAX_HEADER_BYTES:
        raise MapFileError(f"header is longer than {MAX_HEADER_BYTES} bytes")
    header = json.loads(text)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise MapFileError("not a map of this package")
    if header.get("version") != VERSION:
        raise MapFileError(f"map version {header.get('version')!r}; this release reads {VERSION}")
    for name in ("blocks", "poses"):
        if type(header[name]) is not int or not 0 <= header[name] < 2**31:
            raise MapFileError(f"header says {name} = {header[name]!r}")
    return header


def _check_entries(
    archive: zipfile.ZipFile, arrays: dict[str, tuple[np.dtype, tuple[int, ...]]]
) -> None:
    """Compare what the zip promises with what the header does, before anything is read."""
    names = sorted(info.filename for info in archive.infolist())
    if names != sorted(["header.json", *(f"{name}.npy" for name in arrays)]):
        raise MapFileError(f"holds other entries than a map: {names[:12]}")
    for name, (dtype, shape) in arrays.items():
        size = archive.getinfo(f"{name}.npy").file_size
        wanted = len(npy_header(dtype, shape)) + _nbytes(dtype, shape)
        if size != wanted:
            raise MapFileError(f"{name}: {size} bytes, the header promises {wanted}")
    at_once = sum(_nbytes(*arrays[n]) for n in ("block_keys", "stamps_ns", "T_world_camera"))
    if at_once > _POSES_AND_KEYS_BYTES:
        raise MapFileError(
            f"poses and block keys need {at_once >> 20} MiB, "
            f"the limit is {_POSES_AND_KEYS_BYTES >> 20} MiB"
        )


def _nbytes(dtype: np.dtype, shape: tuple[int, ...]) -> int:
    return dtype.itemsize * int(np.prod(shape, dtype=object))


def _read_whole(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...]
) -> np.ndarray:
    return np.concatenate(
        [np.empty((0, *shape[1:]), dtype), *_read_array(archive, name, dtype, shape)]
    )


def _read_array(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...]
) -> Iterator[np.ndarray]:
    """Yield ``BATCH`` rows of an array at a time."""
    head = npy_header(dtype, shape)
    row_bytes = _nbytes(dtype, shape[1:])
    with archive.open(f"{name}.npy") as entry:
        if entry.read(len(head)) != head:
            raise MapFileError(f"{name}: not an array of {dtype} {shape}")
        for start in range(0, shape[0], BATCH):
            rows = min(BATCH, shape[0] - start)
            data = bytearray(entry.read(rows * row_bytes))
            if len(data) != rows * row_bytes:
                done = start * row_bytes + len(data)
                raise MapFileError(f"{name}: ends after {done} of {_nbytes(dtype, shape)} bytes")
            yield np.frombuffer(data, dtype).reshape(rows, *shape[1:])
        # A read past the end makes zipfile compare the checksum.
        if entry.read(1):
            raise MapFileError(f"{name}: longer than the header promises")


def _check_trajectory(stamps_ns: np.ndarray, T_world_camera: np.ndarray) -> None:
    if np.any(stamps_ns[1:] < stamps_ns[:-1]):
        raise MapFileError("stamps of the trajectory go backwards")
    R = T_world_camera[:, :3, :3]
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(np.einsum("nki,nkj->nij", R, R) - np.eye(3))
        rigid = np.all(error < ROTATION_TOLERANCE) and np.all(np.linalg.det(R) > 0)
    if not (np.isfinite(T_world_camera).all() and rigid):
        raise MapFileError("the trajectory holds a pose that is no rigid transform")
