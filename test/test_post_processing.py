# SPDX-License-Identifier: Apache-2.0
"""Coarse maps of a network become labels, confidence, depth and normals of the image.

The oracle does it the plain way: resize each map in float64, and only then decide.
"""

import numpy as np
import pytest

from mtl_perception.conventions import UNLABELLED
from mtl_perception.inference.dense_outputs import to_output
from mtl_perception.inference.framing import Axis, Letterbox, spanning
from mtl_perception.inference.post_processing import PostProcessor
from mtl_perception.inference.scores import Decision, NetworkOutput, ScoreMap
from mtl_perception.models import ModelUnsupported
from mtl_perception.prediction import Prediction


def random_scores(
    rng: np.random.Generator, grid: tuple[int, int], channels: int, dtype: type
) -> np.ndarray:
    if dtype is np.float32:
        return rng.normal(0, 4, (*grid, channels)).astype(np.float32)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, (*grid, channels), dtype, endpoint=True)


def label(
    values: np.ndarray,
    shape: tuple[int, int],
    scale: float = 1.0,
    threads: int = 1,
    **options: object,
) -> Prediction:
    """Label an image that the grid of ``values`` (h, w, C) covers exactly."""
    y_axis, x_axis = (spanning(n, m) for n, m in zip(shape, values.shape[:2], strict=True))
    output = NetworkOutput(ScoreMap(values, scale, x_axis, y_axis))
    decision = Decision(**{"channel_labels": np.arange(values.shape[2], dtype=np.uint8), **options})
    return PostProcessor(decision, threads)(output, shape)


def resized(values: np.ndarray, axes: tuple[Axis, Axis], shape: tuple[int, int]) -> np.ndarray:
    """Interpolate (h, w, ...) bilinearly along y, then x: (H, W, ...) float64."""
    values = values.astype(np.float64)
    for side, (axis, pixels) in enumerate(zip(axes, shape, strict=True)):
        position = np.clip(np.arange(pixels) * axis.step + axis.origin, axis.first, axis.last)
        below = np.minimum(position.astype(int), axis.last)
        part = (position - below).reshape(-1, *[1] * (values.ndim - side - 1))
        above = np.minimum(below + 1, axis.last)
        low, high = values.take(below, axis=side), values.take(above, axis=side)
        values = low * (1 - part) + high * part
    return values


