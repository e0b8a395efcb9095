# SPDX-License-Identifier: Apache-2.0
"""Map files: one zip of plain arrays and a JSON header, which ``numpy.load`` can open as well.

``header.json`` holds the format version, the volume's configuration, the label set, the frame
of the map, the ledger's counts, the provenance, and the shapes of all arrays. The arrays are
``.npy`` entries. Nothing is pickled. Equal maps give equal bytes.
"""

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from mtl_perception.atomic_file import atomic_file
from mtl_perception.conventions import DenseSlamError
from mtl_perception.labels import LabelSet
from slam_fusion.geometry import ROTATION_TOLERANCE
from slam_fusion.tsdf.volume_state import (
    FILE_PARAMETERS,
    StateStream,
    VolumeConfig,
    VolumeState,
    voxel_layout,
)

if TYPE_CHECKING:
    from slam_fusion.mapper import Mapper

FORMAT = "dense_semantic_slam map"
VERSION = 1
MAX_HEADER_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20
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


class MapFileError(DenseSlamError):
    """A file that is not a map of this package, or a damaged one; the message says how."""


@dataclass(frozen=True, eq=False)
class SavedMap:
    """All that a map file holds."""

    state: VolumeState | StateStream  # what was loaded is a VolumeState
    label_set: LabelSet | None
    global_frame: str  # TF name of the frame that the map is in
    stamps_ns: np.ndarray  # (N,) int64, of the fused frames, rising
    T_world_camera: np.ndarray  # (N, 4, 4) float64, their poses
    ledger_counts: dict[str, int]  # frames by outcome
    provenance: dict[str, Any]  # JSON values: source, versions, settings


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
    with atomic_file(path) as file:
        # Level 1: level 6 takes 2.4 times as long for 7 % less.
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            # Entries opened by name are dated 1980, so equal maps give equal bytes.
            with archive.open("header.json", "w") as entry:
                entry.write(json.dumps(header, indent=1).encode())
            for name, (dtype, shape) in _layout(
                len(state.block_keys), len(saved.stamps_ns)
            ).items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    entry.write(_npy_header(dtype, shape))
                    _write_array(entry, _pieces(saved, name), name, dtype, shape)
        file.seek(0, 2)
        return file.tell()


def load_map(path: Path, memory_limit_mb: int = 4096) -> SavedMap:
    """Read a map file, which may come from a stranger.

    Sizes are checked against the header and ``memory_limit_mb`` before memory is taken.

    Raises:
        MapFileError: no such file, not a map, another version, truncated, damaged, larger
            than the limit, or holding numbers that no map has (NaN, a pose that is none,
            one block twice).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            header = _read_header(archive)
            arrays = _read_arrays(archive, header, memory_limit_mb << 20)
        config = _read_config(header["config"])
        label_set = header["label_set"]
        return SavedMap(
            state=VolumeState(config=config, **{n: arrays[n] for n in _state_names()}),
            label_set=None if label_set is None else LabelSet.from_json(json.dumps(label_set)),
            global_frame=str(header["global_frame"]),
            stamps_ns=arrays["stamps_ns"],
            T_world_camera=arrays["T_world_camera"],
            ledger_counts={str(k): int(v) for k, v in dict(header["ledger"]).items()},
            provenance=dict(header["provenance"]),
        )
    except MapFileError as error:
        raise MapFileError(f"{path}: {error}") from None
    except (*_DAMAGE, DenseSlamError) as error:
        raise MapFileError(
            f"{path}: not a readable map ({error or type(error).__name__})"
        ) from error


def _read_config(values: dict[str, Any]) -> VolumeConfig:
    # A stranger's file must not say where on this machine blocks are written.
    if strange := sorted(set(values) - set(FILE_PARAMETERS)):
        raise MapFileError(f"config holds {strange[:12]}, which no map has")
    return VolumeConfig(**values)


def _state_names() -> list[str]:
    return [f.name for f in fields(VolumeState) if f.name != "config"]


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


def _layout(blocks: int, poses: int) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Type and shape of every array of a map."""
    return {
        "block_keys": (np.dtype("<i4"), (blocks, 3)),
        **{name: (dtype, shape) for name, (shape, dtype) in voxel_layout(blocks).items()},
        "stamps_ns": (np.dtype("<i8"), (poses,)),
        "T_world_camera": (np.dtype("<f8"), (poses, 4, 4)),
    }


def _npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The .npy 1.0 header, spelled out so that reading is a comparison and parses nothing."""
    text = repr({"descr": dtype.str, "fortran_order": False, "shape": shape}).encode("ascii")
    text += b" " * (-(10 + len(text) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


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


def _read_arrays(
    archive: zipfile.ZipFile, header: dict[str, Any], limit_bytes: int
) -> dict[str, np.ndarray]:
    layout = _layout(header["blocks"], header["poses"])
    total = sum(dtype.itemsize * int(np.prod(s, dtype=object)) for dtype, s in layout.values())
    if total > limit_bytes:
        raise MapFileError(f"map needs {total >> 20} MiB, the limit is {limit_bytes >> 20} MiB")
    names = sorted(info.filename for info in archive.infolist())
    if names != sorted(["header.json", *(f"{name}.npy" for name in layout)]):
        raise MapFileError(f"holds other entries than a map: {names[:12]}")
    arrays = {n: _read_array(archive, n, dtype, shape) for n, (dtype, shape) in layout.items()}
    _check_trajectory(arrays["stamps_ns"], arrays["T_world_camera"])
    return arrays


def _read_array(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...]
) -> np.ndarray:
    head = _npy_header(dtype, shape)
    nbytes = dtype.itemsize * int(np.prod(shape, dtype=object))
    size = archive.getinfo(f"{name}.npy").file_size
    if size != len(head) + nbytes:
        raise MapFileError(f"{name}: {size} bytes, the header promises {len(head) + nbytes}")
    with archive.open(f"{name}.npy") as entry:
        if entry.read(len(head)) != head:
            raise MapFileError(f"{name}: not an array of {dtype} {shape}")
        data = bytearray(nbytes)
        view, filled = memoryview(data), 0
        # One read past the end makes zipfile compare the checksum.
        while chunk := entry.read(_CHUNK_BYTES):
            if filled + len(chunk) > nbytes:
                raise MapFileError(f"{name}: longer than the header promises")
            view[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
    if filled != nbytes:
        raise MapFileError(f"{name}: ends after {filled} of {nbytes} bytes")
    return np.frombuffer(data, dtype).reshape(shape)


def _check_trajectory(stamps_ns: np.ndarray, T_world_camera: np.ndarray) -> None:
    if np.any(stamps_ns[1:] < stamps_ns[:-1]):
        raise MapFileError("stamps of the trajectory go backwards")
    R = T_world_camera[:, :3, :3]
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(np.einsum("nki,nkj->nij", R, R) - np.eye(3))
        rigid = np.all(error < ROTATION_TOLERANCE) and np.all(np.linalg.det(R) > 0)
    if not (np.isfinite(T_world_camera).all() and rigid):
        raise MapFileError("the trajectory holds a pose that is no rigid transform")
