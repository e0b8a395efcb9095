# SPDX-License-Identifier: Apache-2.0
"""Weights under every published naming give the outputs that they gave; anything else is named."""

import json
import logging
import math
import pickle
import struct
import types
import zipfile
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")
pytest.importorskip("safetensors", reason="needs safetensors: see docs/installation.md")

from joint_networks import lively_network  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from mtl_perception.conventions import DenseSlamError, InvalidInput  # noqa: E402
from mtl_perception.labels import LABEL_SETS, LabelClass, LabelSet  # noqa: E402
from mtl_perception.models import ModelCorrupt, ModelMissing, ModelUnsupported  # noqa: E402
from mtl_perception.networks import checkpoint_read  # noqa: E402
from mtl_perception.networks.checkpoint import (  # noqa: E402
    load_network,
    load_weights,
    save_network,
)
from mtl_perception.networks.checkpoint_metadata import NetworkMetadata  # noqa: E402
from mtl_perception.networks.checkpoint_read import read_weights  # noqa: E402
from mtl_perception.networks.convert import read_network, write_network  # noqa: E402
from mtl_perception.networks.presets import build  # noqa: E402

State = dict[str, Tensor]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def source() -> nn.Module:
    """The network whose weights the files hold."""
    return lively_network()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(1, 3, 67, 90, generator=torch.Generator().manual_seed(1))


def outputs(model: nn.Module, images: Tensor) -> State:
    with torch.no_grad():
        return model.eval()(images)


def assert_same_outputs(one: nn.Module, other: nn.Module, images: Tensor) -> None:
    first, second = outputs(one, images), outputs(other, images)
    assert first.keys() == second.keys()
    for task in first:
        assert torch.equal(first[task], second[task]), task


