# SPDX-License-Identifier: Apache-2.0
"""PAD-Net is the published one and the re-implemented one: sizes, names, gates, gradients."""

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
from mtl_perception.networks.distillation import (  # noqa: E402
    ModuleA,
    ModuleB,
    ModuleC,
    NoExchange,
    SenderGated,
)
from mtl_perception.networks.multi_task import PUBLIC_NAMES  # noqa: E402
from mtl_perception.networks.pad_net import FRONT_ENDS, PadNetConfig, presets  # noqa: E402

torch.set_num_threads(1)

PRESETS = presets()
AGAIN = PRESETS["pad-net-nyud-hrnet18"]
AUXILIARY = PRESETS["pad-net-nyud-hrnet18-auxiliary"]
PASCAL = PRESETS["pad-net-pascal-hrnet18"]
SMALL = replace(PASCAL, tasks=PASCAL.tasks[:3], intermediate=PASCAL.tasks[:3])
PUBLISHED = PRESETS["pad-net-nyud-alexnet"]  # the smallest front end

WIDTHS = {"labels": 6, "depth": 6, "normals": 4}
FINAL = ("labels", "depth")


@cache
def on_meta(config):
    with torch.device("meta"):  # shapes without numbers
        return config.build().eval()


def features(widths=WIDTHS):
    torch.manual_seed(0)
    return {t: torch.randn(2, width, 5, 7) for t, width in widths.items()}


def conv(block, x):
    return torch.nn.functional.conv2d(x, block.weight, padding=1)


@pytest.mark.parametrize(
    "config, parameters, entries, size, macs",
    [
        (AGAIN, 7_019_056, 1039, (480, 640), 70_245_456_000),
        (AUXILIARY, 12_161_332, 1135, (480, 640), 168_898_435_200),
        (PASCAL, 29_304_992, 1321, (512, 512), 424_899_665_920),
        (SMALL, 12_083_608, 1129, (512, 512), 142_862_082_048),
    ],
)
def test_reimplementation_has_its_size(config, parameters, entries, size, macs):
    net = on_meta(config)
    assert (parameter_count(net), len(net.state_dict())) == (parameters, entries)
    assert conv_macs(net, size) == macs


@pytest.mark.parametrize(
    "preset, parameters, macs",
    [
        ("pad-net-nyud", 102_614_550, 811_239_014_400),
        ("pad-net-nyud-vgg16", 51_746_838, 611_922_739_200),
        ("pad-net-nyud-alexnet", 32_620_566, 468_451_737_600),
        ("pad-net-cityscapes", 121_496_428, 899_260_416_000),
    ],
)
def test_published_front_ends_have_our_size(preset, parameters, macs):
    net = on_meta(PRESETS[preset])
    assert (parameter_count(net), conv_macs(net, (480, 640))) == (parameters, macs)


def test_reimplementation_has_the_public_names():
    entries = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    norm = [f"1.{entry}" for entry in entries]
    blocks = []
    for block, shortcut in ((0, True), (1, False)):
        for n in (1, 2, 3):
            blocks += [f"{block}.conv{n}.weight", *(f"{block}.bn{n}.{e}" for e in entries)]
        if shortcut:
            blocks += [f"{block}.downsample.{name}" for name in ("0.weight", *norm)]
    decoder = [name for name in blocks if "downsample" not in name]
    initial, distilled = "initial_task_prediction_heads", "multi_modal_distillation.self_attention"
    wanted = [f"backbone.1.last_layer.{name}" for name in ("0.weight", "0.bias", *norm)]
    for k, a in (("semseg", "depth"), ("depth", "semseg")):
        wanted += [f"{initial}.layers.{k}.{name}" for name in blocks]
        wanted += [f"{initial}.conv_out.{k}.{entry}" for entry in ("weight", "bias")]
        wanted += [f"{distilled}.{k}.{a}.{name}.weight" for name in ("attention.0", "conv")]
        wanted += [f"heads.{k}.{name}" for name in (*decoder, "2.weight", "2.bias")]
    names = list(on_meta(AGAIN).state_dict())
    assert sorted(n for n in names if not n.startswith("backbone.0.")) == sorted(wanted)
    assert {"backbone.0.conv1.weight", "backbone.0.stage4.1.fuse_layers.3.0.2.1.bias"} <= set(names)


