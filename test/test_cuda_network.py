# SPDX-License-Identifier: Apache-2.0
"""What the CUDA runtime does on the device is what the CPU does; without a GPU, on CPU tensors."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")
pytest.importorskip("safetensors", reason="needs safetensors: see docs/installation.md")

from joint_networks import lively_network, plain_torch  # noqa: E402
from torch import nn  # noqa: E402

from mtl_perception.conventions import UNLABELLED, InvalidInput  # noqa: E402
from mtl_perception.inference import cuda_reader  # noqa: E402
from mtl_perception.inference.cuda_network import CudaNetwork, fold_batch_norm  # noqa: E402
from mtl_perception.inference.cuda_reader import CudaReader  # noqa: E402
from mtl_perception.inference.dense_outputs import to_output  # noqa: E402
from mtl_perception.inference.post_processing import PostProcessor  # noqa: E402
from mtl_perception.inference.scores import Decision  # noqa: E402
from mtl_perception.inference.tensor_maps import TensorPostProcessor  # noqa: E402
from mtl_perception.labels import LABEL_SETS  # noqa: E402
from mtl_perception.models import ModelUnsupported  # noqa: E402
from mtl_perception.networks.checkpoint import save_network  # noqa: E402
from mtl_perception.prediction import Prediction  # noqa: E402
from mtl_perception.predictor import Predictor, PredictorConfig  # noqa: E402

NYU = LABEL_SETS["nyu40"]
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=NO_GPU)]


@pytest.fixture(autouse=True, scope="module")
def exact_single_precision() -> Iterator[None]:
    """No TF32, which keeps 10 bits of what fp32 multiplies."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return lively_network("nekrasov-nyud-normals")


