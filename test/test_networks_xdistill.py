# SPDX-License-Identifier: Apache-2.0
"""X-Distill teaches the depth network without changing it."""

import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")

import torch.nn.functional as F  # noqa: E402

from mtl_perception.conventions import InvalidInput  # noqa: E402
from mtl_perception.labels import LABEL_SETS  # noqa: E402
from mtl_perception.networks.counting import conv_macs, parameter_count  # noqa: E402
from mtl_perception.networks.layers import IMAGENET_MEAN, IMAGENET_STD  # noqa: E402
from mtl_perception.networks.nekrasov import NekrasovConfig  # noqa: E402
from mtl_perception.networks.presets import build, config_from_dict  # noqa: E402
from mtl_perception.networks.resnet import ResNet  # noqa: E402
from mtl_perception.networks.xdistill_depth import (  # noqa: E402
    DepthNet,
    XDistillConfig,
    disparity_to_depth,
)
from mtl_perception.networks.xdistill_groups import ClassGroups, load_class_groups  # noqa: E402
from mtl_perception.networks.xdistill_pose import (  # noqa: E402
    PoseNet,
    invert_rigid,
    rigid_matrix,
)
from mtl_perception.networks.xdistill_teacher import (  # noqa: E402
    DepthToSegmentation,
    FrozenTeacher,
)

torch.set_num_threads(1)

CITYSCAPES = LABEL_SETS["cityscapes19"]
GROUPINGS = ("geometry4", "geometry5", "geometry6", "identity19")


def make_teacher(classes: int = 19) -> torch.nn.Module:
    """A segmentation network whose labels differ from place to place."""
    config = NekrasovConfig(tasks=("labels",), label_sets=(("cityscapes19", classes),))
    teacher = build(config)
    for module in teacher.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    return teacher


@pytest.fixture
def depth_net() -> DepthNet:
    torch.manual_seed(0)
    return build("x-distill-r18").eval()


@pytest.mark.parametrize(
    ("name", "encoder", "decoder", "macs"),
    [
        ("x-distill-r18", 11_176_512, 3_152_724, 7_998_013_440),
        ("x-distill-r50", 23_508_032, 9_014_100, 16_538_664_960),
    ],
)
def test_sizes_are_those_of_the_published_base(name, encoder, decoder, macs):
    net = build(name)
    assert parameter_count(net.encoder) == encoder
    assert parameter_count(net.decoder) == decoder
    assert parameter_count(net) == encoder + decoder
    assert conv_macs(net, (192, 640)) == macs


def test_sizes_of_what_only_training_needs():
    assert parameter_count(PoseNet()) == 12_500_492
    assert parameter_count(DepthToSegmentation(4)) == 37_956
    assert parameter_count(DepthToSegmentation(19)) == 38_931


def test_disparity_runs_from_far_to_near():
    disparity = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    depth = disparity_to_depth(disparity, 0.1, 100)
    assert depth.tolist() == pytest.approx([100, 1 / (0.005 + 5), 0.1])


@pytest.mark.parametrize("size", [(64, 96), (97, 130), (33, 47)])
def test_each_scale_halves_the_size_rounded_up(depth_net, size):
    with torch.no_grad():
        predictions = depth_net.forward_all(torch.randn(1, 3, *size))
    for scale, (disparity, depth) in enumerate(
        zip(predictions.disparity, predictions.depth, strict=True)
    ):
        assert disparity.shape == (1, 1, *(math.ceil(side / 2**scale) for side in size))
        assert (disparity > 0).all() and (disparity < 1).all()
        assert torch.equal(depth, disparity_to_depth(disparity, 0.1, 100))


def published_disparities(net: DepthNet, image: torch.Tensor) -> list[torch.Tensor]:
    """Disparities of scales 3, 2, 1, 0 as the base's publication describes its decoder."""
    seen = net.encoder((image - 0.45) / 0.225)

    def conv(x, layer):
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), layer.weight, layer.bias)

    y, found = seen[4], []
    for level in (4, 3, 2, 1, 0):
        y = F.elu(conv(y, net.decoder.reduce[level][0]))
        y = F.interpolate(y, scale_factor=2, mode="nearest")
        if level > 0:
            y = torch.cat([y, seen[level - 1]], 1)
        y = F.elu(conv(y, net.decoder.join[level][0]))
        if level < 4:
            found.append(conv(y, net.decoder.disparity[level]).sigmoid())
    return found


def test_outputs_are_those_of_the_published_formulas(depth_net):
    image = torch.rand(2, 3, 64, 96)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        ours = depth_net.forward_all((image - mean) / std).disparity
        published = published_disparities(depth_net, image)
    for got, wanted in zip(ours, reversed(published), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
        assert wanted.std() > 1e-3  # the comparison is not one of constants


def test_inference_and_training_see_the_same_depth(depth_net):
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(depth_net(image)["depth"], depth_net.forward_all(image).depth[0])


@pytest.mark.parametrize("size", [(32, 64), (64, 32), (0, 64)])
def test_images_too_small_to_reflect_are_refused(depth_net, size):
    with pytest.raises(InvalidInput, match="at least 33"):
        depth_net(torch.zeros(1, 3, *size))


def test_a_teacher_stays_frozen_while_others_train():
    teacher = make_teacher()
    frozen = FrozenTeacher(teacher, CITYSCAPES).train()
    before = {name: t.clone() for name, t in teacher.state_dict().items()}
    classes = frozen(torch.randn(2, 3, 64, 64))
    assert classes.shape == (2, 64, 64) and classes.dtype == torch.int64
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(t, before[name]) for name, t in teacher.state_dict().items())


