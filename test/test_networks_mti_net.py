# SPDX-License-Identifier: Apache-2.0
"""MTI-Net is the public one: sizes, names, outputs at every scale, gradients."""

from dataclasses import replace
from functools import cache

import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")

import published_networks  # noqa: E402
from published_networks import lively  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from mtl_perception.conventions import InvalidInput  # noqa: E402
from mtl_perception.networks.checkpoint import load_weights  # noqa: E402
from mtl_perception.networks.counting import conv_macs, parameter_count  # noqa: E402
from mtl_perception.networks.feature_propagation import (  # noqa: E402
    FeaturePropagation,
    SqueezeExcitation,
)
from mtl_perception.networks.hrnet import SIZES, HRNet  # noqa: E402
from mtl_perception.networks.mti_net import STRIDES, MtiNetConfig, presets  # noqa: E402
from mtl_perception.networks.multi_task import PUBLIC_NAMES  # noqa: E402
from mtl_perception.networks.resnet import ResNet  # noqa: E402

torch.set_num_threads(1)

PRESETS = presets()
NYUD = PRESETS["mti-net-nyud-hrnet18"]
AUXILIARY = PRESETS["mti-net-nyud-hrnet18-auxiliary"]
PASCAL = PRESETS["mti-net-pascal-hrnet18"]
SMALL = replace(PASCAL, tasks=PASCAL.tasks[:3], intermediate=PASCAL.tasks[:3])
BACKBONES = ("hrnet18", "hrnet48", "resnet18", "resnet50")


@cache
def on_meta(config):
    with torch.device("meta"):  # shapes without numbers
        return config.build().eval()


@pytest.mark.parametrize(
    "config, parameters, entries, size, macs",
    [
        (NYUD, 8_578_179, 1316, (480, 640), 17_142_302_400),
        (AUXILIARY, 14_838_121, 1616, (480, 640), 22_878_916_800),
        (PASCAL, 24_494_171, 1889, (512, 512), 30_309_490_688),
        (SMALL, 12_645_441, 1491, (512, 512), 18_903_031_808),
    ],
)
def test_network_has_its_published_size(config, parameters, entries, size, macs):
    net = on_meta(config)
    assert (parameter_count(net), len(net.state_dict())) == (parameters, entries)
    assert conv_macs(net, size) == macs


@pytest.mark.parametrize(
    "preset, parameters, size, macs",
    [
        ("mti-net-nyud-hrnet48", 98_727_553, (480, 640), 150_715_584_000),
        ("mti-net-nyud-hrnet48-auxiliary", 143_207_429, (480, 640), 191_497_766_400),
        ("mti-net-pascal-hrnet48", 211_871_031, (512, 512), 240_299_704_320),
        ("mti-net-nyud-resnet50", 70_948_461, (480, 640), 319_883_443_200),
        ("mti-net-pascal-resnet18", 205_085_525, (512, 512), 1_016_907_235_328),
    ],
)
def test_other_backbones_have_our_size(preset, parameters, size, macs):
    net = on_meta(PRESETS[preset])
    assert (parameter_count(net), conv_macs(net, size)) == (parameters, macs)


def test_names_are_those_of_the_public_files():
    entries = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

    def norm(name):
        return [f"{name}.{entry}" for entry in entries]

    def block(name, shortcut):
        names = [f"{name}.conv1.weight", *norm(f"{name}.bn1")]
        names += [f"{name}.conv2.weight", *norm(f"{name}.bn2")]
        if shortcut:
            names += [f"{name}.downsample.0.weight", *norm(f"{name}.downsample.1")]
        return names

    wanted = []
    for s in range(4):
        for k, a in (("semseg", "depth"), ("depth", "semseg")):
            wanted += block(f"scale_{s}.refinement.{k}.0", shortcut=s < 3)
            wanted += block(f"scale_{s}.refinement.{k}.1", shortcut=False)
            wanted += [f"scale_{s}.decoders.{k}.{entry}" for entry in ("weight", "bias")]
            pair = f"distillation_scale_{s}.self_attention.{k}.{a}"
            wanted += [f"{pair}.{name}.weight" for name in ("attention.0", "conv")]
    for s in (1, 2, 3):
        fpm = f"fpm_scale_{s}"
        wanted += block(f"{fpm}.non_linear.0", shortcut=True)
        wanted += block(f"{fpm}.non_linear.1", shortcut=False)
        wanted += [f"{fpm}.non_linear.2.{entry}" for entry in ("weight", "bias")]
        wanted += block(f"{fpm}.dimensionality_reduction", shortcut=True)
        for k in ("semseg", "depth"):
            for layer in (0, 2):
                wanted += [f"{fpm}.se.{k}.squeeze.{layer}.{e}" for e in ("weight", "bias")]
    for k in ("semseg", "depth"):
        head = f"heads.{k}.last_layer"
        wanted += [f"{head}.{name}" for name in ("0.weight", "0.bias", "3.weight", "3.bias")]
        wanted += norm(f"{head}.1")
    names = list(on_meta(NYUD).state_dict())
    assert sorted(n for n in names if not n.startswith("backbone.")) == sorted(wanted)
    with torch.device("meta"):
        hrnet = HRNet(SIZES["hrnet18"]).state_dict()
    assert [n for n in names if n.startswith("backbone.")] == [f"backbone.{n}" for n in hrnet]


