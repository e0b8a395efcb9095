# SPDX-License-Identifier: Apache-2.0
"""What a folder of shards holds: ``index.json``, written whole and read with suspicion."""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mtl_perception.atomic_file import atomic_file
from mtl_perception.data.sample import DataCorrupt, DataMissing

INDEX = "index.json"
FORMAT = "dense_semantic_slam samples"
VERSION = 1
MAX_INDEX_BYTES = 2**28  # half a million samples
MAX_SAMPLE_BYTES = 2**26
PARTS = ("color", "depth", "labels", "normals", "instances")
NEIGHBOUR = "neighbour"

_PART_NAME = re.compile(rf"{'|'.join(PARTS)}|{NEIGHBOUR}\d{{1,3}}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.shard")


@dataclass(frozen=True)
class StoredSample:
    """Where a sample is in its shard, and the camera that saw it."""

    name: str
    offset: int  # of its first part
    parts: tuple[tuple[str, int], ...]  # (name, bytes), one after another
    sha256: str  # of all parts together
    camera: tuple[int, int, float, float, float, float]  # width, height, fx, fy, cx, cy
    pose: tuple[float, ...]  # T_world_camera, 16 numbers row by row; () = not known

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(size for _, size in self.parts)


@dataclass(frozen=True)
class Shard:
    """One file and what it holds."""

    file: str
    size: int  # bytes
    seed: int  # of the room
    samples: tuple[StoredSample, ...]


@dataclass(frozen=True)
class ShardIndex:
    """What ``index.json`` says."""

    label_set: str
    recipe: dict[str, Any]  # all that decides what is in the shards, besides their seeds
    shards: tuple[Shard, ...] = field(default=())

    def save(self, folder: Path) -> None:
        """Write the index, whole or not at all; shards are sorted by the name of their file.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        shards = sorted(self.shards, key=lambda shard: shard.file)
        content = {
            "format": FORMAT,
            "version": VERSION,
            "label_set": self.label_set,
            "count": sum(len(shard.samples) for shard in shards),
            "recipe": self.recipe,
            "shards": [asdict(shard) for shard in shards],
        }
        with atomic_file(folder / INDEX) as file:
            file.write(json.dumps(content, sort_keys=True).encode())


def load_index(folder: Path) -> ShardIndex:
    """Read the index of a folder.

    Raises:
        DataMissing: there is none.
        DataCorrupt: it is not an index of this version, or a value cannot be; says which.
    """
    path = folder / INDEX
    try:
        size = path.stat().st_size
        text = path.read_bytes() if size <= MAX_INDEX_BYTES else b""
    except OSError as error:
        raise DataMissing(
            f"{path}: {error.strerror}; `dense-semantic-slam rooms` makes such folders"
        ) from None
    if size > MAX_INDEX_BYTES:
        raise DataCorrupt(f"{path} has {size} bytes, more than {MAX_INDEX_BYTES}")
    try:
        content = json.loads(text)
        kind = (content["format"], content["version"])
        if kind != (FORMAT, VERSION):
            raise DataCorrupt(f"{path}: want {FORMAT!r} version {VERSION}, found {kind}")
        index = ShardIndex(
            str(content["label_set"]),
            dict(content["recipe"]),
            tuple(_shard(entry) for entry in content["shards"]),
        )
        count = sum(len(shard.samples) for shard in index.shards)
        if content["count"] != count:
            raise ValueError(f"count says {content['count']}, {count} samples are listed")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataCorrupt(f"{path} is damaged: {type(error).__name__} {error}") from None
    return index


def _shard(entry: dict[str, Any]) -> Shard:
    if not _FILE_NAME.fullmatch(entry["file"]):
        raise ValueError(f"file name {entry['file'][:80]!r}")
    samples = tuple(_sample(row) for row in entry["samples"])
    shard = Shard(entry["file"], int(entry["size"]), int(entry["seed"]), samples)
    end = 0
    for sample in samples:
        if sample.offset != end:
            raise ValueError(f"sample {sample.name!r} starts at {sample.offset}, want {end}")
        end += sample.size
    if shard.size != end:
        raise ValueError(f"{shard.file} has {shard.size} bytes, its samples {end}")
    return shard


def _sample(row: dict[str, Any]) -> StoredSample:
    parts = tuple((str(name), int(size)) for name, size in row["parts"])
    sample = StoredSample(
        str(row["name"]),
        int(row["offset"]),
        parts,
        str(row["sha256"]),
        _camera(*row["camera"]),
        tuple(float(number) for number in row["pose"]),
    )
    names = [name for name, _ in parts]
    if not names or names[0] != "color" or len(set(names)) != len(names):
        raise ValueError(f"sample {sample.name!r} has parts {names}")
    if not all(_PART_NAME.fullmatch(name) for name in names):
        raise ValueError(f"sample {sample.name!r} has parts {names}")
    if min(size for _, size in parts) < 0 or sample.size > MAX_SAMPLE_BYTES:
        raise ValueError(f"sample {sample.name!r} has {sample.size} bytes")
    if len(sample.pose) not in (0, 16):
        raise ValueError(f"sample {sample.name!r} has a pose of {len(sample.pose)} numbers")
    return sample


def _camera(
    width: int, height: int, fx: float, fy: float, cx: float, cy: float
) -> tuple[int, int, float, float, float, float]:
    return int(width), int(height), float(fx), float(fy), float(cx), float(cy)
