# SPDX-License-Identifier: Apache-2.0
"""Networks to ONNX, for ``inference.onnx_network`` and for other programs."""

import logging
import os
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from mtl_perception.inference.dense_outputs import MIN_SIDE
from mtl_perception.labels import LabelSet
from mtl_perception.networks.checkpoint_metadata import NetworkMetadata
from mtl_perception.networks.graph_builder import INPUT, OPSET
from mtl_perception.networks.nekrasov_config import NekrasovConfig
from mtl_perception.networks.nekrasov_graph import graph_of

# It warns that torchvision is missing, whose operators no network here has.
logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)


class _Tuple(nn.Module):
    """A network with its outputs in a fixed order, as ONNX wants them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model(images)
        return tuple(outputs[task] for task in self.model.tasks)


def export_onnx(
    path: Path,
    model: nn.Module,
    *label_sets: LabelSet,
    focal_px: float = NetworkMetadata.focal_px,
    temperature: float = NetworkMetadata.temperature,
    input_height: int = NetworkMetadata.input_height,
) -> None:
    """Write a network as ONNX; whole, or not at all.

    Height and width stay free. The outputs are named like the tasks; configuration and label sets
    travel as metadata. Batch normalisation is folded into the convolutions.

    Args:
        path: .onnx; replaced if it is there.
        model: a network of ``presets.build``; left as it is, but in evaluation mode.
        label_sets: meaning of the "labels" channels, one set behind the other.
        focal_px: see ``NetworkMetadata``, as the next two.
        temperature: scores are divided by it.
        input_height: images are brought to this height.

    Raises:
        InvalidInput: a number out of its range.
        OSError: the folder cannot be written, or the disk is full.
    """
    metadata = NetworkMetadata(
        model.config.to_dict(), label_sets, focal_px, temperature, input_height
    )
    proto = to_onnx(model, metadata)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(proto.SerializeToString())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def to_onnx(model: nn.Module, metadata: NetworkMetadata) -> onnx.ModelProto:
    """Return a network as ``export_onnx`` writes it.

    Args:
        model: a network of ``presets.build``; left as it is, but in evaluation mode.
        metadata: travels inside.
    """
    if not isinstance(model.config, NekrasovConfig):
        return traced_onnx(model, metadata)
    model.eval()
    weights = {name: tensor.cpu().numpy() for name, tensor in model.state_dict().items()}
    return graph_of(weights, metadata)


def traced_onnx(model: nn.Module, metadata: NetworkMetadata) -> onnx.ModelProto:
    """Return what torch makes of a network: any will do, but it takes half a minute.

    Args:
        model: see ``to_onnx``, as the next.
        metadata: travels inside.
    """
    size = {2: Dim("height", min=MIN_SIDE), 3: Dim("width", min=MIN_SIDE)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about torch's own code
        program = torch.onnx.export(
            _Tuple(model).eval(),
            (torch.zeros(1, 3, 99, 130),),  # odd and even, and equal to no width of the networks
            input_names=[INPUT],
            output_names=list(model.tasks),
            dynamic_shapes=(size,),
            opset_version=OPSET,
            verbose=False,
        )
    proto = program.model_proto
    onnx.helper.set_model_props(proto, metadata.to_strings())
    return proto
