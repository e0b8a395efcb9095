# SPDX-License-Identifier: Apache-2.0
"""Compressed parts of bags, unpacked within a bound: a kilobyte of zstd can hold gigabytes."""

from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]
from rosbags.rosbag2 import storage_mcap
from rosbags.rosbag2.reader import zstd  # a backport, and Python's own from 3.14 on

ZstdError = zstd.ZstdError

MAX_BYTES = 2**30
"""A message or chunk that unpacks to more is cut there, and then is damaged."""


def unpack_zstd(data: bytes, limit: int = MAX_BYTES) -> bytes:
    """Unpack a zstd frame, at most ``limit`` bytes of it.

    Raises:
        ZstdError: not such a frame.
    """
    return zstd.ZstdDecompressor().decompress(data, max_length=min(limit, MAX_BYTES))


def bound_chunks() -> None:
    """Make ``rosbags`` unpack no more of an MCAP chunk than the chunk itself promises.

    Its own functions unpack everything and then compare the size. One byte more than promised is
    enough for that comparison to fail.
    """
    storage_mcap.DECOMPRESSORS["zstd"] = lambda data, size: unpack_zstd(data, size + 1)
    storage_mcap.DECOMPRESSORS["lz4"] = lambda data, size: LZ4FrameDecompressor().decompress(
        data, max_length=min(size + 1, MAX_BYTES)
    )
