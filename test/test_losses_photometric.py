# SPDX-License-Identifier: Apache-2.0
"""Depth and motion are right where the frames then look alike."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")

from mtl_perception.networks.xdistill_pose import rigid_matrix  # noqa: E402
from mtl_perception.training.losses.photometric import (  # noqa: E402
    dissimilarity,
    photometric_error,
    reprojection_loss,
    smoothness,
    unmoved_error,
)
from mtl_perception.training.warp import source_pixels, warp  # noqa: E402

torch.set_num_threads(1)

H, W = 24, 32
K = torch.tensor([[30.0, 0, 15.2], [0, 31.0, 11.7], [0, 0, 1]])
MOTION = rigid_matrix(torch.tensor([[0.02, -0.03, 0.01]]), torch.tensor([[0.12, -0.05, 0.08]]))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def random_image(rng: np.random.Generator) -> torch.Tensor:
    return torch.tensor(rng.random((1, 3, 6, 8)), dtype=torch.float32)


def plane_view(T_target_camera: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Image and depth of a textured, slanted plane, by intersecting every ray with it.

    The plane is n . p = 2 in the target frame; the camera is anywhere.
    """
    normal = np.array([0.2, -0.1, 1.0])
    rows, columns = np.mgrid[:H, :W]
    rays = np.linalg.inv(K.numpy().astype(float)) @ np.stack(
        [columns.ravel(), rows.ravel(), np.ones(H * W)]
    )
    R, t = T_target_camera[:3, :3], T_target_camera[:3, 3]
    depth = (2 - normal @ t) / (normal @ (R @ rays))
    x, y, _ = R @ rays * depth + t[:, None]
    color = np.stack([0.5 + 0.4 * np.sin(5 * x + k) * np.cos(4 * y - 2 * k) for k in range(3)])
    shape = (1, -1, H, W)
    return (
        torch.tensor(color.reshape(shape), dtype=torch.float32),
        torch.tensor(depth.reshape(shape), dtype=torch.float32),
    )


