# SPDX-License-Identifier: Apache-2.0
"""A joint network run by OpenVINO says what plain torch says of the same image."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")
onnx = pytest.importorskip("onnx", reason="needs onnx: see docs/installation.md")
pytest.importorskip("openvino", reason="needs openvino: see docs/installation.md")

from joint_networks import lively_network, plain_torch  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402
from torch import nn  # noqa: E402

from mtl_perception.inference import openvino_network  # noqa: E402
from mtl_perception.inference.openvino_network import OpenVinoNetwork, has_bf16  # noqa: E402
from mtl_perception.labels import LABEL_SETS  # noqa: E402
from mtl_perception.models import ModelCorrupt, ModelUnsupported  # noqa: E402
from mtl_perception.networks.checkpoint import save_network  # noqa: E402
from mtl_perception.networks.graph_builder import EXACT_UNTIL  # noqa: E402
from mtl_perception.networks.nekrasov_graph import nekrasov_graph  # noqa: E402
from mtl_perception.networks.weights_file import read_weights_file  # noqa: E402
from mtl_perception.predictor import Predictor, PredictorConfig  # noqa: E402

NYU = LABEL_SETS["nyu40"]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small images gain nothing from more, and threads that wait for each other take turns."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
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


def image(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def torch_scores(model: nn.Module, rgb: np.ndarray) -> np.ndarray:
    """Class scores (h, w, C) by torch alone."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (torch.from_numpy(rgb).float() / 255 - mean) / std
    with torch.no_grad():
        return model(x.permute(2, 0, 1)[None].contiguous())["labels"][0].permute(1, 2, 0).numpy()


def test_one_network_answers_images_of_every_size_as_torch_does(
    file: Path, model: nn.Module
) -> None:
    network = OpenVinoNetwork(file, "cpu", "fp32", 1)
    for shape in ((96, 128), (97, 130), (32, 33), (96, 128)):
        rgb = image(shape)
        scores = torch_scores(model, rgb)
        found = network(rgb).scores.values
        assert found.shape == scores.shape
        assert np.abs(found - scores).max() < 1e-4 * np.abs(scores).max(), shape


def test_the_predictor_gives_labels_depth_and_normals_of_it(file: Path, model: nn.Module) -> None:
    rgb = image((97, 130))
    config = PredictorConfig(model=str(file), device="cpu", precision="fp32", runtime="openvino")
    prediction, expected = Predictor(config)(rgb), plain_torch(model, rgb)
    ranked = expected.probability.topk(2, dim=0).values
    clear = (ranked[0] - ranked[1] > 1e-3).numpy()
    assert clear.mean() > 0.98 and len(np.unique(prediction.labels)) > 3
    np.testing.assert_array_equal(prediction.labels[clear], expected.labels.numpy()[clear])
    scale = float(expected.depth.max())
    np.testing.assert_allclose(prediction.depth, expected.depth.numpy(), atol=1e-4 * scale)
    np.testing.assert_allclose(prediction.normals, expected.normals.numpy(), atol=1e-2)


@pytest.mark.skipif(not has_bf16(), reason="this CPU has no bf16 instructions")
def test_bf16_is_near_fp32_and_what_auto_means(file: Path) -> None:
    """Eight bits of mantissa through 60 layers: 3 % of the greatest score."""
    rgb = image((96, 128))
    exact = OpenVinoNetwork(file, "cpu", "fp32", 1)(rgb).scores.values
    auto = OpenVinoNetwork(file, "auto", "auto", 1)
    assert (auto.precision, auto.device, auto.runtime) == ("bf16", "cpu", "openvino")
    near = auto(rgb).scores.values
    assert 1e-4 < np.abs(near - exact).max() / np.abs(exact).max() < 0.03
    assert (near.argmax(axis=-1) == exact.argmax(axis=-1)).mean() > 0.95


def test_a_network_that_does_not_say_what_must_be_exact_is_exact(
    file: Path, tmp_path: Path
) -> None:
    proto = nekrasov_graph(file)
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = ["x" if name == EXACT_UNTIL else name for name in names]
    onnx.save(proto, tmp_path / "net.onnx")
    assert OpenVinoNetwork(tmp_path / "net.onnx", "cpu", "auto", 1).precision == "fp32"


