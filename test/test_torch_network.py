# SPDX-License-Identifier: Apache-2.0
"""A joint network behind the Predictor says what plain torch says of the same image."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")
pytest.importorskip("safetensors", reason="needs safetensors: see docs/installation.md")

import torch.nn.functional as F  # noqa: E402
from joint_networks import lively_network, plain_torch  # noqa: E402
from torch import nn  # noqa: E402

from mtl_perception.conventions import InvalidInput  # noqa: E402
from mtl_perception.inference.dense_outputs import MAX_PIXELS  # noqa: E402
from mtl_perception.inference.torch_network import TorchNetwork  # noqa: E402
from mtl_perception.labels import LABEL_SETS  # noqa: E402
from mtl_perception.models import ModelUnsupported  # noqa: E402
from mtl_perception.networks.checkpoint import save_network  # noqa: E402
from mtl_perception.predictor import Predictor, PredictorConfig  # noqa: E402

NYU = LABEL_SETS["nyu40"]


@pytest.fixture(autouse=True, scope="module")
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return lively_network("nekrasov-nyud-normals")


@pytest.fixture(scope="module")
def file(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "joint.safetensors"
    save_network(path, model, NYU)
    return path


@pytest.fixture(scope="module")
def predictor(file: Path) -> Predictor:
    return Predictor(PredictorConfig(model=str(file), device="cpu", runtime="torch"))


def image(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Smooth colours with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    waves = np.stack([np.sin(y / 17 + k) * np.cos(x / 23 - k) for k in range(3)], axis=-1)
    return np.clip(127 + 90 * waves + rng.normal(0, 20, waves.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(240, 320), (97, 130), (131, 450), (32, 33)])
def test_labels_confidence_depth_and_normals_are_those_of_plain_torch(
    predictor: Predictor, model: nn.Module, shape: tuple[int, int]
) -> None:
    rgb = image(shape)
    expected = plain_torch(model, rgb)
    prediction = predictor(rgb)
    assert prediction.labels.shape == shape and prediction.labels.dtype == np.uint8
    ranked = expected.probability.topk(2, dim=0).values
    clear = (ranked[0] - ranked[1] > 1e-4).numpy()
    assert clear.mean() > 0.99 and len(np.unique(prediction.labels)) > 3
    np.testing.assert_array_equal(prediction.labels[clear], expected.labels.numpy()[clear])
    np.testing.assert_allclose(prediction.confidence, ranked[0].numpy(), atol=2e-5)
    scale = float(expected.depth.max())
    np.testing.assert_allclose(prediction.depth, expected.depth.numpy(), atol=2e-5 * scale)
    np.testing.assert_allclose(prediction.normals, expected.normals.numpy(), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(prediction.normals, axis=-1), 1, atol=1e-5)
    assert prediction.depth.dtype == prediction.normals.dtype == np.float32


NO_COMPILER = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")


@pytest.mark.parametrize(
    "runtime", ["torch-eager", pytest.param("torch-compile", marks=NO_COMPILER)]
)
def test_planes_and_compiled_code_say_what_pixels_say(
    predictor: Predictor, file: Path, runtime: str
) -> None:
    other = Predictor(PredictorConfig(model=str(file), device="cpu", runtime=runtime))
    assert (other.runtime, other.precision) == (runtime, "fp32")
    rgb = image((64, 64))
    found, expected = other(rgb), predictor(rgb)
    assert (found.labels == expected.labels).mean() > 0.999
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=2e-5)
    scale = float(expected.depth.max())
    np.testing.assert_allclose(found.depth, expected.depth, atol=2e-5 * scale)
    np.testing.assert_allclose(found.normals, expected.normals, atol=1e-3)


COMPILE = """
import sys
import numpy as np
from mtl_perception.models import ModelUnsupported
from mtl_perception.predictor import Predictor, PredictorConfig

try:
    Predictor(PredictorConfig(sys.argv[1], "cpu", runtime="torch-compile")).warm_up((64, 64))
except ModelUnsupported as error:
    print(error)
