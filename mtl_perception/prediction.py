# SPDX-License-Identifier: Apache-2.0
"""What the networks say of one image, at the image's size."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the network says of one image; every array has the image's size."""

    labels: np.ndarray  # (H, W) uint8 class ids, 255 = unlabelled
    confidence: np.ndarray  # (H, W) float32 probability of the label, 0 where unlabelled
    depth: np.ndarray | None  # (H, W) float32 metres; None: the network has no depth
    normals: np.ndarray | None  # (H, W, 3) float32 unit; None: the network has no normals
