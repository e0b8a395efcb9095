# SPDX-License-Identifier: Apache-2.0
"""What goes before and after a network, on torch tensors where they are: on a GPU.

Nothing here waits for the device or depends on what the tensors hold, so that all of it can become
part of a CUDA graph.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl_perception.conventions import UNLABELLED
from mtl_perception.inference.dense_outputs import MEAN, STD
from mtl_perception.inference.scores import Decision


class TensorPreProcessor(nn.Module):
    """Pixels to what the networks take."""

    def __init__(self, dtype: torch.dtype) -> None:
        """Prepare factors for images of ``dtype``."""
        super().__init__()
        self._dtype = dtype
        deviation = torch.tensor(STD)[:, None, None]
        self.register_buffer("scale", 1 / (255 * deviation))
        self.register_buffer("offset", -torch.tensor(MEAN)[:, None, None] / deviation)

    def forward(self, image: Tensor) -> Tensor:
        """Return (1, 3, H, W) normalised, channels_last, for (H, W, 3) uint8 RGB."""
        # The bytes of an image are channels_last already, and stay so.
        x = image.permute(2, 0, 1)[None].float()
        return torch.addcmul(self.offset, x, self.scale).to(self._dtype)


class TensorPostProcessor(nn.Module):
    """Upsamples, decides, scales, as ``post_processing.PostProcessor`` does."""

    def __init__(self, decision: Decision) -> None:
        """Prepare the tables of a decision."""
        super().__init__()
        self._decision = decision
        labels = decision.channel_labels
        wanted, group = np.unique(labels, return_inverse=True)
        self._merges = len(wanted) < len(labels)
        table = wanted if self._merges else labels
        self.register_buffer("label_of_group", torch.from_numpy(table.copy()))
        self.register_buffer("group_of_channel", torch.from_numpy(group.astype(np.int64)))

    def forward(
        self, maps: Mapping[str, Tensor], shape: tuple[int, int], depth_scale: Tensor
    ) -> dict[str, Tensor]:
        """Bring every map to image size.

        Args:
            maps: (1, C, h, w) of any floating point by task; those of ``dense_outputs.READ`` are
                read.
            shape: (H, W) of the image.
            depth_scale: () float32 metres per unit of the network's depth.

        Returns:
            ``labels`` (H, W) uint8, ``confidence`` (H, W) float32, ``finite`` () bool whether all
            scores are; ``depth`` (H, W) float32 metres, ``normals`` (H, W, 3) float32 of unit
            length, where there are such maps. As ``predictor.Prediction`` has them.
        """
        scores = maps["labels"][:, self._decision.channels].float()
        found = self._labels(_resize(scores, shape))
        found["finite"] = scores.isfinite().all()
        if "depth" in maps:
            depth = _resize(maps["depth"].float(), shape)[0].abs().mul(depth_scale)
            found["depth"] = depth.nan_to_num(nan=0.0, posinf=0.0)
        if "normals" in maps:
            found["normals"] = _unit(_resize(maps["normals"].float(), shape))
        return found

    def _labels(self, scores: Tensor) -> dict[str, Tensor]:
        """(C, H, W) scores, overwritten, to labels and confidence."""
        best, winner = scores.max(dim=0)
        shares = scores.sub_(best).mul_(1 / self._decision.temperature).exp_()
        confidence = shares.sum(dim=0).reciprocal_()
        if self._merges:
            mass = shares.new_zeros((len(self.label_of_group), *best.shape))
            best, winner = mass.index_add_(0, self.group_of_channel, shares).max(dim=0)
            confidence = confidence * best
        labels = self.label_of_group[winner]
        known = (labels != UNLABELLED) & (confidence >= self._decision.confidence_threshold)
        return {
            "labels": labels.masked_fill(~known, UNLABELLED),
            "confidence": confidence.masked_fill(~known, 0.0),
        }


def _resize(values: Tensor, shape: tuple[int, int]) -> Tensor:
    """(1, C, h, w) to (C, H, W)."""
    return F.interpolate(values, size=shape, mode="bilinear", align_corners=False)[0]


def _unit(normals: Tensor) -> Tensor:
    """(3, H, W) of any length to (H, W, 3) of unit length, zero where there is no direction."""
    length = normals.square().sum(dim=0).sqrt()
    known = (length > 0) & length.isfinite()
    return (normals / length).masked_fill(~known, 0.0).permute(1, 2, 0).contiguous()
