# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all, also after a crash or a full disk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open ``path`` for binary writing; the name shows the new content only when it is complete.

    The bytes go to ``<name>.partial`` beside it, reach the disk, and take the name in one step;
    if the writer fails, the partial file is removed and the old content stays.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = str(path)  # a full disk does not say which file it was
        raise
