# SPDX-License-Identifier: Apache-2.0
"""Messages to arrays: every encoding, padded rows, both byte orders, and damaged input."""

import array
import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mtl_perception.camera_info import is_distorted, sent_camera
from mtl_perception.conventions import MAX_IMAGE_SIDE, InvalidInput
from mtl_perception.encodings import (
    decode_color,
    decode_confidence,
    decode_depth,
    decode_intrinsics,
    decode_labels,
    depth_unit_problem,
)
from mtl_perception.image_errors import BadCameraInfo, BadImage, UnknownEncoding

RGB = np.array([[[255, 0, 0], [1, 2, 3], [9, 8, 7]], [[0, 0, 255], [4, 5, 6], [10, 20, 30]]], "u1")
DEPTH = np.array([[0.5, 1.25, 2.0], [3.0, 0.125, 7.75]], np.float32)


def fake_image(pixels, encoding, *, padding=0, big_endian=False, container=bytes):
    """Lay (H, W) or (H, W, C) pixels out as an Image message with ``padding`` bytes per row."""
    wire = pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<"))
    rows = [row.tobytes() + b"\xee" * padding for row in wire]
    return SimpleNamespace(
        encoding=encoding,
        height=pixels.shape[0],
        width=pixels.shape[1],
        step=len(rows[0]),
        is_bigendian=int(big_endian),
        data=container(b"".join(rows)),
    )


def fake_compressed(data, fmt):
    return SimpleNamespace(format=fmt, data=np.frombuffer(data, np.uint8))


def fake_camera_info(**changes):
    fields = {
        "width": 640,
        "height": 480,
        "k": [585.0, 0, 320, 0, 586, 240, 0, 0, 1],
        "p": [500.0, 0, 310, 0, 0, 501, 230, 0, 0, 0, 1, 0],
        "d": [0.0] * 5,
        "binning_x": 0,
        "binning_y": 0,
        "roi": SimpleNamespace(width=0, height=0, x_offset=0, y_offset=0),
    }
    return SimpleNamespace(**fields | changes)


def region(width, height, x_offset, y_offset):
    return SimpleNamespace(width=width, height=height, x_offset=x_offset, y_offset=y_offset)


def to_png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def to_jpeg(pixels):
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


@pytest.mark.parametrize("padding", [0, 1, 5])
@pytest.mark.parametrize("container", [bytes, lambda b: array.array("B", b), bytearray, memoryview])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8"])
def test_colours_come_out_as_rgb(encoding, padding, container):
    pixels = RGB if encoding.startswith("rgb") else RGB[..., ::-1]
    if "a" in encoding:
        pixels = np.concatenate([pixels, np.full((2, 3, 1), 77, np.uint8)], axis=2)
    color = decode_color(fake_image(pixels, encoding, padding=padding, container=container))
    np.testing.assert_array_equal(color, RGB)
    assert color.flags.c_contiguous and color.flags.writeable


def test_grey_images_have_three_equal_channels():
    gray = np.array([[0, 7], [200, 255]], np.uint8)
    np.testing.assert_array_equal(decode_color(fake_image(gray, "mono8")), np.dstack([gray] * 3))
    wide = gray.astype(np.uint16) << 8 | 0x5A
    for big in (False, True):
        message = fake_image(wide, "mono16", big_endian=big, padding=3)
        np.testing.assert_array_equal(decode_color(message), np.dstack([gray] * 3))


def test_the_array_does_not_share_memory_with_the_message():
    data = np.frombuffer(bytearray(RGB.tobytes()), np.uint8)
    message = fake_image(RGB, "rgb8")
    message.data = data
    color = decode_color(message)
    data[:] = 0
    np.testing.assert_array_equal(color, RGB)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_are_named_by_their_first_row(pattern):
    orange = dict(zip("rgb", (240, 120, 30), strict=True))
    tile = np.array([orange[c] for c in pattern], np.uint8).reshape(2, 2)
    color = decode_color(fake_image(np.tile(tile, (4, 4)), f"bayer_{pattern}8", padding=2))
    np.testing.assert_array_equal(color[2:-2, 2:-2], np.broadcast_to([240, 120, 30], (4, 4, 3)))