"""


def test_without_a_compiler_the_error_names_the_file(file: Path, tmp_path: Path) -> None:
    environment = {"CXX": "/no/such/compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(file)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{file}: torch cannot compile it: " in done.stdout


@pytest.mark.parametrize(
    "preset", ["pad-net-nyud-alexnet", "pad-net-nyud-hrnet18", "mti-net-nyud-hrnet18-auxiliary"]
)
def test_the_other_joint_networks_come_through_the_same_door(preset: str, tmp_path: Path) -> None:
    model, rgb = lively_network(preset), image((67, 90))
    save_network(tmp_path / "net.safetensors", model, NYU)
    prediction = Predictor(
        PredictorConfig(model=str(tmp_path / "net.safetensors"), device="cpu", runtime="torch")
    )(rgb)
    expected = plain_torch(model, rgb)
    assert (prediction.labels == expected.labels.numpy()).mean() > 0.995
    scale = float(expected.depth.max())
    np.testing.assert_allclose(prediction.depth, expected.depth.numpy(), atol=1e-4 * scale)


def test_bf16_is_close_to_fp32(file: Path) -> None:
    rgb = image((240, 320))
    single = TorchNetwork(file, "cpu", "fp32", 1)(rgb).scores.values
    half = TorchNetwork(file, "cpu", "bf16", 1)(rgb).scores.values
    assert half.dtype == np.float32
    assert 1e-5 < np.abs(half - single).max() / np.abs(single).max() < 0.05


def test_the_file_says_what_its_classes_are(predictor: Predictor, file: Path) -> None:
    assert predictor.label_set == NYU and predictor.gives_depth
    coarse = Predictor(
        PredictorConfig(model=str(file), device="cpu", runtime="torch", label_set="nyu13")
    )
    assert coarse.label_set == LABEL_SETS["nyu13"]
    assert coarse(image((64, 64))).labels.max() < 13


def test_of_two_data_sets_one_decides(tmp_path: Path) -> None:
    """All 46 channels are scored; the label is the best of the chosen set's."""
    model, file = lively_network("nekrasov-nyud-kitti"), tmp_path / "both.safetensors"
    save_network(file, model, NYU, LABEL_SETS["kitti6"])
    rgb = image((64, 96))
    scores = plain_torch(model, rgb).scores
    for name, channels in (("nyu40", scores[:40]), ("kitti6", scores[40:])):
        predictor = Predictor(
            PredictorConfig(model=str(file), device="cpu", runtime="torch", label_set=name)
        )
        prediction = predictor(rgb)
        wanted = np.array([c.id for c in LABEL_SETS[name].classes])[channels.argmax(dim=0).numpy()]
        assert (prediction.labels == wanted).mean() > 0.999
        best = F.softmax(channels, dim=0).max(dim=0).values
        np.testing.assert_allclose(prediction.confidence, best.numpy(), atol=2e-5)
    with pytest.raises(InvalidInput, match="knows nyu40 and kitti6: say with label_set"):
        Predictor(PredictorConfig(model=str(file), device="cpu", runtime="torch"))


def test_a_label_set_of_another_size_is_refused(model: nn.Module, tmp_path: Path) -> None:
    save_network(tmp_path / "net.safetensors", model, LABEL_SETS["nyu13"])
    with pytest.raises(ModelUnsupported, match="40 classes, but label set 'nyu13' has 13"):
        Predictor(
            PredictorConfig(model=str(tmp_path / "net.safetensors"), device="cpu", runtime="torch")
        )


def test_a_network_without_classes_is_refused(tmp_path: Path) -> None:
    model = lively_network("nekrasov-nyud", tasks=("depth",))
    save_network(tmp_path / "net.safetensors", model)
    with pytest.raises(ModelUnsupported, match="no class scores.*depth"):
        TorchNetwork(tmp_path / "net.safetensors", "cpu", "auto", 1)


