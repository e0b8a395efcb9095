# SPDX-License-Identifier: Apache-2.0
"""Fetching a network over https: bounded in size and time, checked before it gets its name."""

import http.client
import logging
import os
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from mtl_perception.conventions import DenseSlamError
from mtl_perception.models import (
    ModelCorrupt,
    ModelEntry,
    ModelMissing,
    entry_of_name,
    find_model,
    user_folder,
    verify,
)

CONNECT_TIMEOUT_S = 20.0
"""Longest silence of the server."""

TOTAL_TIMEOUT_S = 900.0
"""Longest download: a server that drips bytes is given up."""

BLOCK_BYTES = 1 << 16

logger = logging.getLogger(__name__)


class DownloadFailed(DenseSlamError):
    """The network could not be fetched; the message has the address and the reason."""


Progress = Callable[[int, int], None]
"""Called with bytes fetched so far and bytes in all."""


def download(name: str, folder: Path | None = None, progress: Progress | None = None) -> Path:
    """Fetch a known network, unless a right copy is there already.

    Args:
        name: a name of ``models.MODELS``; one that is part of this package is only verified.
        folder: where to put it; None means ``models.user_folder()``.
        progress: told about every block.

    Returns:
        The verified file.

    Raises:
        ModelMissing: no such name.
        DownloadFailed: no connection, refused, too slow, or the folder cannot be written.
        ModelCorrupt: what came is another file; it is not kept.
    """
    entry = entry_of_name(name)
    if not entry.url:
        return find_model(name)
    return fetch(entry, folder or user_folder(), progress)


def fetch(entry: ModelEntry, folder: Path, progress: Progress | None = None) -> Path:
    """Fetch one registry entry into ``folder``, replacing a wrong file; see ``download``."""
    path = folder / entry.file
    if _is_right(path, entry):
        return path
    partial = folder / f"{entry.file}.{os.getpid()}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            _stream(entry, file, progress)
        verify(partial, entry)
        os.replace(partial, path)
    except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        raise DownloadFailed(f"{entry.url} into {folder}: {error}") from error
    finally:
        if partial.exists():
            partial.unlink()
    logger.info("fetched %s (%d bytes, sha256 checked) to %s", entry.name, entry.size_bytes, path)
    return path


def _is_right(path: Path, entry: ModelEntry) -> bool:
    try:
        verify(path, entry)
    except ModelMissing:
        return False
    except ModelCorrupt as error:
        logger.warning("%s; fetching it again", error)
        return False
    return True


def _stream(entry: ModelEntry, file: BinaryIO, progress: Progress | None) -> None:
    """Copy the response into ``file``, one byte more than expected at most."""
    deadline = time.monotonic() + TOTAL_TIMEOUT_S
    received = 0
    with urllib.request.urlopen(entry.url, timeout=CONNECT_TIMEOUT_S) as response:
        if entry.url.startswith("https:") and not response.url.startswith("https:"):
            raise DownloadFailed(f"{entry.url} leads to {response.url}, which is not https")
        # The byte too many lets verify() tell a longer file from the right one. read1 returns
        # what has come; read would wait for a whole block, however slowly it drips in.
        while block := response.read1(min(BLOCK_BYTES, entry.size_bytes + 1 - received)):
            file.write(block)
            received += len(block)
            if progress is not None:
                progress(received, entry.size_bytes)
            if time.monotonic() > deadline:
                raise DownloadFailed(f"{entry.url}: not done after {TOTAL_TIMEOUT_S:.0f} s")
