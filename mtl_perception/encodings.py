# SPDX-License-Identifier: Apache-2.0
"""Image and camera messages to numpy arrays, without ROS.

Messages are duck-typed: rclpy's and those that ``rosbags`` reads from a file both fit. Every
array that comes out is new, contiguous and in native byte order; it never shares memory with
the message. Row padding (``step``) and ``is_bigendian`` are honoured for every encoding.
"""

from typing import Any

import cv2
import numpy as np

from mtl_perception.camera_info import is_distorted, sent_camera
from mtl_perception.compressed import (
    decode_compressed_color,
    decode_compressed_depth,
    decode_compressed_gray,
)
from mtl_perception.conventions import MAX_CLASSES, UNLABELLED, Intrinsics, InvalidInput
from mtl_perception.image_errors import BadCameraInfo, BadImage, UnknownEncoding, check_image_size

_CV2_TO_RGB = {
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}
"""Bytes per pixel, and OpenCV's conversion."""

_CV2_MOSAIC_TO_RGB = {
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
    # OpenCV names a Bayer pattern by its second row, ROS by its first.
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
}
"""The same for encodings whose pixels share colour, so that sides must be even."""

_LABEL_TYPES = {
    "mono8": np.uint8,
    "8UC1": np.uint8,
    "mono16": np.uint16,
    "16UC1": np.uint16,
    "16SC1": np.int16,
    "32SC1": np.int32,
}
_DEPTH_TYPES = {"32FC1": np.float32, "16UC1": np.uint16, "mono16": np.uint16}
_CONFIDENCE_TYPES = {"mono8": np.uint8, "8UC1": np.uint8, "32FC1": np.float32}


_ROUNDING = 1e-3
"""How far a float16 softmax may leave [0, 1]."""


def decode_color(msg: Any) -> np.ndarray:
    """Return the colours of an Image or a JPEG or PNG CompressedImage.

    Image encodings: rgb8, bgr8, rgba8, bgra8 (alpha is dropped), mono8, mono16 (its high byte),
    yuv422 (= uyvy), yuv422_yuy2 (= yuyv), bayer_{rggb,bggr,gbrg,grbg}8.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UnknownEncoding: any other encoding.
        BadImage: sizes or data that do not fit together.
    """
    if _is_compressed(msg):
        return decode_compressed_color(msg)
    if msg.encoding == "rgb8":
        return _pixels(msg, np.uint8, 3)
    if msg.encoding == "mono16":
        high_byte = (_pixels(msg, np.uint16) >> 8).astype(np.uint8)
        return cv2.cvtColor(high_byte, cv2.COLOR_GRAY2RGB)
    if msg.encoding in _CV2_TO_RGB:
        channels, conversion = _CV2_TO_RGB[msg.encoding]
        return cv2.cvtColor(_pixels(msg, np.uint8, channels), conversion)
    if msg.encoding in _CV2_MOSAIC_TO_RGB:
        if msg.height % 2 or msg.width % 2:
            raise BadImage(f"{msg.encoding} image is {msg.width}x{msg.height}: sides must be even")
        channels, conversion = _CV2_MOSAIC_TO_RGB[msg.encoding]
        return cv2.cvtColor(_pixels(msg, np.uint8, channels), conversion)
    known = ["rgb8", "mono16", *_CV2_TO_RGB, *_CV2_MOSAIC_TO_RGB]
    raise UnknownEncoding("color", msg.encoding, known)


def decode_depth(msg: Any) -> np.ndarray:
    """Return the depth of an Image (32FC1 metres; 16UC1, mono16 millimetres) or compressedDepth.

    Returns:
        (H, W) float32 metres; 0 where the message has NaN, Inf, zero or negative depth.

    Raises:
        UnknownEncoding: any other encoding.
        BadImage: sizes or data that do not fit together.
    """
    if _is_compressed(msg):
        depth = decode_compressed_depth(msg)
    elif msg.encoding in _DEPTH_TYPES:
        depth = _pixels(msg, _DEPTH_TYPES[msg.encoding])
    else:
        raise UnknownEncoding("depth", msg.encoding, _DEPTH_TYPES)
    if depth.dtype == np.uint16:
        return metres_from_millimetres(depth)
    np.copyto(depth, 0, where=~((depth > 0) & (depth < np.inf)))
    return depth


def metres_from_millimetres(depth_mm: np.ndarray) -> np.ndarray:
    """Return float32 metres of uint16 millimetres, the same bits wherever depth is read."""
    return np.divide(depth_mm, np.float32(1000), dtype=np.float32)