class Python2Pickler(pickle._Pickler):
    """Writes str as Python 2 did: bytes without an encoding."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_str(self, text: str) -> None:
        self.write(b"U" + bytes([len(text)]) + text.encode("ascii"))
        self.memoize(text)

    dispatch[str] = save_str


PYTHON_2 = types.SimpleNamespace(
    __name__="pickle",
    Pickler=Python2Pickler,
    dump=lambda content, file, protocol: Python2Pickler(file, protocol).dump(content),
)


def without_counters(state: State) -> State:
    return {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}


def under_data_parallel(state: State) -> State:
    return {f"module.{name}": tensor for name, tensor in state.items()}


def write_released(path: Path, state: State) -> None:
    torch.save({"epoch": 3, "best_val": 0.4, "state_dict": state}, path)


def write_old(path: Path, state: State) -> None:
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)


def write_python_2(path: Path, state: State) -> None:
    content = {"state_dict": dict(without_counters(state))}
    torch.save(content, path, pickle_module=PYTHON_2, _use_new_zipfile_serialization=False)


WRITERS = {
    "plain": lambda path, state: torch.save(state, path),
    "released": write_released,
    "before torch 1.6": write_old,
    "Python 2, torch 0.4": write_python_2,
    "no counters": lambda path, state: write_released(path, without_counters(state)),
    "DataParallel": lambda path, state: torch.save({"model": under_data_parallel(state)}, path),
    "safetensors": lambda path, state: save_file(state, path),
    "safetensors, DataParallel": lambda path, state: save_file(under_data_parallel(state), path),
}


@pytest.mark.parametrize("how", WRITERS)
def test_released_files_load_bit_for_bit(
    source: nn.Module, images: Tensor, tmp_path: Path, how: str
) -> None:
    state = source.state_dict()
    WRITERS[how](tmp_path / "net.ckpt", state)
    model = build("nekrasov-nyud")
    report = load_weights(model, tmp_path / "net.ckpt")
    assert_same_outputs(model, source, images)
    assert report.naming.startswith("the network's own names") and not report.dropped
    assert report.loaded + len(report.kept) == len(state) == 343
    assert all(name.endswith("num_batches_tracked") for name in report.kept)
    assert ("DataParallel" in report.naming) == ("DataParallel" in how)


def test_a_file_that_lacks_anything_but_counters_is_refused(
    source: nn.Module, tmp_path: Path
) -> None:
    state = without_counters(source.state_dict())
    del state["layer4.1.output.1.1.running_mean"]
    write_released(tmp_path / "net.ckpt", state)
    with pytest.raises(ModelUnsupported, match=r"missing: layer4\.1\.output\.1\.1\.running_mean$"):
        load_weights(build("nekrasov-nyud"), tmp_path / "net.ckpt")


def densetorch_names(state: State) -> State:
    """Rename as DenseTorch counts: laterals and chains from the coarsest, heads as its tasks."""
    numbered = {f"conv{8 - i}": f"stem_convs.{i}" for i in range(6)}
    numbered |= {f"crp{4 - i}": f"crp_blocks.{i}" for i in range(4)}
    numbered |= {f"conv_adapt{4 - i}": f"adapt_convs.{i}" for i in range(3)}
    for i, head in enumerate(("segm", "depth", "normal")):
        numbered |= {f"pre_{head}": f"heads.{i}.0", head: f"heads.{i}.2"}
    renamed = {}
    for name, tensor in state.items():
        part, rest = name.split(".", 1)
        renamed[f"0.{name}" if part not in numbered else f"1.{numbered[part]}.{rest}"] = tensor
    return renamed


@pytest.mark.parametrize("preset", ["nekrasov-kitti", "nekrasov-nyud-normals"])
def test_densetorch_files_load_bit_for_bit(preset: str, images: Tensor, tmp_path: Path) -> None:
    source = lively_network(preset, align_corners=True)
    renamed = densetorch_names(source.state_dict())
    assert "1.crp_blocks.3.0.4_outvar_dimred.weight" in renamed
    torch.save({"state_dict": renamed}, tmp_path / "densetorch.pth")
    model = build(source.config)
    report = load_weights(model, tmp_path / "densetorch.pth")
    assert report.naming == "DenseTorch" and not report.kept and not report.dropped
    assert_same_outputs(model, source, images)


NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
BLOCKS = (1, 2, 3, 4, 3, 3, 1)  # of MobileNet-v2's seven stages


def conv_and_norm(conv: str, norm: str) -> list[str]:
    return [f"{conv}.weight", *(f"{norm}.{entry}" for entry in NORM)]


def torchvision_order() -> list[str]:
    names = conv_and_norm("features.0.0", "features.0.1")
    names += conv_and_norm("features.1.conv.0.0", "features.1.conv.0.1")
    names += conv_and_norm("features.1.conv.1", "features.1.conv.2")
    for k in range(2, 18):
        for conv, norm in (("0.0", "0.1"), ("1.0", "1.1"), ("2", "3")):
            names += conv_and_norm(f"features.{k}.conv.{conv}", f"features.{k}.conv.{norm}")
    return names


def timm_order() -> list[str]:
    names = conv_and_norm("conv_stem", "bn1")
    for stage, count in enumerate(BLOCKS):
        for block in range(count):
            convs = ("conv_pw", "conv_dw", "conv_pwl") if stage else ("conv_dw", "conv_pw")
            for i, conv in enumerate(convs, 1):
                here = f"blocks.{stage}.{block}"
                names += conv_and_norm(f"{here}.{conv}", f"{here}.bn{i}")
    return names


CLASSIFIERS = {
    "torchvision": conv_and_norm("features.18.0", "features.18.1")
    + ["classifier.1.weight", "classifier.1.bias"],
    "timm": conv_and_norm("conv_head", "bn2") + ["classifier.weight", "classifier.bias"],
}


@pytest.mark.parametrize("library", CLASSIFIERS)
@pytest.mark.parametrize("legacy", [True, False])
def test_imagenet_encoders_give_bit_equal_features(
    library: str, legacy: bool, images: Tensor, tmp_path: Path
) -> None:
    """The libraries list their entries in our order, once the extra expansion is left out."""
    source = lively_network(legacy_expand_t1=False)
    ours = [t for name, t in source.state_dict().items() if name.startswith("layer")]
    theirs = {"torchvision": torchvision_order, "timm": timm_order}[library]()
    assert len(ours) == len(theirs) == 306
    file = dict(zip(theirs, ours, strict=True))
    file |= {name: torch.zeros(1280) for name in CLASSIFIERS[library]}
    save_file(file, tmp_path / "encoder.safetensors")  # sorts the names: order cannot matter

    model = lively_network(seed=5, legacy_expand_t1=legacy)
    decoder = model.state_dict()["crp4.0.1_outvar_dimred.weight"].clone()
    report = load_weights(model, tmp_path / "encoder.safetensors")
    assert report.naming == f"{library} MobileNet-v2"
    assert sorted(report.dropped) == sorted(CLASSIFIERS[library])
    assert torch.equal(model.state_dict()["crp4.0.1_outvar_dimred.weight"], decoder)
    with torch.no_grad():
        for one, other in zip(model.encoder(images), source.encoder(images), strict=True):
            assert torch.equal(one, other)


def test_an_encoder_alone_leaves_the_decoder_as_it_is(source: nn.Module, tmp_path: Path) -> None:
    encoder = {n: t for n, t in source.state_dict().items() if n.startswith("layer")}
    torch.save(encoder, tmp_path / "mobilenetv2.pth")
    model = lively_network(seed=5)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    report = load_weights(model, tmp_path / "mobilenetv2.pth")
    assert report.kept and not any(name.startswith("layer") for name in report.kept)
    assert "stay as they were" in str(report)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, encoder.get(name, before[name])), name
    del encoder["layer8.0.output.2.0.weight"]
    torch.save(encoder, tmp_path / "part.pth")
    with pytest.raises(ModelUnsupported, match=r"missing: layer8\.0\.output\.2\.0\.weight"):
        load_weights(model, tmp_path / "part.pth")


@pytest.mark.parametrize(
    ("preset", "prefix", "classifier"),
    [
        ("pad-net-nyud", "backbone.0", "fc.weight"),
        ("pad-net-nyud-vgg16", "backbone.0", "classifier.0.weight"),
        ("pad-net-nyud-alexnet", "backbone.0", "classifier.1.weight"),
        ("pad-net-nyud-hrnet18", "backbone.0", "incre_modules.0.0.conv1.weight"),
        ("mti-net-nyud-hrnet18", "backbone", "final_layer.0.weight"),
        ("mti-net-nyud-resnet50", "backbone.0", "fc.bias"),
        ("x-distill-r18", "encoder", "fc.bias"),
    ],
)
def test_an_imagenet_encoder_is_found_inside_a_network(
    preset: str, prefix: str, classifier: str, tmp_path: Path
) -> None:
    source, model = build(preset), build(preset)
    encoder = without_counters(source.get_submodule(prefix).state_dict())
    torch.save(encoder | {classifier: torch.ones(9)}, tmp_path / "imagenet.pth")
    report = load_weights(model, tmp_path / "imagenet.pth")
    assert report.naming == f"ImageNet encoder ({prefix})" and report.partial
    assert report.dropped == (classifier,) and report.loaded == len(encoder)
    for name, tensor in model.get_submodule(prefix).state_dict().items():
        assert torch.equal(tensor, encoder.get(name, tensor)), name


@pytest.mark.parametrize("preset", ["pad-net-nyud-hrnet18", "mti-net-nyud-hrnet18"])
def test_public_pad_net_and_mti_net_files_load_bit_for_bit(
    preset: str, images: Tensor, tmp_path: Path
) -> None:
    source, model = lively_network(preset), build(preset)
    state = under_data_parallel(source.state_dict())
    torch.save({"epoch": 7, "optimizer": {"state": {}}, "model": state}, tmp_path / "net.pth.tar")
    report = load_weights(model, tmp_path / "net.pth.tar")
    assert report.naming == "the network's own names, saved under DataParallel"
    assert report.loaded == len(state) and not report.kept and not report.dropped
    assert_same_outputs(model, source, images)


def test_our_own_file_is_all_that_is_needed(
    source: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    own_set = LabelSet("mine", tuple(LabelClass(i, f"class {i}", (i, 0, 0)) for i in range(40)))
    for label_set in (LABEL_SETS["nyu40"], own_set):
        save_network(tmp_path / "net.safetensors", source, label_set)
        stored = load_network(tmp_path / "net.safetensors")
        assert stored.model.config == source.config and not stored.model.training
        assert stored.label_sets == (label_set,)
        assert stored.label_sets[0].remaps == label_set.remaps
        assert_same_outputs(stored.model, source, images)
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_a_network_of_two_data_sets_keeps_both_label_sets(tmp_path: Path) -> None:
    both = LABEL_SETS["nyu40"], LABEL_SETS["kitti6"]
    save_network(tmp_path / "net.safetensors", lively_network("nekrasov-nyud-kitti"), *both)
    assert load_network(tmp_path / "net.safetensors").label_sets == both


def test_a_file_says_which_images_its_network_was_made_for(
    source: nn.Module, tmp_path: Path
) -> None:
    path, nyu40 = tmp_path / "net.safetensors", LABEL_SETS["nyu40"]
    save_network(path, source, nyu40, focal_px=585.5, temperature=1.25, input_height=480)
    found = load_network(path).metadata
    assert (found.focal_px, found.temperature, found.input_height) == (585.5, 1.25, 480)
    assert type(found.input_height) is int
    write_network(tmp_path / "again.safetensors", read_network(path, "", ())[0])
    assert load_network(tmp_path / "again.safetensors").metadata == found


def test_a_file_of_an_earlier_version_says_nothing_of_its_images(source: nn.Module) -> None:
    old = own_metadata(source)
    for name in ("focal_px", "temperature", "input_height"):
        del old[name]
    found = NetworkMetadata.from_strings(old)
    assert (found.focal_px, found.temperature, found.input_height) == (0.0, 1.0, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("focal_px", -585.0),
        ("focal_px", math.nan),
        ("focal_px", math.inf),
        ("temperature", 0.0),
        ("temperature", math.nan),
        ("input_height", 31),
        ("input_height", -480),
        ("input_height", 10**6),
    ],
)
def test_numbers_that_no_network_can_have_are_not_written(
    source: nn.Module, tmp_path: Path, name: str, value: float
) -> None:
    with pytest.raises(InvalidInput, match=name):
        save_network(tmp_path / "net.safetensors", source, **{name: value})
    assert not any(tmp_path.iterdir())


def test_a_half_file_is_small_and_gives_what_rounded_weights_give(
    source: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    save_network(tmp_path / "net.safetensors", source, LABEL_SETS["nyu40"], half=True)
    assert (tmp_path / "net.safetensors").stat().st_size < 8e6
    stored = load_network(tmp_path / "net.safetensors")
    assert all(p.dtype == torch.float32 for p in stored.model.parameters())
    rounded = lively_network(seed=5)
    state = {n: t.half().float() if t.ndim > 1 else t for n, t in source.state_dict().items()}
    rounded.load_state_dict(state)
    assert_same_outputs(stored.model, rounded, images)


def test_statistics_beyond_16_bits_survive_a_half_file_and_such_kernels_are_refused(
    tmp_path: Path,
) -> None:
    model, path = lively_network(), tmp_path / "net.safetensors"
    model.state_dict()["layer1.1.running_var"].fill_(1e6)
    save_network(path, model, LABEL_SETS["nyu40"], half=True)
    assert load_network(path).model.state_dict()["layer1.1.running_var"].eq(1e6).all()
    model.state_dict()["conv3.weight"][0, 0] = 7e4
    with pytest.raises(InvalidInput, match=r"conv3\.weight: holds 70000"):
        save_network(path, model, LABEL_SETS["nyu40"], half=True)


def test_a_network_that_cannot_be_written_leaves_nothing(source: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "taken.safetensors").mkdir()
    with pytest.raises(OSError, match="taken"):
        save_network(tmp_path / "taken.safetensors", source, LABEL_SETS["nyu40"])
    assert [path.name for path in tmp_path.iterdir()] == ["taken.safetensors"]


def change_class_count(state: State) -> State:
    return state | {"segm.weight": torch.zeros(21, 256, 3, 3), "segm.bias": torch.zeros(21)}


def poison(state: State) -> State:
    return state | {"conv3.weight": torch.full((256, 24, 1, 1), torch.nan)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"net.0.weight": torch.zeros(3)}, "has 1 entries such as net.0.weight; wanted"),
        (lambda s: s | {"conv9.weight": torch.zeros(3)}, "not in the network: conv9.weight"),
        (change_class_count, r"segm\.weight \(21, 256, 3, 3\), want \(40, 256, 3, 3\)"),
        (poison, r"not finite: conv3\.weight"),
        (lambda s: list(s.values()), "holds list, not tensors by name"),
        (lambda s: s | {"epoch": 3}, "entry 'epoch' is int, not a tensor"),
        (lambda s: {}, "not tensors by name"),
    ],
)
def test_foreign_weights_are_refused_by_name_and_change_nothing(
    source: nn.Module, images: Tensor, tmp_path: Path, change, message: str
) -> None:
    torch.save(change(dict(source.state_dict())), tmp_path / "net.ckpt")
    model = lively_network(seed=5)
    with pytest.raises(ModelUnsupported, match=message):
        load_weights(model, tmp_path / "net.ckpt")
    assert_same_outputs(model, lively_network(seed=5), images)


class Trap:
    """An object whose unpickling writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_python_objects_are_unpickled_only_when_asked(
    source: nn.Module, images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mark = tmp_path / "it ran"
    torch.save({"state_dict": source.state_dict(), "args": Trap(mark)}, tmp_path / "net.ckpt")
    model = build("nekrasov-nyud")
    with pytest.raises(ModelUnsupported, match="Python object.*--allow-pickle"):
        load_weights(model, tmp_path / "net.ckpt")
    assert not mark.exists()
    with caplog.at_level(logging.WARNING):
        load_weights(model, tmp_path / "net.ckpt", allow_pickle=True)
    assert mark.exists() and "unpickling" in caplog.text
    assert_same_outputs(model, source, images)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="nowhere"):
        load_network(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("content", [b"", b"a page of text", b"PK\x03\x04 not a zip" * 9])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.ckpt").write_bytes(content)
    with pytest.raises(ModelCorrupt, match=r"net\.ckpt"):
        read_weights(tmp_path / "net.ckpt")


def test_a_small_zip_that_unpacks_to_a_large_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_read, "MAX_MODEL_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "net.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(1 << 21))
    assert (tmp_path / "net.ckpt").stat().st_size < 1 << 13
    with pytest.raises(ModelCorrupt, match="unpacks to 2097152 bytes"):
        read_weights(tmp_path / "net.ckpt")


