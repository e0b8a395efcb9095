# SPDX-License-Identifier: Apache-2.0
"""Weights of networks: our own files, and those that others have published.

Our own format is a .safetensors file whose metadata (``checkpoint_metadata``) say which network
it is and what its channels mean, so that the file is all that is needed to run it.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from mtl_perception.conventions import InvalidInput
from mtl_perception.labels import LabelSet
from mtl_perception.models import ModelUnsupported
from mtl_perception.networks.checkpoint_fit import identity_expansion, problems
from mtl_perception.networks.checkpoint_metadata import NetworkMetadata
from mtl_perception.networks.checkpoint_names import COUNTER, recognise, some
from mtl_perception.networks.checkpoint_read import read_weights
from mtl_perception.networks.presets import build, config_from_dict

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadReport:
    """What ``load_weights`` matched."""

    naming: str  # under which names the file keeps its weights
    loaded: int  # entries of the network that are set now
    kept: tuple[str, ...]  # entries of the network that the file does not have
    dropped: tuple[str, ...]  # entries of the file that the network does not have

    @property
    def partial(self) -> bool:
        """Whether the file was an encoder's, so that other parts stay as they were."""
        return not all(name.endswith(COUNTER) for name in self.kept)

    def __str__(self) -> str:
        """Return the report as a sentence."""
        parts = [f"{self.loaded} entries set, file known as: {self.naming}"]
        if self.partial:
            parts.append(f"{len(self.kept)} stay as they were")
        elif self.kept:
            parts.append(f"{len(self.kept)} counters are not in the file (torch < 0.4.1)")
        if self.dropped:
            parts.append(f"{len(self.dropped)} of its classifier are left out")
        return "; ".join(parts)


def load_weights(model: nn.Module, path: Path, allow_pickle: bool = False) -> LoadReport:
    """Load published weights into a network, or weights of our own.

    Known are files with the network's own names (the released multi-task-refinenet, PAD-Net and
    MTI-Net files, and ours), with DenseTorch's, and ImageNet encoders of torchvision, timm and
    light-weight RefineNet; each with and without the ``module.`` of DataParallel. Nothing changes
    in the network when the file is refused.

    Args:
        model: a network of ``presets.build``.
        path: .safetensors, or a file of ``torch.save``.
        allow_pickle: also read files that hold Python objects. They can run any code.

    Raises:
        ModelMissing, ModelCorrupt: see ``checkpoint_read.read_weights``.
        ModelUnsupported: Python objects and not allowed; names that are not known; entries that
            are missing, too many, of another shape or not finite: each is named.
    """
    tensors = read_weights(path, allow_pickle).tensors
    own = model.state_dict()
    naming = recognise(tensors, own)
    if naming is None:
        raise ModelUnsupported(
            f"{path}: not weights of this network: it has {len(tensors)} entries such as "
            f"{some(tensors)}; wanted are {len(own)} such as {some(own)}"
        )
    given = {new: tensors[name] for name, new in naming.names.items()}
    if naming.lacks_expansion:
        given.update(identity_expansion(own))
    found = problems(given, own, naming.encoder)
    if found:
        raise ModelUnsupported(f"{path} ({naming.title}): {'; '.join(found)}")
    model.load_state_dict(given, strict=False)
    kept = tuple(name for name in own if name not in given)
    report = LoadReport(naming.title, len(given), kept, naming.dropped)
    logger.info("%s: %s", path, report)
    return report


@dataclass(frozen=True, eq=False)
class StoredNetwork:
    """A network as ``load_network`` returns it."""

    model: nn.Module  # on the CPU, in evaluation mode, float32
    metadata: NetworkMetadata

    @property
    def label_sets(self) -> tuple[LabelSet, ...]:
        """Meaning of its "labels" channels, one set behind the other."""
        return self.metadata.label_sets


def save_network(
    path: Path,
    model: nn.Module,
    *label_sets: LabelSet,
    focal_px: float = NetworkMetadata.focal_px,
    temperature: float = NetworkMetadata.temperature,
    input_height: int = NetworkMetadata.input_height,
    half: bool = False,
) -> None:
    """Write a network with its configuration and label sets; whole, or not at all.

    Args:
        path: .safetensors; replaced if it is there.
        model: a network of ``presets.build``.
        label_sets: meaning of the "labels" channels in their order.
        focal_px: see ``NetworkMetadata``, as the next two.
        temperature: scores are divided by it.
        input_height: images are brought to this height.
        half: store the kernels in 16 bits, in half the space. Biases and what belongs to batch
            normalisation stay in 32: they are few, and variances do not fit 16.

    Raises:
        InvalidInput: a number out of its range, or a kernel that 16 bits cannot hold.
        OSError: the folder cannot be written, or the disk is full.
    """
    metadata = NetworkMetadata(
        model.config.to_dict(), label_sets, focal_px, temperature, input_height
    )
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    if half:
        tensors = {name: _halved(name, tensor) for name, tensor in tensors.items()}
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(save(tensors, metadata.to_strings()))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_network(path: Path) -> StoredNetwork:
    """Build the network that ``save_network`` wrote, in float32 also where the file is not.

    Raises:
        ModelMissing, ModelCorrupt: see ``checkpoint_read.read_weights``.
        ModelUnsupported: no network file of ours, a configuration that is not known here, or
            weights that do not fit it; the message says which.
    """
    weights = read_weights(path)
    try:
        metadata = NetworkMetadata.from_strings(weights.metadata)
        config = config_from_dict(metadata.config)
    except InvalidInput as error:
        raise ModelUnsupported(f"{path}: {error}") from None
    with torch.device("meta"):  # shapes without memory: a file may ask for any width
        expected = build(config).state_dict()
    found = problems(weights.tensors, expected)
    if found:
        raise ModelUnsupported(f"{path}: {'; '.join(found)}")
    model = build(config)
    model.load_state_dict(weights.tensors, strict=False)
    return StoredNetwork(model.eval(), metadata)


def _halved(name: str, tensor: Tensor) -> Tensor:
    if tensor.ndim < 2 or not tensor.is_floating_point():
        return tensor
    halved = tensor.half()
    if not torch.isfinite(halved).all():
        raise InvalidInput(f"{name}: holds {tensor.abs().max():g}, float16 ends at 65504")
    return halved
