# SPDX-License-Identifier: Apache-2.0
"""Scores on a coarse grid become labels and confidence of the image; images become inputs."""

import cv2
import numpy as np
import pytest

from mtl_perception.conventions import UNLABELLED
from mtl_perception.inference.framing import PAD_GREY, Axis, Letterbox
from mtl_perception.inference.scores import ScoreMap
from mtl_perception.inference.upsample import ScoreLabeller


def random_scores(
    rng: np.random.Generator, grid: tuple[int, int], channels: int, dtype: type
) -> np.ndarray:
    if dtype is np.float32:
        return rng.normal(0, 4, (*grid, channels)).astype(np.float32)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, (*grid, channels), dtype, endpoint=True)


def spanning(pixels: int, cells: int) -> Axis:
    """Axis of a grid that covers the image exactly, as cv2.resize has it."""
    step = cells / pixels
    return Axis(step, step / 2 - 0.5, 0, cells - 1)


def score_map(values: np.ndarray, shape: tuple[int, int], scale: float = 1.0) -> ScoreMap:
    x_axis, y_axis = spanning(shape[1], values.shape[1]), spanning(shape[0], values.shape[0])
    return ScoreMap(values, scale, x_axis, y_axis)


def probabilities(values: np.ndarray, shape: tuple[int, int], scale: float) -> np.ndarray:
    """The plain way: resize each channel, then softmax. (H, W, C) float64."""
    height, width = shape
    channels = [
        cv2.resize(values[..., c].astype(np.float64) * scale, (width, height))
        for c in range(values.shape[2])
    ]
    logits = np.stack(channels, axis=-1)
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def assert_winner(labels: np.ndarray, expected: np.ndarray, confidence: np.ndarray) -> None:
    """Labels are the argmax of ``expected`` (H, W, C), but for ties within rounding."""
    runner_up, best = np.sort(expected, axis=-1)[..., -2:].transpose(2, 0, 1)
    clear = best - runner_up > 1e-5
    assert clear.mean() > 0.98
    np.testing.assert_array_equal(labels[clear], expected.argmax(axis=-1)[clear])
    channels = expected.shape[-1]
    np.testing.assert_allclose(confidence, best, rtol=1e-6, atol=1e-6 + 2e-7 * channels)


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
@pytest.mark.parametrize(
    ("grid", "channels", "shape"),
    [((12, 16), 32, (48, 64)), ((7, 5), 13, (31, 43)), ((9, 8), 254, (6, 7)), ((1, 1), 2, (3, 4))],
)
def test_labels_and_confidence_equal_resize_then_softmax(
    dtype: type, grid: tuple[int, int], channels: int, shape: tuple[int, int]
) -> None:
    values = random_scores(np.random.default_rng(1), grid, channels, dtype)
    scale = 1.0 if dtype is np.float32 else 0.1
    labeller = ScoreLabeller(np.arange(channels, dtype=np.uint8), threads=2)
    labels, confidence = labeller(score_map(values, shape, scale), shape)
    assert_winner(labels, probabilities(values, shape, scale), confidence)


def test_the_first_of_equal_scores_wins() -> None:
    values = np.zeros((2, 2, 40), np.int8)
    values[..., [17, 23, 39]] = 5
    labels, confidence = ScoreLabeller(np.arange(40, dtype=np.uint8))(
        score_map(values, (8, 8)), (8, 8)
    )
    assert np.all(labels == 17)
    np.testing.assert_allclose(confidence, 1 / (3 + 37 * np.exp(-5)), rtol=1e-5)


def test_probabilities_of_merged_classes_add_up() -> None:
    values = random_scores(np.random.default_rng(2), (6, 8), 5, np.float32)
    channel_labels = np.array([9, 3, 9, 3, 7], np.uint8)
    labels, confidence = ScoreLabeller(channel_labels)(score_map(values, (24, 32)), (24, 32))
    shares = probabilities(values, (24, 32), 1.0)
    merged = np.stack(
        [shares[..., [1, 3]].sum(-1), shares[..., 4], shares[..., [0, 2]].sum(-1)], axis=-1
    )
    winners = np.searchsorted([3, 7, 9], labels)
    assert_winner(winners, merged, confidence)


def test_a_class_that_is_not_wanted_wins_as_unlabelled() -> None:
    values = np.zeros((1, 1, 3), np.float32)
    values[..., 1] = 4
    labeller = ScoreLabeller(np.array([0, UNLABELLED, 1], np.uint8))
    labels, confidence = labeller(score_map(values, (2, 2)), (2, 2))
    assert np.all(labels == UNLABELLED) and np.all(confidence == 0)


def test_temperature_lowers_confidence_and_threshold_unlabels() -> None:
    values = np.zeros((1, 1, 2), np.float32)
    values[..., 1] = 2
    ids, scores = np.arange(2, dtype=np.uint8), score_map(values, (1, 1))
    _, plain = ScoreLabeller(ids)(scores, (1, 1))
    _, cooler = ScoreLabeller(ids, temperature=2.0)(scores, (1, 1))
    assert plain[0, 0] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)
    assert cooler[0, 0] == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-6)
    labels, confidence = ScoreLabeller(ids, confidence_threshold=0.9)(scores, (1, 1))
    assert labels[0, 0] == UNLABELLED and confidence[0, 0] == 0


def test_rows_are_the_same_however_many_threads_share_them() -> None:
    values = random_scores(np.random.default_rng(3), (8, 8), 32, np.int8)
    results = [
        ScoreLabeller(np.arange(32, dtype=np.uint8), threads=n)(score_map(values, (5, 40)), (5, 40))
        for n in (1, 2, 7)
    ]
    for labels, confidence in results[1:]:
        np.testing.assert_array_equal(labels, results[0][0])
        np.testing.assert_array_equal(confidence, results[0][1])


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
