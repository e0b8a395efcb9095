# SPDX-License-Identifier: Apache-2.0
"""Our .safetensors network files as NumPy arrays: for runtimes that have no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from mtl_perception.conventions import InvalidInput
from mtl_perception.models import MAX_MODEL_BYTES, ModelCorrupt, ModelMissing, ModelUnsupported
from mtl_perception.networks.checkpoint_metadata import NetworkMetadata


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """What a network file of ours holds."""

    tensors: Mapping[str, np.ndarray]  # as stored: float32 or float16, counters int64
    metadata: NetworkMetadata


def read_metadata(path: Path) -> NetworkMetadata:
    """Read what a .safetensors file says of itself, and nothing else of it.

    Raises:
        ModelMissing, ModelCorrupt, ModelUnsupported: as ``read_weights_file``.
    """
    with _opened(path) as file:
        return _metadata(file.metadata() or {}, path)


def read_weights_file(path: Path) -> WeightsFile:
    """Read a file that ``checkpoint.save_network`` wrote.

    Raises:
        ModelMissing: the file cannot be read.
        ModelCorrupt: too large, damaged, or no .safetensors file.
        ModelUnsupported: not a network file of ours.
    """
    with _opened(path) as file:
        metadata = _metadata(file.metadata() or {}, path)
        try:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, TypeError, ValueError, AttributeError) as error:
            raise ModelCorrupt(f"{path}: a damaged .safetensors file: {error}") from None
    return WeightsFile(tensors, metadata)


def _opened(path: Path) -> safe_open:
    try:
        size = path.stat().st_size
        if size > MAX_MODEL_BYTES:
            raise ModelCorrupt(f"{path}: {size} bytes; models above {MAX_MODEL_BYTES} are refused")
        return safe_open(path, framework="np")
    except OSError as error:
        raise ModelMissing(f"{path}: cannot be read: {error.strerror}") from None
    except SafetensorError as error:
        raise ModelCorrupt(f"{path}: not a whole .safetensors file: {error}") from None


def _metadata(strings: Mapping[str, str], path: Path) -> NetworkMetadata:
    try:
        return NetworkMetadata.from_strings(strings)
    except InvalidInput as error:
        raise ModelUnsupported(f"{path}: {error}") from None
