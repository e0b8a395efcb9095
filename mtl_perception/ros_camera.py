# SPDX-License-Identifier: Apache-2.0
"""The camera that took the images: its CameraInfo, brought to the very image that came."""

from copy import copy
from dataclasses import dataclass

from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from mtl_perception import ros
from mtl_perception.camera_info import sent_camera
from mtl_perception.image_errors import BadCameraInfo


@dataclass(frozen=True, eq=False)
class ImageCamera:
    """The camera of one image."""

    info: CameraInfo  # of the image's header and size; no region of interest, no binning
    focal_px: float  # fx in pixels of that image


class CameraOfImages:
    """Keeps the newest CameraInfo and says of which camera an image is.

    Attributes:
        problem: why the last image had none, and what to do; "" when it had one.
    """

    def __init__(self) -> None:
        """Know no camera yet."""
        self._info: CameraInfo | None = None
        self.problem = ""

    @property
    def is_known(self) -> bool:
        """Whether a CameraInfo has come."""
        return self._info is not None

    def update(self, info: CameraInfo) -> None:
        """Take the newest CameraInfo."""
        self._info = info

    def shape(self) -> tuple[int, int] | None:
        """Return (H, W) of the images that are to come, None where that is not known."""
        try:
            return None if self._info is None else ros.intrinsics_from_msg(self._info).shape
        except BadCameraInfo:
            return None  # told by the image that comes

    def of(self, shape: tuple[int, int], header: Header) -> ImageCamera | None:
        """Return the camera of an image of (H, W) ``shape``, None where that is not known."""
        if self._info is None:
            self.problem = "no camera_info (remap camera_info to your camera's topic)"
            return None
        try:
            intrinsics = ros.intrinsics_from_msg(self._info)
        except BadCameraInfo as error:
            self.problem = f"camera_info cannot be used: {error}"
            return None
        if intrinsics.shape != shape:
            self.problem = (
                f"camera_info is of {intrinsics.width}x{intrinsics.height} images, the image is "
                f"{shape[1]}x{shape[0]}: whether it was scaled or cut is not known (publish the "
                "CameraInfo of the image as it is sent, as image_proc does)"
            )
            return None
        self.problem = ""
        return ImageCamera(_of_image(self._info, header), intrinsics.fx)


def _of_image(info: CameraInfo, header: Header) -> CameraInfo:
    camera = sent_camera(info)
    sent = copy(info)
    sent.header = header
    sent.width, sent.height = camera.width, camera.height
    sent.k, sent.p = camera.K.ravel(), camera.P.ravel()
    sent.binning_x, sent.binning_y, sent.roi = 0, 0, RegionOfInterest()
    return sent