@pytest.fixture(scope="module")
def file(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "joint.safetensors"
    save_network(path, model, NYU, focal_px=585.0, temperature=2.0)
    return path


def image(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def assert_same(found: Prediction, expected: Prediction, clear: np.ndarray) -> None:
    """Within rounding; labels where ``clear`` says that no other is as good."""
    assert clear.mean() > 0.99
    for name in ("labels", "confidence", "depth", "normals"):
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == b.dtype and a.shape == b.shape and a.flags.c_contiguous
    np.testing.assert_array_equal(found.labels[clear], expected.labels[clear])
    np.testing.assert_allclose(found.confidence[clear], expected.confidence[clear], atol=5e-5)
    np.testing.assert_allclose(found.depth, expected.depth, atol=2e-5 * expected.depth.max())
    np.testing.assert_allclose(found.normals, expected.normals, atol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((120, 160), {}),
        ((97, 130), {"input_height": 64}),
        ((64, 96), {"label_set": "nyu13"}),  # classes merge
        ((64, 96), {"confidence_threshold": 0.2}),
    ],
)
def test_predictions_are_those_of_the_cpu(
    file: Path, model: nn.Module, device: str, shape: tuple[int, int], options: dict
) -> None:
    ours = Predictor(PredictorConfig(str(file), device, "fp32", runtime="cuda", **options))
    theirs = Predictor(PredictorConfig(str(file), "cpu", "fp32", runtime="torch", **options))
    rgb = image(shape)
    found, expected = ours(rgb, 300.0), theirs(rgb, 300.0)
    # Near the threshold, and where two classes are as likely, rounding decides.
    even = Predictor(
        PredictorConfig(
            str(file),
            "cpu",
            "fp32",
            runtime="torch",
            **{name: value for name, value in options.items() if name != "confidence_threshold"},
        )
    )(rgb).confidence
    clear = np.abs(even - options.get("confidence_threshold", -1)) > 1e-4
    if "label_set" not in options and "input_height" not in options:
        best = plain_torch(model, rgb).scores.topk(2, dim=0).values
        clear &= (best[0] - best[1] > 1e-3).numpy()
    else:
        clear &= found.labels == expected.labels
    assert_same(found, expected, clear)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("merged", [False, True])
def test_tensors_are_read_as_arrays_are(device: str, merged: bool) -> None:
    """Same maps, odd sizes, channels cut out, some not wanted, low confidence unlabelled."""
    rng = np.random.default_rng(3)
    shape, grid = (97, 130), (25, 33)
    maps = {
        "labels": rng.normal(0, 3, (50, *grid)),
        "depth": rng.normal(1, 2, (1, *grid)),
        "normals": rng.normal(0, 1, (3, *grid)),
    }
    maps = {task: values.astype(np.float32) for task, values in maps.items()}
    maps["depth"][0, 3, 4], maps["normals"][:, 9, 9] = np.inf, np.nan
    labels = np.arange(40, dtype=np.uint8)
    labels[7] = UNLABELLED
    if merged:
        labels[20:30] = 3
    decision = Decision(labels, slice(5, 45), temperature=1.5, confidence_threshold=0.3)
    on_device = {task: torch.from_numpy(v)[None].to(device) for task, v in maps.items()}
    process = TensorPostProcessor(decision).to(device)
    found = process(on_device, shape, torch.tensor(0.7, device=device))
    assert found.pop("finite")
    cut = {**maps, "labels": maps["labels"][decision.channels]}
    expected = PostProcessor(decision)(to_output(cut, shape), shape, 0.7)
    found = Prediction(**{name: tensor.cpu().numpy() for name, tensor in found.items()})
    differs = found.labels != expected.labels
    assert differs.mean() < 1e-3 and 0.01 < (expected.labels == UNLABELLED).mean() < 0.9
    assert_same(found, expected, ~differs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_close_to_single(file: Path, device: str, precision: str) -> None:
    rgb = image((64, 96))
    single = CudaNetwork(file, device, "fp32", 1)(rgb).scores.values
    half = CudaNetwork(file, device, precision, 1)(rgb).scores.values
    assert half.dtype == np.float32
    assert 1e-5 < np.abs(half - single).max() / np.abs(single).max() < 0.05


@pytest.mark.parametrize(
    "preset", ["nekrasov-nyud", "pad-net-nyud-hrnet18", "mti-net-nyud-hrnet18-auxiliary"]
)
def test_folded_batch_norm_changes_nothing_but_rounding(preset: str) -> None:
    model = lively_network(preset)
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = model(x)
        norms = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
        fold_batch_norm(model)
        after = model(x)
    left = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert left == 0 if preset == "nekrasov-nyud" else left < norms
    for task, values in before.items():
        torch.testing.assert_close(after[task], values, rtol=0, atol=1e-4 * values.abs().max())


@pytest.mark.parametrize("device", DEVICES)
def test_predictions_stay_as_they_were_when_the_next_image_comes(file: Path, device: str) -> None:
    read = Predictor(PredictorConfig(str(file), device, "fp32", runtime="cuda"))
    first, other = image((64, 96), 1), image((64, 96), 2)
    prediction = read(first)
    kept = prediction.labels.copy(), prediction.depth.copy()
    read(other)
    np.testing.assert_array_equal(prediction.labels, kept[0])
    np.testing.assert_array_equal(prediction.depth, kept[1])
    np.testing.assert_array_equal(read(first).labels, kept[0])


@pytest.mark.parametrize("device", DEVICES)
def test_sizes_come_and_go(file: Path, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_reader, "GRAPHS", 2)
    read = Predictor(PredictorConfig(str(file), device, "fp32", runtime="cuda"))
    shapes = [(64, 96), (65, 97), (96, 64), (64, 96), (65, 97)]
    first = {}
    for shape in shapes:
        labels = read(image(shape)).labels
        assert labels.shape == shape
        np.testing.assert_array_equal(labels, first.setdefault(shape, labels))


@pytest.mark.parametrize("device", DEVICES)
def test_threads_take_turns(file: Path, device: str) -> None:
    read = Predictor(PredictorConfig(str(file), device, "fp32", runtime="cuda"))
    images = [image((64, 96), seed) for seed in range(4)]
    expected = [read(rgb).labels for rgb in images]
    found: dict[int, np.ndarray] = {}

    def run(i: int) -> None:
        found[i] = read(images[i]).labels

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, labels in enumerate(expected):
        np.testing.assert_array_equal(found[i], labels)


@pytest.mark.parametrize("device", DEVICES)
def test_the_time_on_the_device_is_measured(file: Path, device: str) -> None:
    network = CudaNetwork(file, device, "auto", 1)
    reader = network.reader(Decision(np.arange(40, dtype=np.uint8)))
    assert isinstance(reader, CudaReader) and reader.device_ms == 0
    reader(image((64, 96))[:, ::-1], (64, 96), 1.0)
    assert 0 < reader.device_ms < 60_000


def test_scores_that_are_not_finite_are_an_error(model: nn.Module, tmp_path: Path) -> None:
    def broken(images: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = torch.zeros((1, 4, 16, 24))
        scores[0, 2, 3, 4] = torch.nan
        return {"labels": scores}

    decision = Decision(np.arange(4, dtype=np.uint8))
    reader = CudaReader(broken, decision, torch.device("cpu"), torch.float32)
    with pytest.raises(ModelUnsupported, match="not finite"):
        reader(image((64, 96)), (64, 96), 1.0)


def test_an_image_too_small_is_named(file: Path) -> None:
    with pytest.raises(InvalidInput, match="640x31 image"):
        Predictor(PredictorConfig(str(file), "cpu", runtime="cuda"))(image((31, 640)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:1"])
def test_a_cuda_device_that_is_not_there_is_an_error(file: Path, device: str) -> None:
    with pytest.raises(ModelUnsupported, match="sees 0 CUDA devices"):
        CudaNetwork(file, device, "auto", 1)


def test_an_unknown_precision_is_refused(file: Path) -> None:
    with pytest.raises(ModelUnsupported, match="'int8': CUDA has auto, fp32, bf16, fp16"):
        CudaNetwork(file, "cpu", "int8", 1)
