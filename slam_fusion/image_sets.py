# SPDX-License-Identifier: Apache-2.0
"""The images that make one frame: how each is decoded, and how the ledger calls what fails."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mtl_perception import encodings
from mtl_perception.conventions import InvalidInput
from mtl_perception.image_errors import BadCameraInfo, BadImage, UnknownEncoding
from slam_fusion.ledger import Outcome

MISSING: Mapping[str, Outcome] = {
    "depth": Outcome.NO_DEPTH,
    "predicted_depth": Outcome.NO_DEPTH,
    "labels": Outcome.NO_LABELS,
    "confidence": Outcome.NO_LABELS,
    "color": Outcome.NO_COLOR,
}
"""Kind of image -> what became of a frame that lacked it; depth, which makes the frame, first."""

DECODERS: Mapping[str, Callable[[Any], np.ndarray]] = {
    "depth": encodings.decode_depth,
    "predicted_depth": encodings.decode_depth,
    "labels": encodings.decode_labels,
    "confidence": encodings.decode_confidence,
    "color": encodings.decode_color,
}
"""Kind of image -> what turns its message, rclpy's or a bag's, into an array."""


def refusal_outcome(error: InvalidInput) -> Outcome:
    """Return the ledger's reason for an image set that a decoder or ``Frame`` refused."""
    if isinstance(error, UnknownEncoding):
        return Outcome.BAD_ENCODING
    if isinstance(error, BadCameraInfo):
        return Outcome.BAD_CAMERA_INFO
    # Sizes that disagree are all that Frame refuses in arrays that a decoder made.
    return Outcome.BAD_IMAGE if isinstance(error, BadImage) else Outcome.SIZE_MISMATCH
