# SPDX-License-Identifier: Apache-2.0
"""What X-Distill's depth network is trained for: the next frames must fit, and the classes show.

Self-supervision is monodepth2's (ICCV 2019); the cross-task term is X-Distill's (BMVC 2021). Pose
network and depth-to-segmentation network live here: they learn along and are not kept.
"""

import torch
from torch import Tensor, nn

from mtl_perception.conventions import InvalidInput
from mtl_perception.networks.layers import IMAGENET_MEAN, IMAGENET_STD, resize
from mtl_perception.networks.xdistill_depth import (
    DepthNet,
    DepthPredictions,
    XDistillConfig,
    disparity_to_depth,
)
from mtl_perception.networks.xdistill_groups import load_class_groups
from mtl_perception.networks.xdistill_pose import PoseNet, invert_rigid
from mtl_perception.networks.xdistill_teacher import DepthToSegmentation, FrozenTeacher
from mtl_perception.training.batch import Batch
from mtl_perception.training.config import LossConfig
from mtl_perception.training.losses.labels import cross_entropy
from mtl_perception.training.losses.photometric import (
    reprojection_loss,
    smoothness,
    unmoved_error,
)
from mtl_perception.training.losses.total import Losses
from mtl_perception.training.warp import warp

POSE_ENCODER_DEPTH = 18
"""Layers of the pose network's ResNet, whatever the depth network has."""


class XDistillObjective(nn.Module):
    """Photometric, smoothness and cross-task loss of one depth network."""

    def __init__(
        self, config: XDistillConfig, weights: LossConfig, teacher: nn.Module | None = None
    ) -> None:
        """Build pose network and depth-to-segmentation network with random weights.

        Args:
            config: of the depth network.
            weights: ``smoothness`` and ``cross_task`` (0 leaves the cross-task term out), and the
                class ``groups`` that depth should tell apart.
            teacher: a network that gives ``labels`` scores of the groups' label set, and is frozen
                from now on. None: the labels of the batch are the teacher's, computed before.

        Raises:
            InvalidInput: no class groups of that name.
        """
        super().__init__()
        self.config = config
        self.weights = weights
        self.pose_net = PoseNet(POSE_ENCODER_DEPTH)
        groups = load_class_groups(weights.groups)
        self.depth_to_segmentation = DepthToSegmentation(len(groups))
        self.teacher = None if teacher is None else FrozenTeacher(teacher, groups.source)
        table = torch.from_numpy(groups.table.astype("int64"))
        self.register_buffer("group_of", table, persistent=False)
        mean, std = (torch.tensor(x).view(-1, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def start_from(self, network: DepthNet) -> None:
        """Let the pose network begin with the encoder of the depth network, such as ImageNet's.

        Only a ResNet-18 has the pose encoder's layers; of another the pose network keeps its own.
        """
        if self.config.encoder_depth == POSE_ENCODER_DEPTH:
            self.pose_net.load_image_encoder(network.encoder)

    def forward(self, outputs: DepthPredictions, batch: Batch) -> Losses:
        """Judge what ``forward_all`` of the depth network returned.

        Args:
            outputs: depth and disparity at all scales.
            batch: its neighbours are in the order of time, as many before the image as after.
                Depth, normals and contours are not looked at.

        Raises:
            InvalidInput: an odd number of neighbours, or none.
        """
        parts = self._self_supervision(outputs, batch)
        total = parts["photometric"] + self.weights.smoothness * parts["smoothness"]
        if self.weights.cross_task > 0:
            # Nothing is detached: the gradient of the scores is to reach the depth network.
            scores = self.depth_to_segmentation(outputs.depth[0].float())  # (B, groups, H, W)
            parts["cross task"] = cross_entropy(scores, self._groups(batch))
            total = total + self.weights.cross_task * parts["cross task"]
        return Losses(total, parts)

    def _self_supervision(self, outputs: DepthPredictions, batch: Batch) -> dict[str, Tensor]:
        """Return the photometric and the smoothness loss, means over the scales."""
        image = self._colors(batch.images)
        sources = [self._colors(frame) for frame in batch.neighbours.unbind(dim=1)]
        motions = self._motions(batch)
        still = unmoved_error(image, sources)
        photometric, smooth = [], []
        for scale, disparity in enumerate(outputs.disparity):
            disparity = disparity.float()
            # Disparity is linear across a plane's image, depth is not: resize first.
            fine = resize(disparity, image.shape[-2:])
            depth = disparity_to_depth(fine, self.config.min_depth, self.config.max_depth)
            warped = [warp(s, depth, batch.K, T) for s, T in zip(sources, motions, strict=True)]
            photometric.append(reprojection_loss(image, warped, still))
            small = nn.functional.interpolate(image, size=disparity.shape[-2:], mode="area")
            smooth.append(smoothness(disparity, small) / 2**scale)
        return {
            "photometric": torch.stack(photometric).mean(),
            "smoothness": torch.stack(smooth).mean(),
        }

    def _motions(self, batch: Batch) -> list[Tensor]:
        """Return T_neighbour_image (B, 4, 4) of each neighbour; the pose net sees time forwards."""
        frames = batch.neighbours.unbind(dim=1)
        if not frames or len(frames) % 2:
            raise InvalidInput(
                f"X-Distill learns from as many frames before an image as after it: this data has "
                f"{len(frames)} neighbours"
            )
        # A motion in half precision would move the far end of a room by centimetres.
        with torch.autocast(batch.images.device.type, enabled=False):
            before, after = frames[: len(frames) // 2], frames[len(frames) // 2 :]
            motions = [invert_rigid(self.pose_net(frame, batch.images)) for frame in before]
            return motions + [self.pose_net(batch.images, frame) for frame in after]

    def _groups(self, batch: Batch) -> Tensor:
        """Return (B, H, W) int64 class groups, 255 = ignore."""
        classes = batch.labels if self.teacher is None else self.teacher(batch.images)
        return self.group_of[classes]

    def _colors(self, images: Tensor) -> Tensor:
        """Return images as float32 RGB in 0..1."""
        return (images.float() * self.std + self.mean).clamp(0, 1)
