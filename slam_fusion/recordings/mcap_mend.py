# SPDX-License-Identifier: Apache-2.0
"""A recorder that lost power leaves an MCAP file without its end; here it gets one, in memory.

Layout facts are from the MCAP specification: records are an opcode, a 64-bit length and a body;
the footer and a closing magic come last, and point back to an index of chunks.
"""

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"\x89MCAP0\r\n"

_MESSAGE, _CHUNK, _MESSAGE_INDEX = 0x05, 0x06, 0x07
_CHUNK_INDEX, _STATISTICS, _DATA_END, _FOOTER = 0x08, 0x0B, 0x0F, 0x02
_RECORD = struct.Struct("<BQ")  # opcode, length of the body
_NO_STATISTICS = struct.pack("<QHIIIIQQ", 0, 0, 0, 0, 0, 0, 0, 0) + struct.pack("<I", 0)


@dataclass
class _Chunk:
    start: int
    length: int
    head: bytes  # start time, end time
    compression: bytes
    sizes: bytes  # compressed, uncompressed
    index_offsets: dict[int, int]  # by channel
    index_length: int = 0


class MendedMcap:
    """A path to a cut MCAP file that reads as if it were whole up to its last whole record.

    Behaves as the readers of ``rosbags`` expect of a path; the file itself is not touched.
    """

    suffix = ".mcap"

    def __init__(self, path: Path) -> None:
        """Scan the record headers of ``path``.

        Raises:
            ValueError: not an MCAP file, or cut before its first message.
            OSError: the file cannot be read.
        """
        self._path = path
        self._cut, self._tail = _scan(path)
        self.lost_bytes = path.stat().st_size - self._cut

    def __str__(self) -> str:
        """Path of the cut file."""
        return str(self._path)

    def exists(self) -> bool:
        """Say whether the file is there."""
        return self._path.exists()

    def is_dir(self) -> bool:
        """Say no: this is a file."""
        return False

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open the whole part of the file, followed by the end that it lacks."""
        return io.BufferedReader(_Joined(self._path.open("rb"), self._cut, self._tail))


class _Joined(io.RawIOBase):
    """The first ``cut`` bytes of a file, then ``tail``."""

    def __init__(self, file: BinaryIO, cut: int, tail: bytes) -> None:
        self._file, self._cut, self._tail = file, cut, tail
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(
            whence, self._cut + len(self._tail)
        )
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._position < self._cut:
            self._file.seek(self._position)
            data = self._file.read(min(len(buffer), self._cut - self._position))
        else:
            start = self._position - self._cut
            data = self._tail[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _scan(path: Path) -> tuple[int, bytes]:
    """Return where the whole data records end, and the bytes that should follow them."""
    size = path.stat().st_size
    chunks: list[_Chunk] = []
    bare_messages = 0
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError("it does not begin as an MCAP file")
        position = len(MAGIC)
        while len(header := file.read(_RECORD.size)) == _RECORD.size:
            opcode, length = _RECORD.unpack(header)
            end = position + _RECORD.size + length
            if end > size or opcode in (_DATA_END, _FOOTER):
                break
            if opcode == _CHUNK:
                chunks.append(_read_chunk(file, position, end))
            elif opcode == _MESSAGE_INDEX and chunks:
                (channel,) = struct.unpack("<H", file.read(2))
                chunks[-1].index_offsets[channel] = position
                chunks[-1].index_length += end - position
            bare_messages += opcode == _MESSAGE
            position = end
            file.seek(position)
    # A chunk is found through its message indexes, so one that lost all of them goes too.
    chunks = [chunk for chunk in chunks if chunk.index_offsets]
    if not chunks and not bare_messages:
        raise ValueError("it was cut before the first whole message")
    return position, _tail(position, chunks)


def _read_chunk(file: BinaryIO, position: int, end: int) -> _Chunk:
    head = file.read(16)
    uncompressed_size = file.read(8)
    file.read(4)  # checksum
    (name_length,) = struct.unpack("<I", file.read(4))
    compression = file.read(min(name_length, 64))
    compressed_size = file.read(8)
    return _Chunk(
        position, end - position, head, compression, compressed_size + uncompressed_size, {}
    )


def _tail(cut: int, chunks: list[_Chunk]) -> bytes:
    """End of data, index of ``chunks``, footer. Without chunks there is nothing to index.

    The statistics are left at zero on purpose: they and the channels live in the lost part, and
    a reader that finds an index without schemas reads both from the chunks.
    """
    data_end = _record(_DATA_END, bytes(4))
    if not chunks:
        return data_end + _record(_FOOTER, bytes(20)) + MAGIC
    index = b"".join(_record(_CHUNK_INDEX, _chunk_index(chunk)) for chunk in chunks)
    summary = index + _record(_STATISTICS, _NO_STATISTICS)
    footer = _record(_FOOTER, struct.pack("<QQI", cut + len(data_end), 0, 0))
    return data_end + summary + footer + MAGIC


def _chunk_index(chunk: _Chunk) -> bytes:
    offsets = b"".join(struct.pack("<HQ", *item) for item in chunk.index_offsets.items())
    return b"".join(
        (
            chunk.head,
            struct.pack("<QQ", chunk.start, chunk.length),
            struct.pack("<I", len(offsets)) + offsets,
            struct.pack("<Q", chunk.index_length),
            struct.pack("<I", len(chunk.compression)) + chunk.compression,
            chunk.sizes,
        )
    )


def _record(opcode: int, body: bytes) -> bytes:
    return _RECORD.pack(opcode, len(body)) + body
