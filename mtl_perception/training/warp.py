# SPDX-License-Identifier: Apache-2.0
"""One frame as another camera pose would see it, given the depth there."""

import torch
import torch.nn.functional as F

NEAREST = 1e-3
"""Metres before the camera; points behind it are put here, far outside the image."""


def warp(
    source: torch.Tensor,
    depth: torch.Tensor,
    K: torch.Tensor,
    T_source_target: torch.Tensor,
) -> torch.Tensor:
    """Return the source frame resampled to where the target camera sees the same points.

    Bilinear; outside the source its border is repeated, as in monodepth2. Computed in float32 even
    where autocast is on: half precision has no place for a coordinate of three digits.

    Args:
        source: (B, 3, H, W) image of the other frame.
        depth: (B, 1, H, W) metres in the target frame.
        K: (B, 3, 3) camera matrix of both, pixel centres at integers.
        T_source_target: (B, 4, 4) ``p_source = T_source_target @ p_target``.
    """
    with torch.autocast(depth.device.type, enabled=False):
        return _sample(source.float(), source_pixels(depth, K, T_source_target))


def source_pixels(
    depth: torch.Tensor, K: torch.Tensor, T_source_target: torch.Tensor
) -> torch.Tensor:
    """Return (B, H, W, 2) float32: column and row in the source frame of each target pixel.

    Arguments as ``warp``'s.
    """
    batch, _, height, width = depth.shape
    rows, columns = torch.meshgrid(
        torch.arange(height, device=depth.device, dtype=torch.float32),
        torch.arange(width, device=depth.device, dtype=torch.float32),
        indexing="ij",
    )
    pixels = torch.stack([columns, rows, torch.ones_like(rows)]).view(3, -1)  # (3, H * W)
    K, T = K.float(), T_source_target.float()
    points = torch.linalg.inv(K) @ pixels * depth.float().view(batch, 1, -1)  # (B, 3, H * W)
    moved = K @ (T[:, :3, :3] @ points + T[:, :3, 3:])  # (B, 3, H * W)
    pixels = moved[:, :2] / moved[:, 2:].clamp(min=NEAREST)
    return pixels.transpose(1, 2).view(batch, height, width, 2)


def _sample(image: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Pixel centres at integers are grid_sample's -1..1 from first to last: aligned corners."""
    height, width = image.shape[-2:]
    grid = 2 * pixels / pixels.new_tensor([width - 1, height - 1]) - 1
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)
