# SPDX-License-Identifier: Apache-2.0
"""Every measure against an oracle that is written pixel by pixel, in another way."""

import math
from collections import Counter
from dataclasses import astuple
from fractions import Fraction

import numpy as np
import pytest

from mtl_perception.conventions import InvalidInput
from mtl_perception.evaluation.calibration import CalibrationMeter
from mtl_perception.evaluation.depth import CROPS, DepthConfig, DepthMeter
from mtl_perception.evaluation.multi_task import TaskResult, delta_mtl
from mtl_perception.evaluation.normals import NormalMeter
from mtl_perception.evaluation.segmentation import Confusion, keep_classes
from mtl_perception.evaluation.temperature import fit_temperature
from mtl_perception.labels import LabelClass, LabelSet

FIVE = LabelSet("five", tuple(LabelClass(i, f"c{i}", (i, i, i)) for i in range(5)))


def some_labels(seed: int, shape=(17, 23), ids=(0, 1, 2, 255)) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array(ids, np.uint8), shape)


def iou_of_sets(pairs, c) -> Fraction | None:
    """IoU from sets of pixel numbers; None where the class is in neither."""
    truth = {i for i, (t, _) in enumerate(pairs) if t == c}
    labelled = {i for i, (_, p) in enumerate(pairs) if p == c}
    return Fraction(len(truth & labelled), len(truth | labelled)) if truth | labelled else None


def test_segmentation_agrees_with_sets_of_pixels():
    confusion = Confusion()
    pairs = []
    for seed in range(3):
        truth, labels = some_labels(seed), some_labels(seed + 50, ids=(0, 1, 2, 3, 255))
        confusion.add(truth, labels)
        pairs += [
            (t, p)
            for t, p in zip(truth.ravel().tolist(), labels.ravel().tolist(), strict=True)
            if t != 255
        ]
    got = confusion.metrics(FIVE)
    iou = {c: iou_of_sets(pairs, c) for c in range(5)}
    recalls = [
        Fraction(sum(t == p == c for t, p in pairs), sum(t == c for t, _ in pairs))
        for c in range(3)
    ]
    assert iou[3] == 0 and iou[4] is None  # 3 is only predicted, 4 is nowhere
    assert got.pixels == len(pairs)
    assert got.pixel_accuracy == pytest.approx(sum(t == p for t, p in pairs) / len(pairs))
    assert got.mean_accuracy == pytest.approx(float(sum(recalls) / 3))
    assert got.mean_iou == pytest.approx(float(sum(iou[c] for c in range(3)) / 3))
    assert got.mean_iou_either == pytest.approx(float(sum(iou[c] for c in range(4)) / 4))
    assert got.mean_iou_all == pytest.approx(float(sum(iou[c] or 0 for c in range(5)) / 5))
    assert got.labelled == pytest.approx(sum(p != 255 for _, p in pairs) / len(pairs))
    assert [c.id for c in got.classes] == [0, 1, 2, 3]
    for c in got.classes:
        said = [t for t, p in pairs if p == c.id]
        assert (c.pixels, c.predicted) == (sum(t == c.id for t, _ in pairs), len(said))
        assert c.iou == pytest.approx(float(iou[c.id]))
        assert c.precision == pytest.approx(said.count(c.id) / len(said))


def test_unlabelled_pixels_are_wrong_and_unknown_truth_is_not_counted():
    confusion = Confusion()
    confusion.add(np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 255, 1, 2]], np.uint8))
    got = confusion.metrics(FIVE)
    assert (got.pixels, got.pixel_accuracy, got.labelled) == pytest.approx((3, 2 / 3, 2 / 3))
    assert [(c.id, c.iou) for c in got.classes] == [(0, 0.5), (1, 1.0)]


def test_nothing_to_compare_gives_no_figures():
    confusion = Confusion()
    confusion.add(some_labels(0, ids=(255,)), some_labels(1))
    assert confusion.metrics(FIVE) is None
    assert DepthMeter(DepthConfig()).metrics() is None
    assert NormalMeter().metrics() is None
    assert CalibrationMeter().metrics() is None


