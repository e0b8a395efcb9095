# SPDX-License-Identifier: Apache-2.0
"""ResNet, VGG, AlexNet and HRNet are the published ones, and take images of any size."""

from functools import cache

import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")

import torch.nn.functional as F  # noqa: E402
from published_networks import Published, lively  # noqa: E402

from mtl_perception.conventions import InvalidInput  # noqa: E402
from mtl_perception.networks.aggregation import FeaturePyramid  # noqa: E402
from mtl_perception.networks.alexnet import AlexNet  # noqa: E402
from mtl_perception.networks.counting import parameter_count  # noqa: E402
from mtl_perception.networks.hrnet import SIZES, HRNet  # noqa: E402
from mtl_perception.networks.resnet import ResNet  # noqa: E402
from mtl_perception.networks.vgg import VGG16  # noqa: E402

torch.set_num_threads(1)

# Published totals, less the classifier's weights and biases.
RESNETS = {
    18: (11_689_512 - 513_000, 120),
    34: (21_797_672 - 513_000, 216),
    50: (25_557_032 - 2_049_000, 318),
    101: (44_549_160 - 2_049_000, 624),
}

ENCODERS = {
    "resnet18": lambda: ResNet(18),
    "resnet50": lambda: ResNet(50),
    "resnet50 of stride 16": lambda: ResNet(50, output_stride=16),
    "resnet101 of stride 8": lambda: ResNet(101, output_stride=8),
    "hrnet18": lambda: HRNet(SIZES["hrnet18"]),
    "hrnet48": lambda: HRNet(SIZES["hrnet48"]),
    "vgg16": VGG16,
    "alexnet": AlexNet,
}


@cache
def on_meta(build):
    with torch.device("meta"):  # shapes without numbers
        return build()


@pytest.mark.parametrize("depth", RESNETS)
def test_resnet_has_the_published_parameters_and_entries(depth):
    net = on_meta(lambda: ResNet(depth))
    assert (parameter_count(net), len(net.state_dict())) == RESNETS[depth]


@pytest.mark.parametrize("name, parameters", [("hrnet18", 3_860_720), ("hrnet48", 65_325_120)])
def test_hrnet_has_the_published_parameters(name, parameters):
    assert parameter_count(on_meta(ENCODERS[name])) == parameters


def test_vgg_and_alexnet_have_the_published_parameters_without_their_classifiers():
    assert parameter_count(on_meta(VGG16)) == 138_357_544 - 123_642_856
    assert parameter_count(on_meta(AlexNet)) == 61_100_840 - 58_631_144


def test_resnet_names_are_torchvisions():
    entries = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    wanted = ["conv1.weight", *(f"bn1.{entry}" for entry in entries)]
    for layer, count in enumerate((3, 4, 6, 3), start=1):
        for block in range(count):
            own = f"layer{layer}.{block}"
            for n in (1, 2, 3):
                wanted += [f"{own}.conv{n}.weight", *(f"{own}.bn{n}.{e}" for e in entries)]
            if block == 0:
                wanted += [f"{own}.downsample.0.weight"]
                wanted += [f"{own}.downsample.1.{entry}" for entry in entries]
    assert list(on_meta(lambda: ResNet(50)).state_dict()) == wanted


def test_vgg_and_alexnet_names_are_torchvisions():
    vgg = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    for build, numbers in ((VGG16, vgg), (AlexNet, [0, 3, 6, 8, 10])):
        wanted = [f"features.{n}.{entry}" for n in numbers for entry in ("weight", "bias")]
        assert list(on_meta(build).state_dict()) == wanted


@pytest.mark.parametrize("size", [(64, 96), (97, 130), (33, 32)])
@pytest.mark.parametrize("name", ENCODERS)
def test_every_map_has_its_channels_and_its_stride_rounded_up(name, size):
    encoder = on_meta(ENCODERS[name])
    maps = encoder(torch.empty(2, 3, *size, device="meta"))
    cells = [tuple(-(-side // stride) for side in size) for stride in encoder.strides]
    wanted = [(2, c, *grid) for c, grid in zip(encoder.channels, cells, strict=True)]
    assert [tuple(x.shape) for x in maps] == wanted


@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilated_resnet_is_the_strided_one_between_its_pixels_too(output_stride):
    strided, dilated = lively(ResNet(50)).double(), ResNet(50, output_stride).double().eval()
    dilated.load_state_dict(strided.state_dict())
    images = torch.randn(1, 3, 65, 90, dtype=torch.double)
    with torch.no_grad():
        coarse, fine = strided(images), dilated(images)
    for x, y, wide, narrow in zip(coarse, fine, strided.strides, dilated.strides, strict=True):
        step = wide // narrow
        torch.testing.assert_close(y[..., ::step, ::step], x)


def test_resnet_takes_stacked_images():
    assert ResNet(18, channels_in=6).eval()(torch.zeros(1, 6, 32, 32))[-1].shape == (1, 512, 1, 1)


@pytest.mark.parametrize("arguments", [(152,), (50, 4), (18, 64)])
def test_resnet_refuses_what_it_does_not_know(arguments):
    with pytest.raises(InvalidInput, match=str(arguments[-1])):
        ResNet(*arguments)


@pytest.mark.parametrize("size", [(64, 96), (45, 70)])
def test_hrnet_equals_its_formula_on_the_published_names(size):
    net = lively(HRNet(SIZES["hrnet18"])).double()
    images = torch.randn(1, 3, *size, dtype=torch.double)
    with torch.no_grad():
        wanted = Published(net.state_dict()).hrnet(images)
        for x, y in zip(net(images), wanted, strict=True):
            torch.testing.assert_close(x, y)


def test_hrnet_keeps_long_averages():
    momenta = {m.momentum for m in HRNet(SIZES["hrnet18"]).modules() if hasattr(m, "momentum")}
    assert momenta == {0.01}


def test_vgg_equals_the_published_network_up_to_its_fourth_stage():
    net, images = VGG16(), torch.randn(1, 3, 32, 64)
    state = net.state_dict()
    x = images
    with torch.no_grad():
        maps = net(images)
        for stage, numbers in enumerate([(0, 2), (5, 7), (10, 12, 14), (17, 19, 21)]):
            x = F.max_pool2d(x, 2) if stage else x
            for n in numbers:
                name = f"features.{n}"
                x = F.relu(F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1))
            torch.testing.assert_close(maps[stage], x)


def test_vgg_does_not_lose_the_last_column_of_an_odd_size():
    net, images = VGG16(), torch.randn(1, 3, 33, 33, requires_grad=True)
    net(images)[2][..., -1, -1].sum().backward()
    assert images.grad[..., -1, -1].abs().sum() > 0


def test_feature_pyramid_adds_coarse_maps_to_finer_ones():
    pyramid = FeaturePyramid((3, 5, 7, 9))
    maps = [torch.randn(1, c, n, n + 1) for c, n in zip((3, 5, 7, 9), (13, 7, 4, 2), strict=True)]
    finest = pyramid(maps)[0]
    assert finest.shape == (1, 256, 13, 14)
    changed = pyramid([*maps[:3], maps[3] + 1])
    assert all((x != y).any() for x, y in zip(pyramid(maps), changed, strict=True))
    changed = pyramid([maps[0] + 1, *maps[1:]])
    assert [bool((x != y).any()) for x, y in zip(pyramid(maps), changed, strict=True)] == [
        True,
        False,
        False,
        False,
    ]
