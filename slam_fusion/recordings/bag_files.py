# SPDX-License-Identifier: Apache-2.0
"""Bag files behind one reader: rosbag2 (sqlite3, MCAP), whole, cut or bare, and ROS 1."""

import heapq
import logging
import operator
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import apsw
from rosbags import rosbag1, rosbag2
from rosbags.interfaces import Connection
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from slam_fusion.recordings.bag_unpack import ZstdError, bound_chunks, unpack_zstd
from slam_fusion.recordings.mcap_mend import MendedMcap
from slam_fusion.recordings.recording import BadRecording

logger = logging.getLogger(__name__)

DESERIALIZE_ERRORS = (SerdeError, ZstdError, struct.error, ValueError, IndexError)
"""What a damaged message raises: the library's own error, and what its unpacking leaves through."""

READ_ERRORS = (
    rosbag1.ReaderError,
    rosbag2.ReaderError,
    apsw.Error,
    ZstdError,
    OSError,
    EOFError,
    struct.error,
    ValueError,
    TypeError,
    LookupError,
    RuntimeError,
    OverflowError,
    MemoryError,
)
"""What a damaged file raises: the readers take sizes and offsets from the file on trust."""

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SUFFIXES = (".mcap", ".db3", ".bag")
_TF_MESSAGE = "geometry_msgs/TransformStamped[] transforms"


def is_bag(path: Path) -> bool:
    """Say whether ``path`` is a bag file, or a folder that holds one."""
    if path.is_dir():
        return (path / "metadata.yaml").exists() or any(_bag_files(path))
    return path.suffix in _SUFFIXES


class BagFiles:
    """Open bag files; messages of all of them in recording order.

    Messages are read with the standard types of ROS, not with those that the file declares, so
    a file can neither confuse nor slow the reader with definitions that it does not need.
    """

    def __init__(self, path: Path) -> None:
        """Open ``path``.

        Raises:
            BadRecording: damaged, empty or unsupported; says what to do.
        """
        bound_chunks()
        self.path = path
        self.notes: list[str] = []  # what was mended, for people
        self._readers = self._open()
        if not any(reader.message_count for reader in self._readers):
            self.close()
            raise BadRecording(f"{path} holds no messages")
        self._is_ros1 = isinstance(self._readers[0], rosbag1.Reader)
        self._types = get_typestore(Stores.ROS1_NOETIC if self._is_ros1 else Stores.ROS2_HUMBLE)
        if self._is_ros1:  # both spellings that ROS 1 used; neither is in the store
            for name in ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage"):
                self._types.register(get_types_from_msg(_TF_MESSAGE, name))

    @property
    def connections(self) -> list[Connection]:
        """Topics of all files, with types and counts."""
        return [connection for reader in self._readers for connection in reader.connections]

    @property
    def start_ns(self) -> int:
        """Recording time of the first message."""
        return min(reader.start_time for reader in self._readers if reader.message_count)

    @property
    def end_ns(self) -> int:
        """Recording time just after the last message."""
        return max(reader.end_time for reader in self._readers)

    def messages(
        self, topics: Collection[str], start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[tuple[str, str, int, bytes]]:
        """Yield (topic, type, recording time in ns, raw message) in order of recording time.

        Raises:
            BadRecording: the file is damaged at this point.
        """
        streams = []
        for reader in self._readers:
            if wanted := [c for c in reader.connections if c.topic in topics]:
                streams.append(reader.messages(wanted, start_ns, stop_ns))
        try:
            for connection, time_ns, raw in heapq.merge(*streams, key=operator.itemgetter(1)):
                yield connection.topic, connection.msgtype, time_ns, raw
        except READ_ERRORS as error:
            raise BadRecording(f"{self.path} is damaged: {error}") from error

    def deserialize(self, raw: bytes, msgtype: str) -> Any:
        """Return the message object.

        Raises:
            SerdeError, ZstdError, ...: the ``DESERIALIZE_ERRORS``.
        """
        if self._is_ros1:
            return self._types.deserialize_ros1(raw, msgtype)
        if raw[:4] == _ZSTD_MAGIC:  # only metadata.yaml says so, and CDR begins with a zero
            raw = unpack_zstd(raw)
        return self._types.deserialize_cdr(raw, msgtype)

    def note(self, text: str) -> None:
        """Log what a person should know about these files, and keep it for the description."""
        logger.warning("%s", text)
        self.notes.append(text)

    def close(self) -> None:
        """Close all files."""
        for reader in self._readers:
            reader.close()
        self._readers = []

    def _open(self) -> list[Any]:
        if (self.path / "metadata.yaml").exists():
            try:
                reader = _opened(rosbag2.Reader(self.path))
                if reader.compression_mode != "message":
                    return [reader]
                # The files alone give the messages as they are, which we unpack within a bound.
                reader.close()
                return self._open_each(_bag_files(self.path))
            except READ_ERRORS as error:
                files = _bag_files(self.path)
                if not files:
                    raise BadRecording(
                        f"{self.path}: {error}{_compressed_hint(self.path)}"
                    ) from error
                self.note(f"{self.path}: {error} Reading its files one by one")
                return self._open_each(files)
        if self.path.is_dir():
            files = _bag_files(self.path)
            self.note(f"{self.path} has no metadata.yaml; reading its {len(files)} files directly")
            return self._open_each(files)
        return self._open_each([self.path])

    def _open_each(self, files: list[Path]) -> list[Any]:
        readers: list[Any] = []
        try:
            for file in files:
                readers.append(self._open_file(file))
        except BadRecording:
            for reader in readers:
                reader.close()
            raise
        return readers

    def _open_file(self, file: Path) -> Any:
        kind = rosbag1.Reader if file.suffix == ".bag" else rosbag2.Reader
        try:
            return _opened(kind(file))
        except READ_ERRORS as error:
            if file.suffix == ".mcap":
                return self._open_mended(file, error)
            hint = {".db3": f"sqlite3 {file.name} .recover", ".bag": f"rosbag reindex {file.name}"}
            raise BadRecording(
                f"{file} cannot be read, it may be truncated or damaged ({error}); "
                f"try: {hint[file.suffix]}"
            ) from error

    def _open_mended(self, file: Path, error: BaseException) -> Any:
        """Read an MCAP file that lost its end or its index, up to its last whole record."""
        try:
            mended = MendedMcap(file)
            reader = _opened(rosbag2.Reader(mended))  # type: ignore[arg-type]  # a path to rosbags
        except READ_ERRORS as why:
            raise BadRecording(
                f"{file} is truncated or damaged ({error}) and nothing in it can be read ({why}); "
                "record it again, or try: mcap recover"
            ) from why
        self.note(
            f"{file} is truncated or damaged ({error}): reading what is whole, "
            f"without {mended.lost_bytes} bytes at its end"
        )
        return reader


def _opened(reader: Any) -> Any:
    reader.open()
    return reader


def _bag_files(folder: Path) -> list[Path]:
    """Bag files of a folder in order of name, which is rosbag2's order of recording."""
    files = [file for file in folder.iterdir() if file.suffix in _SUFFIXES]
    return sorted(files, key=lambda file: (len(file.name), file.name))


def _compressed_hint(folder: Path) -> str:
    compressed = any(file.suffix == ".zstd" for file in folder.iterdir())
    return "; try: ros2 bag reindex" if compressed else ""