@pytest.mark.parametrize("name", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
def test_yuv_red_is_red(name):
    y, u, v = 81, 90, 240  # BT.601 red
    pixels = [[u, y], [v, y]] if name in ("yuv422", "uyvy") else [[y, u], [y, v]]
    color = decode_color(fake_image(np.tile(np.array([pixels], np.uint8), (2, 2, 1)), name))
    assert np.abs(color.astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 2, 8])
def test_depth_is_metres_for_any_byte_order_and_row_padding(big_endian, padding):
    layout = {"big_endian": big_endian, "padding": padding}
    np.testing.assert_array_equal(decode_depth(fake_image(DEPTH, "32FC1", **layout)), DEPTH)
    millimetres = (DEPTH * 1000).astype(np.uint16)
    for encoding in ("16UC1", "mono16"):
        depth = decode_depth(fake_image(millimetres, encoding, **layout))
        np.testing.assert_array_equal(depth, DEPTH)
        assert depth.dtype == np.float32 and depth.dtype.isnative


def test_depth_that_is_no_distance_is_unknown():
    raw = np.array([[np.nan, np.inf, -np.inf, -1, 0, 2]], np.float32)
    np.testing.assert_array_equal(decode_depth(fake_image(raw, "32FC1")), [[0, 0, 0, 0, 0, 2]])


@pytest.mark.parametrize(
    ("encoding", "dtype"),
    [
        ("mono8", "u1"),
        ("8UC1", "u1"),
        ("mono16", "u2"),
        ("16UC1", "u2"),
        ("16SC1", "i2"),
        ("32SC1", "i4"),
    ],
)
def test_labels_of_every_integer_type(encoding, dtype):
    ids = np.array([[0, 7, 253], [254, 255, 1]], dtype)
    for big in (False, True):
        labels = decode_labels(fake_image(ids, encoding, big_endian=big, padding=3))
        np.testing.assert_array_equal(labels, [[0, 7, 253], [255, 255, 1]])
        assert labels.dtype == np.uint8


def test_ids_that_cannot_be_classes_are_unlabelled():
    np.testing.assert_array_equal(
        decode_labels(fake_image(np.array([[-1, -256, 256, 70000, 3]], "i4"), "32SC1")),
        [[255, 255, 255, 255, 3]],
    )
    np.testing.assert_array_equal(
        decode_labels(fake_image(np.array([[256, 65535, 3]], "u2"), "mono16")), [[255, 255, 3]]
    )


def test_confidence_is_a_probability():
    bytes_ = fake_image(np.array([[0, 51, 255]], np.uint8), "mono8")
    np.testing.assert_allclose(decode_confidence(bytes_), [[0, 0.2, 1]], rtol=1e-6)
    floats = fake_image(np.array([[0.25, np.nan, 1.0002]], np.float32), "32FC1", big_endian=True)
    np.testing.assert_array_equal(decode_confidence(floats), [[0.25, 0, 1]])
    percent = fake_image(np.array([[25, 90]], np.float32), "32FC1")
    with pytest.raises(BadImage, match=r"\[25, 90\]"):
        decode_confidence(percent)


