# SPDX-License-Identifier: Apache-2.0
"""Published weights in, a file that the predictor runs out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mtl_perception.conventions import InvalidInput
from mtl_perception.labels import LabelSet, load_label_set
from mtl_perception.models import ModelUnsupported
from mtl_perception.networks.checkpoint import (
    StoredNetwork,
    load_network,
    load_weights,
    save_network,
)
from mtl_perception.networks.checkpoint_metadata import NetworkMetadata
from mtl_perception.networks.export import export_onnx
from mtl_perception.networks.presets import build

WRITERS = {".onnx": export_onnx, ".safetensors": save_network}
"""By suffix of the file to write."""


def read_network(
    path: Path, preset: str, label_sets: Sequence[LabelSet], allow_pickle: bool = False
) -> tuple[StoredNetwork, str]:
    """Read our own file, or published weights into a preset.

    Args:
        path: the file.
        preset: name of the network that the weights are of; "" for our own files.
        label_sets: meaning of the channels; none means what the file or the preset says.
        allow_pickle: see ``checkpoint.load_weights``.

    Returns:
        The network, and a sentence on what was matched.

    Raises:
        ModelMissing, ModelCorrupt, ModelUnsupported: see ``checkpoint``.
        InvalidInput: no such preset, or published weights of a part of the network only.
    """
    if not preset:
        try:
            stored = load_network(path)
        except ModelUnsupported as error:
            raise ModelUnsupported(f"{error} (published weights need --network)") from None
        named = tuple(label_sets) or stored.label_sets
        return replace(stored, metadata=replace(stored.metadata, label_sets=named)), "our own file"
    model = build(preset).eval()
    report = load_weights(model, path, allow_pickle)
    if report.partial:
        raise InvalidInput(f"{path} holds an encoder only ({report}): train the network first")
    named = tuple(load_label_set(name) for name, _ in getattr(model.config, "label_sets", ()))
    metadata = NetworkMetadata(model.config.to_dict(), tuple(label_sets) or named)
    return StoredNetwork(model, metadata), str(report)


def write_network(path: Path, stored: StoredNetwork) -> None:
    """Write a network as ONNX or in our own format, as the suffix of ``path`` says.

    Raises:
        InvalidInput: another suffix.
        OSError: the folder cannot be written, or the disk is full.
    """
    if path.suffix not in WRITERS:
        raise InvalidInput(f"{path}: want a name that ends in {' or '.join(WRITERS)}")
    metadata = stored.metadata
    WRITERS[path.suffix](
        path,
        stored.model,
        *metadata.label_sets,
        focal_px=metadata.focal_px,
        temperature=metadata.temperature,
        input_height=metadata.input_height,
    )
