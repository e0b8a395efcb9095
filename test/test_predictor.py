# SPDX-License-Identifier: Apache-2.0
"""From scores to labels and confidence, and the ADE20K network on real images."""

import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from mtl_perception.conventions import UNLABELLED, InvalidInput
from mtl_perception.inference.framing import PAD_GREY, Axis, Letterbox
from mtl_perception.inference.litert import LiteRtSegmenter
from mtl_perception.inference.scores import ScoreMap
from mtl_perception.inference.upsample import ScoreLabeller
from mtl_perception.labels import load_label_set, remap_table
from mtl_perception.models import MODELS, ModelCorrupt, ModelUnsupported
from mtl_perception.predictor import Predictor, PredictorConfig

ENTRY = MODELS["deeplab-ade20k"]
KITCHEN = "seven_scenes_kitchen/frame-000000.color.jpg"


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
        cv2.resize(np.float64(values[..., c]) * scale, (width, height))
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
    """Cell (row 5, column 7) of stride 4 looks at canvas pixel (4*7+3, 4*5+3)."""
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


@pytest.fixture(scope="module")
def model_path(shared_data: Path) -> Path:
    return shared_data / "models" / ENTRY.file


@pytest.fixture(scope="module")
def predictor(model_path: Path) -> Iterator[Predictor]:
    yield Predictor(PredictorConfig(model=str(model_path)))


@pytest.fixture(scope="module")
def kitchen(shared_data: Path) -> np.ndarray:
    return cv2.imread(str(shared_data / KITCHEN))[..., ::-1].copy()


def test_the_cut_network_gives_the_scores_that_the_whole_one_decides_on(
    model_path: Path, kitchen: np.ndarray
) -> None:
    """Our argmax of the cut network's scores, its own 4x resize repeated, is its argmax."""
    from ai_edge_litert.interpreter import Interpreter

    square = np.ascontiguousarray(kitchen[:480, :480])
    canvas = cv2.resize(square, (512, 512), interpolation=cv2.INTER_LINEAR)
    whole = Interpreter(model_path=str(model_path), num_threads=1)
    whole.allocate_tensors()
    whole.set_tensor(whole.get_input_details()[0]["index"], canvas[np.newaxis])
    whole.invoke()
    decided = whole.get_tensor(whole.get_output_details()[0]["index"])[0]
    values = LiteRtSegmenter(model_path, 1)(canvas).scores.values
    assert values.shape == (128, 128, 32) and values.dtype == np.int8
    # The graph's resize puts cell i on pixel 4 i, where nothing is interpolated.
    best = values.max(axis=-1)
    at_cells = np.take_along_axis(values, decided[::4, ::4, np.newaxis], axis=-1)[..., 0]
    np.testing.assert_array_equal(at_cells, best)


def test_a_kitchen_has_walls_cabinets_and_chairs(predictor: Predictor, kitchen: np.ndarray) -> None:
    prediction = predictor(kitchen)
    assert prediction.labels.shape == prediction.confidence.shape == (480, 640)
    assert prediction.labels.dtype == np.uint8 and prediction.confidence.dtype == np.float32
    assert prediction.depth is None and prediction.normals is None
    assert prediction.confidence.min() > 0 and prediction.confidence.max() <= 1
    counts = np.bincount(prediction.labels.ravel(), minlength=256)
    seen = {name for i, name in predictor.label_set.names.items() if counts[i] > 1000}
    assert {"wall", "cabinet"} <= seen