@pytest.mark.parametrize(
    ("decode", "encoding"),
    [
        (decode_color, "32FC1"),
        (decode_color, "8UC3"),
        (decode_depth, "rgb8"),
        (decode_depth, "64FC1"),
        (decode_labels, "rgb8"),
        (decode_confidence, "16UC1"),
        (decode_color, "x" * 100_000),
    ],
)
def test_unknown_encodings_are_named_with_the_known_ones(decode, encoding):
    with pytest.raises(UnknownEncoding, match=encoding[:8]) as caught:
        decode(fake_image(RGB, encoding))
    assert "mono8" in str(caught.value) or "32FC1" in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "changes",
    [
        {"height": 0},
        {"width": 0},
        {"height": 2**32 - 1},
        {"width": MAX_IMAGE_SIDE + 1},
        {"height": MAX_IMAGE_SIDE, "width": MAX_IMAGE_SIDE},
        {"height": 3},
        {"width": 4},
        {"step": 8},
        {"step": 0},
        {"step": 2**32 - 1},
        {"data": b""},
        {"data": array.array("B")},
    ],
)
def test_sizes_that_do_not_fit_the_data_are_refused(changes):
    message = fake_image(RGB, "rgb8")
    vars(message).update(changes)
    with pytest.raises(BadImage):
        decode_color(message)


def test_a_short_message_says_what_was_needed_and_what_came():
    message = fake_image(DEPTH, "32FC1")
    message.data = message.data[:-1]
    with pytest.raises(
        BadImage, match="3x2 32FC1 image needs 12 bytes per row, got step 12 and 23"
    ):
        decode_depth(message)


def test_padding_may_be_missing_behind_the_last_row():
    message = fake_image(DEPTH, "32FC1", padding=5)
    message.data = message.data[:-5]
    np.testing.assert_array_equal(decode_depth(message), DEPTH)


def test_png_and_jpeg_colours_are_rgb():
    png = fake_compressed(to_png(RGB[..., ::-1]), "bgr8; png compressed bgr8")
    np.testing.assert_array_equal(decode_color(png), RGB)
    orange = np.full((20, 30, 3), (240, 120, 30), np.uint8)
    jpeg = fake_compressed(to_jpeg(orange[..., ::-1]), "rgb8; jpeg compressed bgr8")
    color = decode_color(jpeg)
    assert color.shape == orange.shape and np.abs(color.astype(int) - orange).max() <= 3


def test_exif_orientation_does_not_turn_the_image():
    jpeg = to_jpeg(np.zeros((20, 30, 3), np.uint8))
    tiff = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + b"\0\0\0\0"
    exif = b"\xff\xe1" + struct.pack(">H", 8 + len(tiff)) + b"Exif\0\0" + tiff
    assert decode_color(fake_compressed(jpeg[:2] + exif + jpeg[2:], "jpeg")).shape == (20, 30, 3)


def test_real_jpeg_and_depth_png_decode(shared_data):
    folder = shared_data / "seven_scenes_kitchen"
    jpeg = fake_compressed((folder / "frame-000000.color.jpg").read_bytes(), "jpeg")
    assert decode_color(jpeg).shape == (480, 640, 3)
    png = (folder / "frame-000000.depth.png").read_bytes()
    depth = decode_depth(fake_compressed(png, "png"))
    assert depth.shape == (480, 640) and 0.5 < np.median(depth[depth > 0]) < 5
    with_header = decode_depth(fake_compressed(bytes(12) + png, "16UC1; compressedDepth"))
    np.testing.assert_array_equal(with_header, depth)


def test_inverse_depth_quantisation_is_undone():
    metres = np.array([[0.5, 1.0], [4.0, 0.0]], np.float32)
    a, b = 10_000.0, -100.0
    codes = np.where(metres > 0, np.rint(a / np.maximum(metres, 0.1) + b), 0).astype(np.uint16)
    data = struct.pack("<iff", 0, a, b) + to_png(codes)
    depth = decode_depth(fake_compressed(data, "32FC1; compressedDepth png"))
    np.testing.assert_allclose(depth, metres, rtol=1e-3)
    assert depth.dtype == np.float32


def test_labels_may_come_as_png_but_not_as_jpeg():
    ids = np.array([[3, 254, 255]], np.uint8)
    labels = decode_labels(fake_compressed(to_png(ids), "mono8; png compressed"))
    np.testing.assert_array_equal(labels, [[3, 255, 255]])
    with pytest.raises(UnknownEncoding, match="lossless"):
        decode_labels(fake_compressed(to_jpeg(ids), "jpeg"))
    with pytest.raises(BadImage, match="3 channels"):
        decode_labels(fake_compressed(to_png(RGB), "png"))