@pytest.mark.parametrize("softmax_over", ["consecutive", "tasks"])
@pytest.mark.parametrize("config", [NYUD, AUXILIARY, SMALL])
def test_network_equals_its_formula_on_the_public_names(config, softmax_over):
    net = lively(replace(config, softmax_over=softmax_over).build()).double()
    images = torch.randn(1, 3, 45, 70, dtype=torch.double)
    with torch.no_grad():
        predicted = net.forward_all(images)
        final, scales = published_networks.mti_net(net.state_dict(), images, softmax_over)
    for task in config.tasks:
        torch.testing.assert_close(predicted.final[task], final[PUBLIC_NAMES[task]])
    assert len(predicted.intermediate) == len(scales) == 4
    for own, wanted in zip(predicted.intermediate, scales, strict=True):
        assert [PUBLIC_NAMES[task] for task in own] == list(wanted)
        for task, x in own.items():
            torch.testing.assert_close(x, wanted[PUBLIC_NAMES[task]])


def test_doubling_and_resizing_to_the_finer_scale_are_the_same_where_both_are_possible():
    x = torch.randn(1, 2, 15, 20)
    doubled = torch.nn.functional.interpolate(
        x, scale_factor=2, mode="bilinear", align_corners=False
    )
    sized = torch.nn.functional.interpolate(x, size=(30, 40), mode="bilinear", align_corners=False)
    assert torch.equal(doubled, sized)


