# SPDX-License-Identifier: Apache-2.0
"""The ADE20K network on real images, and files that are no such network."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from mtl_perception.conventions import UNLABELLED, InvalidInput
from mtl_perception.inference.litert import LiteRtSegmenter
from mtl_perception.labels import load_label_set, remap_table
from mtl_perception.models import MODELS, ModelCorrupt, ModelUnsupported
from mtl_perception.predictor import Predictor, PredictorConfig

ENTRY = MODELS["deeplab-ade20k"]
KITCHEN = "seven_scenes_kitchen/frame-000000.color.jpg"


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


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((4, 4, 3), np.float32),
        ((4, 4, 3), np.uint16),
        ((4, 4, 3), bool),
        ((4, 4), np.uint8),
        ((4, 4, 1), np.uint8),
        ((4, 4, 4), np.uint8),
        ((0, 4, 3), np.uint8),
        ((4, 0, 3), np.uint8),
        ((1, 4, 4, 3), np.uint8),
    ],
)
def test_what_is_no_colour_image_is_refused_by_shape_and_type(
    predictor: Predictor, shape: tuple[int, ...], dtype: type
) -> None:
    with pytest.raises(InvalidInput, match=rf"rgb.*{re.escape(str(shape))} {np.dtype(dtype)}"):
        predictor(np.zeros(shape, dtype))


@pytest.mark.parametrize("shape", [(1, 16385), (20000, 2)])
def test_an_image_longer_than_any_camera_has_is_refused(
    predictor: Predictor, shape: tuple[int, int]
) -> None:
    with pytest.raises(InvalidInput, match=f"rgb: {shape[1]}x{shape[0]} image.* up to 16384"):
        predictor(np.zeros((*shape, 3), np.uint8))


@pytest.mark.parametrize(
    ("field", "value"),
    [("threads", -1), ("temperature", 0.0), ("confidence_threshold", 1.5), ("input_height", -1)],
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
    with pytest.raises(ModelUnsupported, match=r"known: .*\.tflite"):
        Predictor(PredictorConfig(model=str(file)))


def test_an_own_network_needs_a_label_set_of_its_size(model_path: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.tflite"
    own.write_bytes(model_path.read_bytes() + bytes(4))  # another file, still a network
    with pytest.raises(InvalidInput, match="label_set"):
        Predictor(PredictorConfig(model=str(own)))
    with pytest.raises(ModelUnsupported, match="32 classes.*'nyu40' has 40"):
        Predictor(PredictorConfig(model=str(own), label_set="nyu40"))
    assert len(Predictor(PredictorConfig(model=str(own), label_set="ade20k32")).label_set) == 32