def probabilities(
    values: np.ndarray, shape: tuple[int, int], scale: float = 1.0, axes: tuple | None = None
) -> np.ndarray:
    """Resize, then softmax: (H, W, C) float64."""
    axes = axes or tuple(spanning(n, m) for n, m in zip(shape, values.shape[:2], strict=True))
    logits = resized(values, axes, shape) * scale
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def assert_winner(labels: np.ndarray, expected: np.ndarray, confidence: np.ndarray) -> None:
    """Labels are the argmax of ``expected`` (H, W, C), but for ties within rounding."""
    best = expected.max(axis=-1)
    runner_up = np.sort(expected, axis=-1)[..., -2] if expected.shape[-1] > 1 else 0 * best
    clear = best - runner_up > 1e-5
    assert clear.mean() > 0.95  # int8 scores tie now and then
    np.testing.assert_array_equal(labels[clear], expected.argmax(axis=-1)[clear])
    np.testing.assert_allclose(confidence, best, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
@pytest.mark.parametrize(
    ("grid", "channels", "shape"),
    [
        ((12, 16), 32, (48, 64)),
        ((25, 33), 40, (97, 130)),
        ((7, 5), 13, (31, 43)),
        ((20, 40), 3, (20, 40)),  # as fine as the image
        ((9, 8), 254, (6, 7)),  # finer than the image
        ((4, 3), 250, (70, 53)),
        ((1, 1), 2, (3, 4)),
        ((3, 3), 1, (12, 9)),
        ((2, 1), 5, (50, 1)),
    ],
)
def test_labels_and_confidence_equal_resize_then_softmax(
    dtype: type, grid: tuple[int, int], channels: int, shape: tuple[int, int]
) -> None:
    values = random_scores(np.random.default_rng(1), grid, channels, dtype)
    scale = 1.0 if dtype is np.float32 else 0.1
    found = label(values, shape, scale, threads=2)
    assert_winner(found.labels, probabilities(values, shape, scale), found.confidence)


@pytest.mark.parametrize("size", [(640, 480), (97, 130), (30, 200)])
def test_a_letterboxed_int8_grid_is_read_where_the_image_lies(size: tuple[int, int]) -> None:
    box, shape = Letterbox(*size, 512, 512), size[::-1]
    values = random_scores(np.random.default_rng(5), (128, 128), 32, np.int8)
    x_axis, y_axis = box.axes((128, 128), 3.0)
    output = NetworkOutput(ScoreMap(values, 0.2, x_axis, y_axis))
    found = PostProcessor(Decision(np.arange(32, dtype=np.uint8)), threads=3)(output, shape)
    expected = probabilities(values, shape, 0.2, (y_axis, x_axis))
    assert_winner(found.labels, expected, found.confidence)


@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0, 1000.0, 1e6])
def test_scores_of_any_range_give_the_right_probability(spread: float) -> None:
    """From nearly even to those of which only one can be told from 0 in float32."""
    values = random_scores(np.random.default_rng(4), (9, 20), 40, np.float32) * np.float32(spread)
    found = label(values, (36, 80))
    expected = probabilities(values, (36, 80))
    right = found.labels == expected.argmax(axis=-1)
    assert right.mean() > 0.999
    # Rounding of large scores moves probabilities near a border between classes.
    rounding = 40 * spread * np.finfo(np.float32).eps
    np.testing.assert_allclose(found.confidence, expected.max(axis=-1), atol=1e-5 + rounding)


def test_a_smooth_score_map_leaves_few_classes_and_drops_none_that_counts() -> None:
    """Peaks of classes in places of their own, as trained networks have them."""
    y, x = np.mgrid[:30, :40]
    rng = np.random.default_rng(6)
    centres = rng.uniform(0, 40, (60, 2))
    away = (y[..., np.newaxis] - centres[:, 0]) ** 2 + (x[..., np.newaxis] - centres[:, 1]) ** 2
    values = (12 - away / 6).astype(np.float32)
    found = label(values, (120, 160))
    expected = probabilities(values, (120, 160))
    assert_winner(found.labels, expected, found.confidence)
    assert len(np.unique(found.labels)) > 20


def test_scores_of_both_memory_layouts_give_the_same() -> None:
    values = random_scores(np.random.default_rng(7), (10, 12), 17, np.float32)
    planes = np.ascontiguousarray(values.transpose(2, 0, 1)).transpose(1, 2, 0)
    one, other = label(values, (40, 48)), label(planes, (40, 48))
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.confidence, other.confidence)


def test_the_first_of_equal_scores_wins() -> None:
    values = np.zeros((2, 2, 40), np.int8)
    values[..., [17, 23, 39]] = 5
    found = label(values, (8, 8))
    assert np.all(found.labels == 17)
    np.testing.assert_allclose(found.confidence, 1 / (3 + 37 * np.exp(-5)), rtol=1e-5)


def test_probabilities_of_merged_classes_add_up() -> None:
    values = random_scores(np.random.default_rng(2), (6, 8), 5, np.float32)
    found = label(values, (24, 32), channel_labels=np.array([9, 3, 9, 3, 7], np.uint8))
    shares = probabilities(values, (24, 32))
    merged = np.stack(
        [shares[..., [1, 3]].sum(-1), shares[..., 4], shares[..., [0, 2]].sum(-1)], axis=-1
    )
    assert_winner(np.searchsorted([3, 7, 9], found.labels), merged, found.confidence)


def test_a_class_that_is_not_wanted_wins_as_unlabelled() -> None:
    values = np.zeros((1, 1, 3), np.float32)
    values[..., 1] = 4
    found = label(values, (2, 2), channel_labels=np.array([0, UNLABELLED, 1], np.uint8))
    assert np.all(found.labels == UNLABELLED) and np.all(found.confidence == 0)


