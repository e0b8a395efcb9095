# SPDX-License-Identifier: Apache-2.0
"""An ImageNet MobileNet-v2 from a quantised TFLite file, as the start of our encoder.

Such files have whole numbers for weights (w = (q - zero) * scale, a scale per output channel),
batch norm folded into the convolutions, and images in -1..1. Here the folded convolutions get a
batch norm again which, fed with the images at hand, undoes itself: its statistics are measured,
its gain and bias are the inverse. So a first step in training mode sees the very same network.

What stays different: TFLite pads strided convolutions on the right and below, ours pad on both
sides, which shifts features by half a pixel of their grid; and int8 activations are not imitated.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mtl_perception.models import ModelCorrupt, ModelMissing, ModelUnsupported
from mtl_perception.networks.layers import IMAGENET_MEAN, IMAGENET_STD
from mtl_perception.networks.mobilenet_v2 import MobileNetV2

MAX_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class FoldedConv:
    """A convolution with what batch norm did folded in."""

    weight: np.ndarray  # (out, in, k, k) float32; in = 1 where each channel has its own filter
    bias: np.ndarray  # (out,) float32


def read_folded(path: Path) -> list[FoldedConv]:
    """Read the convolutions of a quantised TFLite graph in the order in which they run.

    Raises:
        ModelMissing: the file cannot be read.
        ModelCorrupt: damaged or too large.
        ModelUnsupported: a convolution without bias or per-channel int8 weights; or
            ai-edge-litert is not installed.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelCorrupt(f"{path}: {path.stat().st_size} bytes are no MobileNet-v2")
        content = path.read_bytes()
    except OSError as error:
        raise ModelMissing(f"{path}: cannot be read: {error.strerror}") from None
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise ModelUnsupported(f"{path}: reading TFLite needs ai-edge-litert") from None
    try:
        graph = Interpreter(model_content=content, num_threads=1)
    except (ValueError, RuntimeError) as error:
        raise ModelCorrupt(f"{path}: {str(error).splitlines()[0]}") from None
    details = {d["index"]: d for d in graph.get_tensor_details()}
    found = []
    for operator in graph._get_ops_details():
        if operator["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            _, weight, bias = (details[int(i)] for i in operator["inputs"])
            depthwise = operator["op_name"] == "DEPTHWISE_CONV_2D"
            found.append(_folded(graph, weight, bias, depthwise, path))
    return found


def _folded(graph: object, weight: dict, bias: dict, depthwise: bool, path: Path) -> FoldedConv:
    """Return one convolution in float; TFLite's order of axes is (out, k, k, in)."""
    quantised, offsets = graph.get_tensor(weight["index"]), graph.get_tensor(bias["index"])  # type: ignore[attr-defined]
    scale, zero = (weight["quantization_parameters"][key] for key in ("scales", "zero_points"))
    axis = 3 if depthwise else 0  # of the output channels; (1, k, k, out) of a depthwise one
    if quantised.dtype != np.int8 or scale.size != quantised.shape[axis]:
        raise ModelUnsupported(f"{path}: {weight['name']} is not int8 with a scale per channel")
    shape = [1] * 4
    shape[axis] = -1
    real = (quantised.astype(np.float32) - zero.reshape(shape)) * scale.reshape(shape)
    real = real.transpose(3, 0, 1, 2) if depthwise else real.transpose(0, 3, 1, 2)
    bias_scale = bias["quantization_parameters"]["scales"]
    return FoldedConv(np.ascontiguousarray(real, np.float32), offsets * bias_scale)


def load_encoder(encoder: MobileNetV2, path: Path, images: Tensor) -> str:
    """Set an encoder to what the file's network computes.

    Args:
        encoder: changed in place, also its batch norm; left as it is when the file is refused.
        path: see ``read_folded``.
        images: (B, 3, H, W) ImageNet-normalised, of the kind that training will show: batch norm's
            statistics are theirs.

    Returns:
        A sentence on what was set.

    Raises:
        ModelMissing, ModelCorrupt, ModelUnsupported: see ``read_folded``; also when the file's
            convolutions are not those of MobileNet-v2, or not finite.
    """
    folded = read_folded(path)
    stages = [m for m in encoder.modules() if isinstance(m, nn.Sequential) and _is_conv_norm(m)]
    own = [stage for stage in stages if stage is not _extra_stage(encoder)]
    shapes = [tuple(stage[0].weight.shape) for stage in own]
    given = [conv.weight.shape for conv in folded]
    if given[: len(shapes)] != shapes:
        raise ModelUnsupported(f"{path}: its {len(given)} convolutions are not MobileNet-v2's")
    if not all(np.isfinite(c.weight).all() and np.isfinite(c.bias).all() for c in folded):
        raise ModelUnsupported(f"{path}: has weights that are not finite")
    convs = [_for_our_images(folded[0]), *folded[1 : len(own)]]
    biases = {
        stage[1]: torch.from_numpy(c.bias.astype(np.float32))
        for stage, c in zip(own, convs, strict=True)
    }
    for stage, conv in zip(own, convs, strict=True):
        stage[0].weight.data.copy_(torch.from_numpy(conv.weight))
    extra = _extra_stage(encoder)
    if extra is not None:
        extra[0].weight.data.copy_(torch.eye(len(extra[0].weight))[:, :, None, None])
        biases[extra[1]] = torch.zeros(len(extra[0].weight))
    _calibrate(encoder, biases, images)
    return f"{len(own)} convolutions of {path.name}, {len(given) - len(own)} of its classifier left"


def _is_conv_norm(module: nn.Sequential) -> bool:
    kinds = [type(child) for child in module.children()]
    return kinds[:2] == [nn.Conv2d, nn.BatchNorm2d]


def _extra_stage(encoder: MobileNetV2) -> nn.Sequential | None:
    """The 1x1 convolution of the first block that other implementations do not have."""
    stage = encoder.layer2[0].output[0]
    return stage if isinstance(stage, nn.Sequential) else None


def _for_our_images(first: FoldedConv) -> FoldedConv:
    """Take over what TFLite's images are: p / 127.5 - 1 with zero point 127, ours are normalised.

    t = 2 (std x + mean) - 127 / 127.5 of our x, so the kernel takes 2 std and the bias the rest.
    """
    std, mean = np.array(IMAGENET_STD, np.float32), np.array(IMAGENET_MEAN, np.float32)
    shift = (first.weight * (2 * mean - 127 / 127.5)[:, None, None]).sum(axis=(1, 2, 3))
    weight = first.weight * (2 * std)[:, None, None]
    return FoldedConv(weight.astype(np.float32), first.bias + shift)


@torch.no_grad()
def _calibrate(encoder: MobileNetV2, biases: dict[nn.BatchNorm2d, Tensor], images: Tensor) -> None:
    """Set each batch norm, front to back, to add its bias when it sees ``images``."""

    def measure(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        mean, variance = inputs[0].mean(dim=(0, 2, 3)), inputs[0].var(dim=(0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(torch.sqrt(variance + norm.eps))
        norm.bias.copy_(mean + biases[norm])

    hooks = [norm.register_forward_pre_hook(measure) for norm in biases]
    try:
        encoder.eval()(images)
    finally:
        for hook in hooks:
            hook.remove()
