# SPDX-License-Identifier: Apache-2.0
"""Files of weights to tensors by name, without running what the file holds."""

import logging
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mtl_perception.models import MAX_MODEL_BYTES, ModelCorrupt, ModelMissing, ModelUnsupported

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
"""Entries under which training scripts keep the weights beside epoch, optimizer and scores."""

# How torch.save's files begin: the zip form since 1.6, and the pickled magic number before.
_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."

# What torch's readers raise on damaged content.
_DAMAGE = (
    pickle.UnpicklingError,
    RuntimeError,
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Weights:
    """What a file of weights holds."""

    tensors: Mapping[str, Tensor]  # on the CPU, in the file's order
    metadata: Mapping[str, str]  # of a .safetensors file; empty for others


def read_weights(path: Path, allow_pickle: bool = False) -> Weights:
    """Read a .safetensors file, or one that ``torch.save`` wrote (also from Python 2, torch 0.4).

    Args:
        path: the file; its content decides what it is, not its name.
        allow_pickle: also read files that hold Python objects, which can run any code.

    Raises:
        ModelMissing: the file cannot be read.
        ModelCorrupt: too large, damaged, or no file of weights.
        ModelUnsupported: Python objects and not allowed, or something else than tensors by name.
    """
    head = _head(path)
    if head.startswith((_ZIP, _LEGACY)):
        return Weights(_named_tensors(_load_torch(path, head, allow_pickle), path), {})
    if head[8:9] == b"{":  # a length of 8 bytes, then JSON
        return _load_safetensors(path)
    raise ModelCorrupt(
        f"{path}: neither a .safetensors file nor one of torch.save (begins with {head[:8]!r})"
    )


def _head(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(32)
    except OSError as error:
        raise ModelMissing(f"{path}: cannot be read: {error.strerror}") from None
    if size > MAX_MODEL_BYTES:
        raise ModelCorrupt(f"{path}: {size} bytes; models above {MAX_MODEL_BYTES} are refused")
    return head


def _load_safetensors(path: Path) -> Weights:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Weights(tensors, file.metadata() or {})
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise ModelCorrupt(f"{path}: a damaged .safetensors file: {error}") from None


def _load_torch(path: Path, head: bytes, allow_pickle: bool) -> object:
    try:
        if head.startswith(_ZIP):
            _check_unpacked_size(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except ModelCorrupt:
        raise
    except _DAMAGE as error:
        what = re.search(r"Unsupported (?:global: GLOBAL|class) (\S+)", str(error))
        if what is None:
            raise ModelCorrupt(f"{path}: {_first_line(error)}") from None
    if not allow_pickle:
        raise ModelUnsupported(
            f"{path}: holds a Python object ({what[1]}), and reading it can run any code; if you "
            "trust where the file comes from, allow it (--allow-pickle, allow_pickle=True)"
        )
    logger.warning("%s: unpickling Python objects (%s), as allowed", path, what[1])
    try:
        # latin1 reads the byte strings of Python 2, such as NumPy's numbers.
        return torch.load(path, map_location="cpu", weights_only=False, encoding="latin1")
    except (*_DAMAGE, ImportError) as error:
        raise ModelCorrupt(f"{path}: {_first_line(error)}") from None


def _check_unpacked_size(path: Path) -> None:
    """Refuse a small zip that unpacks to a large one."""
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > MAX_MODEL_BYTES:
        raise ModelCorrupt(
            f"{path}: unpacks to {size} bytes; models above {MAX_MODEL_BYTES} are refused"
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines() or [""]
    return f"damaged: {type(error).__name__} {lines[0][:200]}".rstrip()


def _named_tensors(content: object, path: Path) -> dict[str, Tensor]:
    """Take the weights out of their wrapping."""
    if isinstance(content, Mapping):
        inner = [content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        content = inner[0] if inner else content
    if not isinstance(content, Mapping) or not content:
        raise ModelUnsupported(
            f"{path}: holds {type(content).__name__}, not tensors by name; want a state_dict, "
            f"plain or under one of {', '.join(WRAPPERS)}"
        )
    tensors: dict[str, Tensor] = {}
    for name, value in content.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise ModelUnsupported(
                f"{path}: entry {name!r} is {type(value).__name__}, not a tensor"
            )
        tensors[name] = value.detach()
    return tensors


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )
