# SPDX-License-Identifier: Apache-2.0
"""How good a network is along the way: the same measures as the evaluation of finished ones."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mtl_perception.data.sample import Dataset, Sample
from mtl_perception.evaluation.depth import DepthConfig
from mtl_perception.evaluation.evaluate import Evaluation, EvaluationConfig, evaluate_model
from mtl_perception.networks.layers import resize
from mtl_perception.training.transforms import camera_of, look, whole


@dataclass(frozen=True, eq=False)
class Guess:
    """What a network says about an image, of its size; None: it has no such task."""

    labels: np.ndarray | None  # (H, W) uint8
    confidence: np.ndarray | None  # (H, W) float32, probability of the label
    depth: np.ndarray | None  # (H, W) float32 metres
    normals: np.ndarray | None  # (H, W, 3) float32 unit


def predictor_of(
    network: nn.Module, height: int = 0, focal_px: float = 0.0, temperature: float = 1.0
) -> Callable[[Sample], Guess]:
    """Return how a network under training predicts; without ROS, files and graph runtimes.

    Args:
        network: in evaluation mode; outputs by task, (1, C, h, w).
        height: of its input in pixels; 0 = the image's own.
        focal_px: of the canonical camera that its depth is for; 0 = metres as they are.
        temperature: scores are divided by it.
    """
    device = next(network.parameters()).device

    @torch.inference_mode()
    def predict(sample: Sample) -> Guess:
        view = whole(sample, height)
        images = look(sample, view).images.to(device, memory_format=torch.channels_last)
        size = torch.Size(sample.intrinsics.shape)
        outputs = {k: resize(v.float(), size)[0] for k, v in network(images).items()}
        scale = camera_of(sample, view)[0, 0] / focal_px if focal_px else 1.0
        labels = confidence = depth = normals = None
        if "labels" in outputs:
            best, index = F.softmax(outputs["labels"] / temperature, dim=0).max(dim=0)
            labels, confidence = index.byte().cpu().numpy(), best.cpu().numpy()
        if "depth" in outputs:
            depth = (outputs["depth"][0].abs() * scale).cpu().numpy().astype(np.float32)
        if "normals" in outputs:
            unit = F.normalize(outputs["normals"], dim=0)
            normals = np.ascontiguousarray(unit.permute(1, 2, 0).cpu().numpy())
        return Guess(labels, confidence, depth, normals)

    return predict


def judge(network: nn.Module, dataset: Dataset, height: int, focal_px: float) -> dict[str, float]:
    """Return the main measures of a network on a data set, by name; see ``predictor_of``.

    Depth without a scale of its own is fitted to each image's truth by the median, as is customary.
    """
    how = EvaluationConfig(DepthConfig(median_scaling=not network.config.is_metric))
    return headline(evaluate_model(predictor_of(network, height, focal_px), dataset, how))


def headline(evaluation: Evaluation) -> dict[str, float]:
    """Return the measures that a curve is drawn of."""
    told: dict[str, float] = {}
    if s := evaluation.segmentation:
        told |= {"mean_iou": s.mean_iou, "pixel_accuracy": s.pixel_accuracy}
    if c := evaluation.calibration:
        told |= {"ece": c.ece}
    if d := evaluation.depth:
        told |= {"depth_rel": d.pooled.abs_rel, "depth_rmse": d.pooled.rmse}
    if n := evaluation.normals:
        told |= {"normal_angle": n.mean}
    return told
