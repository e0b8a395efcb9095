# SPDX-License-Identifier: Apache-2.0
"""The joint network of Nekrasov et al. is the published one: sizes, names, outputs, gradients."""

import json
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")

import torch.nn.functional as F  # noqa: E402

from mtl_perception.conventions import InvalidInput  # noqa: E402
from mtl_perception.labels import LABEL_SETS  # noqa: E402
from mtl_perception.networks.counting import conv_macs, parameter_count  # noqa: E402
from mtl_perception.networks.light_weight_refinenet import ChainedResidualPooling  # noqa: E402
from mtl_perception.networks.mobilenet_v2 import MobileNetV2  # noqa: E402
from mtl_perception.networks.nekrasov import NekrasovConfig, NekrasovNet  # noqa: E402
from mtl_perception.networks.presets import PRESETS, build, config_from_dict  # noqa: E402

torch.set_num_threads(1)

NYUD = PRESETS["nekrasov-nyud"]
KITTI = PRESETS["nekrasov-kitti"]
NORMALS = PRESETS["nekrasov-nyud-normals"]
BOTH = PRESETS["nekrasov-nyud-kitti"]
# The single-task network that the joint one was made from (BMVC 2018), with PASCAL's 21 classes.
SINGLE = NekrasovConfig(
    ("labels",), (("voc21", 21),), align_corners=True, grouped_crp1=False, pre_heads=False
)


def lively(config: NekrasovConfig, seed: int = 0) -> NekrasovNet:
    """A network whose random weights let the image through to the output, unlike N(0, 0.01)."""
    torch.manual_seed(seed)
    net = config.build().eval()
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    return net


def published_forward(state: dict, image: torch.Tensor, align_corners: bool = False) -> tuple:
    """The network written once more, from the released names and nothing else of ours."""

    def conv_bn(x, name, **options):
        x = F.conv2d(x, state[f"{name}.0.weight"], **options)
        statistics = (state[f"{name}.1.{part}"] for part in ("running_mean", "running_var"))
        return F.batch_norm(x, *statistics, state[f"{name}.1.weight"], state[f"{name}.1.bias"])

    x = conv_bn(image, "layer1", stride=2, padding=1).clamp(0, 6)
    levels = {}
    for layer, blocks, stride in zip(
        range(2, 9), (1, 2, 3, 4, 3, 3, 1), (1, 2, 2, 2, 1, 2, 1), strict=True
    ):
        for block in range(blocks):
            name = f"layer{layer}.{block}.output"
            y = conv_bn(x, f"{name}.0").clamp(0, 6)
            step = stride if block == 0 else 1
            y = conv_bn(y, f"{name}.1", stride=step, padding=1, groups=y.shape[1]).clamp(0, 6)
            y = conv_bn(y, f"{name}.2")
            x = x + y if y.shape == x.shape else y
        levels[layer] = x

    def lateral(layer):
        return F.conv2d(levels[layer], state[f"conv{layer}.weight"])

    def crp(x, name, groups=1):
        top = x
        for i in range(1, 5):
            top = F.max_pool2d(top, 5, 1, 2)
            top = F.conv2d(top, state[f"{name}.0.{i}_outvar_dimred.weight"], groups=groups)
            x = x + top
        return x

    def up(x, name, layer):
        x = F.conv2d(x, state[f"{name}.weight"])
        size = levels[layer].shape[2:]
        return F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)

    y = up(crp((lateral(8) + lateral(7)).clamp(0, 6), "crp4"), "conv_adapt4", 6)
    y = up(crp((lateral(5) + lateral(6) + y).clamp(0, 6), "crp3"), "conv_adapt3", 4)
    y = up(crp((lateral(4) + y).clamp(0, 6), "crp2"), "conv_adapt2", 3)
    y = crp((lateral(3) + y).clamp(0, 6), "crp1", groups=256)

    def head(name):
        x = F.conv2d(y, state[f"pre_{name}.weight"], groups=256).clamp(0, 6)
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    return tuple(head(name) for name in ("segm", "depth", "normal") if f"{name}.bias" in state)


