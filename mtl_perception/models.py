# SPDX-License-Identifier: Apache-2.0
"""Networks as data: which are known, where a copy lies, and whether it is the right file."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import yaml

from mtl_perception.conventions import DenseSlamError

FOLDERS_VARIABLE = "DENSE_SLAM_MODELS"
"""Environment variable: folders to search for networks, separated like PATH."""

MAX_MODEL_BYTES = 2 << 30
"""Files above this are refused unread: no network for a robot is that large."""


class ModelMissing(DenseSlamError):
    """No file for this network; the message says what to type."""


class ModelCorrupt(DenseSlamError):
    """The file is not the one the registry names; the message has both sizes or checksums."""


class ModelUnsupported(DenseSlamError):
    """The file is intact but cannot be run here; the message says why."""


@dataclass(frozen=True)
class ModelEntry:
    """One network of the registry (models.yaml)."""

    name: str
    file: str  # file name inside a model folder
    url: str  # https address it can be had from; "" = the file is part of this package
    size_bytes: int
    sha256: str  # lower-case hex
    licence: str  # SPDX identifier of the weights
    terms: str  # what a user must be told before using them; "" = nothing
    runtime: str  # key of inference.runtimes.RUNTIMES, or auto
    label_set: str  # meaning of its channels, a name in labels.LABEL_SETS
    input: str  # how images must come, for people
    description: str


def _read_registry() -> Mapping[str, ModelEntry]:
    text = files("mtl_perception").joinpath("models.yaml").read_text(encoding="utf-8")
    entries = {name: ModelEntry(name, **row) for name, row in yaml.safe_load(text).items()}
    return MappingProxyType(entries)


MODELS: Mapping[str, ModelEntry] = _read_registry()
"""The known networks by name."""


def list_models() -> list[ModelEntry]:
    """Return the known networks, sorted by name."""
    return [MODELS[name] for name in sorted(MODELS)]


def user_folder() -> Path:
    """Return the folder that ``download`` fills: ``$XDG_CACHE_HOME/dense_semantic_slam/models``."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "dense_semantic_slam" / "models"


def packaged_folder() -> Path:
    """Return the folder of the networks that are part of this package."""
    return Path(str(files("mtl_perception").joinpath("weights")))


def model_folders() -> list[Path]:
    """Return where downloads are searched, in order: DENSE_SLAM_MODELS, then the user's cache."""
    listed = os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)
    return [Path(folder).expanduser() for folder in listed if folder] + [user_folder()]


def entry_of_name(name: str) -> ModelEntry:
    """Return the registry's entry ``name``.

    Raises:
        ModelMissing: listing the near names, or all of them.
    """
    if name in MODELS:
        return MODELS[name]
    near = get_close_matches(name, MODELS, n=3) or sorted(MODELS)
    raise ModelMissing(
        f"no model called {name!r} and no such file; known: {', '.join(near)} "
        "(see `dense-semantic-slam models list`)"
    )


def entry_of_file(path: Path) -> ModelEntry | None:
    """Return the entry whose bytes ``path`` holds, or None for a file of the user's own.

    Raises:
        ModelCorrupt: the file has the name of a known download but not its bytes.
    """
    for entry in MODELS.values():
        if entry.url and path.name == entry.file:
            verify(path, entry)
            return entry
    size = _checked_size(path)
    same_size = [entry for entry in MODELS.values() if entry.size_bytes == size]
    return next((entry for entry in same_size if entry.sha256 == checksum(path)), None)


def find_model(name_or_path: str) -> Path:
    """Return the verified file of a known network, or the path of a file of the user's own.

    Args:
        name_or_path: a name of ``MODELS``, looked for in this package or in
            ``model_folders()``; or a path.

    Raises:
        ModelMissing: nothing there; the message says what to type.
        ModelCorrupt: a file is there but is not the network it claims to be.
    """
    path = locate_model(name_or_path)
    if name_or_path in MODELS:
        verify(path, MODELS[name_or_path])
    else:
        entry_of_file(path)  # a download is known by its name, and verified
    return path


def locate_model(name_or_path: str) -> Path:
    """Return where ``find_model`` would look, without reading the file.

    Raises:
        ModelMissing: nothing there; the message says what to type.
    """
    path = Path(name_or_path).expanduser()
    if name_or_path not in MODELS and path.is_file():
        return path
    entry = entry_of_name(name_or_path)
    if not entry.url:
        return packaged_folder() / entry.file
    for folder in model_folders():
        candidate = folder / entry.file
        if candidate.is_file():
            return candidate
    searched = ", ".join(str(folder) for folder in model_folders())
    raise ModelMissing(
        f"model {entry.name!r} ({entry.file}) is in none of: {searched}; type "
        f"`dense-semantic-slam models download {entry.name}`, or name its folder in "
        f"{FOLDERS_VARIABLE}"
    )


def verify(path: Path, entry: ModelEntry) -> None:
    """Check that ``path`` holds exactly the bytes of ``entry``.

    Raises:
        ModelMissing: the file cannot be read.
        ModelCorrupt: with both sizes or both checksums.
    """
    size = _checked_size(path)
    if size != entry.size_bytes:
        raise ModelCorrupt(
            f"{path}: {size} bytes, but {entry.name!r} has {entry.size_bytes}: truncated or "
            f"another file; {_remedy(entry)}"
        )
    digest = checksum(path)
    if digest != entry.sha256:
        raise ModelCorrupt(
            f"{path}: sha256 {digest}, but {entry.name!r} has {entry.sha256}; {_remedy(entry)}"
        )


def _remedy(entry: ModelEntry) -> str:
    if not entry.url:
        return "it is part of dense_semantic_slam: install that again"
    return f"type `dense-semantic-slam models download {entry.name}`"


def checksum(path: Path) -> str:
    """Return the sha256 of a file in hex; read once per process while size and time stay."""
    status = path.stat()
    return _checksum(path.resolve(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _checksum(path: Path, _mtime_ns: int, _size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _checked_size(path: Path) -> int:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelMissing(f"{path}: cannot be read: {error.strerror}") from None
    if size > MAX_MODEL_BYTES:
        raise ModelCorrupt(f"{path}: {size} bytes; models above {MAX_MODEL_BYTES} are refused")
    return size
