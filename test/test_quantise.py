# SPDX-License-Identifier: Apache-2.0
"""A quantised network computes nearly the same in 8-bit numbers, and what it costs is counted."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")
onnx = pytest.importorskip("onnx", reason="needs onnx: see docs/installation.md")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from joint_networks import lively_network  # noqa: E402

from mtl_perception.conventions import Intrinsics, InvalidInput  # noqa: E402
from mtl_perception.data.sample import Sample  # noqa: E402
from mtl_perception.evaluation.agreement import compare  # noqa: E402
from mtl_perception.inference.finest_stage import finest_weights  # noqa: E402
from mtl_perception.inference.quantise import Calibration, quantise  # noqa: E402
from mtl_perception.inference.runtimes import open_network  # noqa: E402
from mtl_perception.labels import LABEL_SETS  # noqa: E402
from mtl_perception.models import ModelUnsupported  # noqa: E402
from mtl_perception.networks.checkpoint import save_network  # noqa: E402
from mtl_perception.networks.checkpoint_metadata import NetworkMetadata  # noqa: E402
from mtl_perception.prediction import Prediction  # noqa: E402
from slam_fusion.commands.cli import app  # noqa: E402

NYU = LABEL_SETS["nyu40"]


def photo(seed: int, shape: tuple[int, int] = (96, 128)) -> np.ndarray:
    """Smooth colours with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    waves = [np.sin(y / 17 + seed + k) * np.cos(x / 23 - k) for k in range(3)]
    noisy = 127 + 90 * np.stack(waves, axis=-1) + rng.normal(0, 20, (*shape, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds float.safetensors and int8.onnx of one network."""
    folder = tmp_path_factory.mktemp("models")
    save_network(
        folder / "float.safetensors",
        lively_network("nekrasov-nyud"),
        NYU,
        focal_px=585,
        input_height=96,
    )
    images = [photo(seed) for seed in range(4)]
    quantise(folder / "float.safetensors", images, folder / "int8.onnx")
    return folder


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_eight_bits_say_nearly_what_the_floats_say(folder: Path, runtime: str) -> None:
    pytest.importorskip("onnxruntime" if runtime == "onnx" else runtime, reason=f"needs {runtime}")
    exact = open_network(folder / "float.safetensors", None, "cpu", "fp32", 1, "onnx")
    rough = open_network(folder / "int8.onnx", None, "cpu", "auto", 1, runtime)
    assert rough.precision == "int8" and rough.label_sets == (NYU,) and rough.focal_px == 585
    rgb = photo(9)  # not among those that it was quantised by
    a, b = exact(rgb), rough(rgb)
    scale = np.abs(a.scores.values).max()
    assert 1e-4 < np.abs(b.scores.values - a.scores.values).max() / scale < 0.25
    # Of random weights: many of the 40 scores are close to each other.
    assert (a.scores.values.argmax(-1) == b.scores.values.argmax(-1)).mean() > 0.85
    assert np.corrcoef(a.depth.ravel(), b.depth.ravel())[0, 1] > 0.9


def test_weights_are_signed_by_channel_and_outputs_are_not_rounded(folder: Path) -> None:
    graph = onnx.load(folder / "int8.onnx").graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    whole = 0
    for node in convolutions:
        weight = makers.get(node.input[1])
        if weight is None:
            continue  # of a layer that stays in floating point
        values, scales, _ = (stored[name] for name in weight.input)
        assert values.data_type == onnx.TensorProto.INT8
        assert list(scales.dims) == [values.dims[0]]
        whole += 1
    # The encoder's first ten, the finest stage's and the last layer of depth stay as they are.
    assert whole == len(convolutions) - 12
    for output in graph.output:
        assert makers[output.name].op_type == "Conv"
    depth = next(node for node in convolutions if "depth" in node.output)
    assert makers[depth.input[0]].op_type == "Conv"
    kinds = Counter(node.op_type for node in graph.node)
    assert kinds["Mul"] == 6 and kinds["Clip"] == 7 + 3  # first layers, finest stage
    assert finest_weights((folder / "int8.onnx").read_bytes()) is not None
    finest = next(node for node in graph.node if "finest_stage_labels" in node.output)
    assert finest.op_type == "Clip"


def test_the_file_is_small_and_says_what_the_network_said(folder: Path) -> None:
    before, after = (folder / name for name in ("float.safetensors", "int8.onnx"))
    assert after.stat().st_size < 0.35 * before.stat().st_size
    strings = {p.key: p.value for p in onnx.load(after).metadata_props}
    assert NetworkMetadata.from_strings(strings).focal_px == 585


def test_what_cannot_be_quantised_is_refused(folder: Path, tmp_path: Path) -> None:
    source = folder / "float.safetensors"
    with pytest.raises(InvalidInput, match="is quantised already"):
        quantise(folder / "int8.onnx", [photo(0)], tmp_path / "net.onnx")
    with pytest.raises(InvalidInput, match="needs images"):
        quantise(source, [], tmp_path / "net.onnx")
    with pytest.raises(InvalidInput, match=r"want a name that ends in \.onnx"):
        quantise(source, [photo(0)], tmp_path / "net.tflite")
    with pytest.raises(ModelUnsupported, match="precision 'fp32'"):
        open_network(folder / "int8.onnx", None, "cpu", "fp32", 1, "onnx")
    assert not list(tmp_path.iterdir())


class Scene:
    """A data set of two images with known labels and depth."""

    name, label_set = "scene", NYU

    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> Sample:
        labels = np.full((4, 6), i, np.uint8)
        depth = np.full((4, 6), 2.0, np.float32)
        camera = Intrinsics(6, 4, 6.0, 6.0, 3.0, 2.0)
        return Sample(str(i), np.zeros((4, 6, 3), np.uint8), camera, depth, labels)


def answer(labels: np.ndarray, depth: float, confidence: float = 0.5) -> Prediction:
    known = np.where(labels == 255, 0, confidence).astype(np.float32)
    return Prediction(labels, known, np.full(labels.shape, depth, np.float32), None)


def test_a_comparison_counts_where_two_networks_differ_and_whom_the_truth_prefers() -> None:
    def right(sample: Sample) -> Prediction:
        return answer(sample.labels.copy(), 2.0)

    def flawed(sample: Sample) -> Prediction:
        labels = sample.labels.copy()
        labels[0, :3] = 7  # 3 of 24 pixels
        labels[1, 0] = 255
        return answer(labels, 2.5, 0.8)

    result = compare(right, flawed, Scene())
    assert result.agreement.images == 2
    assert result.agreement.labels_equal == pytest.approx(20 / 24)
    assert result.agreement.confidence_difference == pytest.approx(0.3)
    assert result.agreement.depth_difference == pytest.approx(0.25)
    assert result.first.segmentation.mean_iou == 1
    assert result.second.segmentation.pixel_accuracy == pytest.approx(20 / 24)
    assert "depth abs rel        0.0000 ->   0.2500  +0.2500" in result.table()
    assert json.loads(result.to_json())["agreement"]["images"] == 2


def test_images_are_taken_evenly_from_all() -> None:
    class Numbered(Scene):
        def __len__(self) -> int:
            return 100

        def __getitem__(self, i: int) -> Sample:
            camera = Intrinsics(2, 2, 2.0, 2.0, 1.0, 1.0)
            return Sample(str(i), np.full((2, 2, 3), i, np.uint8), camera)

    chosen = [int(image[0, 0, 0]) for image in Calibration(Numbered(), 5)]
    assert chosen == [0, 25, 50, 74, 99]
    assert len(Calibration(Scene(), 32)) == 2


def test_real_images_quantise_and_compare_by_the_command_line(
    folder: Path, shared_data: Path, tmp_path: Path
) -> None:
    images = f"masks:{shared_data / 'nyuv2_samples'}?camera=518,518,320,240"
    source, target = str(folder / "float.safetensors"), str(tmp_path / "int8.onnx")
    run = CliRunner().invoke(
        app, ["models", "quantise", source, images, "-o", target, "--count", "2"]
    )
    assert run.exit_code == 0, run.output
    assert "by 2 images" in run.output
    run = CliRunner().invoke(
        app, ["models", "compare", source, target, images, "--precision", "fp32", "--json"]
    )
    assert run.exit_code == 0, run.output
    said = json.loads(run.output)
    assert said["agreement"]["images"] == 4
    assert said["agreement"]["labels_equal"] > 0.8
    assert said["first"]["segmentation"]["pixels"] == said["second"]["segmentation"]["pixels"] > 0
