# SPDX-License-Identifier: Apache-2.0
"""Training samples in a few large files: ``ShardDataset`` reads what ``write_shard`` wrote.

A folder of shards holds ``index.json`` and the files that it names. A shard is the samples of one
room, one after another, each a JPEG (colour) and PNGs (the rest). What a sample has, where it
starts and its sha256 stand in the index, which is rewritten whole after every shard: a shard that
it does not name does not count, so a run that was killed goes on with the next one.

Depth is stored in 1/5000 m (farther than 13.1 m is unknown), normals in 8 bits a component
(within 0.4 degrees), the rest exactly, but for the loss of the JPEG.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtl_perception.compressed import decode_compressed_color, decode_compressed_gray
from mtl_perception.conventions import Intrinsics, InvalidInput
from mtl_perception.data.sample import DataCorrupt, DataMissing, Sample, check_labels
from mtl_perception.data.shard_index import NEIGHBOUR, StoredSample, load_index
from mtl_perception.data.shard_write import DEPTH_UNITS
from mtl_perception.labels import LABEL_SETS, LabelSet


class ShardDataset:
    """The samples of a folder, sorted by shard, each in the order in which it was written.

    It holds no open file: copies of it may read in several processes at once.
    """

    def __init__(self, path: Path) -> None:
        """Read the index, and look that every shard is there and as long as it should be.

        Args:
            path: folder with ``index.json``.

        Raises:
            DataMissing: the folder, its index, or a shard is not there.
            DataCorrupt: the index is damaged, or a shard is of another size; names it.
        """
        index = load_index(path)
        if index.label_set not in LABEL_SETS:
            raise DataCorrupt(f"{path}: label set {index.label_set!r} is not one of ours")
        self.name = path.name
        self.label_set: LabelSet | None = LABEL_SETS[index.label_set]
        self._rows: list[tuple[Path, int, StoredSample]] = []
        for shard in index.shards:
            file = path / shard.file
            if not file.is_file():
                raise DataMissing(f"{file} is named by the index but is not there")
            if (size := file.stat().st_size) != shard.size:
                raise DataCorrupt(f"{file} has {size} bytes, the index says {shard.size}")
            self._rows += [(file, shard.seed, sample) for sample in shard.samples]

    def __len__(self) -> int:
        """Return the count of samples."""
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        """Read a sample.

        Raises:
            DataMissing, DataCorrupt: naming the sample and its shard.
            IndexError: no such sample.
        """
        file, _, stored = self._row(index)
        name = f"{file}: sample {stored.name}"
        parts = _read(file, stored, name)
        try:
            width, height, *rest = stored.camera
            labels = _gray(parts["labels"]) if "labels" in parts else None
            sample = Sample(
                name=stored.name,
                color=_color(parts["color"]),
                intrinsics=Intrinsics(width, height, *rest),
                depth=_depth(parts["depth"]) if "depth" in parts else None,
                labels=labels,
                normals=_normals(parts["normals"]) if "normals" in parts else None,
                instances=_gray(parts["instances"]) if "instances" in parts else None,
                neighbours=tuple(
                    _color(data) for part, data in parts.items() if part.startswith(NEIGHBOUR)
                ),
            )
        except InvalidInput as error:
            raise DataCorrupt(f"{name}: {error}") from None
        if labels is not None and self.label_set is not None:
            check_labels(labels, self.label_set, name)
        return sample

    def pose(self, index: int) -> np.ndarray | None:
        """Return T_world_camera (4, 4) float64 of a sample; None where it is not known."""
        pose = self._row(index)[2].pose
        return np.array(pose).reshape(4, 4) if pose else None

    def room_seed(self, index: int) -> int:
        """Return the seed of the room that a sample shows."""
        return self._row(index)[1]

    def _row(self, index: int) -> tuple[Path, int, StoredSample]:
        if not 0 <= index < len(self._rows):
            raise IndexError(f"sample {index} of {len(self._rows)}")
        return self._rows[index]


def _read(file: Path, stored: StoredSample, name: str) -> dict[str, bytes]:
    try:
        with file.open("rb") as stream:
            stream.seek(stored.offset)
            blob = stream.read(stored.size)
    except OSError as error:
        raise DataMissing(f"{name}: {error.strerror}") from None
    if hashlib.sha256(blob).hexdigest() != stored.sha256:
        raise DataCorrupt(f"{name}: sha256 of its {len(blob)} bytes is not what the index says")
    parts, start = {}, 0
    for part, size in stored.parts:
        parts[part] = blob[start : start + size]
        start += size
    return parts


class _Picture(NamedTuple):
    """What the decoders of CompressedImage messages look at."""

    data: bytes
    format: str = "shard"


def _color(data: bytes) -> np.ndarray:
    return decode_compressed_color(_Picture(data))


def _gray(data: bytes) -> np.ndarray:
    return decode_compressed_gray(_Picture(data))


def _depth(data: bytes) -> np.ndarray:
    return _gray(data).astype(np.float32) / np.float32(DEPTH_UNITS)


def _normals(data: bytes) -> np.ndarray:
    coded = _color(data).astype(np.float32) - 128
    length = np.sqrt(np.einsum("hwc,hwc->hw", coded, coded))  # half the time of norm()
    length[length <= 64] = np.inf  # unknown: becomes zeros
    return coded / length[..., None]
