# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with an image or camera message, and the size that every image must have."""

from collections.abc import Iterable

from mtl_perception.conventions import MAX_IMAGE_SIDE, InvalidInput

MAX_IMAGE_PIXELS = 2**25
"""8K video has 33 million; a small compressed file that claims more is not a picture."""


class BadImage(InvalidInput):
    """An image message whose sizes and data do not fit together."""


class UnknownEncoding(InvalidInput):
    """An image message in an encoding that this kind of image cannot have."""

    def __init__(self, kind: str, encoding: str, known: Iterable[str]) -> None:
        """Say which ``encoding`` came for a ``kind`` of image, and which are ``known``."""
        super().__init__(f"{kind} encoding {encoding[:64]!r} is not one of {', '.join(known)}")


class BadCameraInfo(InvalidInput):
    """A CameraInfo message that does not describe a pinhole camera and its image."""


def check_image_size(width: int, height: int) -> None:
    """Refuse empty and absurd sizes before any memory is taken for them.

    Raises:
        BadImage: with the size.
    """
    if not (0 < width <= MAX_IMAGE_SIDE and 0 < height <= MAX_IMAGE_SIDE):
        raise BadImage(f"image size {width}x{height}: sides must be in 1..{MAX_IMAGE_SIDE}")
    if width * height > MAX_IMAGE_PIXELS:
        raise BadImage(f"image size {width}x{height} is more than {MAX_IMAGE_PIXELS} pixels")
