# SPDX-License-Identifier: Apache-2.0
"""Networks with lively random weights, and what plain torch makes of an image with them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mtl_perception.labels import LABEL_SETS
from mtl_perception.networks.checkpoint import save_network
from mtl_perception.networks.presets import build, find_preset

FOCAL_PX = 585.0
"""Of the camera that ``save_indoor``'s network was trained for."""


def lively_network(preset: str = "nekrasov-nyud", seed: int = 0, **changes: object) -> nn.Module:
    """A preset (with fields changed) in which no weight, bias or statistic is what it starts at."""
    model = build(replace(find_preset(preset), **changes))
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            # Twice this variance, and 56 layers make chaos of rounding errors.
            module.weight.data.normal_(0, fan_in**-0.5, generator=generator)
            if module.bias is not None:
                module.bias.data.normal_(0, 0.1, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.8, 1.2, generator=generator)
            module.bias.data.normal_(0, 0.1, generator=generator)
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.8, 1.2, generator=generator)
            module.num_batches_tracked.fill_(7)
    return model.eval()


@dataclass(frozen=True)
class PlainPrediction:
    """What torch alone makes of one image, all at its size."""

    scores: torch.Tensor  # (C, H, W)
    probability: torch.Tensor  # (C, H, W)
    labels: torch.Tensor  # (H, W)
    depth: torch.Tensor  # (H, W) metres
    normals: torch.Tensor | None  # (H, W, 3) unit


def plain_torch(
    model: nn.Module, rgb: np.ndarray, size: tuple[int, int] | None = None
) -> PlainPrediction:
    """Normalise, run, resize, and only then decide: step by step, as the publications have it.

    Maps are resized to the (H, W) of ``size``, or to the image's.
    """
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (torch.from_numpy(rgb.copy()).float() / 255 - mean) / std
    size = size or rgb.shape[:2]
    with torch.no_grad():
        outputs = model(x.permute(2, 0, 1)[None].contiguous())
    full = {
        task: F.interpolate(values, size=size, mode="bilinear", align_corners=False)[0]
        for task, values in outputs.items()
    }
    normals = F.normalize(full["normals"], dim=0).permute(1, 2, 0) if "normals" in full else None
    probability = F.softmax(full["labels"], dim=0)
    labels = full["labels"].argmax(dim=0)
    return PlainPrediction(full["labels"], probability, labels, full["depth"][0].abs(), normals)


def save_indoor(folder: Path) -> Path:
    """Write a network that gives labels of nyu40, depth and normals."""
    path = folder / "indoor.safetensors"
    network = lively_network("nekrasov-nyud-normals")
    save_network(path, network, LABEL_SETS["nyu40"], focal_px=FOCAL_PX)
    return path


def save_outdoor(folder: Path) -> Path:
    """Write a network that gives labels of kitti6 and depth."""
    path = folder / "outdoor.safetensors"
    save_network(path, lively_network("nekrasov-kitti"), LABEL_SETS["kitti6"])
    return path