@pytest.mark.parametrize(
    ("config", "parameters", "macs_vga", "macs_kitti"),
    [
        (NYUD, 3_070_057, 5_940_288_000, 8_174_431_232),
        (KITTI, 2_991_687, 4_436_236_800, 6_106_360_832),
        (NORMALS, 3_077_228, 6_077_913_600, 8_363_666_432),
        (BOTH, 3_083_887, 6_205_708_800, 8_539_384_832),
        (replace(NYUD, grouped_crp1=False), 3_331_177, 10_953_792_000, 15_067_999_232),
        (replace(NYUD, legacy_expand_t1=False), 3_068_969, 5_861_644_800, 8_066_911_232),
        (SINGLE, 3_284_565, 10_059_225_600, 13_837_970_432),
    ],
)
def test_sizes_are_the_published_ones(config, parameters, macs_vga, macs_kitti):
    net = build(config)
    assert parameter_count(net) == parameters
    assert conv_macs(net, (480, 640)) == macs_vga
    assert conv_macs(net, (350, 1200)) == macs_kitti


def test_parts_have_the_published_sizes():
    encoder = MobileNetV2()
    assert parameter_count(encoder) == 1_812_800
    layers = [parameter_count(layer) for layer in encoder.children()]
    assert layers == [928, 1_984, 13_968, 39_696, 183_872, 303_168, 795_264, 473_920]
    assert sum(b.numel() for b in build(NYUD).buffers()) == 31_668
    assert conv_macs(encoder, (480, 640)) == 1_789_401_600


def test_counting_leaves_the_network_as_it_is():
    net = build(KITTI).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    conv_macs(net, (64, 64))
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_transposed_convolutions_are_counted_by_their_input():
    up = torch.nn.ConvTranspose2d(3, 8, 4, stride=2, padding=1)
    assert conv_macs(up, (10, 12)) == 3 * 8 * 4 * 4 * 10 * 12


def released_keys(heads: tuple[str, ...]) -> list[str]:
    """Names of the released checkpoints in their order."""
    batch_norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

    def conv_bn(name):
        return [f"{name}.0.weight", *(f"{name}.1.{part}" for part in batch_norm)]

    keys = conv_bn("layer1")
    for layer, blocks in zip(range(2, 9), (1, 2, 3, 4, 3, 3, 1), strict=True):
        for block in range(blocks):
            for stage in range(3):
                keys += conv_bn(f"layer{layer}.{block}.output.{stage}")
    keys += [f"conv{i}.weight" for i in (8, 7, 6, 5, 4, 3)]
    keys += [f"crp{i}.0.{k}_outvar_dimred.weight" for i in (4, 3, 2, 1) for k in (1, 2, 3, 4)]
    keys += [f"conv_adapt{i}.weight" for i in (4, 3, 2)]
    for head in heads:
        keys += [f"pre_{head}.weight", f"{head}.weight", f"{head}.bias"]
    return keys


@pytest.mark.parametrize(
    ("config", "heads", "count"),
    [(NYUD, ("depth", "segm"), 343), (NORMALS, ("depth", "segm", "normal"), 346)],
)
def test_keys_are_the_released_ones_in_their_order(config, heads, count):
    keys = list(build(config).state_dict())
    assert keys == released_keys(heads)
    assert len(keys) == count


def test_without_the_extra_expansion_only_its_keys_are_missing():
    without = list(build(replace(NYUD, legacy_expand_t1=False)).state_dict())
    assert without == [
        key for key in released_keys(("depth", "segm")) if "layer2.0.output.0" not in key
    ]


@pytest.mark.parametrize("config", [NYUD, KITTI, BOTH, NORMALS])
@pytest.mark.parametrize("size", [(64, 96), (97, 130)])
def test_outputs_are_those_of_the_published_formulas(config, size):
    net = lively(config)
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        got, wanted = net(image), published_forward(net.state_dict(), image)
    assert tuple(got) == net.tasks
    for output, reference in zip(got.values(), wanted, strict=True):
        torch.testing.assert_close(output, reference, rtol=0, atol=0)
        assert output.std() > 1e-3  # the comparison is not one of zeros