def test_temperature_lowers_confidence_and_threshold_unlabels() -> None:
    values = np.zeros((1, 1, 2), np.float32)
    values[..., 1] = 2
    plain, cooler = label(values, (1, 1)), label(values, (1, 1), temperature=2.0)
    assert plain.confidence[0, 0] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)
    assert cooler.confidence[0, 0] == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-6)
    doubted = label(values, (1, 1), confidence_threshold=0.9)
    assert doubted.labels[0, 0] == UNLABELLED and doubted.confidence[0, 0] == 0


def test_rows_are_the_same_however_many_threads_share_them() -> None:
    values = random_scores(np.random.default_rng(3), (8, 8), 32, np.int8)
    one, *others = (label(values, (31, 40), threads=n) for n in (1, 2, 7))
    for other in others:
        np.testing.assert_array_equal(other.labels, one.labels)
        np.testing.assert_array_equal(other.confidence, one.confidence)


@pytest.mark.parametrize("where", [(0, 0, 0), (1, 2, 3), (3, 7, 7)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_an_error(where: tuple[int, int, int], value: float) -> None:
    labels = np.zeros((4, 8, 8), np.float32)
    labels[where] = value
    with pytest.raises(ModelUnsupported, match="not finite"):
        process((32, 32), labels=labels)


def process(shape: tuple[int, int], depth_scale: float = 1.0, **maps: np.ndarray) -> Prediction:
    """Run (C, h, w) maps that cover an image of ``shape``."""
    if "labels" not in maps:
        maps["labels"] = np.zeros((2, 4, 4), np.float32)
    decision = Decision(np.arange(len(maps["labels"]), dtype=np.uint8))
    return PostProcessor(decision, threads=2)(to_output(maps, shape), shape, depth_scale)


@pytest.mark.parametrize(("grid", "shape"), [((12, 16), (48, 64)), ((25, 33), (97, 130))])
def test_depth_is_resized_then_made_positive_then_scaled(
    grid: tuple[int, int], shape: tuple[int, int]
) -> None:
    raw = np.random.default_rng(8).normal(1, 2, (1, *grid)).astype(np.float32)
    axes = tuple(spanning(n, m) for n, m in zip(shape, grid, strict=True))
    expected = np.abs(resized(raw[0], axes, shape)) * 0.7
    depth = process(shape, 0.7, depth=raw).depth
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, expected, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_depth_that_is_not_finite_is_unknown(value: float) -> None:
    depth = np.full((1, 8, 8), -2.0, np.float32)
    depth[0, :4] = value
    found = process((32, 32), 0.5, depth=depth).depth
    assert np.all(found[:14] == 0) and np.all(found[18:] == 1)


@pytest.mark.parametrize("grid", [(25, 33), (97, 130)])
def test_normals_are_resized_then_brought_to_unit_length(grid: tuple[int, int]) -> None:
    raw = np.random.default_rng(9).normal(0, 1, (3, *grid)).astype(np.float32)
    axes = tuple(spanning(n, m) for n, m in zip((97, 130), grid, strict=True))
    wide = resized(raw.transpose(1, 2, 0), axes, (97, 130))
    expected = wide / np.linalg.norm(wide, axis=-1, keepdims=True)
    normals = process((97, 130), normals=raw).normals
    assert normals.shape == (97, 130, 3) and normals.dtype == np.float32
    np.testing.assert_allclose(normals, expected, atol=2e-4)  # short ones lose digits
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_normals_without_direction_are_zero(value: float) -> None:
    raw = np.full((3, 8, 8), value, np.float32)
    raw[:, 4:] = 2.0
    normals = process((32, 32), normals=raw).normals
    assert np.all(normals[:14] == 0)
    np.testing.assert_allclose(normals[18:], 1 / np.sqrt(3), atol=1e-6)
