# SPDX-License-Identifier: Apache-2.0
"""Every method learns what it should from what is annotated, and nothing from what is not."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")

from mtl_perception.conventions import InvalidInput  # noqa: E402
from mtl_perception.networks.layers import IMAGENET_MEAN, IMAGENET_STD  # noqa: E402
from mtl_perception.networks.nekrasov import NekrasovConfig  # noqa: E402
from mtl_perception.networks.presets import build, find_preset  # noqa: E402
from mtl_perception.networks.xdistill_groups import load_class_groups  # noqa: E402
from mtl_perception.networks.xdistill_pose import rigid_matrix  # noqa: E402
from mtl_perception.training.batch import Batch, contours_of  # noqa: E402
from mtl_perception.training.config import LossConfig, TrainConfig  # noqa: E402
from mtl_perception.training.config_file import load_config  # noqa: E402
from mtl_perception.training.engine import Engine  # noqa: E402
from mtl_perception.training.losses.contours import (  # noqa: E402
    balanced_bce,
    binary_cross_entropy,
)
from mtl_perception.training.losses.depth import l1_depth, l2_depth  # noqa: E402
from mtl_perception.training.losses.labels import cross_entropy  # noqa: E402
from mtl_perception.training.losses.normals import normal_l1, normal_l2  # noqa: E402
from mtl_perception.training.objective import objective_for  # noqa: E402
from mtl_perception.training.objective_xdistill import XDistillObjective  # noqa: E402

torch.set_num_threads(1)

SIDE = 48
WEIGHTS = LossConfig(labels=1, depth=1, normals=1, contours=1, intermediate=0.8)
PAD, PAD_AGAIN, MTI = (
    "pad-net-nyud-alexnet",
    "pad-net-nyud-hrnet18-auxiliary",
    "mti-net-nyud-hrnet18-auxiliary",
)


def quarters(side: int = SIDE) -> Batch:
    """Two images of three flat regions each, of which everything is known."""
    labels = torch.zeros(2, side, side, dtype=torch.int64)
    labels[:, :, side // 2 :] = 3
    labels[:, side // 2 :] = 7
    labels[1] = labels[1].flip(0)
    color = torch.stack([(labels == k).float() for k in (0, 3, 7)], dim=1)
    normals = torch.zeros(2, 3, side, side)
    normals[:, 2] = -1
    return Batch(
        images=color + 0.1 * torch.randn(color.shape, generator=torch.Generator().manual_seed(0)),
        labels=labels,
        depth=1 + labels[:, None] / 3,
        normals=normals,
        contours=contours_of(labels),
        K=torch.eye(3).expand(2, 3, 3),
        neighbours=torch.zeros(2, 0, 3, side, side),
    )


def without(batch: Batch, *tasks: str) -> Batch:
    """The batch with every pixel of these tasks unknown."""
    unknown = {
        "labels": torch.full_like(batch.labels, 255),
        "depth": torch.zeros_like(batch.depth),
        "normals": torch.zeros_like(batch.normals),
        "contours": torch.full_like(batch.contours, -1),
    }
    return replace(batch, **{task: unknown[task] for task in tasks})


@pytest.mark.parametrize(("preset", "lr", "steps"), [(PAD_AGAIN, 3e-3, 14), (MTI, 3e-3, 24)])
def test_one_batch_is_learnt_by_heart(preset, lr, steps):
    torch.manual_seed(0)
    net, batch = build(preset).train(), quarters(side=32)
    objective = objective_for(net.config, WEIGHTS)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    totals = []
    for _ in range(steps):
        optimizer.zero_grad()
        losses = objective(net.forward_all(batch.images), batch)
        losses.total.backward()
        optimizer.step()
        totals.append(losses.total.item())
    assert totals[-1] < totals[0] / 5, totals


@pytest.mark.parametrize("preset", [PAD, PAD_AGAIN, MTI])
def test_total_is_the_weighted_sum_over_tasks_and_scales(preset):
    torch.manual_seed(0)
    net, batch = build(preset).eval(), quarters(side=32)
    weights = LossConfig(labels=1, depth=2, normals=10, contours=50, intermediate=0.8)
    with torch.no_grad():
        outputs = net.forward_all(batch.images)
        losses = objective_for(net.config, weights)(outputs, batch)
    published = preset == PAD
    by_task = {
        "labels": (1, cross_entropy),
        "depth": (2, l2_depth if published else l1_depth),
        "normals": (10, normal_l2 if published else normal_l1),
        "contours": (50, binary_cross_entropy if published else balanced_bce),
    }
    wanted = 0.0
    for task, (weight, loss) in by_task.items():
        truth = getattr(batch, task)
        for scale in outputs.intermediate:
            wanted += 0.8 * weight * loss(scale[task], truth).item()
        if task in outputs.final:
            wanted += weight * loss(outputs.final[task], truth).item()
    assert losses.total.item() == pytest.approx(wanted, rel=1e-5)
    final, early = {"labels", "depth"}, {f"intermediate {task}" for task in by_task}
    assert set(losses.parts) == final | early


def test_rare_classes_can_be_made_to_count_more_at_every_scale():
    torch.manual_seed(0)
    net, batch = build(MTI).eval(), quarters(side=32)
    objective = objective_for(net.config, WEIGHTS)
    with torch.no_grad():
        outputs = net.forward_all(batch.images)
        even = objective(outputs, batch).parts
        objective.class_weights.fill_(2)
        twice = objective(outputs, batch).parts
    for name in even:
        factor = 2 if name.endswith("labels") else 1
        assert twice[name].item() == pytest.approx(factor * even[name].item()), name


@pytest.mark.parametrize("preset", [PAD_AGAIN, MTI])
def test_heads_of_unlabelled_tasks_receive_exactly_nothing(preset):
    torch.manual_seed(0)
    net = build(preset).train()
    batch = without(quarters(), "labels", "contours")
    objective_for(net.config, WEIGHTS)(net.forward_all(batch.images), batch).total.backward()
    heads = {"labels": [], "depth": [], "normals": [], "contours": []}
    for public, task in (
        ("semseg", "labels"),
        ("depth", "depth"),
        ("normals", "normals"),
        ("edge", "contours"),
    ):
        for name, parameter in net.named_parameters():
            words = name.split(".")
            if "conv_out" in words or "decoders" in words or words[0] == "heads":
                heads[task] += [parameter.grad] if public in words else []
    assert all(heads.values())
    for task in ("labels", "contours"):
        assert not any(gradient.any() for gradient in heads[task]), task
    for task in ("depth", "normals"):
        assert all(gradient.any() for gradient in heads[task]), task


@pytest.mark.parametrize("preset", ["nekrasov-nyud-normals", PAD, MTI])
def test_a_batch_without_any_annotation_has_no_loss_and_no_gradient(preset):
    torch.manual_seed(0)
    net = build(preset).eval()
    batch = without(quarters(side=32), "labels", "depth", "normals", "contours")
    outputs = getattr(net, "forward_all", net)(batch.images)
    total = objective_for(net.config, WEIGHTS)(outputs, batch).total
    total.backward()
    assert total.item() == 0
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert gradients and not any(gradient.any() for gradient in gradients)


def test_an_image_without_labels_does_not_dilute_those_of_another():
    torch.manual_seed(0)
    net = build("nekrasov-nyud").eval()
    objective = objective_for(net.config, LossConfig())
    both = quarters()
    first = replace(both, labels=both.labels.clone())
    first.labels[1] = 255
    with torch.no_grad():
        outputs = net(both.images)
        mixed = objective(outputs, first).parts["labels"]
        alone = cross_entropy(outputs["labels"][:1], both.labels[:1])
    assert mixed.item() == pytest.approx(alone.item(), rel=1e-6)


@pytest.mark.parametrize("preset", ["pad-net-pascal-hrnet18", "mti-net-pascal-hrnet18"])
def test_tasks_that_no_data_here_annotates_are_refused(preset):
    with pytest.raises(InvalidInput, match="parts, saliency"):
        objective_for(find_preset(preset), WEIGHTS)


def test_networks_of_two_label_sets_are_refused():
    both = replace(find_preset(MTI), label_sets=(("nyu40", 40), ("kitti6", 6)))
    with pytest.raises(InvalidInput, match="nyu40, kitti6"):
        objective_for(both, WEIGHTS)


MOTION = rigid_matrix(torch.tensor([[0, 0.02, 0]]), torch.tensor([[0.1, 0, 0.1]]))
K = torch.tensor([[45.0, 0, 23.5], [0, 45, 23.5], [0, 0, 1]])


def corridor_view(T_world_camera: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Colours in 0..1 and labels of a floor at y = 1 m and a wall at z = 3 m, by equations."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    rays = np.linalg.inv(K.double().numpy()) @ np.stack(
        [columns.ravel(), rows.ravel(), np.ones(SIDE**2)]
    )
    directions, position = T_world_camera[:3, :3] @ rays, T_world_camera[:3, 3]
    to_floor = (1 - position[1]) / np.maximum(directions[1], 1e-6)
    to_wall = (3 - position[2]) / directions[2]
    x, y, z = directions * np.minimum(to_floor, to_wall) + position[:, None]
    color = [0.5 + 0.4 * np.sin(4 * x + k) * np.cos(4 * (y + z) - 2 * k) for k in range(3)]
    labels = np.where(to_floor < to_wall, 1, 0)  # floor, wall of NYU40
    shape = (1, -1, SIDE, SIDE)
    color = torch.tensor(np.stack(color).reshape(shape), dtype=torch.float32)
    return color, torch.tensor(labels.reshape(1, SIDE, SIDE))


def corridor() -> Batch:
    """A frame between two others, with a teacher's labels and no truth."""
    mean, std = (torch.tensor(x).view(-1, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    image, labels = corridor_view(np.eye(4))
    forward = MOTION[0].double().numpy()
    neighbours = [corridor_view(T)[0] for T in (forward, np.linalg.inv(forward))]
    batch = replace(quarters(), images=(image - mean) / std, labels=labels, K=K[None])
    batch = replace(batch, neighbours=torch.stack([(n - mean) / std for n in neighbours], dim=1))
    return without(
        replace(
            batch, depth=batch.depth[:1], normals=batch.normals[:1], contours=batch.contours[:1]
        ),
        "depth",
        "normals",
        "contours",
    )


@pytest.fixture
def depth_net() -> torch.nn.Module:
    torch.manual_seed(0)
    return build("x-distill-r18").train()


def test_depth_is_learnt_from_motion_and_classes_alone(depth_net):
    batch = corridor()
    objective = XDistillObjective(depth_net.config, LossConfig(cross_task=0.05)).train()
    optimizer = torch.optim.Adam(
        [*depth_net.parameters(), *objective.parameters()], lr=1e-3, fused=True
    )
    parts = []
    for _ in range(16):
        optimizer.zero_grad()
        losses = objective(depth_net.forward_all(batch.images), batch)
        losses.total.backward()
        optimizer.step()
        parts.append({name: part.item() for name, part in losses.parts.items()})
    first, last = parts[0], parts[-1]
    assert last["photometric"] < first["photometric"] / 5
    assert last["cross task"] < first["cross task"] / 1.5
    wanted = last["photometric"] + 1e-3 * last["smoothness"] + 0.05 * last["cross task"]
    assert losses.total.item() == pytest.approx(wanted, rel=1e-5)


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def test_the_cross_task_term_reaches_the_depth_network_and_not_the_pose(depth_net):
    batch = corridor()
    objective = XDistillObjective(depth_net.config, LossConfig()).train()
    parts = objective(depth_net.forward_all(batch.images), batch).parts
    parts["cross task"].backward()
    assert gradients(objective.pose_net) == {}
    assert all(g.any() for g in gradients(objective.depth_to_segmentation.scores).values())
    for name, parameter in depth_net.named_parameters():
        # The coarser scales belong to the self-supervised losses.
        coarse = name.startswith(tuple(f"decoder.disparity.{scale}" for scale in (1, 2, 3)))
        assert (parameter.grad is None) if coarse else parameter.grad.any(), name


def test_the_photometric_term_reaches_depth_and_pose_at_all_scales_and_not_the_classes(depth_net):
    batch = corridor()
    objective = XDistillObjective(depth_net.config, LossConfig()).train()
    parts = objective(depth_net.forward_all(batch.images), batch).parts
    parts["photometric"].backward()
    assert gradients(objective.depth_to_segmentation) == {}
    assert gradients(objective.pose_net)["encoder.conv1.weight"].any()
    found = gradients(depth_net)
    assert all(found[f"decoder.disparity.{scale}.weight"].any() for scale in range(4))


def test_the_pose_network_can_start_from_the_encoder_of_the_depth_network(depth_net):
    objective = XDistillObjective(depth_net.config, LossConfig())
    objective.start_from(depth_net)
    found = objective.pose_net.encoder.state_dict()
    for name, tensor in depth_net.encoder.state_dict().items():
        if name != "conv1.weight":
            assert torch.equal(found[name], tensor), name
    wide = XDistillObjective(replace(depth_net.config, encoder_depth=50), LossConfig())
    before = wide.pose_net.encoder.conv1.weight.clone()
    wide.start_from(build("x-distill-r50"))
    assert torch.equal(wide.pose_net.encoder.conv1.weight, before)


def test_without_its_weight_there_is_no_cross_task_term(depth_net):
    batch = corridor()
    objective = XDistillObjective(depth_net.config, LossConfig(cross_task=0)).train()
    losses = objective(depth_net.forward_all(batch.images), batch)
    assert set(losses.parts) == {"photometric", "smoothness"}
    losses.total.backward()
    assert gradients(objective.depth_to_segmentation) == {}


def test_pixels_without_a_group_teach_nothing(depth_net):
    shapeless = corridor()
    shapeless.labels.fill_(37)  # NYU40's "otherstructure" may have any shape
    shapeless.labels[:, :20] = 255
    objective = XDistillObjective(depth_net.config, LossConfig()).train()
    part = objective(depth_net.forward_all(shapeless.images), shapeless).parts["cross task"]
    part.backward()
    assert part.item() == 0
    assert not any(gradient.any() for gradient in gradients(depth_net).values())


def test_a_frozen_teacher_takes_the_place_of_stored_labels_and_learns_nothing(depth_net):
    batch = corridor()
    teacher = build(NekrasovConfig(tasks=("labels",)))
    before = copy.deepcopy(teacher.state_dict())
    weights = LossConfig(cross_task=1.0)
    objective = XDistillObjective(depth_net.config, weights, teacher).train()
    unlabelled = without(batch, "labels")
    outputs = depth_net.forward_all(batch.images)
    taught = objective(outputs, unlabelled)
    taught.total.backward()
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    assert gradients(teacher) == {}
    assert all(torch.equal(t, before[name]) for name, t in teacher.state_dict().items())

    with torch.no_grad():
        scores = teacher(batch.images)["labels"]
    full = torch.nn.functional.interpolate(scores, size=(SIDE, SIDE), mode="bilinear")
    group_of = torch.from_numpy(load_class_groups("indoor7").table.astype(int))
    target = group_of[full.argmax(dim=1)]
    found = cross_entropy(objective.depth_to_segmentation(outputs.depth[0]), target)
    assert taught.parts["cross task"].item() == pytest.approx(found.item(), rel=1e-5)


def graph(net: torch.nn.Module, image: torch.Tensor) -> str:
    """Every operation of inference, with the names of what enters it."""
    program = torch.export.export(net, (image,))
    return f"{program.graph_signature}\n{program.graph}"


def test_training_leaves_no_trace_in_the_inference_graph(depth_net):
    batch = corridor()
    fresh = build(depth_net.config).eval()
    before = graph(fresh, batch.images)
    objective = XDistillObjective(depth_net.config, LossConfig()).train()
    optimizer = torch.optim.SGD([*depth_net.parameters(), *objective.parameters()], lr=0.1)
    objective(depth_net.forward_all(batch.images), batch).total.backward()
    optimizer.step()

    taught = depth_net.eval()
    assert graph(taught, batch.images) == before
    assert list(taught.state_dict()) == list(fresh.state_dict())
    assert not torch.equal(taught.encoder.conv1.weight, fresh.encoder.conv1.weight)
    fresh.load_state_dict(taught.state_dict())
    with torch.no_grad():
        assert torch.equal(fresh(batch.images)["depth"], taught(batch.images)["depth"])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("preset", ["x-distill-r18", MTI])
def test_the_training_loop_moves_network_and_objective_in_either_precision(preset, precision):
    torch.manual_seed(0)
    batch = corridor() if preset.startswith("x-distill") else quarters()
    config = TrainConfig(network=preset, steps=2, precision=precision, loss=LossConfig())
    net = build(preset)
    objective = objective_for(net.config, config.loss)
    engine = Engine(config, net, objective, torch.device("cpu"))
    before = [p.detach().clone() for p in (*net.parameters(), *objective.parameters())]
    step = engine.step(batch)
    assert not step.problem and np.isfinite(step.losses["total"])
    after = [*net.parameters(), *objective.parameters()]
    moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert np.mean(moved) > 0.9  # not: biases before a batch norm


RECIPES = Path(__file__).parents[1] / "config" / "training"


@pytest.mark.parametrize("recipe", ["nekrasov", "pad-net", "mti-net", "x-distill"])
def test_recipes_are_read_and_their_networks_can_be_trained(recipe):
    config = load_config(RECIPES / f"{recipe}.yaml")
    assert find_preset(config.network).method == recipe
    objective_for(find_preset(config.network), config.loss)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_data_without_a_frame_before_and_after_is_refused(depth_net, count):
    batch = corridor()
    batch = replace(batch, neighbours=batch.images[:, None].expand(1, count, 3, SIDE, SIDE))
    objective = XDistillObjective(depth_net.config, LossConfig())
    with pytest.raises(InvalidInput, match=f"{count} neighbours"):
        objective(depth_net.forward_all(batch.images), batch)