@pytest.mark.parametrize("encode", [to_png, to_jpeg])
@pytest.mark.parametrize("kept", [0, 3, 10, 30, 0.5, 0.95])
def test_cut_compressed_images_are_refused(encode, kept):
    rng = np.random.default_rng(0)
    data = encode(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8))
    data = data[: kept if isinstance(kept, int) else int(len(data) * kept)]
    with pytest.raises(InvalidInput):
        decode_color(fake_compressed(data, "jpeg"))


def test_a_small_file_cannot_claim_a_huge_image():
    huge = to_png(np.zeros((4, 4), np.uint8))
    huge = huge[:16] + struct.pack(">II", 16384, 16384) + huge[24:]
    with pytest.raises(BadImage, match="16384x16384"):
        decode_color(fake_compressed(huge, "png"))
    jpeg = to_jpeg(np.zeros((4, 4, 3), np.uint8))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg = jpeg[:at] + struct.pack(">HH", 65535, 65535) + jpeg[at + 4 :]
    with pytest.raises(BadImage, match="65535x65535"):
        decode_color(fake_compressed(jpeg, "jpeg"))


def test_a_chunk_cannot_claim_more_than_the_file_holds():
    png = to_png(RGB)
    at = png.index(b"IDAT") - 4
    with pytest.raises(BadImage, match="cut short or damaged"):
        decode_color(fake_compressed(png[:at] + b"\xee\0\0\0" + png[at + 4 :], "png"))


def test_a_flipped_bit_in_a_label_png_is_noticed():
    png = bytearray(to_png(np.arange(100, dtype=np.uint8).reshape(10, 10)))
    png[png.index(b"IDAT") + 20] ^= 1
    with pytest.raises(BadImage, match="damaged"):
        decode_labels(fake_compressed(bytes(png), "png"))


def test_few_bytes_cannot_claim_many_pixels():
    jpeg = to_jpeg(np.zeros((16, 16, 3), np.uint8))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg = jpeg[:at] + struct.pack(">HH", 4000, 4000) + jpeg[at + 4 :]
    with pytest.raises(BadImage, match="4000x4000 in .* bytes: so few"):
        decode_color(fake_compressed(jpeg, "jpeg"))