@pytest.mark.parametrize("shape", [(31, 640), (480, 8), (4096, MAX_PIXELS // 4096 + 1)])
def test_an_image_too_small_or_too_large_is_named(
    predictor: Predictor, shape: tuple[int, int]
) -> None:
    with pytest.raises(InvalidInput, match=f"{shape[1]}x{shape[0]} image"):
        predictor(np.zeros((*shape, 3), np.uint8))


def test_a_view_of_an_image_is_read_as_it_looks(predictor: Predictor) -> None:
    rgb = image((64, 96))
    mirrored = predictor(rgb[:, ::-1]).labels
    np.testing.assert_array_equal(mirrored, predictor(rgb[:, ::-1].copy()).labels)


@pytest.mark.parametrize("device", ["tpu", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(file: Path, device: str) -> None:
    with pytest.raises(ModelUnsupported, match=f"'{device}'"):
        TorchNetwork(file, device, "auto", 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_asked_for_where_there_is_none_is_an_error(file: Path) -> None:
    with pytest.raises(ModelUnsupported, match="sees 0 CUDA devices"):
        TorchNetwork(file, "cuda", "auto", 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-3), ("bf16", 0.05)])
def test_cuda_says_what_the_cpu_says(file: Path, precision: str, tolerance: float) -> None:
    rgb = image((240, 320))
    expected = TorchNetwork(file, "cpu", "fp32", 1)(rgb).scores.values
    found = TorchNetwork(file, "cuda", precision, 1)(rgb).scores.values
    assert np.abs(found - expected).max() / np.abs(expected).max() < tolerance


def test_an_unknown_precision_is_refused(file: Path) -> None:
    with pytest.raises(ModelUnsupported, match="'int8': torch has auto, fp32, bf16"):
        TorchNetwork(file, "cpu", "int8", 1)


@pytest.mark.parametrize(("shape", "height"), [((240, 320), 120), ((97, 130), 64), ((60, 80), 96)])
def test_at_another_height_the_maps_are_those_of_the_resized_image_brought_back(
    file: Path, model: nn.Module, shape: tuple[int, int], height: int
) -> None:
    rgb = image(shape)
    width = round(shape[1] * height / shape[0])
    how = cv2.INTER_AREA if height < shape[0] else cv2.INTER_LINEAR
    small = cv2.resize(rgb, (width, height), interpolation=how)
    expected = plain_torch(model, small, size=shape)
    config = PredictorConfig(model=str(file), device="cpu", runtime="torch", input_height=height)
    prediction = Predictor(config)(rgb)
    ranked = expected.probability.topk(2, dim=0).values
    clear = (ranked[0] - ranked[1] > 1e-4).numpy()
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(prediction.labels[clear], expected.labels.numpy()[clear])
    np.testing.assert_allclose(prediction.confidence, ranked[0].numpy(), atol=2e-5)
    scale = float(expected.depth.max())
    np.testing.assert_allclose(prediction.depth, expected.depth.numpy(), atol=2e-5 * scale)
    assert prediction.normals.shape == (*shape, 3)


def test_depth_of_a_canonical_camera_is_scaled_to_the_camera_at_hand(
    model: nn.Module, tmp_path: Path
) -> None:
    """Half the image's pixels halve its focal length, as another lens would."""
    path, rgb = tmp_path / "net.safetensors", image((96, 128))
    save_network(path, model, NYU, focal_px=585.0, input_height=48)
    stored = Predictor(PredictorConfig(model=str(path), device="cpu", runtime="torch"))
    as_it_is = plain_torch(
        model, cv2.resize(rgb, (64, 48), interpolation=cv2.INTER_AREA), size=(96, 128)
    ).depth.numpy()
    for focal_px, scale in ((585.0, 0.5), (None, 0.5), (292.5, 0.25), (1170.0, 1.0)):
        depth = stored(rgb, focal_px).depth
        np.testing.assert_allclose(depth, as_it_is * scale, atol=2e-5 * as_it_is.max())


def test_depth_of_an_unknown_camera_is_used_as_it_is(predictor: Predictor) -> None:
    rgb = image((64, 96))
    np.testing.assert_array_equal(predictor(rgb, 100.0).depth, predictor(rgb).depth)


@pytest.mark.parametrize("focal_px", [0.0, -585.0, np.nan, np.inf])
def test_a_focal_length_that_no_camera_has_is_named(predictor: Predictor, focal_px: float) -> None:
    with pytest.raises(InvalidInput, match=f"focal_px {focal_px}"):
        predictor(image((64, 96)), focal_px)


def test_the_temperature_of_the_file_and_of_the_user_multiply(
    model: nn.Module, tmp_path: Path
) -> None:
    path, rgb = tmp_path / "net.safetensors", image((64, 96))
    save_network(path, model, NYU, temperature=4.0)
    config = PredictorConfig(model=str(path), device="cpu", runtime="torch", temperature=0.5)
    expected = F.softmax(plain_torch(model, rgb).scores / 2, dim=0).max(dim=0).values
    confidence = Predictor(config)(rgb).confidence
    np.testing.assert_allclose(confidence, expected.numpy(), atol=2e-5)


def test_an_image_that_would_be_too_wide_at_the_height_wanted_is_named(file: Path) -> None:
    config = PredictorConfig(model=str(file), device="cpu", runtime="torch", input_height=480)
    with pytest.raises(InvalidInput, match="2000x40 image would be 24000x480"):
        Predictor(config)(np.zeros((40, 2000, 3), np.uint8))