@pytest.mark.parametrize("config", [AGAIN, AUXILIARY, SMALL])
@pytest.mark.parametrize("size", [(64, 96), (45, 70)])
def test_reimplementation_equals_its_formula_on_the_public_names(config, size):
    net = lively(config.build()).double()
    images = torch.randn(1, 3, *size, dtype=torch.double)
    with torch.no_grad():
        predicted = net.forward_all(images)
        final, intermediate = published_networks.pad_net(net.state_dict(), images)
    assert (len(final), len(intermediate)) == (len(config.tasks), len(config.intermediate))
    for task in config.tasks:
        torch.testing.assert_close(predicted.final[task], final[PUBLIC_NAMES[task]])
    for task in config.intermediate:
        torch.testing.assert_close(
            predicted.intermediate[0][task], intermediate[PUBLIC_NAMES[task]]
        )


@pytest.mark.parametrize("prefix", ["", "module."])
def test_file_with_the_public_names_loads_with_and_without_dataparallel(tmp_path, prefix):
    stored, net = lively(AGAIN.build(), seed=1), AGAIN.build().eval()
    state = {prefix + name: tensor for name, tensor in stored.state_dict().items()}
    path = tmp_path / "pad_net.safetensors"
    save_file(state, path)
    report = load_weights(net, path)
    assert (report.loaded, report.kept, report.dropped) == (1039, (), ())
    images = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        assert torch.equal(net(images)["depth"], stored(images)["depth"])


@pytest.mark.parametrize(
    "front_end, classifier",
    [
        ("resnet50", "fc.weight"),
        ("vgg16", "classifier.6.weight"),
        ("alexnet", "classifier.6.weight"),
        ("hrnet18", "classifier.weight"),
    ],
)
def test_imagenet_weights_load_into_the_front_end(tmp_path, front_end, classifier):
    state = FRONT_ENDS[front_end]().state_dict()
    path = tmp_path / "imagenet.safetensors"
    save_file({**state, classifier: torch.zeros(1000, 2048)}, path)
    net = replace(AGAIN, front_end=front_end).build()
    report = load_weights(net, path)
    assert (report.loaded, report.dropped) == (len(state), (classifier,))
    own = net.backbone[0].state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("size", [(64, 96), (97, 130), (32, 33)])