def test_align_corners_is_a_switch():
    image = torch.randn(1, 3, 64, 96)
    net = lively(replace(NYUD, align_corners=True))
    with torch.no_grad():
        wanted = published_forward(net.state_dict(), image, align_corners=True)
        assert torch.equal(net(image)["labels"], wanted[0])
        other = lively(NYUD)(image)["labels"]
    assert not torch.allclose(other, wanted[0])


def test_odd_sizes_are_rounded_up_at_each_halving():
    with torch.no_grad():
        features = MobileNetV2().eval()(torch.randn(1, 3, 350, 75))
        output = build(KITTI).eval()(torch.randn(1, 3, 97, 130))
    assert [f.shape[2] for f in features] == [88, 44, 22, 22, 11, 11]
    assert [f.shape[1] for f in features] == list(MobileNetV2.channels)
    assert output["labels"].shape == (1, 6, 25, 33)
    assert output["depth"].shape == (1, 1, 25, 33)


def test_state_loads_back_strictly_bare_and_below_data_parallel():
    saved, image = lively(NYUD), torch.randn(1, 3, 64, 64)
    fresh = build(NYUD).eval()
    fresh.load_state_dict(saved.state_dict())
    wrapped = torch.nn.DataParallel(build(NYUD).eval())
    names = {f"module.{name}": tensor for name, tensor in saved.state_dict().items()}
    assert list(wrapped.state_dict()) == list(names)
    wrapped.load_state_dict(names)
    with torch.no_grad():
        for net in (fresh, wrapped.module):
            assert torch.equal(net(image)["depth"], saved(image)["depth"])


def test_foreign_and_missing_keys_are_reported():
    state = build(NYUD).state_dict()
    state["stranger.weight"] = state.pop("conv8.weight")
    with pytest.raises(RuntimeError, match=r"(?s)decoder\.conv8\.weight.*stranger\.weight"):
        build(NYUD).load_state_dict(state)


def test_published_encoder_names_load_into_the_encoder():
    source = lively(NYUD)
    imagenet = {k: v for k, v in source.state_dict().items() if k.startswith("layer")}
    net = build(KITTI)
    net.encoder.load_state_dict(imagenet)
    name = "layer8.0.output.2.0.weight"
    assert torch.equal(net.state_dict()[name], imagenet[name])


def test_the_extra_expansion_can_be_the_identity():
    legacy, plain = lively(NYUD), lively(replace(NYUD, legacy_expand_t1=False), seed=1)
    state = plain.state_dict()
    name, eps = "layer2.0.output.0", 1e-5
    state |= {
        f"{name}.0.weight": torch.eye(32).view(32, 32, 1, 1),
        f"{name}.1.running_mean": torch.zeros(32),
        f"{name}.1.running_var": torch.ones(32),
        f"{name}.1.weight": torch.full((32,), (1 + eps) ** 0.5),
        f"{name}.1.bias": torch.zeros(32),
        f"{name}.1.num_batches_tracked": torch.tensor(0),
    }
    legacy.load_state_dict(state)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(legacy(image)["labels"], plain(image)["labels"])


def test_fresh_weights_are_normal_with_deviation_one_hundredth():
    torch.manual_seed(0)
    net = build(NYUD)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d) and module.weight.numel() > 10_000:
            assert abs(module.weight.mean()) < 5e-4
            assert module.weight.std().item() == pytest.approx(0.01, rel=0.05)
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            assert not module.bias.any()
        if isinstance(module, torch.nn.BatchNorm2d):
            assert (module.weight == 1).all() and not module.bias.any()
            assert (module.eps, module.momentum) == (1e-5, 0.1)


def test_separable_pooling_gives_the_same_bits():
    plain, separable = (ChainedResidualPooling(8, 1, flag) for flag in (False, True))
    separable.load_state_dict(plain.state_dict())
    x = torch.randn(2, 8, 13, 9)
    assert torch.equal(plain(x), separable(x))


