# SPDX-License-Identifier: Apache-2.0
"""Samples into a shard: a JPEG (colour) and PNGs (the rest) of each, one after another."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from mtl_perception.atomic_file import atomic_file
from mtl_perception.data.sample import Sample
from mtl_perception.data.shard_index import NEIGHBOUR, Shard, StoredSample

DEPTH_UNITS = 5000
"""Stored depth units per metre."""

JPEG_QUALITY = 94


def write_shard(
    path: Path, seed: int, samples: Iterable[tuple[Sample, np.ndarray | None]]
) -> Shard:
    """Write samples and their T_world_camera into one file, whole or not at all.

    Args:
        path: the file, ``*.shard``; its folder must exist, a file of that name is replaced.
        seed: of the room that the samples are of.
        samples: what to store; equal samples give equal bytes.

    Returns:
        What to add to the index: a shard that no index names does not count.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    stored: list[StoredSample] = []
    offset = 0
    with atomic_file(path) as file:
        for sample, T_world_camera in samples:
            parts = dict(encoded(sample))
            blob = b"".join(parts.values())
            file.write(blob)
            k = sample.intrinsics
            stored.append(
                StoredSample(
                    sample.name,
                    offset,
                    tuple((name, len(data)) for name, data in parts.items()),
                    hashlib.sha256(blob).hexdigest(),
                    (k.width, k.height, k.fx, k.fy, k.cx, k.cy),
                    () if T_world_camera is None else tuple(T_world_camera.ravel().tolist()),
                )
            )
            offset += len(blob)
    return Shard(path.name, offset, seed, tuple(stored))


def encoded(sample: Sample) -> Iterator[tuple[str, bytes]]:
    """Yield the parts of a sample: name and file, JPEG for colours and PNG for the rest."""
    yield "color", _jpeg(sample.color)
    if sample.depth is not None:
        units = np.rint(sample.depth.astype(np.float64) * DEPTH_UNITS)
        yield "depth", _png(np.where(units < 2**16, units, 0).astype(np.uint16))
    if sample.labels is not None:
        yield "labels", _png(sample.labels)
    if sample.normals is not None:
        yield "normals", _png(np.rint(sample.normals * 127 + 128).astype(np.uint8))
    if sample.instances is not None:
        yield "instances", _png(sample.instances)
    for number, image in enumerate(sample.neighbours):
        yield f"{NEIGHBOUR}{number}", _jpeg(image)


def _jpeg(image: np.ndarray) -> bytes:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1])


def _png(image: np.ndarray) -> bytes:
    if image.ndim == 3:  # OpenCV writes channels in reverse
        image = image[..., ::-1]
    return bytes(cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1])
