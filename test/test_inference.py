# SPDX-License-Identifier: Apache-2.0
"""Images become inputs of networks, and the cells of their grids lie where they look."""

import numpy as np
import pytest

from mtl_perception.inference.framing import PAD_GREY, Letterbox, spanning


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (512, 512), (1920, 1080), (64, 3)])
def test_a_letterbox_keeps_aspect_and_fills_the_rest_with_grey(size: tuple[int, int]) -> None:
    box = Letterbox(*size, 512, 512)
    canvas = np.zeros((512, 512, 3), np.uint8)
    box.fill(np.full((size[1], size[0], 3), 255, np.uint8), canvas)
    rows, columns = np.nonzero(canvas[..., 0] == 255)
    assert max(box.inner_size) == 512
    assert (columns.max() - columns.min() + 1, rows.max() - rows.min() + 1) == box.inner_size
    assert np.all(canvas[canvas[..., 0] != 255] == PAD_GREY)
    assert columns.min() == (512 - box.inner_size[0]) // 2


def test_a_grid_cell_labels_the_pixels_that_it_looks_at() -> None:
    """Cell (row 20, column 7) of stride 4 looks at canvas pixel (4*7+3, 4*20+3)."""
    box = Letterbox(640, 480, 512, 512)
    x_axis, y_axis = box.axes((128, 128), 3.0)
    canvas_x, canvas_y = 4 * 7 + 3, 4 * 20 + 3
    pixel_x = (canvas_x + 0.5) * 640 / 512 - 0.5
    pixel_y = (canvas_y - 64 + 0.5) * 480 / 384 - 0.5
    assert pixel_x * x_axis.step + x_axis.origin == pytest.approx(7)
    assert pixel_y * y_axis.step + y_axis.origin == pytest.approx(20)


@pytest.mark.parametrize("size", [(640, 480), (1, 4000), (4000, 1), (3, 3)])
def test_padding_is_never_read(size: tuple[int, int]) -> None:
    box = Letterbox(*size, 512, 512)
    for axis, start, inner in zip(
        box.axes((128, 128), 3.0), box.corner, box.inner_size, strict=True
    ):
        assert 0 <= axis.first <= axis.last <= 127
        if inner >= 4:
            assert start - 0.5 <= 4 * axis.first + 3 and 4 * axis.last + 3 <= start + inner - 0.5


@pytest.mark.parametrize(
    ("pixels", "resized", "cells"), [(640, 320, 80), (97, 64, 16), (60, 96, 24)]
)
def test_a_grid_on_a_resized_image_spans_the_image_before_it(
    pixels: int, resized: int, cells: int
) -> None:
    found = spanning(resized, cells).before_resize(pixels, resized)
    wanted = spanning(pixels, cells)
    assert (found.step, found.origin) == pytest.approx((wanted.step, wanted.origin), abs=1e-12)
    assert (found.first, found.last) == (0, cells - 1)
