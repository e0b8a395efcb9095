# SPDX-License-Identifier: Apache-2.0
"""Pose network of self-supervised training: how the camera moved between two frames.

It exists for training only, where it says which pixel of the next frame shows the same point.
"""

import torch
from torch import nn

from mtl_perception.conventions import InvalidInput
from mtl_perception.networks.layers import IMAGENET_MEAN, IMAGENET_STD, check_images
from mtl_perception.networks.resnet import ResNet

FRAMES = 2
"""Frames that the encoder sees at once."""

SMALL_MOTION = 0.01
"""Factor of the output, so that an untrained network starts near "no motion"."""


class PoseNet(nn.Module):
    """Two frames to the rigid motion between them."""

    def __init__(self, encoder_depth: int = 18) -> None:
        """Build encoder and decoder with random weights.

        Args:
            encoder_depth: layers of the ResNet; 18 in the publication, whatever the depth net has.
        """
        super().__init__()
        self.encoder = ResNet(encoder_depth, channels_in=3 * FRAMES)
        self.decoder = nn.Sequential(
            nn.Conv2d(self.encoder.channels[-1], 256, 1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            # One motion per frame as published, of which only the first is used.
            nn.Conv2d(256, 6 * FRAMES, 1),
        )
        mean, std = (torch.tensor(x * FRAMES).view(-1, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("gain", std / 0.225, persistent=False)
        self.register_buffer("offset", (mean - 0.45) / 0.225, persistent=False)

    def load_image_encoder(self, encoder: ResNet) -> None:
        """Start from weights for single images, such as ImageNet's.

        The first convolution is repeated for each frame and divided by their number: of two equal
        frames it sees what ``encoder`` sees of one.

        Raises:
            RuntimeError: ``encoder`` has another depth.
        """
        state = encoder.state_dict()
        state["conv1.weight"] = state["conv1.weight"].repeat(1, FRAMES, 1, 1) / FRAMES
        self.encoder.load_state_dict(state)

    def forward(self, earlier: torch.Tensor, later: torch.Tensor) -> torch.Tensor:
        """Return T_later_earlier (B, 4, 4): ``p_later = T_later_earlier @ p_earlier``.

        Always give frames in the order of time; ``invert_rigid`` has the way back.

        Args:
            earlier: (B, 3, H, W) floating point RGB, ImageNet-normalised.
            later: the next frame, of the same shape.

        Raises:
            InvalidInput: the shapes differ.
        """
        if earlier.shape != later.shape:
            raise InvalidInput(f"frames differ: {tuple(earlier.shape)}, {tuple(later.shape)}")
        pair = torch.cat([check_images(earlier), check_images(later)], dim=1)  # (B, 6, H, W)
        x = self.encoder(pair * self.gain + self.offset)[-1]  # (B, 512, H/32, W/32)
        motion = self.decoder(x).mean(dim=(2, 3))  # (B, 12)
        return rigid_matrix(*(SMALL_MOTION * motion[:, :6]).split(3, dim=1))  # (B, 4, 4)


def rigid_matrix(axis_angle: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
    """Return (B, 4, 4) that rotates, then translates.

    Args:
        axis_angle: (B, 3) axis of the rotation times its angle in radians.
        translation: (B, 3).
    """
    x, y, z = axis_angle.unbind(dim=1)
    zero = torch.zeros_like(x)
    top = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)  # v -> a x v
    # The exponential is Rodrigues' formula, with a gradient at angle zero too.
    rotation = torch.linalg.matrix_exp(top)  # (B, 3, 3)
    return _rigid(rotation, translation)


def invert_rigid(T: torch.Tensor) -> torch.Tensor:
    """Return the inverses of rigid (B, 4, 4)."""
    back = T[:, :3, :3].transpose(1, 2)  # (B, 3, 3)
    return _rigid(back, -(back @ T[:, :3, 3:]).squeeze(2))


def _rigid(rotation: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
    top = torch.cat([rotation, translation.unsqueeze(2)], dim=2)  # (B, 3, 4)
    bottom = top.new_tensor([0, 0, 0, 1]).expand(len(top), 1, 4)
    return torch.cat([top, bottom], dim=1)  # (B, 4, 4)