@pytest.mark.skipif(not has_bf16(), reason="this CPU has no bf16 instructions")
def test_the_first_layers_are_computed_in_fp32_all_the_same(file: Path, tmp_path: Path) -> None:
    """Large values of small variance, as trained encoders have them, survive."""
    weights = read_weights_file(file)
    tensors = dict(weights.tensors)
    # What the second layer gives is far from zero, and the next one takes that away again.
    tensors["layer2.0.output.2.1.bias"] = tensors["layer2.0.output.2.1.bias"] + 200
    conv = tensors["layer3.0.output.0.0.weight"]
    tensors["layer3.0.output.0.1.running_mean"] = 200 * conv.sum(axis=(1, 2, 3))
    save_file(tensors, tmp_path / "far.safetensors", weights.metadata.to_strings())
    rgb = image((96, 128))
    exact, near = (
        OpenVinoNetwork(tmp_path / "far.safetensors", "cpu", precision, 1)(rgb).scores.values
        for precision in ("fp32", "bf16")
    )
    assert np.abs(near - exact).max() < 0.05 * np.abs(exact).max()


def test_an_answer_outlives_the_next_run(file: Path) -> None:
    network = OpenVinoNetwork(file, "cpu", "fp32", 1)
    first = network(image((64, 64)))
    kept = first.scores.values.copy(), first.depth.copy()
    network(image((64, 64), seed=1))
    np.testing.assert_array_equal(first.scores.values, kept[0])
    np.testing.assert_array_equal(first.depth, kept[1])


@pytest.mark.parametrize("threads", [1, 2])
def test_it_takes_as_many_threads_as_it_may(file: Path, threads: int) -> None:
    network = OpenVinoNetwork(file, "cpu", "fp32", threads)
    for request in network._requests:
        found = request.get_compiled_model().get_property("INFERENCE_NUM_THREADS")
        assert found == threads


def test_importing_it_calls_nobody() -> None:
    script = """
import socket, sys
def refuse(*_):
    raise SystemExit("a network address was asked for")
socket.getaddrinfo = socket.socket.connect = refuse
import mtl_perception.inference.openvino_network
assert not any(name.startswith("openvino_telemetry.") for name in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("first", ["slam_fusion.output.render", "mtl_perception.synthetic.room"])
def test_open3d_and_openvino_share_the_newer_of_their_two_libraries(
    first: str, tmp_path: Path
) -> None:
    """OneTBB runs what was built with it or an earlier version, and nothing later."""
    pytest.importorskip("open3d", reason="needs open3d: see docs/installation.md")
    script = f"""
import ctypes, importlib.util, pathlib, subprocess, sys
def version(library):
    return ctypes.CDLL(str(library)).TBB_runtime_interface_version()
if len(sys.argv) > 1:
    sys.exit(print(version(sys.argv[1])))
import {first}
import open3d, mtl_perception.inference.openvino_network
loaded = {{line.split()[-1] for line in open("/proc/self/maps") if "libtbb.so" in line}}
assert len(loaded) == 1, loaded
for package in ("open3d", "openvino"):
    folder = pathlib.Path(importlib.util.find_spec(package).origin).parent
    for library in folder.rglob("libtbb.so.12"):
        # In a process of its own: here the name stands for what is loaded already.
        run = [sys.executable, __file__, str(library)]
        other = int(subprocess.run(run, capture_output=True, check=True).stdout)
        assert version(*loaded) >= other, (loaded, library)
"""
    (tmp_path / "script.py").write_text(script)
    run = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_a_graph_that_openvino_does_not_know_is_refused(file: Path, tmp_path: Path) -> None:
    proto = nekrasov_graph(file)
    proto.graph.node[0].op_type = "Convolve"
    onnx.save(proto, tmp_path / "net.onnx")
    with pytest.raises(ModelCorrupt, match=r"net\.onnx: OpenVINO cannot load it"):
        OpenVinoNetwork(tmp_path / "net.onnx", "cpu", "auto", 1)


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [("cuda", "auto", "device 'cuda'"), ("cpu", "int8", "precision 'int8'; OpenVINO has it in")],
)
def test_what_the_runtime_lacks_is_named(
    file: Path, device: str, precision: str, message: str
) -> None:
    with pytest.raises(ModelUnsupported, match=message):
        OpenVinoNetwork(file, device, precision, 1)


def test_a_network_may_be_dropped_in_another_thread_and_signals_still_work():
    script = """
import os, signal, threading
import numpy as np
from mtl_perception.predictor import Predictor, PredictorConfig
signal.signal(signal.SIGINT, lambda *_: print("heard"))
held = [Predictor(PredictorConfig(model="rooms", runtime="openvino"))]
thread = threading.Thread(target=held.clear)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGINT)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout == "heard\n", run.stderr


def test_sizes_come_and_go(file: Path, model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heads are compiled for each size, and kept for few."""
    monkeypatch.setattr(openvino_network, "SIZES", 2)
    network = OpenVinoNetwork(file, "cpu", "fp32", 1)
    for width in (64, 96, 64, 128, 96, 64):
        rgb = image((64, width), seed=width)
        expected = torch_scores(model, rgb)
        found = network(rgb).scores.values
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
        assert len(network._heads) <= 2
