# SPDX-License-Identifier: Apache-2.0
"""The graph that is made of stored weights computes what torch computes of them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")
onnx = pytest.importorskip("onnx", reason="needs onnx: see docs/installation.md")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
pytest.importorskip("safetensors", reason="needs safetensors: see docs/installation.md")

from joint_networks import lively_network  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402
from torch import nn  # noqa: E402

from mtl_perception.labels import LABEL_SETS  # noqa: E402
from mtl_perception.models import ModelCorrupt, ModelMissing, ModelUnsupported  # noqa: E402
from mtl_perception.networks.checkpoint import load_network, save_network  # noqa: E402
from mtl_perception.networks.checkpoint_metadata import NetworkMetadata  # noqa: E402
from mtl_perception.networks.nekrasov_graph import nekrasov_graph, stored_shapes  # noqa: E402
from mtl_perception.networks.presets import build  # noqa: E402
from mtl_perception.networks.weights_file import read_metadata, read_weights_file  # noqa: E402

NYU, KITTI = LABEL_SETS["nyu40"], LABEL_SETS["kitti6"]

PRESETS = {
    "nekrasov-nyud": (NYU,),
    "nekrasov-kitti": (KITTI,),
    "nekrasov-nyud-normals": (NYU,),
    "nekrasov-nyud-kitti": (NYU, KITTI),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small images gain nothing from more, and threads that wait for each other take turns."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stored(
    folder: Path, preset: str = "nekrasov-nyud", **changes: object
) -> tuple[Path, nn.Module]:
    model = lively_network(preset, **changes)
    save_network(folder / "net.safetensors", model, *PRESETS[preset])
    return folder / "net.safetensors", model


def worst(proto: "onnx.ModelProto", model: nn.Module, shape: tuple[int, int]) -> float:
    """Greatest difference to torch on one image, relative to the greatest value of the task."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    x = np.random.default_rng(3).normal(size=(1, 3, *shape)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(x))
    names = [output.name for output in session.get_outputs()]
    assert names == list(model.tasks)
    found = dict(zip(names, session.run(names, {"images": x}), strict=True))
    return max(
        float(np.abs(found[task] - values.numpy()).max() / values.abs().max())
        for task, values in expected.items()
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_computes_what_torch_does_at_even_and_odd_sizes(
    preset: str, tmp_path: Path
) -> None:
    path, model = stored(tmp_path, preset)
    proto = nekrasov_graph(path)
    for shape in ((64, 96), (97, 130), (32, 33)):
        assert worst(proto, model, shape) < 1e-5, shape


@pytest.mark.parametrize(
    "changes",
    [
        {"align_corners": True},
        {"legacy_expand_t1": False},
        {"grouped_crp1": False, "pre_heads": False},
        {"separable_pool": True},
        {"tasks": ("depth", "labels")},
    ],
    ids=str,
)
def test_every_field_of_the_configuration_counts(changes: dict, tmp_path: Path) -> None:
    path, model = stored(tmp_path, **changes)
    assert worst(nekrasov_graph(path), model, (69, 101)) < 1e-5


@pytest.mark.parametrize("preset", PRESETS)
def test_it_knows_every_stored_weight_by_name_and_shape(preset: str) -> None:
    model = build(preset)
    state = {n: tuple(t.shape) for n, t in model.state_dict().items() if "num_batches" not in n}
    assert stored_shapes(model.config) == state


def test_it_is_the_graph_that_torch_exports_in_other_operators(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs onnxscript: see docs/installation.md")
    from mtl_perception.networks.export import traced_onnx

    path, model = stored(tmp_path, "nekrasov-nyud-normals")
    ours, exported = nekrasov_graph(path), traced_onnx(model, read_metadata(path))
    x = np.random.default_rng(4).normal(size=(1, 3, 70, 99)).astype(np.float32)
    answers = [
        onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"images": x})
        for proto in (ours, exported)
    ]
    for a, b in zip(*answers, strict=True):
        assert np.abs(a - b).max() < 1e-5 * np.abs(b).max()
    assert {p.key: p.value for p in ours.metadata_props} == {
        p.key: p.value for p in exported.metadata_props
    }
    kinds = {node.op_type for node in ours.graph.node}
    assert "BatchNormalization" not in kinds


def test_what_the_file_says_of_itself_travels_along(tmp_path: Path) -> None:
    model = lively_network()
    path = tmp_path / "net.safetensors"
    save_network(path, model, NYU, focal_px=585.0, temperature=1.5, input_height=240)
    strings = {p.key: p.value for p in nekrasov_graph(path).metadata_props}
    metadata = NetworkMetadata.from_strings(strings)
    assert metadata == read_metadata(path)
    assert (metadata.focal_px, metadata.temperature, metadata.input_height) == (585.0, 1.5, 240)


def test_a_half_file_is_computed_as_torch_loads_it(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_network(path, lively_network(), NYU, half=True)
    assert worst(nekrasov_graph(path), load_network(path).model, (64, 65)) < 1e-5


def test_neither_reading_nor_building_needs_torch(tmp_path: Path) -> None:
    path, _ = stored(tmp_path)
    script = f"""
import sys
sys.modules["torch"] = None  # whoever imports it fails
from pathlib import Path
from mtl_perception.networks.nekrasov_graph import nekrasov_graph
assert nekrasov_graph(Path({str(path)!r})).graph.node
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("conv3.weight"), r"missing: conv3\.weight"),
        (lambda t: t.update({"conv9.weight": t["conv3.weight"]}), r"not in the network: conv9"),
        (
            lambda t: t.update({"segm.bias": t["segm.bias"][:7]}),
            r"wrong shape: segm\.bias \(7,\), want \(40,\)",
        ),
        (lambda t: t["conv3.weight"].fill(np.nan), r"not finite: conv3\.weight"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, message: str, tmp_path: Path) -> None:
    path, _ = stored(tmp_path)
    file = read_weights_file(path)
    tensors = dict(file.tensors)
    change(tensors)
    save_file(tensors, path, file.metadata.to_strings())
    with pytest.raises(ModelUnsupported, match=message):
        nekrasov_graph(path)


def test_counters_that_old_files_lack_are_not_missed(tmp_path: Path) -> None:
    path, model = stored(tmp_path)
    file = read_weights_file(path)
    tensors = {n: t for n, t in file.tensors.items() if not n.endswith("num_batches_tracked")}
    save_file(tensors, path, file.metadata.to_strings())
    assert worst(nekrasov_graph(path), model, (64, 64)) < 1e-5


def test_a_network_of_another_method_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_network(path, lively_network("pad-net-nyud-alexnet"), NYU)
    with pytest.raises(ModelUnsupported, match="method 'pad-net'"):
        nekrasov_graph(path)


def test_files_that_are_damaged_foreign_or_absent_are_refused(tmp_path: Path) -> None:
    path, _ = stored(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:-1000])
    with pytest.raises(ModelCorrupt, match=r"net\.safetensors"):
        nekrasov_graph(path)
    path.write_bytes(b"a page of text, not a network")
    with pytest.raises(ModelCorrupt, match=r"net\.safetensors"):
        nekrasov_graph(path)
    save_file({"x": np.zeros(3, np.float32)}, path, {"author": "someone"})
    with pytest.raises(ModelUnsupported, match="format None"):
        nekrasov_graph(path)
    with pytest.raises(ModelMissing, match="no.safetensors: cannot be read"):
        nekrasov_graph(tmp_path / "no.safetensors")
