# SPDX-License-Identifier: Apache-2.0
"""Each file is run by the best runtime that is installed, and it is said which and why."""

import logging
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mtl_perception.inference import runtimes
from mtl_perception.inference.runtimes import best_runtime, cuda_devices, open_network
from mtl_perception.models import ModelUnsupported, find_model


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch):
    """Let only some modules look installed, on a machine without CUDA devices."""

    def only(*modules: str) -> None:
        monkeypatch.setattr(runtimes, "find_spec", lambda name: name if name in modules else None)
        monkeypatch.setattr(runtimes, "cuda_devices", lambda: 0)

    return only


@pytest.fixture
def packaged() -> Path:
    """A network that comes with the package."""
    return find_model("rooms")


EVERYTHING = ("openvino", "onnxruntime", "onnx", "safetensors", "torch", "ai_edge_litert")


@pytest.mark.parametrize(
    ("file", "precision", "modules", "runtime"),
    [
        ("net.safetensors", "auto", EVERYTHING, "openvino"),
        ("net.SAFETENSORS", "bf16", EVERYTHING, "openvino"),
        ("net.onnx", "int8", EVERYTHING, "openvino"),
        ("net.safetensors", "auto", EVERYTHING[1:], "onnx"),
        ("net.safetensors", "bf16", EVERYTHING[1:], "torch"),
        ("net.safetensors", "auto", ("torch", "safetensors"), "torch"),
        ("net.onnx", "auto", EVERYTHING[1:], "onnx"),
        ("net.tflite", "auto", EVERYTHING, "litert"),
    ],
)
def test_the_fastest_that_is_installed_and_has_the_precision_is_taken(
    install, file: str, precision: str, modules: tuple[str, ...], runtime: str
) -> None:
    install(*modules)
    assert best_runtime(Path(file), "cpu", precision)[0] == runtime


def test_a_runtime_that_is_not_installed_is_named_with_what_to_type(install) -> None:
    install("onnx", "safetensors")
    with pytest.raises(ModelUnsupported, match=r"needs onnxruntime, not installed.*pip install"):
        open_network(Path("net.onnx"), None, "cpu", "auto", 1)


def test_other_files_other_runtimes_and_absent_devices_are_refused(install) -> None:
    install(*EVERYTHING)
    with pytest.raises(ModelUnsupported, match=r"net\.h5: no runtime for this kind of file"):
        open_network(Path("net.h5"), None, "auto", "auto", 1)
    with pytest.raises(ModelUnsupported, match="runtime 'tvm': want auto or litert, onnx"):
        open_network(Path("net.onnx"), None, "auto", "auto", 1, "tvm")
    install("openvino", "onnx", "safetensors")
    with pytest.raises(ModelUnsupported, match="'cuda': the machine has 0 CUDA devices"):
        open_network(Path("net.onnx"), None, "cuda", "auto", 1)


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has an NVIDIA driver")
def test_a_machine_without_a_driver_has_no_cuda_devices() -> None:
    assert cuda_devices() == 0


def test_onnx_runtime_takes_the_provider_of_the_device() -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")

    from mtl_perception.inference.onnx_network import CPU, CUDA, choose_provider

    known = onnxruntime.get_all_providers()
    assert {CPU, CUDA} <= set(known)  # the names are those of ONNX Runtime
    assert choose_provider("cpu", known) == (CPU, {})
    assert choose_provider("auto", [CPU]) == (CPU, {})
    assert choose_provider("auto", [CUDA, CPU]) == choose_provider("cuda:0", [CUDA, CPU])
    assert choose_provider("cuda:2", known) == (CUDA, {"device_id": 2, "use_tf32": 0})
    with pytest.raises(ModelUnsupported, match="device 'cuda'; ONNX Runtime has CPUExecution"):
        choose_provider("cuda", [CPU])
    for device in ("tpu", "cuda:", "cuda:x", "cuda:-1"):
        with pytest.raises(ModelUnsupported, match=f"device '{device}'"):
            choose_provider(device, known)


def test_tensorrt_is_used_where_it_is_and_asked_for_by_name() -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")

    from mtl_perception.inference.onnx_network import CPU, CUDA
    from mtl_perception.inference.tensorrt_network import TENSORRT, tensorrt_options

    known = onnxruntime.get_all_providers()
    assert TENSORRT in known
    options = tensorrt_options("cuda:1", known)
    assert list(options) == [TENSORRT, CUDA, CPU]
    assert options[TENSORRT]["device_id"] == options[CUDA]["device_id"] == 1
    assert tensorrt_options("auto", known)[TENSORRT]["device_id"] == 0
    with pytest.raises(ModelUnsupported, match="device 'cpu'; TensorRT runs on cuda"):
        tensorrt_options("cpu", known)
    with pytest.raises(ModelUnsupported, match="TensorrtExecutionProvider comes with onnxruntime"):
        tensorrt_options("auto", [CPU, CUDA])


def test_tensorrt_that_is_not_there_is_an_error(packaged: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    if "TensorrtExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("TensorRT is here")
    with pytest.raises(ModelUnsupported, match="runtime 'tensorrt': ONNX Runtime has .*CPU"):
        open_network(packaged, None, "auto", "auto", 1, "tensorrt")


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch: see docs/installation.md")
@pytest.mark.skipif(find_spec("onnxscript") is None, reason="needs onnxscript")
def test_networks_without_a_graph_of_ours_are_exported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from joint_networks import lively_network

    from mtl_perception.labels import LABEL_SETS
    from mtl_perception.networks import export
    from mtl_perception.networks.checkpoint import save_network

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "net.safetensors"
    save_network(path, lively_network("pad-net-nyud-alexnet"), LABEL_SETS["nyu40"])
    rgb = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    with caplog.at_level(logging.INFO, logger=runtimes.__name__):
        by_graph = open_network(path, None, "cpu", "fp32", 1, "onnx")(rgb).scores.values
        by_torch = open_network(path, None, "cpu", "fp32", 1, "torch")(rgb).scores.values
    assert np.abs(by_graph - by_torch).max() < 1e-4 * np.abs(by_torch).max()
    said = [record.getMessage() for record in caplog.records if record.name == runtimes.__name__]
    assert [f"{path}: {name} on cpu in fp32; as asked for" for name in ("onnx", "torch")] == said
    monkeypatch.delattr(export, "to_onnx")  # not needed any more
    again = open_network(path, None, "cpu", "fp32", 1, "onnx")(rgb).scores.values
    np.testing.assert_array_equal(again, by_graph)