@pytest.mark.parametrize("write", ["safetensors", "plain", "before torch 1.6"])
def test_damaged_files_raise_errors_of_ours(tmp_path: Path, write: str) -> None:
    path = tmp_path / "net"
    WRITERS[write](path, {"conv.weight": torch.ones(4, 3, 3, 3), "conv.bias": torch.ones(4)})
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    survived = 0
    for case in range(150):
        at = int(torch.randint(len(whole), (), generator=generator))
        flipped = whole[:at] + bytes([whole[at] ^ 1 << case % 8]) + whole[at + 1 :]
        path.write_bytes(whole[:at] if case % 2 else flipped)
        try:
            read_weights(path)
        except DenseSlamError as error:
            assert str(path) in str(error)
        else:
            survived += 1  # a bit of a value, or of padding
    assert survived < 100


def own_metadata(source: nn.Module, **changes: str) -> dict[str, str]:
    label_sets = (LABEL_SETS["nyu40"],)
    return NetworkMetadata(source.config.to_dict(), label_sets).to_strings() | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "pt"}, "format 'pt'"),
        ({"format_version": "2"}, "format_version '2', known is '1'"),
        ({"config": "{"}, "config in its metadata is not JSON"),
        ({"config": "[" * 100_000}, "config in its metadata is not JSON"),
        ({"config": "[]"}, "config in its metadata is not a dict"),
        ({"config": '{"method": "unet"}'}, "method 'unet' is not one of nekrasov"),
        ({"config": '{"method": ["a"]}'}, "method"),
        ({"label_sets": "[1]"}, "label_sets in its metadata are not texts"),
        ({"label_sets": '["{}"]'}, "label set JSON"),
        ({"focal_px": "NaN"}, "focal_px nan, want 1 to 100000, or 0"),
        ({"focal_px": "true"}, "focal_px True in its metadata: want float"),
        ({"temperature": "-1"}, "temperature -1, want 0.01 to 100"),
        ({"temperature": '"hot"'}, "temperature 'hot' in its metadata: want float"),
        ({"input_height": "1e999"}, "input_height inf in its metadata: want int"),
        ({"input_height": "16"}, "input_height 16, want 32 to 8192, or 0"),
    ],
)
def test_files_that_are_not_ours_are_refused_by_name(
    source: nn.Module, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    save_file(source.state_dict(), tmp_path / "net.safetensors", own_metadata(source, **changes))
    with pytest.raises(ModelUnsupported, match=message):
        load_network(tmp_path / "net.safetensors")


def test_weights_must_fit_the_configuration_beside_them(source: nn.Module, tmp_path: Path) -> None:
    config = source.config.to_dict() | {"label_sets": [["nyu40", 13]]}
    metadata = own_metadata(source, config=json.dumps(config))
    save_file(source.state_dict(), tmp_path / "net.safetensors", metadata)
    with pytest.raises(ModelUnsupported, match=r"segm\.weight \(40, 256, 3, 3\), want \(13, "):
        load_network(tmp_path / "net.safetensors")


def test_a_header_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    header = {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    text = json.dumps(header).encode()
    (tmp_path / "net").write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))
    with pytest.raises(ModelCorrupt, match="damaged .safetensors"):
        read_weights(tmp_path / "net")
