# SPDX-License-Identifier: Apache-2.0
"""An exported network run by ONNX Runtime says what plain torch says of the same image."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")
onnx = pytest.importorskip("onnx", reason="needs onnx: see docs/installation.md")
pytest.importorskip("onnxscript", reason="needs onnxscript: see docs/installation.md")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: see docs/installation.md")

from joint_networks import lively_network, plain_torch  # noqa: E402
from torch import nn  # noqa: E402

from mtl_perception.inference.onnx_network import OnnxNetwork  # noqa: E402
from mtl_perception.labels import LABEL_SETS  # noqa: E402
from mtl_perception.models import ModelCorrupt, ModelUnsupported  # noqa: E402
from mtl_perception.networks.checkpoint_metadata import NetworkMetadata  # noqa: E402
from mtl_perception.networks.export import export_onnx  # noqa: E402
from mtl_perception.predictor import Predictor, PredictorConfig  # noqa: E402

NYU = LABEL_SETS["nyu40"]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return lively_network("nekrasov-nyud-normals")


@pytest.fixture(scope="module")
def file(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "joint.onnx"
    export_onnx(path, model, NYU)
    return path


@pytest.fixture(scope="module")
def predictor(file: Path) -> Predictor:
    return Predictor(PredictorConfig(model=str(file), device="cpu", runtime="onnx"))


@pytest.mark.parametrize("shape", [(240, 320), (97, 130), (131, 450), (32, 33)])
def test_one_file_answers_images_of_every_size_as_torch_does(
    predictor: Predictor, model: nn.Module, shape: tuple[int, int]
) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    expected = plain_torch(model, rgb)
    prediction = predictor(rgb)
    ranked = expected.probability.topk(2, dim=0).values
    clear = (ranked[0] - ranked[1] > 1e-4).numpy()
    assert clear.mean() > 0.99 and len(np.unique(prediction.labels)) > 3
    np.testing.assert_array_equal(prediction.labels[clear], expected.labels.numpy()[clear])
    np.testing.assert_allclose(prediction.confidence, ranked[0].numpy(), atol=2e-5)
    scale = float(expected.depth.max())
    np.testing.assert_allclose(prediction.depth, expected.depth.numpy(), atol=2e-5 * scale)
    np.testing.assert_allclose(prediction.normals, expected.normals.numpy(), atol=1e-3)


def test_the_scores_are_those_of_torch_within_rounding(file: Path, model: nn.Module) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (96, 128, 3), np.uint8)
    found = OnnxNetwork(file, "cpu", "fp32", 1)(rgb).scores.values
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (torch.from_numpy(rgb).float() / 255 - mean) / std
    with torch.no_grad():
        scores = model(x.permute(2, 0, 1)[None].contiguous())["labels"][0].permute(1, 2, 0).numpy()
    assert np.abs(found - scores).max() < 1e-5 * np.abs(scores).max()


def test_the_file_says_what_it_is(predictor: Predictor, file: Path, model: nn.Module) -> None:
    assert predictor.label_set == NYU and predictor.gives_depth
    proto = onnx.load(file)
    strings = {entry.key: entry.value for entry in proto.metadata_props}
    metadata = NetworkMetadata.from_strings(strings)
    assert metadata.label_sets == (NYU,) and metadata.config["method"] == "nekrasov"
    assert [output.name for output in proto.graph.output] == list(model.tasks)
    kinds = {node.op_type for node in proto.graph.node}
    assert "BatchNormalization" not in kinds


def test_running_an_exported_network_needs_no_torch(file: Path) -> None:
    script = f"""
import sys
from mtl_perception.predictor import Predictor, PredictorConfig
predictor = Predictor(PredictorConfig(model={str(file)!r}, device="cpu", runtime="onnx"))
predictor.warm_up((64, 64))
assert "torch" not in sys.modules
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("content", [b"", b"a page of text, not a network", b"\x08\x0a" * 40])
def test_a_file_that_is_not_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(ModelCorrupt, match=r"net\.onnx"):
        OnnxNetwork(tmp_path / "net.onnx", "cpu", "auto", 1)


def test_a_truncated_network_is_refused(file: Path, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(file.read_bytes()[:-100_000])
    with pytest.raises(ModelCorrupt, match=r"net\.onnx"):
        OnnxNetwork(tmp_path / "net.onnx", "cpu", "auto", 1)


def save_foreign(file: Path, path: Path, **properties: str) -> None:
    """Write the network with other metadata."""
    proto = onnx.load(file)
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, properties)
    onnx.save(proto, path)


def test_a_network_that_is_not_ours_is_refused(file: Path, tmp_path: Path) -> None:
    save_foreign(file, tmp_path / "net.onnx", author="someone")
    with pytest.raises(ModelUnsupported, match="format None, not 'dense_semantic_slam.network'"):
        OnnxNetwork(tmp_path / "net.onnx", "cpu", "auto", 1)


def save_graph(path: Path, image: list, scores: list, *nodes: object, **constants: list) -> None:
    """Write a graph from ``images`` to ``labels``, with the metadata of ours."""
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, inputs, outputs) for kind, inputs, outputs in nodes],
        "tiny",
        [info("images", onnx.TensorProto.FLOAT, image)],
        [info("labels", onnx.TensorProto.FLOAT, scores)],
        [onnx.numpy_helper.from_array(np.array(v), name) for name, v in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 18)]
    proto = onnx.helper.make_model(graph, ir_version=9, opset_imports=opsets)
    onnx.helper.set_model_props(proto, NetworkMetadata({}, (NYU,)).to_strings())
    onnx.save(proto, path)


def test_a_network_with_another_input_is_refused(tmp_path: Path) -> None:
    save_graph(tmp_path / "net.onnx", [1, 4], [1, 4], ("Relu", ["images"], ["labels"]))
    with pytest.raises(ModelUnsupported, match=r"inputs .*\[1, 4\].* want images \(1, 3, H, W\)"):
        OnnxNetwork(tmp_path / "net.onnx", "cpu", "auto", 1)


def test_a_graph_that_cannot_run_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    reshape = ("Reshape", ["images", "size"], ["labels"])
    size = [1, 40, 2, 2]
    save_graph(tmp_path / "net.onnx", [1, 3, "height", "width"], size, reshape, size=size)
    with pytest.raises(ModelUnsupported, match=r"net\.onnx: fails on \(1, 3, 64, 64\)"):
        OnnxNetwork(tmp_path / "net.onnx", "cpu", "auto", 1)


def test_weights_in_another_file_are_not_read(file: Path, tmp_path: Path) -> None:
    proto = onnx.load(file)
    onnx.save(proto, tmp_path / "net.onnx", save_as_external_data=True, location="weights.bin")
    with pytest.raises(ModelCorrupt, match=r"net\.onnx"):
        OnnxNetwork(tmp_path / "net.onnx", "cpu", "auto", 1)


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [("tpu", "auto", "device 'tpu'; ONNX Runtime has .*CPU"), ("cpu", "bf16", "precision 'bf16'")],
)
def test_what_the_runtime_lacks_is_named(
    file: Path, device: str, precision: str, message: str
) -> None:
    with pytest.raises(ModelUnsupported, match=message):
        OnnxNetwork(file, device, precision, 1)