def two_views() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Image and depth of the target frame, image of the source frame; MOTION is between."""
    image, depth = plane_view(np.eye(4))
    source, _ = plane_view(np.linalg.inv(MOTION[0].numpy().astype(float)))
    return image, depth, source


def test_a_plane_warped_by_the_known_motion_is_the_other_view():
    image, depth, source = two_views()
    warped = warp(source, depth, K[None], MOTION)
    inside = (slice(None), slice(None), slice(3, -3), slice(4, -4))  # no border repeated
    assert (warped - image)[inside].abs().max() < 0.02  # bilinear interpolation's
    assert (source - image)[inside].abs().mean() > 0.05
    for wrong in (1.3 * depth, 0.8 * depth):
        assert (warp(source, wrong, K[None], MOTION) - image)[inside].abs().mean() > 0.02


def test_loss_is_least_at_the_true_depth_and_the_true_motion():
    image, depth, source = two_views()

    def loss(scale: float, T: torch.Tensor) -> float:
        torch.manual_seed(0)
        still = unmoved_error(image, [source])
        return reprojection_loss(image, [warp(source, scale * depth, K[None], T)], still).item()

    true = loss(1, MOTION)
    assert loss(1.3, MOTION) > 3 * true
    assert loss(0.8, MOTION) > 3 * true
    assert loss(1, torch.linalg.inv(MOTION)) > 10 * true
    # Scale is not seen: a world of half the size, moved through by half the way, looks the same.
    half = MOTION.clone()
    half[:, :3, 3] /= 2
    assert loss(0.5, half) == pytest.approx(true, rel=1e-3)


def test_descent_on_the_photometric_loss_finds_the_depth():
    image, depth, source = two_views()
    scale = torch.tensor(1.25, requires_grad=True)
    optimizer = torch.optim.Adam([scale], lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        photometric_error(image, warp(source, scale * depth, K[None], MOTION)).mean().backward()
        optimizer.step()
    assert scale.item() == pytest.approx(1, abs=0.02)


def test_pixels_are_projected_one_by_one():
    _, depth = plane_view(np.eye(4))
    pixels = source_pixels(depth, K[None], MOTION)
    k, T = K.double().numpy(), MOTION[0].double().numpy()
    for row, column in ((0, 0), (5, 30), (23, 7)):
        point = np.linalg.inv(k) @ [column, row, 1] * depth[0, 0, row, column].item()
        moved = k @ (T[:3, :3] @ point + T[:3, 3])
        assert pixels[0, row, column].tolist() == pytest.approx(moved[:2] / moved[2], abs=1e-3)


def test_no_motion_leaves_every_pixel_where_it_is(rng):
    image = torch.tensor(rng.random((2, 3, H, W)), dtype=torch.float32)
    depth = torch.tensor(rng.uniform(0.5, 5, (2, 1, H, W)), dtype=torch.float32)
    still = warp(image, depth, K.expand(2, 3, 3), torch.eye(4).expand(2, 4, 4))
    torch.testing.assert_close(still, image, rtol=0, atol=1e-4)


def test_points_behind_the_camera_are_finite_and_teach_nothing():
    depth = torch.full((1, 1, H, W), 1.0, requires_grad=True)
    back = torch.eye(4)[None].clone()
    back[:, 2, 3] = -3
    warped = warp(torch.rand(1, 3, H, W), depth, K[None], back)
    warped.sum().backward()
    assert warped.isfinite().all() and not depth.grad.any()


def test_warping_is_exact_to_single_precision_under_autocast():
    image, depth, source = two_views()
    wanted = warp(source, depth, K[None], MOTION)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(warp(source, depth, K[None], MOTION), wanted)


def test_ssim_follows_its_formula_window_by_window(rng):
    a, b = rng.random((2, 1, 3, 5, 6))
    padded = [np.pad(x[0], ((0, 0), (1, 1), (1, 1)), mode="reflect") for x in (a, b)]
    wanted = np.zeros((3, 5, 6))
    for c, y, x in np.ndindex(wanted.shape):
        p, q = (image[c, y : y + 3, x : x + 3] for image in padded)
        covariance = ((p - p.mean()) * (q - q.mean())).mean()
        ssim = (2 * p.mean() * q.mean() + 1e-4) * (2 * covariance + 9e-4)
        ssim /= (p.mean() ** 2 + q.mean() ** 2 + 1e-4) * (p.var() + q.var() + 9e-4)
        wanted[c, y, x] = np.clip((1 - ssim) / 2, 0, 1)
    a, b = torch.tensor(a), torch.tensor(b)
    np.testing.assert_allclose(dissimilarity(a, b)[0], wanted, atol=1e-6)
    mixed = 0.85 * wanted.mean(axis=0) + 0.15 * (a - b).abs().numpy()[0].mean(axis=0)
    np.testing.assert_allclose(photometric_error(a, b)[0, 0], mixed, atol=1e-6)


def test_each_pixel_counts_its_best_source(rng):
    image, near, far, still = (random_image(rng) for _ in range(4))
    errors = [photometric_error(image, x).numpy() for x in (near, far, still, still)]
    wanted = np.min(errors, axis=0).mean()
    found = reprojection_loss(image, [near, far], unmoved_error(image, [still, still]))
    assert found.item() == pytest.approx(wanted, abs=1e-4)
    assert wanted < 0.95 * min(e.mean() for e in errors)


def test_a_pixel_that_did_not_move_against_the_camera_teaches_nothing(rng):
    image, other = random_image(rng), random_image(rng)
    warped = (0.1 * other + 0.9 * image).requires_grad_()
    # What moves with the camera looks the same in the next frame, better than any warp.
    reprojection_loss(image, [warped], unmoved_error(image, [image])).backward()
    assert not warped.grad.any()
    reprojection_loss(image, [warped], unmoved_error(image, [other])).backward()
    assert warped.grad.any()


def test_smoothness_forgives_steps_where_the_image_has_them(rng):
    disparity, image = rng.uniform(0.1, 1, (2, 1, 4, 5)), rng.random((2, 3, 4, 5))
    wanted = 0.0
    relative = disparity / disparity.mean(axis=(2, 3), keepdims=True)
    for axis in (2, 3):
        edge = np.abs(np.diff(image, axis=axis)).mean(axis=1, keepdims=True)
        wanted += (np.abs(np.diff(relative, axis=axis)) * np.exp(-edge)).mean()
    found = smoothness(torch.tensor(disparity), torch.tensor(image)).item()
    assert found == pytest.approx(wanted, rel=1e-5)
    assert smoothness(torch.tensor(7 * disparity), torch.tensor(image)).item() == pytest.approx(
        wanted, rel=1e-5
    )