def decode_labels(msg: Any) -> np.ndarray:
    """Return the class ids of an Image or of a PNG CompressedImage with one channel.

    Image encodings: mono8, 8UC1, mono16, 16UC1, 16SC1, 32SC1.

    Returns:
        (H, W) uint8; values that cannot name a class (negative, or 254 and more) become 255.

    Raises:
        UnknownEncoding: any other encoding.
        BadImage: sizes or data that do not fit together.
    """
    if _is_compressed(msg):
        ids = decode_compressed_gray(msg)
    elif msg.encoding in _LABEL_TYPES:
        ids = _pixels(msg, _LABEL_TYPES[msg.encoding])
    else:
        raise UnknownEncoding("labels", msg.encoding, _LABEL_TYPES)
    return np.where((ids >= 0) & (ids < MAX_CLASSES), ids, UNLABELLED).astype(np.uint8)


def decode_confidence(msg: Any) -> np.ndarray:
    """Return the confidence of an Image: mono8 or 8UC1 (255 = certain), or 32FC1 in [0, 1].

    Returns:
        (H, W) float32 in [0, 1]; NaN becomes 0.

    Raises:
        UnknownEncoding: any other encoding.
        BadImage: sizes or data that do not fit together, or values outside [0, 1].
    """
    if _is_compressed(msg) or msg.encoding not in _CONFIDENCE_TYPES:
        encoding = msg.format if _is_compressed(msg) else msg.encoding
        raise UnknownEncoding("confidence", encoding, _CONFIDENCE_TYPES)
    confidence = _pixels(msg, _CONFIDENCE_TYPES[msg.encoding])
    if confidence.dtype == np.uint8:
        return np.divide(confidence, np.float32(255), dtype=np.float32)
    confidence[np.isnan(confidence)] = 0
    low, high = float(confidence.min()), float(confidence.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise BadImage(f"confidence lies in [{low:g}, {high:g}], want probabilities in [0, 1]")
    return np.clip(confidence, 0, 1, out=confidence)


def decode_intrinsics(msg: Any) -> Intrinsics:
    """Return the pinhole camera of a CameraInfo (``k`` as ROS 2 spells it, or ``K`` as ROS 1).

    Size and matrix are those of the image as it is sent: see ``camera_info``. With lens distortion
    the image is taken for the rectified one, which ``p`` describes.

    Raises:
        BadCameraInfo: not calibrated, or a region of interest that cannot be.
    """
    camera = sent_camera(msg)
    rectified = is_distorted(msg) and camera.P[0, 0] > 0
    matrix = camera.P if rectified else camera.K
    fx, fy, cx, cy = (float(matrix[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    try:
        return Intrinsics(camera.width, camera.height, fx, fy, cx, cy)
    except InvalidInput as error:
        raise BadCameraInfo(str(error)) from error


def depth_unit_problem(depth: np.ndarray) -> str | None:
    """Say in words that a depth image seems to be in the wrong unit, or return None.

    Args:
        depth: (H, W) float32 metres; 0, NaN and Inf = unknown.
    """
    sample = depth[::4, ::4]
    known = sample[(sample > 0) & (sample < np.inf)]
    if known.size == 0:
        return None
    median = float(np.median(known))
    if median > 100:
        return (
            f"median depth is {median:.0f} m: probably millimetres sent as 32FC1, which is metres "
            "(send 16UC1, or divide by 1000)"
        )
    if median < 0.02:
        return (
            f"median depth is {median * 1000:.1f} mm: probably metres sent as 16UC1, which is "
            "millimetres (send 32FC1, or multiply by 1000)"
        )
    return None


def _is_compressed(msg: Any) -> bool:
    return hasattr(msg, "format")


def _pixels(msg: Any, dtype: type, channels: int = 1) -> np.ndarray:
    """Copy the pixels out of a raw Image: (H, W) for one channel, else (H, W, channels)."""
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    check_image_size(width, height)
    wire_type = np.dtype(dtype).newbyteorder(">" if msg.is_bigendian else "<")
    row_bytes = width * channels * wire_type.itemsize
    data = memoryview(msg.data)  # bytes, array.array("B") or (N,) uint8
    # The padding behind the last row may be missing.
    if step < row_bytes or data.nbytes < step * (height - 1) + row_bytes:
        raise BadImage(
            f"{width}x{height} {msg.encoding} image needs {row_bytes} bytes per row, "
            f"got step {step} and {data.nbytes} bytes in all"
        )
    strides = (step, channels * wire_type.itemsize, wire_type.itemsize)
    view = np.ndarray((height, width, channels), wire_type, data, strides=strides)
    pixels = np.array(view, dtype=np.dtype(dtype), order="C")
    return pixels[..., 0] if channels == 1 else pixels