def test_endless_jpeg_scans_are_refused():
    jpeg = cv2.imencode(".jpg", np.zeros((64, 64)), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    scan = jpeg.rindex(b"\xff\xda")
    assert decode_color(fake_compressed(jpeg, "jpeg")).shape == (64, 64, 3)
    with pytest.raises(BadImage):
        decode_color(fake_compressed(jpeg[:-2] + jpeg[scan:-2] * 200 + jpeg[-2:], "jpeg"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_all_black_png_is_still_a_picture(dtype):
    black = np.zeros((2160, 3840), dtype)
    png = cv2.imencode(".png", black, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
    np.testing.assert_array_equal(decode_labels(fake_compressed(png, "png")), black)


@pytest.mark.parametrize(
    ("data", "fmt"),
    [
        (b"GIF89a" + bytes(100), "gif"),
        (bytes(5), "16UC1; compressedDepth"),
        (bytes(12) + b"RVL", "16UC1; compressedDepth rvl"),
        (bytes(12) + to_png(np.zeros((2, 2), np.uint8)), "16UC1; compressedDepth"),
        (bytes(12) + to_png(np.zeros((2, 2), np.uint16)), "8UC1; compressedDepth"),
    ],
)
def test_compressed_depth_of_other_kinds_is_refused(data, fmt):
    with pytest.raises((UnknownEncoding, BadImage)):
        decode_depth(fake_compressed(data, fmt))


def test_mosaics_of_odd_size_are_refused():
    with pytest.raises(BadImage, match="3x3"):
        decode_color(fake_image(np.zeros((3, 3), np.uint8), "bayer_rggb8"))


def test_random_bytes_never_escape_as_other_errors():
    rng = np.random.default_rng(1)
    good = [to_png(RGB), to_jpeg(RGB), bytes(12) + to_png(np.ones((4, 4), np.uint16))]
    for _ in range(100):
        data = bytearray(good[rng.integers(3)])
        for position in rng.integers(0, len(data), 4):
            data[position] = rng.integers(256)
        for decode, fmt in ((decode_color, "x"), (decode_depth, "16UC1; compressedDepth")):
            try:
                decode(fake_compressed(bytes(data), fmt))
            except InvalidInput as error:
                assert str(error)


def test_intrinsics_are_those_of_the_image():
    camera = decode_intrinsics(fake_camera_info())
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (585, 586, 320, 240)
    assert camera.shape == (480, 640)
    ros1 = fake_camera_info()
    ros1.K, ros1.D, ros1.P = ros1.k, ros1.d, ros1.p
    del ros1.k, ros1.d, ros1.p
    assert decode_intrinsics(ros1) == camera


def test_with_distortion_the_rectified_camera_counts():
    distorted = fake_camera_info(d=[0.1, 0, 0, 0, 0])
    assert is_distorted(distorted) and not is_distorted(fake_camera_info())
    assert decode_intrinsics(distorted).fx == 500
    assert decode_intrinsics(fake_camera_info(d=[0.1], p=[0.0] * 12)).fx == 585


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": [0.0] * 9}, "filled in"),
        ({"k": [float("nan")] * 9}, "nan"),
        ({"width": 0}, "0x480"),
        ({"binning_x": 700}, "0x480"),
        ({"roi": region(320, 240, 321, 0)}, "320x240 at 321, 0, outside of 640x480"),
        ({"roi": region(0, 240, 0, 0)}, "0x240 at 0, 0, outside"),
        ({"roi": region(320, 240, 0, 0), "d": [0.1]}, "320x240 at 0, 0 and lens distortion"),
    ],
)
def test_camera_info_that_does_not_describe_the_image_is_refused(changes, message):
    with pytest.raises(BadCameraInfo, match=message):
        decode_intrinsics(fake_camera_info(**changes))


def test_a_region_of_interest_of_the_whole_image_is_fine():
    whole = fake_camera_info(roi=region(640, 480, 0, 0), binning_x=1, binning_y=1)
    assert decode_intrinsics(whole) == decode_intrinsics(fake_camera_info())


def test_a_window_of_the_sensor_with_binning_sees_the_same_rays():
    """A point of the scene falls on the pixel of the small image that holds its sensor pixel."""
    full = fake_camera_info()
    small = fake_camera_info(roi=region(401, 240, 100, 40), binning_x=4, binning_y=2)
    camera = decode_intrinsics(small)
    assert camera.shape == (120, 100)
    point = np.array([0.3, -0.2, 2.0])
    u, v, _ = np.reshape(full.k, (3, 3)) @ point / point[2]
    np.testing.assert_allclose(camera.K @ point / point[2], [(u - 100) / 4, (v - 40) / 2, 1])
    full.p[3], small.p[3] = -42.0, -42.0  # a stereo baseline: fx * metres, so it shrinks with fx
    u, v, _ = np.reshape(full.p, (3, 4)) @ [*point, 1] / point[2]
    found = sent_camera(small).P @ [*point, 1] / point[2]
    np.testing.assert_allclose(found, [(u - 100) / 4, (v - 40) / 2, 1])


def test_depth_in_the_wrong_unit_is_noticed():
    metres = np.full((8, 8), 1.5, np.float32)
    assert depth_unit_problem(metres) is None
    for unknown in (0, np.nan, np.inf):
        assert depth_unit_problem(np.full((8, 8), unknown, np.float32)) is None
    assert "millimetres sent as 32FC1" in depth_unit_problem(metres * 1000)
    assert "metres sent as 16UC1" in depth_unit_problem(metres / 1000)
