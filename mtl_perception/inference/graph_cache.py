# SPDX-License-Identifier: Apache-2.0
"""Graphs that torch made of a network's file, kept: making one takes it half a minute."""

import hashlib
import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile

from mtl_perception import networks
from mtl_perception.models import checksum, user_folder

logger = logging.getLogger(__name__)

MAX_FILES, MAX_BYTES = 8, 2 << 30
"""What is kept at most; the files that were used last stay."""

_DIGEST = hashlib.sha256().digest_size


def graph_folder() -> Path:
    """Return the folder of the kept graphs: ``$XDG_CACHE_HOME/dense_semantic_slam/graphs``."""
    return user_folder().with_name("graphs")


def kept_graph(network: Path, make: Callable[[], bytes]) -> bytes:
    """Return the graph of a network's file: the kept one, or a new one, which is kept from then on.

    Kept graphs go by the content of the file and the code that makes graphs, so that neither
    another file of the same name nor an update gets an old one. Each starts with its own sha256;
    what does not fit it is made anew. A folder that cannot be written costs time, no more.

    Args:
        network: a file that ``checkpoint.save_network`` wrote.
        make: its graph, serialised.
    """
    file = graph_folder() / f"{checksum(network)[:32]}-{_sources()[:16]}.onnx"
    try:
        content = file.read_bytes()
        digest, graph = content[:_DIGEST], content[_DIGEST:]
        if hashlib.sha256(graph).digest() == digest:
            os.utime(file)
            return graph
    except OSError:
        pass  # not kept, or not ours to read
    logger.info("%s: making its graph takes torch half a minute, this once", network)
    graph = make()
    try:
        _keep(file, graph)
    except OSError as error:
        logger.warning("%s: its graph cannot be kept for the next start: %s", network, error)
    return graph


def _keep(file: Path, graph: bytes) -> None:
    """Write a file, whole or not at all, also if others write the same one; make room for it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=file.parent, suffix=".partial", delete=False) as partial:
        try:
            partial.write(hashlib.sha256(graph).digest() + graph)
            partial.close()
            os.replace(partial.name, file)
        except OSError:
            os.unlink(partial.name)
            raise
    kept = 0
    files = [(f.stat(), f) for f in file.parent.iterdir() if f.suffix in (".onnx", ".partial")]
    for i, (status, old) in enumerate(sorted(files, key=lambda f: -f[0].st_mtime_ns)):
        kept += status.st_size
        if old != file and (i >= MAX_FILES or kept > MAX_BYTES):
            old.unlink(missing_ok=True)


@cache
def _sources() -> str:
    """Hex sha256 of the code that networks and graphs are made by."""
    files = sorted(Path(networks.__path__[0]).glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