class Halves(torch.nn.Module):
    """A teacher that sees road on the left and a car on the right, at a quarter of the size."""

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = torch.zeros(len(images), 19, images.shape[2] // 4, images.shape[3] // 4)
        middle = scores.shape[3] // 2
        scores[:, CITYSCAPES.id_of("road"), :, :middle] = 1
        scores[:, CITYSCAPES.id_of("car"), :, middle:] = 1
        return {"labels": scores}


def test_a_teacher_tells_classes_at_full_size():
    classes = FrozenTeacher(Halves(), CITYSCAPES)(torch.randn(2, 3, 64, 96))
    assert (classes[:, :, :48] == CITYSCAPES.id_of("road")).all()
    assert (classes[:, :, 48:] == CITYSCAPES.id_of("car")).all()


def test_a_teacher_of_other_classes_is_refused():
    with pytest.raises(InvalidInput, match="6 classes, 'cityscapes19' has 19"):
        FrozenTeacher(make_teacher(classes=6), CITYSCAPES)(torch.randn(1, 3, 64, 64))


@pytest.mark.parametrize(("name", "count"), list(zip(GROUPINGS, (4, 5, 6, 19), strict=True)))
def test_every_class_is_in_one_group(name, count):
    groups = load_class_groups(name)
    assert groups.source is CITYSCAPES
    assert len(groups) == count
    assert sorted(c for g in groups.groups.values() for c in g) == sorted(CITYSCAPES.names.values())
    assert set(groups.table[:19]) == set(range(count))
    assert (groups.table[19:] == 255).all()


def test_indoor_groups_hold_all_classes_that_have_a_shape():
    groups = load_class_groups("indoor7")
    assert groups.source is LABEL_SETS["nyu40"] and len(groups) == 7
    left = {name for c, name in groups.source.names.items() if groups.table[c] == 255}
    assert left == {"otherstructure", "otherfurniture"}


def test_identity_groups_keep_the_ids():
    assert np.array_equal(load_class_groups("identity19").table[:19], np.arange(19))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, "no group"),
        ({"a": ()}, "'a' is empty"),
        ({"a": ("road",), "b": ("road",)}, "'road' is named twice"),
        ({"a": ("raod",)}, "did you mean 'road'"),
    ],
)
def test_groups_that_are_no_partition_are_refused(groups, message):
    with pytest.raises(InvalidInput, match=message):
        ClassGroups(CITYSCAPES, groups)


def test_unknown_groups_are_answered_with_those_there_are():
    with pytest.raises(InvalidInput, match="geometry4"):
        load_class_groups("geometry")


@pytest.mark.parametrize(
    "values",
    [{"encoder_depth": 19}, {"min_depth": 0.0}, {"max_depth": 0.05}, {"max_depth": math.inf}],
)
def test_ranges_and_encoders_that_are_none_are_refused(values):
    with pytest.raises(InvalidInput):
        XDistillConfig(**values)


def test_configuration_survives_json():
    config = XDistillConfig(encoder_depth=50, max_depth=80.0)
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_quarter_turn_about_z_takes_x_to_y():
    T = rigid_matrix(torch.tensor([[0, 0, math.pi / 2]]), torch.tensor([[1.0, 2, 3]]))
    point = torch.tensor([1.0, 0, 0, 1])
    torch.testing.assert_close(T[0] @ point, torch.tensor([1.0, 3, 3, 1]))
    torch.testing.assert_close(invert_rigid(T) @ T, torch.eye(4)[None])


def test_no_motion_has_a_gradient():
    motion = torch.zeros(1, 6, requires_grad=True)
    T = rigid_matrix(motion[:, :3], motion[:, 3:])
    assert torch.equal(T, torch.eye(4)[None])
    T.backward(torch.randn(1, 4, 4))
    assert motion.grad.isfinite().all() and motion.grad.any()


def test_an_untrained_pose_is_small_and_rigid_and_learns():
    torch.manual_seed(0)
    net = PoseNet()
    T = net(torch.randn(2, 3, 64, 96), torch.randn(2, 3, 64, 96))
    assert T.shape == (2, 4, 4)
    torch.testing.assert_close(T, torch.eye(4).expand(2, 4, 4), rtol=0, atol=0.1)
    R = T[:, :3, :3]
    torch.testing.assert_close(R @ R.transpose(1, 2), torch.eye(3).expand(2, 3, 3))
    T.square().sum().backward()
    assert net.encoder.conv1.weight.grad.any()


def test_two_equal_frames_look_to_the_pose_encoder_like_one():
    torch.manual_seed(0)
    single, net = ResNet(18).eval(), PoseNet().eval()
    net.load_image_encoder(single)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        pair = net.encoder(torch.cat([image, image], dim=1))
        for one, two in zip(single(image), pair, strict=True):
            torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-4)


def test_frames_of_two_sizes_are_refused():
    with pytest.raises(InvalidInput, match="differ"):
        PoseNet()(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 96))
