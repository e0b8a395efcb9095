# SPDX-License-Identifier: Apache-2.0
"""Images with their targets as the tensors of one training step."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from mtl_perception.conventions import UNLABELLED

UNKNOWN_CONTOUR = -1.0
"""Contour of a pixel whose label, or whose neighbour's label, is not known."""

TARGETS = ("labels", "depth", "normals", "contours")
"""Fields that hold what the network should have said."""


@dataclass(frozen=True, eq=False)
class Batch:
    """B images of one size; what an image has no annotation of is unknown in every pixel."""

    images: Tensor  # (B, 3, H, W) float32 RGB, ImageNet-normalised
    labels: Tensor  # (B, H, W) int64 class id, 255 = unknown
    depth: Tensor  # (B, 1, H, W) float32 metres as the canonical camera sees them, 0 = unknown
    normals: Tensor  # (B, 3, H, W) float32 unit, towards the camera; zeros = unknown
    contours: Tensor  # (B, 1, H, W) float32, 1 = labels change here, 0 = they do not, -1 = unknown
    K: Tensor  # (B, 3, 3) float32 camera matrix of ``images``
    neighbours: Tensor  # (B, N, 3, H, W) float32, frames before and after, normalised as images
    names: tuple[str, ...] = ()  # of the samples, for messages

    def __len__(self) -> int:
        """Count of images."""
        return len(self.images)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on a device."""
        moved = {
            f.name: getattr(self, f.name).to(device, non_blocking=True)
            for f in fields(self)
            if f.name != "names"
        }
        return replace(self, **moved)

    def thinned(self, stride: int) -> "Batch":
        """Return the batch with every ``stride``-th row and column of its targets.

        Losses compare at the targets' size, so this makes them ``stride`` ** 2 times cheaper. The
        middle one of ``stride`` pixels is taken; for even strides it is half a pixel off.
        """
        if stride == 1:
            return self
        first = (stride - 1) // 2
        thin = {name: getattr(self, name)[..., first::stride, first::stride] for name in TARGETS}
        return replace(self, **thin)


def stack(items: Sequence[Batch]) -> Batch:
    """Join batches of images of one size behind each other."""
    joined = {
        f.name: torch.cat([getattr(item, f.name) for item in items])
        for f in fields(Batch)
        if f.name != "names"
    }
    return Batch(**joined, names=sum((item.names for item in items), ()))


def contours_of(labels: Tensor) -> Tensor:
    """Return where the class changes to the pixel on the right or below.

    Args:
        labels: (B, H, W) int64, 255 = unknown.

    Returns:
        (B, 1, H, W) float32: 1, 0, or -1 where the pixel or one of the two others is unknown.
    """
    unknown = labels == UNLABELLED
    change = torch.zeros_like(unknown)
    hidden = unknown.clone()
    change[:, :, :-1] |= labels[:, :, 1:] != labels[:, :, :-1]
    change[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    hidden[:, :, :-1] |= unknown[:, :, 1:]
    hidden[:, :-1] |= unknown[:, 1:]
    return change.float().masked_fill(hidden, UNKNOWN_CONTOUR)[:, None]