def test_images_of_other_sizes_and_types_are_refused():
    labels = some_labels(0)
    with pytest.raises(InvalidInput, match="uint8"):
        Confusion().add(labels, labels.astype(int))
    with pytest.raises(InvalidInput, match="17, 23"):
        Confusion().add(labels, labels[:-1])
    with pytest.raises(InvalidInput, match="2, 3"):
        DepthMeter(DepthConfig()).add(np.ones((2, 2)), np.ones((2, 3)))
    with pytest.raises(InvalidInput, match="2, 2, 2"):
        NormalMeter().add(np.ones((2, 2, 2)), np.ones((2, 2, 2)))
    with pytest.raises(InvalidInput, match="not probabilities"):
        CalibrationMeter().add(labels, labels, np.full(labels.shape, np.nan, np.float32))


def test_only_kept_classes_count():
    assert keep_classes(np.array([[0, 1, 2, 255]], np.uint8), [2, 0]).tolist() == [[0, 255, 2, 255]]


def depth_pair(seed: int, shape=(12, 16)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.3, 12, shape).astype(np.float32)
    truth[rng.random(shape) < 0.2] = 0
    depth = (truth * rng.lognormal(0.1, 0.3, shape) + 0.01).astype(np.float32)
    depth[0, :5] = 0, np.nan, np.inf, 1e-9, 99
    truth[0, :5] = 2
    return truth, depth


def slow_depth(pairs) -> list[float]:
    """The eight measures of (truth, prediction) pairs, one pixel after the other."""
    n = len(pairs)
    deltas = [0, 0, 0]
    rel = sq = log10 = square = log = 0.0
    for g, p in pairs:
        rel += abs(p - g) / g / n
        sq += (p - g) ** 2 / g / n
        log10 += abs(math.log10(p / g)) / n
        square += (p - g) ** 2 / n
        log += math.log(p / g) ** 2 / n
        for k in range(3):
            deltas[k] += p < g * 1.25 ** (k + 1) and g < p * 1.25 ** (k + 1)
    return [rel, sq, log10, math.sqrt(square), math.sqrt(log), *(d / n for d in deltas)]


def slow_pixels(truth, depth, rows, columns, low, high, scaling) -> list[tuple[float, float]]:
    pairs = []
    for v in rows:
        for u in columns:
            g, p = float(truth[v, u]), float(depth[v, u])
            if low < g < high and math.isfinite(p) and p > 0:
                pairs.append((g, p))
    middle = sorted(p for _, p in pairs), sorted(g for g, _ in pairs)
    half = len(pairs) // 2
    median = [m[half] if len(m) % 2 else (m[half - 1] + m[half]) / 2 for m in middle]
    scale = median[1] / median[0] if scaling else 1.0
    return [(g, min(max(p * scale, low), high)) for g, p in pairs]