@pytest.mark.parametrize("size", [(64, 96), (97, 32)])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_deep_supervision_has_every_task_at_every_scale(backbone, size):
    net = on_meta(replace(AUXILIARY, backbone=backbone))
    predicted = net.forward_all(torch.empty(2, 3, *size, device="meta"))
    channels = {"labels": 40, "depth": 1, "normals": 3, "contours": 1}
    for maps, stride in zip(predicted.intermediate, STRIDES, strict=True):
        cells = [-(-side // stride) for side in size]
        assert {t: x.shape for t, x in maps.items()} == {
            t: (2, count, *cells) for t, count in channels.items()
        }
    quarter = [-(-side // 4) for side in size]
    final = predicted.final
    assert tuple(final) == net.tasks == ("labels", "depth")
    assert [x.shape for x in final.values()] == [(2, 40, *quarter), (2, 1, *quarter)]


@pytest.mark.parametrize("prefix", ["", "module."])
def test_file_with_the_public_names_loads_with_and_without_dataparallel(tmp_path, prefix):
    stored, net = lively(NYUD.build(), seed=1), NYUD.build().eval()
    state = {prefix + name: tensor for name, tensor in stored.state_dict().items()}
    path = tmp_path / "mti_net.safetensors"
    save_file(state, path)
    report = load_weights(net, path)
    assert (report.loaded, report.kept, report.dropped) == (1316, (), ())
    images = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        assert torch.equal(net(images)["labels"], stored(images)["labels"])


def test_imagenet_hrnet_loads_into_the_backbone(tmp_path):
    state = HRNet(SIZES["hrnet18"]).state_dict()
    path = tmp_path / "hrnet.safetensors"
    save_file({**state, "classifier.weight": torch.zeros(1000, 2048)}, path)
    net = NYUD.build()
    report = load_weights(net, path)
    assert (report.loaded, report.dropped) == (864, ("classifier.weight",))
    assert torch.equal(net.backbone.conv2.weight, state["conv2.weight"])


def test_imagenet_resnet_loads_below_the_feature_pyramid(tmp_path):
    state = ResNet(18).state_dict()
    path = tmp_path / "resnet18.safetensors"
    save_file({**state, "fc.weight": torch.zeros(1000, 512)}, path)
    net = replace(NYUD, backbone="resnet18").build()
    report = load_weights(net, path)
    assert (report.loaded, report.dropped) == (120, ("fc.weight",))
    assert torch.equal(net.backbone[0].conv1.weight, state["conv1.weight"])


def test_both_groupings_have_the_same_weights_to_load():
    torch.manual_seed(0)
    one = FeaturePropagation(16, ("labels", "depth"), "tasks").eval()
    other = FeaturePropagation(16, ("labels", "depth"), "consecutive").eval()
    other.load_state_dict(one.state_dict())
    features = {t: torch.randn(1, 16, 4, 5) for t in one.tasks}
    with torch.no_grad():
        assert not torch.equal(one(features)["depth"], other(features)["depth"])


def test_task_keeps_its_features_where_nothing_is_shared():
    module = FeaturePropagation(16, ("labels", "depth"), "tasks").eval()
    torch.nn.init.zeros_(module.dimensionality_reduction.bn2.weight)
    torch.nn.init.zeros_(module.dimensionality_reduction.downsample[1].weight)
    features = {t: torch.randn(1, 16, 4, 5) for t in module.tasks}
    assert all(torch.equal(x, features[t]) for t, x in module(features).items())


def test_excitation_of_zero_halves_every_channel():
    module = SqueezeExcitation(18)
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.randn(2, 18, 3, 4)
    assert torch.equal(module(x), x / 2)
    assert module.squeeze[0].out_features == 1


def gradient(net, loss):
    """Names of the parameters that receive a gradient other than zero."""
    net.zero_grad()
    loss.backward()
    return {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}


def test_final_loss_reaches_every_scale_of_every_task_but_no_prediction_on_the_way():
    net = lively(AUXILIARY.build())
    reached = gradient(net, net(torch.randn(1, 3, 64, 96))["depth"].square().mean())
    for task in ("semseg", "depth", "normals", "edge"):
        for scale in range(4):
            assert f"scale_{scale}.refinement.{task}.0.conv1.weight" in reached
    assert {f"fpm_scale_{s}.non_linear.0.conv1.weight" for s in (1, 2, 3)} <= reached
    assert not any(".decoders." in name or "heads.semseg" in name for name in reached)


@pytest.mark.parametrize("scale", range(4))
def test_loss_at_a_scale_reaches_it_and_the_coarser_ones_only(scale):
    net = lively(NYUD.build())
    predicted = net.forward_all(torch.randn(1, 3, 64, 96)).intermediate[scale]
    reached = gradient(net, predicted["labels"].square().mean())
    assert f"scale_{scale}.decoders.semseg.weight" in reached
    own = [
        f"scale_{s}" for s in range(4) if f"scale_{s}.refinement.depth.0.conv1.weight" in reached
    ]
    assert own == [f"scale_{s}" for s in range(scale + 1, 4)]  # depth helps through propagation
    refined = [s for s in range(4) if f"scale_{s}.refinement.semseg.0.conv1.weight" in reached]
    assert refined == list(range(scale, 4))
    assert not any(name.startswith(("distillation", "heads")) for name in reached)
    assert "backbone.conv1.weight" in reached


def test_without_propagation_a_loss_at_a_scale_reaches_that_scale_alone():
    net = lively(replace(NYUD, propagation=False).build())
    assert not any(name.startswith("fpm") for name, _ in net.named_parameters())
    predicted = net.forward_all(torch.randn(1, 3, 64, 96)).intermediate[1]
    reached = gradient(net, predicted["labels"].square().mean())
    heads = {name for name in reached if name.startswith("scale_")}
    assert heads and all(name.startswith("scale_1.") and "semseg" in name for name in heads)


@pytest.mark.parametrize("count", [0, 2])
def test_tasks_exchange_features_at_the_finest_scales_only(count):
    net = lively(replace(NYUD, propagation=False, distilled_scales=count).build())
    reached = gradient(net, net(torch.randn(1, 3, 64, 96))["labels"].square().mean())
    heard = [f"scale_{s}.refinement.depth.0.conv1.weight" in reached for s in range(4)]
    assert heard == [scale < count for scale in range(4)]
    own = [f"scale_{s}.refinement.semseg.0.conv1.weight" in reached for s in range(4)]
    assert all(own)


@pytest.mark.parametrize(
    "fields",
    [
        {"distilled_scales": 5},
        {"backbone": "hrnet32"},
        {"softmax_over": "channels"},
        {"tasks": ("labels", "normals")},
        {"intermediate": ("labels", "depth", "flow")},
        {"label_sets": (("nyu40", 0),)},
    ],
)
def test_configuration_that_means_nothing_is_refused(fields):
    with pytest.raises(InvalidInput):
        replace(MtiNetConfig(), **fields)


def test_label_sets_share_the_channels_of_one_network():
    config = replace(NYUD, label_sets=(("nyu40", 40), ("kitti6", 6)))
    net = config.build().eval()
    labels = net(torch.zeros(1, 3, 32, 32))["labels"]
    assert labels[:, config.label_slices["kitti6"]].shape == (1, 6, 8, 8)