def test_most_pixels_of_real_rooms_are_labelled_rightly(
    model_path: Path, shared_data: Path
) -> None:
    """Measured: 0.857 of them, and 0.988 where the confidence is above 0.9 (58 % of them)."""
    predictor = Predictor(PredictorConfig(model=str(model_path), label_set="nyu40"))
    can_say = set(remap_table(load_label_set("ade20k32"), load_label_set("nyu40")).tolist())
    right = total = certain_right = certain = 0
    for truth_file in sorted((shared_data / "nyuv2_samples").glob("*_labels.png")):
        truth = cv2.imread(str(truth_file), cv2.IMREAD_UNCHANGED)
        image = cv2.imread(str(truth_file).replace("_labels", ""))[..., ::-1].copy()
        prediction = predictor(image)
        asked = np.isin(truth, list(can_say - {UNLABELLED}))
        hit = (prediction.labels == truth) & asked
        sure = (prediction.confidence > 0.9) & asked
        right, total = right + hit.sum(), total + asked.sum()
        certain_right, certain = certain_right + (hit & sure).sum(), certain + sure.sum()
    assert total > 500_000
    assert right / total > 0.84
    assert certain_right / certain > 0.97


def test_the_same_image_gives_the_same_labels_from_two_threads(
    predictor: Predictor, kitchen: np.ndarray
) -> None:
    expected = predictor(kitchen).labels
    results: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda: results.append(predictor(kitchen).labels)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    for labels in results:
        np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("shape", [(480, 640), (640, 480), (1, 1), (2000, 30)])
def test_any_image_size_is_answered_in_that_size(
    predictor: Predictor, shape: tuple[int, int]
) -> None:
    predictor.warm_up(shape)
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    assert predictor(image).labels.shape == shape


def test_a_float_image_is_refused(predictor: Predictor) -> None:
    with pytest.raises(InvalidInput, match=r"rgb.*\(4, 4, 3\) float32"):
        predictor(np.zeros((4, 4, 3), np.float32))


@pytest.mark.parametrize(
    ("field", "value"), [("threads", -1), ("temperature", 0.0), ("confidence_threshold", 1.5)]
)
def test_a_number_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(InvalidInput, match=f"{field} {value}"):
        PredictorConfig(**{field: value})


def test_a_device_that_the_runtime_lacks_is_refused(model_path: Path) -> None:
    with pytest.raises(ModelUnsupported, match="'cuda'"):
        Predictor(PredictorConfig(model=str(model_path), device="cuda"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no TFL3 mark"),
        (b"a page of text, not a network" * 9, "no TFL3 mark"),
        (b"\x1c\0\0\0TFL3" + bytes(5000), "not a network"),
        (b"\xff\xff\xff\x7fTFL3" + bytes(range(256)) * 20, "not a network"),
    ],
)
def test_a_file_that_is_not_a_network_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "own.tflite"
    file.write_bytes(content)
    with pytest.raises(ModelCorrupt, match=message):
        Predictor(PredictorConfig(model=str(file), label_set="ade20k32"))


def test_a_truncated_network_under_another_name_is_refused(
    model_path: Path, tmp_path: Path
) -> None:
    file = tmp_path / "own.tflite"
    file.write_bytes(model_path.read_bytes()[:-200_000])
    with pytest.raises(ModelCorrupt, match=str(file)):
        Predictor(PredictorConfig(model=str(file), label_set="ade20k32"))


@pytest.mark.parametrize(
    "name", ["tf2_mobilenet_v2_1.0_224_ptq.tflite", "pydnetpp_optimized.tflite"]
)
def test_a_network_of_another_kind_is_refused(shared_data: Path, name: str) -> None:
    with pytest.raises(ModelUnsupported, match=name):
        Predictor(PredictorConfig(model=str(shared_data / "models" / name), label_set="ade20k32"))


def test_a_file_without_runtime_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.xyz"
    file.write_bytes(b"anything")
    with pytest.raises(ModelUnsupported, match=r"known: \.tflite"):
        Predictor(PredictorConfig(model=str(file)))


def test_an_own_network_needs_a_label_set_of_its_size(model_path: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.tflite"
    own.write_bytes(model_path.read_bytes() + bytes(4))  # another file, still a network
    with pytest.raises(InvalidInput, match="label_set"):
        Predictor(PredictorConfig(model=str(own)))
    with pytest.raises(ModelUnsupported, match="32 classes.*'nyu40' has 40"):
        Predictor(PredictorConfig(model=str(own), label_set="nyu40"))
    assert len(Predictor(PredictorConfig(model=str(own), label_set="ade20k32")).label_set) == 32