@pytest.mark.parametrize("scaling", [False, True])
@pytest.mark.parametrize(("crop", "rows", "columns"), [
    ("none", range(12), range(16)),
    ("garg", range(4, 11), range(0, 15)),  # 0.408 * 12 = 4.9, 0.992 * 12 = 11.9; 0.58, 15.4
    ("nyu", range(1, 11), range(1, 15)),  # 1.125, 11.775; 1.025, 15.025
])  # fmt: skip
def test_depth_agrees_with_a_loop_over_pixels(crop, rows, columns, scaling):
    config = DepthConfig(crop, 0.5, 8.0, scaling)
    meter = DepthMeter(config)
    images = []
    for seed in range(3):
        truth, depth = depth_pair(seed)
        own = meter.add(truth, depth)
        images.append(slow_pixels(truth, depth, rows, columns, 0.5, 8.0, scaling))
        assert astuple(own) == pytest.approx(slow_depth(images[-1]), rel=1e-6)
    got = meter.metrics()
    assert got.pixels == sum(map(len, images)) and got.images == 3
    assert astuple(got.pooled) == pytest.approx(slow_depth(sum(images, [])), rel=1e-6)
    each = np.array([slow_depth(image) for image in images])
    assert astuple(got.per_image) == pytest.approx(each.mean(axis=0).tolist(), rel=1e-6)
    assert got.missing == (9 if crop == "none" else 0)  # the others leave the first row out
    bins = Counter(int(g // 0.5) for image in images for g, _ in image)
    assert [b.pixels for b in got.bins] == [bins[i] for i in range(16)]


def test_pixels_without_prediction_are_counted_not_forgotten():
    meter = DepthMeter(DepthConfig())
    meter.add(np.full((1, 4), 2, np.float32), np.array([[2, 0, np.nan, np.inf]], np.float32))
    got = meter.metrics()
    assert (got.pixels, got.missing, got.coverage) == (1, 3, 0.25)
    assert got.pooled.abs_rel == 0 and got.pooled.delta1 == 1


def test_a_wrong_scale_is_no_error_under_median_scaling():
    truth = depth_pair(3)[0]
    plain, scaled = DepthMeter(DepthConfig()), DepthMeter(DepthConfig(median_scaling=True))
    for meter in (plain, scaled):
        meter.add(truth, truth * np.float32(0.5))
    assert plain.metrics().pooled.abs_rel == pytest.approx(0.5)
    assert scaled.metrics().pooled.abs_rel == pytest.approx(0, abs=1e-6)
    assert scaled.metrics().median_scale == pytest.approx(2)


def test_crops_are_those_of_the_literature():
    assert CROPS["nyu"].slices((480, 640)) == (slice(45, 471), slice(41, 601))
    assert CROPS["garg"].slices((375, 1242)) == (slice(153, 371), slice(44, 1197))
    assert CROPS["eigen"].slices((375, 1242)) == (slice(124, 342), slice(44, 1197))
    with pytest.raises(InvalidInput, match="garg"):
        DepthConfig(depth_crop="gard")
    with pytest.raises(InvalidInput, match="max_depth"):
        DepthConfig(max_depth=0.0)


def test_normals_agree_with_a_loop_over_pixels():
    rng = np.random.default_rng(4)
    truth = rng.normal(size=(20, 30, 3)).astype(np.float32)
    normals = (truth + rng.normal(size=truth.shape) * 0.5).astype(np.float32)
    truth[0, :4], normals[1, :3] = 0, 0
    normals[2, 0] = np.nan
    meter = NormalMeter()
    means = [meter.add(truth[:10], normals[:10]), meter.add(truth[10:], normals[10:])]
    angles = []
    for t, n in zip(truth.reshape(-1, 3).tolist(), normals.reshape(-1, 3).tolist(), strict=True):
        if any(t) and any(n) and not math.isnan(sum(n)):
            dot = sum(a * b for a, b in zip(t, n, strict=True))
            cosine = dot / math.hypot(*t) / math.hypot(*n)
            angles.append(math.degrees(math.acos(max(-1.0, min(1.0, cosine)))))
    got = meter.metrics()
    assert (got.pixels, got.missing) == (len(angles), 4) and len(angles) == 600 - 8
    assert got.mean == pytest.approx(sum(angles) / len(angles), abs=1e-4)
    assert got.median == pytest.approx(sorted(angles)[(len(angles) - 1) // 2], abs=0.0051)
    assert got.rmse == pytest.approx(math.sqrt(sum(a * a for a in angles) / len(angles)), abs=1e-4)
    for limit, share in ((11.25, got.within_11), (22.5, got.within_22), (30, got.within_30)):
        assert share == pytest.approx(sum(a < limit for a in angles) / len(angles))
    assert means[0] == pytest.approx(sum(angles[:292]) / 292, abs=1e-4)


def test_small_and_opposite_angles_are_exact():
    meter = NormalMeter()
    tilt = np.float32(math.radians(0.03))
    meter.add(np.array([[[0, 0, -1]]], np.float32), np.array([[[tilt, 0, -1]]], np.float32))
    assert meter.metrics().mean == pytest.approx(0.03, rel=1e-5)
    opposite = NormalMeter()
    assert opposite.add(np.array([[[0, 0, 2.0]]]), np.array([[[0, 0, -3.0]]])) == 180
    assert opposite.metrics().median == pytest.approx(180, abs=0.01)


def test_calibration_agrees_with_a_loop_over_pixels():
    rng = np.random.default_rng(5)
    truth, labels = some_labels(6), some_labels(7, ids=(0, 1, 255))
    confidence = rng.random(truth.shape).astype(np.float32)
    confidence[0, :2] = 0, 1
    meter = CalibrationMeter()
    meter.add(truth[:9], labels[:9], confidence[:9])
    meter.add(truth[9:], labels[9:], confidence[9:])
    bins: dict[int, list[tuple[float, bool]]] = {}
    for t, p, c in zip(truth.flat, labels.flat, confidence.flat, strict=True):
        if t != 255 and p != 255:
            row = next(i for i in range(15) if c < (i + 1) / 15 or i == 14)
            bins.setdefault(row, []).append((float(c), t == p))
    total = sum(map(len, bins.values()))
    ece = 0.0
    for row, members in bins.items():
        accuracy = sum(right for _, right in members) / len(members)
        mean = sum(c for c, _ in members) / len(members)
        ece += len(members) / total * abs(accuracy - mean)
        got_bin = meter.metrics().bins[row]
        assert (got_bin.pixels, got_bin.accuracy) == (len(members), pytest.approx(accuracy))
    got = meter.metrics()
    assert got.pixels == total and got.ece == pytest.approx(ece)
    losses = [-math.log(max(1e-6, c if r else 1 - c)) for ms in bins.values() for c, r in ms]
    assert got.log_loss == pytest.approx(sum(losses) / total)
    everything = [m for members in bins.values() for m in members]
    assert got.overconfidence == pytest.approx(
        sum(c for c, _ in everything) / total - sum(r for _, r in everything) / total
    )


def test_a_calibrated_guesser_has_no_calibration_error():
    rng = np.random.default_rng(8)
    confidence = rng.choice(np.array([0.3, 0.7, 0.9], np.float32), (400, 500))
    truth = np.zeros((400, 500), np.uint8)
    labels = (rng.random(truth.shape) > confidence).astype(np.uint8)
    meter = CalibrationMeter()
    meter.add(truth, labels, confidence)
    assert meter.metrics().ece < 0.005
    sure = CalibrationMeter()
    sure.add(truth, labels, np.ones_like(confidence))
    assert sure.metrics().ece == pytest.approx(float(labels.mean()))


def test_the_temperature_that_made_a_network_too_sure_is_found():
    rng = np.random.default_rng(9)
    scores = rng.normal(0, 2, (200, 200, 3))
    chances = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    truth = (rng.random((200, 200, 1)) > chances.cumsum(axis=2)).sum(axis=2).astype(np.uint8)

    def judge(temperature: float):
        powers = np.exp(scores * 2.5 / temperature)  # of a network 2.5 times too sure
        confidence = (powers / powers.sum(axis=2, keepdims=True)).max(axis=2)
        meter = CalibrationMeter()
        meter.add(truth, scores.argmax(axis=2).astype(np.uint8), confidence.astype(np.float32))
        return meter.metrics()

    fits = fit_temperature(judge)
    assert len(fits) == 10 and fits[0].temperature == pytest.approx(2.5, rel=0.04)
    assert fits[0].metrics.ece < 0.01 < judge(1.0).ece
    with pytest.raises(InvalidInput, match="no labels"):
        fit_temperature(lambda temperature: None)


def test_delta_mtl_gives_the_published_rows():
    # MTI-Net, table 2a: NYUD, HRNet-18, against single task 33.18 mIoU and 0.667 m RMSE; as
    # exact as three digits allow.
    rows = {(32.09, 0.668): -1.71, (32.80, 0.660): -0.02, (34.38, 0.640): 3.85}
    for (iou, rmse), percent in rows.items():
        results = [TaskResult("labels", iou, 33.18), TaskResult("depth", rmse, 0.667, True)]
        assert 100 * delta_mtl(results) == pytest.approx(percent, abs=0.05)
    with pytest.raises(InvalidInput, match="non-zero"):
        delta_mtl([TaskResult("labels", 1, 0)])
    with pytest.raises(InvalidInput):
        delta_mtl([])