@pytest.mark.parametrize("decoder", ["deconv", "bottleneck"])
@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_predictions_have_the_stride_that_the_network_says(front_end, decoder, size):
    net = on_meta(replace(PUBLISHED, front_end=front_end, decoder=decoder))
    fine = decoder == "deconv"
    assert net.stride == (1 if fine else 4 if front_end == "hrnet18" else 8)
    assert net.intermediate_stride == (4 if fine else net.stride)
    predicted = net.forward_all(torch.empty(2, 3, *size, device="meta"))
    for maps, stride in (
        (predicted.final, net.stride),
        (predicted.intermediate[0], net.intermediate_stride),
    ):
        for task, x in maps.items():
            cells = [-(-side // stride) for side in size]
            assert x.shape == (2, net.config.channels[task], *cells)
    assert tuple(predicted.final) == net.tasks == ("labels", "depth")
    assert tuple(predicted.intermediate[0]) == ("labels", "depth", "normals", "contours")


NOT_THE_PUBLISHED = [("none", "receiver"), ("A", "receiver"), ("B", "receiver"), ("C", "sender")]


@pytest.mark.parametrize("exchange", ["predictions", "features"])
@pytest.mark.parametrize("module, gate", NOT_THE_PUBLISHED)
def test_every_distillation_goes_with_both_exchanges(module, gate, exchange):
    net = on_meta(replace(PUBLISHED, module=module, gate=gate, exchange=exchange))
    assert net(torch.empty(1, 3, 40, 50, device="meta"))["labels"].shape == (1, 40, 40, 50)


def test_without_a_module_every_task_keeps_its_own_features():
    module, given = NoExchange(WIDTHS, FINAL), features()
    out = module(given)
    assert list(out) == ["labels", "depth"] and parameter_count(module) == 0
    assert out["depth"] is given["depth"]


def test_module_a_puts_all_tasks_side_by_side():
    module, given = ModuleA(WIDTHS, FINAL), features()
    out = module(given)
    assert list(out) == ["labels", "depth"] and parameter_count(module) == 0
    assert torch.equal(out["depth"], torch.cat(list(given.values()), dim=1))


def test_module_b_adds_what_each_other_task_says():
    module, given = ModuleB(WIDTHS, FINAL), features()
    said = module.messages["semseg"]
    wanted = given["labels"] + conv(said["depth"], given["depth"])
    wanted = wanted + conv(said["normals"], given["normals"])
    torch.testing.assert_close(module(given)["labels"], wanted)
    assert set(said) == {"depth", "normals"}


def test_module_c_is_gated_by_the_receiver_and_a_sender_says_the_same_to_all():
    module, given = ModuleC(WIDTHS, FINAL), features()
    out = module(given)
    for k, others in (("labels", ("depth", "normals")), ("depth", ("labels", "normals"))):
        gate = torch.sigmoid(conv(module.gates[PUBLIC_NAMES[k]], given[k]))
        said = sum(conv(module.messages[PUBLIC_NAMES[t]], given[t]) for t in others)
        torch.testing.assert_close(out[k], given[k] + gate * said)
    assert len(module.messages) == 3


def test_module_c_of_one_receiver_has_no_message_of_its_own():
    module = ModuleC(WIDTHS, ("depth",))
    assert set(module.messages) == {"semseg", "normals"}
    assert list(module(features())) == ["depth"]


def test_sender_gate_is_the_senders_and_its_own_for_each_pair():
    module, given = SenderGated(WIDTHS, FINAL), features()
    wanted = given["depth"]
    for name, task in (("semseg", "labels"), ("normals", "normals")):
        pair = module.self_attention["depth"][name]
        wanted = wanted + conv(pair.conv, given[task]) * torch.sigmoid(
            conv(pair.attention[0], given[task])
        )
    torch.testing.assert_close(module(given)["depth"], wanted)


@pytest.mark.parametrize("kind", [ModuleB, ModuleC, SenderGated])
def test_without_messages_every_receiver_keeps_its_features(kind):
    module, given = kind(WIDTHS, FINAL), features()
    for name, weight in module.named_parameters():
        if "attention.0" not in name and "gates" not in name:
            torch.nn.init.zeros_(weight)
    assert all(torch.equal(x, given[k]) for k, x in module(given).items())


def test_a_closed_gate_of_the_receiver_shuts_out_everyone_and_only_from_it():
    module, given = ModuleC(WIDTHS, FINAL), features()
    given["labels"] = given["labels"].abs() + 1
    torch.nn.init.constant_(module.gates["semseg"].weight, -100.0)
    out = module(given)
    assert torch.equal(out["labels"], given["labels"])
    assert not torch.equal(out["depth"], given["depth"])


def gradient(net, loss):
    """Names of the parameters that receive a gradient other than zero."""
    net.zero_grad()
    loss.backward()
    return {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}


def test_final_loss_reaches_every_intermediate_prediction_that_is_exchanged():
    net = lively(PUBLISHED.build())
    images = torch.randn(1, 3, 32, 40)
    reached = gradient(net, net(images)["depth"].square().mean())
    for task in ("semseg", "depth", "normals", "edge"):
        assert f"initial_task_prediction_heads.conv_out.{task}.weight" in reached
        assert f"lifting.{task}.0.weight" in reached
    assert "backbone.0.features.0.weight" in reached
    assert not any(name.startswith("heads.semseg") for name in reached)


def test_intermediate_loss_reaches_its_own_layers_and_the_encoder_only():
    net = lively(PUBLISHED.build())
    predicted = net.forward_all(torch.randn(1, 3, 32, 40)).intermediate[0]
    reached = gradient(net, predicted["contours"].square().mean())
    initial = "initial_task_prediction_heads"
    own = ("backbone.", f"{initial}.layers.edge.", f"{initial}.conv_out.edge.")
    assert {f"{initial}.conv_out.edge.bias", "backbone.0.features.0.weight"} <= reached
    assert all(name.startswith(own) for name in reached)


def test_reimplementation_exchanges_features_and_not_predictions():
    net = lively(AGAIN.build())
    reached = gradient(net, net(torch.randn(1, 3, 32, 64))["depth"].square().mean())
    assert "initial_task_prediction_heads.layers.semseg.0.conv1.weight" in reached
    assert not any("conv_out" in name for name in reached)


@pytest.mark.parametrize(
    "fields",
    [
        {"front_end": "resnet18"},
        {"decoder": "nearest"},
        {"exchange": "nothing"},
        {"module": "D"},
        {"gate": "both"},
        {"module": "B", "gate": "sender"},
        {"tasks": ("parts",)},
        {"tasks": ("labels",), "intermediate": ("labels",)},
        {"intermediate": ("labels", "depth", "depth")},
        {"intermediate": ("labels", "depth", {"a": "stranger's"})},
    ],
)
def test_configuration_that_means_nothing_is_refused(fields):
    with pytest.raises(InvalidInput):
        replace(PadNetConfig(), **fields)


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (1, 3, 31, 64), (0, 3, 64, 64), (3, 64, 64)])
def test_images_that_are_none_are_refused(shape):
    with pytest.raises(InvalidInput, match="images"):
        on_meta(PUBLISHED)(torch.empty(shape, device="meta"))
