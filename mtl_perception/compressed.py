# SPDX-License-Identifier: Apache-2.0
"""CompressedImage messages (JPEG, PNG, compressedDepth) to numpy arrays, without ROS.

A file's own structure is checked first, so that a damaged or hostile one costs neither memory
nor time.
"""

import struct
import zlib
from typing import Any

import cv2
import numpy as np

from mtl_perception.image_errors import BadImage, UnknownEncoding, check_image_size

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
_JPEG_FRAME_MARKERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15: hold the size
_JPEG_SCAN = b"\xff\xda"
_JPEG_END = b"\xff\xd9"
_MAX_JPEG_SCANS = 100  # progressive files have about ten; each costs a pass over all pixels
_MAX_PIXELS_PER_BYTE = 1100  # an all-black 8-bit PNG comes to 1032, deflate's limit
_DEPTH_HEADER = struct.Struct("<iff")  # compressedDepth: format, then the quantisation a and b


def decode_compressed_color(msg: Any) -> np.ndarray:
    """Return the picture of a JPEG or PNG message; EXIF orientation is not applied.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UnknownEncoding: the data is neither JPEG nor PNG.
        BadImage: damaged, cut short, or of an absurd size.
    """
    bgr = _decode(bytes(msg.data), msg.format, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def decode_compressed_gray(msg: Any) -> np.ndarray:
    """Return the values of a PNG message with one channel (labels): (H, W) uint8 or uint16.

    Raises:
        UnknownEncoding: not PNG; JPEG changes values, so labels cannot travel in it.
        BadImage: damaged, of an absurd size, or of several channels.
    """
    return _decode_gray_png(bytes(msg.data), msg.format)


def decode_compressed_depth(msg: Any) -> np.ndarray:
    """Return the depth of a compressedDepth message with PNG inside, or of a plain 16-bit PNG.

    Returns:
        (H, W) uint16 millimetres for 16UC1, (H, W) float32 metres for 32FC1; 0 = unknown.

    Raises:
        UnknownEncoding: other formats, RVL among them.
        BadImage: damaged, of an absurd size, or not 16-bit.
    """
    data = bytes(msg.data)
    if "compressedDepth" not in msg.format:
        return _check_16_bit(_decode_gray_png(data, msg.format))
    if len(data) < _DEPTH_HEADER.size:
        raise BadImage(f"compressedDepth message has {len(data)} bytes, less than its header")
    _, a, b = _DEPTH_HEADER.unpack_from(data)
    png = _check_16_bit(_decode_gray_png(data[_DEPTH_HEADER.size :], msg.format))
    if msg.format.startswith("16UC1"):
        return png
    if not msg.format.startswith("32FC1"):
        raise UnknownEncoding(
            "depth", msg.format, ["16UC1; compressedDepth", "32FC1; compressedDepth"]
        )
    # The PNG holds a / depth + b, and 0 where depth is unknown.
    inverse = png.astype(np.float32) - np.float32(b)
    known = (png > 0) & (inverse > 0)
    return np.divide(np.float32(a), inverse, out=np.zeros_like(inverse), where=known)


def _decode_gray_png(data: bytes, name: str) -> np.ndarray:
    if not data.startswith(_PNG_MAGIC):
        raise UnknownEncoding("compressed image", name, ["png (lossless, one channel)"])
    image = _decode(data, name, cv2.IMREAD_UNCHANGED)
    if image.ndim != 2:
        raise BadImage(f"{name!r} PNG has {image.shape[2]} channels, want one")
    return image


def _check_16_bit(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint16:
        raise BadImage(f"depth PNG is {image.dtype}, want 16 bits")
    return image


def _decode(data: bytes, name: str, flags: int) -> np.ndarray:
    """Decode a JPEG or PNG file after a look at its structure."""
    if data.startswith(_PNG_MAGIC):
        width, height = _png_size(data)
        whole = _png_is_whole(data)
    elif data.startswith(_JPEG_MAGIC):
        width, height, size_offset = _jpeg_size(data)
        whole = _jpeg_is_whole(data, size_offset)
    else:
        raise UnknownEncoding("compressed image", f"{name} ({data[:8].hex(' ')})", ["jpeg", "png"])
    check_image_size(width, height)
    what = f"{name[:64]!r} image of {width}x{height} in {len(data)} bytes"
    if width * height > _MAX_PIXELS_PER_BYTE * len(data):
        raise BadImage(f"{what}: so few bytes cannot hold it")
    if not whole:
        raise BadImage(f"{what} is cut short or damaged")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None or image.shape[:2] != (height, width):
        raise BadImage(f"{what} is damaged")
    return image


def _png_size(data: bytes) -> tuple[int, int]:
    if len(data) < 24 or data[12:16] != b"IHDR":
        raise BadImage(f"PNG of {len(data)} bytes has no header chunk")
    return struct.unpack_from(">II", data, 16)


def _png_is_whole(data: bytes) -> bool:
    """Whether every chunk up to IEND is there with its checksum.

    OpenCV takes memory for a chunk by the length it claims, up to 4 GB, before it looks further.
    """
    offset = len(_PNG_MAGIC)
    while offset + 12 <= len(data):
        length = struct.unpack_from(">I", data, offset)[0]
        end = offset + 8 + length
        if end + 4 > len(data):
            return False
        if zlib.crc32(data[offset + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return False
        if data[offset + 4 : offset + 8] == b"IEND":
            return True
        offset = end + 4
    return False


def _jpeg_size(data: bytes) -> tuple[int, int, int]:
    """Walk the segments to the frame header; return width, height and where it stands."""
    offset = 2
    while offset + 9 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker in _JPEG_FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", data, offset + 5)
            return width, height, offset
        if marker == 0xFF:  # fill byte
            offset += 1
            continue
        offset += 2 + struct.unpack_from(">H", data, offset + 2)[0]
    raise BadImage(f"JPEG of {len(data)} bytes has no frame header")


def _jpeg_is_whole(data: bytes, size_offset: int) -> bool:
    """Whether the end marker is there, behind few enough scans to decode in reasonable time."""
    # An embedded thumbnail ends before the frame header; the picture itself after it.
    has_end = data.rfind(_JPEG_END) > size_offset
    return has_end and data.count(_JPEG_SCAN, size_offset) <= _MAX_JPEG_SCANS