def test_label_slices_are_the_label_sets_side_by_side():
    assert BOTH.label_slices == {"nyu40": slice(0, 40), "kitti6": slice(40, 46)}
    for config in (NYUD, KITTI, NORMALS, BOTH):
        for name, part in config.label_slices.items():
            assert part.stop - part.start == len(LABEL_SETS[name])


def gradients(net: torch.nn.Module, name: str) -> list[torch.Tensor]:
    """Gradients of the head's weights."""
    heads = (net.heads[f"pre_{name}"], net.heads[name])
    return [parameter.grad for head in heads for parameter in head.parameters()]


@pytest.mark.parametrize(("labelled", "unlabelled"), [("segm", "depth"), ("depth", "segm")])
def test_the_head_of_the_unlabelled_task_gets_exactly_no_gradient(labelled, unlabelled):
    net = lively(KITTI).train()
    output = net(torch.randn(2, 3, 64, 64))
    classes, metres = torch.full((2, 16, 16), 255), torch.zeros(2, 1, 16, 16)
    if labelled == "segm":
        classes = torch.randint(6, (2, 16, 16))
    else:
        metres = torch.rand(2, 1, 16, 16) + 1
    # Both losses are there, as in a batch of mixed data; one of them has nothing to count.
    segm = F.cross_entropy(output["labels"], classes, ignore_index=255, reduction="sum")
    depth = ((output["depth"] - metres).abs() * (metres > 0)).sum()
    (segm + depth).backward()
    assert not any(gradient.any() for gradient in gradients(net, unlabelled))
    assert all(gradient.any() for gradient in gradients(net, labelled))
    assert all(p.grad.any() for p in net.decoder.parameters())
    assert net.encoder.layer1[0].weight.grad.any()


def test_an_image_of_one_dataset_teaches_no_class_of_the_other():
    net = lively(BOTH).train()
    labels = net(torch.randn(2, 3, 64, 64))["labels"]
    mine, other = BOTH.label_slices["kitti6"], BOTH.label_slices["nyu40"]
    F.cross_entropy(labels[:, mine], torch.randint(6, (2, 16, 16))).backward()
    head = net.heads["segm"]
    for gradient in (head.weight.grad, head.bias.grad):
        assert not gradient[other].any()
        assert gradient[mine].any()


def test_configuration_survives_json():
    for config in PRESETS.values():
        assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "resnet"}, "resnet"),
        ({"surprise": 1}, "surprise"),
        ({"align_corners": 1}, "align_corners=1 is not a bool"),
        ({"tasks": ["labels", "smell"]}, "smell"),
        ({"tasks": ["labels", "contours"]}, "nekrasov has"),
        ({"tasks": ["depth", "depth"]}, "twice"),
        ({"tasks": []}, "want some of"),
        ({"label_sets": [["nyu40", 300]]}, "300"),
        ({"label_sets": [["nyu40"]]}, "want .name, classes. of each"),
        ({"label_sets": []}, "want .name, classes. of each"),
        ({"label_sets": [["a", 3], ["a", 4]]}, "twice"),
    ],
)
def test_bad_configurations_are_refused_by_name(change, message):
    with pytest.raises(InvalidInput, match=message):
        config_from_dict({**NYUD.to_dict(), **change})


def test_a_mistyped_preset_is_answered_with_near_names():
    with pytest.raises(InvalidInput, match="nekrasov-nyud"):
        build("nekrasov-nyu")


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 1, 64, 64),
        torch.zeros(1, 3, 0, 64),
        torch.zeros(0, 3, 64, 64),
        torch.zeros(3, 64, 64),
        torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
    ],
)
def test_images_that_are_none_are_refused_with_what_came(images):
    with pytest.raises(InvalidInput, match="want"):
        build(KITTI)(images)


def test_a_hostile_task_is_refused_by_name():
    with pytest.raises(InvalidInput, match="tasks"):
        NekrasovConfig(tasks=({},))
