# SPDX-License-Identifier: Apache-2.0
"""Every loss equals its formula in NumPy, and what is not annotated teaches nothing."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")


from mtl_perception.training.losses.contours import (  # noqa: E402
    balanced_bce,
    binary_cross_entropy,
)
from mtl_perception.training.losses.depth import berhu, l1_depth, l2_depth  # noqa: E402
from mtl_perception.training.losses.labels import cross_entropy  # noqa: E402
from mtl_perception.training.losses.normals import (  # noqa: E402
    normal_cosine,
    normal_l1,
    normal_l2,
)

torch.set_num_threads(1)

B, H, W = 2, 8, 12


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def upsampled(coarse: np.ndarray) -> np.ndarray:
    """Twice the size, bilinear, pixel areas aligned, one pixel at a time."""
    *_, h, w = coarse.shape
    fine = np.zeros((*coarse.shape[:2], 2 * h, 2 * w))
    for row in range(2 * h):
        for column in range(2 * w):
            y = np.clip((row + 0.5) / 2 - 0.5, 0, None)
            x = np.clip((column + 0.5) / 2 - 0.5, 0, None)
            top, left = int(y), int(x)
            below, right = min(top + 1, h - 1), min(left + 1, w - 1)
            fy, fx = y - top, x - left
            fine[:, :, row, column] = (1 - fy) * (
                (1 - fx) * coarse[:, :, top, left] + fx * coarse[:, :, top, right]
            ) + fy * ((1 - fx) * coarse[:, :, below, left] + fx * coarse[:, :, below, right])
    return fine


def tensor(array: np.ndarray, learns: bool = False) -> torch.Tensor:
    dtype = torch.int64 if array.dtype.kind == "i" else torch.float32
    return torch.tensor(array, dtype=dtype, requires_grad=learns)


def random_depth(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A prediction at half the size, and a truth of which a third is unknown."""
    truth = rng.uniform(0.5, 6, (B, 1, H, W))
    truth[rng.random(truth.shape) < 1 / 3] = 0
    return rng.normal(2, 2, (B, 1, H // 2, W // 2)), truth


def random_normals(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.normal(size=(B, 3, H, W))
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    truth *= rng.random((B, 1, H, W)) > 1 / 3
    return rng.normal(size=(B, 3, H // 2, W // 2)), truth


def test_cross_entropy_is_the_mean_over_labelled_pixels(rng):
    logits = rng.normal(size=(B, 5, H // 2, W // 2))
    labels = rng.integers(0, 5, (B, H, W))
    labels[rng.random(labels.shape) < 0.3] = 255
    scores = upsampled(logits)
    log_probability = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    picked = [
        -log_probability[b, labels[b, y, x], y, x]
        for b, y, x in np.ndindex(B, H, W)
        if labels[b, y, x] != 255
    ]
    assert cross_entropy(tensor(logits), tensor(labels)).item() == pytest.approx(
        np.mean(picked), rel=1e-5
    )


def test_weights_of_classes_multiply_their_pixels_and_not_the_count(rng):
    logits, labels = rng.normal(size=(B, 3, H, W)), rng.integers(0, 3, (B, H, W))
    labels[:, 0] = 255
    weights = np.array([1, 0.5, 4])
    log_probability = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    picked = [
        -weights[labels[b, y, x]] * log_probability[b, labels[b, y, x], y, x]
        for b, y, x in np.ndindex(B, H, W)
        if labels[b, y, x] != 255
    ]
    found = cross_entropy(tensor(logits), tensor(labels), torch.tensor(weights).float()).item()
    assert found == pytest.approx(np.mean(picked), rel=1e-5)


def numpy_berhu(error: np.ndarray) -> np.ndarray:
    c = 0.2 * error.max()
    return np.where(error <= c, error, (error**2 + c**2) / (2 * c))


def test_berhu_is_the_mean_over_known_pixels(rng):
    depth, truth = random_depth(rng)
    error = np.abs(upsampled(depth) - truth)[truth > 0]
    wanted = numpy_berhu(error).mean()
    assert berhu(tensor(depth), tensor(truth)).item() == pytest.approx(wanted, rel=1e-5)


def test_reference_berhu_cuts_negative_depth_and_divides_by_all_pixels(rng):
    depth, truth = random_depth(rng)
    fine = upsampled(depth)
    assert (fine < 0).any()
    error = np.abs(np.maximum(fine, 0) - truth)[truth > 0]
    wanted = numpy_berhu(error).sum() / truth.size
    found = berhu(tensor(depth), tensor(truth), reference=True).item()
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("reference", [False, True])
def test_gradient_of_berhu_takes_its_turning_point_for_a_constant_unless_reference(rng, reference):
    depth, truth = random_depth(rng)
    depth, truth = np.abs(upsampled(depth)) + 0.1, truth.copy()
    learns = tensor(depth, learns=True)
    berhu(learns, tensor(truth), reference).backward()
    known = truth > 0
    at = tuple(np.argwhere(known & (np.abs(depth - truth) < 2))[0])  # not the largest error
    worst = np.unravel_index(np.abs(np.where(known, depth - truth, 0)).argmax(), depth.shape)
    fixed = 0.2 * np.abs(depth - truth)[worst]

    def loss(array: np.ndarray) -> float:
        error = np.abs(array - truth)[known]
        c = 0.2 * error.max() if reference else fixed
        each = np.where(error <= c, error, (error**2 + c**2) / (2 * c))
        return each.sum() / (truth.size if reference else known.sum())

    for pixel in (at, worst):
        step = np.zeros_like(depth)
        step[pixel] = 1e-5
        slope = (loss(depth + step) - loss(depth - step)) / 2e-5
        assert learns.grad[pixel].item() == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("reference", [False, True])
def test_perfect_depth_has_no_loss_and_no_gradient(rng, reference):
    truth = tensor(np.abs(random_depth(rng)[1]))
    depth = truth.clone().requires_grad_()
    loss = berhu(depth, truth, reference)
    loss.backward()
    assert loss.item() == 0
    assert not depth.grad.any()  # NaN is true


def test_l1_and_l2_depth_are_means_over_known_pixels(rng):
    depth, truth = random_depth(rng)
    error = (upsampled(depth) - truth)[truth > 0]
    found = [loss(tensor(depth), tensor(truth)).item() for loss in (l1_depth, l2_depth)]
    assert found == pytest.approx([np.abs(error).mean(), (error**2).mean()], rel=1e-5)


def test_losses_of_normals_follow_their_formulas(rng):
    normals, truth = random_normals(rng)
    fine = upsampled(normals)
    unit = fine / np.linalg.norm(fine, axis=1, keepdims=True)
    known = np.abs(truth).sum(axis=1) > 0  # (B, H, W)
    wanted = [
        1 - (unit * truth).sum(axis=1)[known].mean(),
        np.abs(unit - truth).mean(axis=1)[known].mean(),
        ((fine - truth) ** 2).sum(axis=1)[known].mean(),
    ]
    losses = (normal_cosine, normal_l1, normal_l2)
    found = [loss(tensor(normals), tensor(truth)).item() for loss in losses]
    assert found == pytest.approx(wanted, rel=1e-5)


def test_a_prediction_of_no_direction_gets_a_bounded_gradient():
    normals = torch.zeros(1, 3, 1, 1, requires_grad=True)
    normal_cosine(normals, torch.tensor([0.0, 0, -1]).view(1, 3, 1, 1)).backward()
    assert normals.grad.flatten().tolist() == [0, 0, pytest.approx(1e3)]


def random_contours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scores at half the size, and a truth of which a tenth is yes and a third unknown."""
    truth = np.where(rng.random((B, 1, H, W)) < 0.1, 1.0, 0.0)
    truth[rng.random(truth.shape) < 1 / 3] = -1
    return rng.normal(0, 3, (B, 1, H // 2, W // 2)), truth


@pytest.mark.parametrize("weight", [0.95, None])
def test_contours_weigh_more_than_what_is_none(rng, weight):
    scores, truth = random_contours(rng)
    probability = 1 / (1 + np.exp(-upsampled(scores)))
    yes, no = -np.log(probability[truth == 1]), -np.log(1 - probability[truth == 0])
    count = len(yes) + len(no)
    w = len(no) / count if weight is None else weight
    found = balanced_bce(tensor(scores), tensor(truth), weight).item()
    assert found == pytest.approx((w * yes.sum() + (1 - w) * no.sum()) / count, rel=1e-5)
    plain = binary_cross_entropy(tensor(scores), tensor(truth)).item()
    assert plain == pytest.approx((yes.sum() + no.sum()) / count, rel=1e-5)


NOTHING = {
    balanced_bce: (1, torch.full((B, 1, H, W), -1.0)),
    binary_cross_entropy: (1, torch.full((B, 1, H, W), -1.0)),
    cross_entropy: (7, torch.full((B, H, W), 255)),
    berhu: (1, torch.zeros(B, 1, H, W)),
    l1_depth: (1, torch.zeros(B, 1, H, W)),
    l2_depth: (1, torch.zeros(B, 1, H, W)),
    normal_cosine: (3, torch.zeros(B, 3, H, W)),
    normal_l1: (3, torch.zeros(B, 3, H, W)),
    normal_l2: (3, torch.zeros(B, 3, H, W)),
}


@pytest.mark.parametrize("loss", NOTHING, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_annotation_loss_and_gradient_are_exactly_zero(loss, dtype):
    channels, nothing = NOTHING[loss]
    prediction = torch.randn(B, channels, H // 2, W // 2, dtype=dtype, requires_grad=True)
    value = loss(prediction, nothing)
    value.backward()
    assert value.item() == 0 and value.dtype == torch.float32
    assert prediction.grad is not None and not prediction.grad.any()
    assert not berhu(torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), reference=True)


@pytest.mark.parametrize("loss", NOTHING, ids=lambda loss: loss.__name__)
def test_unannotated_pixels_get_no_gradient(loss, rng):
    channels, nothing = NOTHING[loss]
    target = nothing.clone()
    if loss is cross_entropy:
        target[:, :, :6] = 1
    else:
        target[..., :6] = 1 / np.sqrt(channels)
    prediction = torch.randn(B, channels, H, W, requires_grad=True)
    loss(prediction, target).backward()
    assert not prediction.grad[..., 6:].any()
    assert prediction.grad[..., :6].any()
