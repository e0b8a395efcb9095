# SPDX-License-Identifier: Apache-2.0
"""A random view of a sample keeps colour, depth, normals, labels and camera in agreement."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")

from mtl_perception.conventions import Intrinsics, InvalidInput  # noqa: E402
from mtl_perception.data.sample import DataCorrupt, Sample  # noqa: E402
from mtl_perception.training.batch import contours_of, stack  # noqa: E402
from mtl_perception.training.config import ViewConfig  # noqa: E402
from mtl_perception.training.loader import BLOCK, Loader, Mixture  # noqa: E402
from mtl_perception.training.photometric import Photometric  # noqa: E402
from mtl_perception.training.schedule import ScheduleConfig, rate  # noqa: E402
from mtl_perception.training.transforms import (  # noqa: E402
    View,
    camera_of,
    look,
    random_view,
    whole,
)

torch.set_num_threads(1)

H, W = 48, 64
CAMERA = Intrinsics(W, H, 60.0, 62.0, 30.5, 25.0)


def fake_sample(name: str = "one", seed: int = 0) -> Sample:
    """Blocks of 4x4 pixels with a label and colour each, on a slanted plane."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 40, (H // 4, W // 4), np.uint8)
    labels = np.kron(blocks, np.ones((4, 4), np.uint8))
    depth = (1 + 0.05 * np.arange(W) + 0.02 * np.arange(H)[:, None]).astype(np.float32)
    normals = rng.normal(size=(H, W, 3))
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    color = np.stack([labels * 6, 255 - labels * 6, labels], -1)
    return Sample(name, color, CAMERA, depth, labels, normals.astype(np.float32))


def point(K: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
    return z * (np.linalg.inv(K) @ [x, y, 1])


@pytest.mark.parametrize("focal_px", [0.0, 585.0])
def test_zooming_by_two_doubles_the_focal_length_and_halves_the_depth(focal_px: float) -> None:
    sample = fake_sample()
    near = look(sample, View(8, 4, 32, 24, 64, 48), focal_px)
    far = look(sample, View(8, 4, 32, 24, 32, 24), focal_px)
    assert near.K[0, 0, 0] == 2 * far.K[0, 0, 0] == 2 * CAMERA.fx
    assert near.K[0, 1, 1] == 2 * CAMERA.fy
    assert torch.allclose(near.depth[:, :, ::2, ::2], far.depth / 2)
    scale = 1.0 if not focal_px else focal_px / CAMERA.fx
    assert torch.allclose(far.depth[0, 0], torch.from_numpy(sample.depth[4:28, 8:40] * scale))


@pytest.mark.parametrize("mirrored", [False, True])
def test_pixels_of_a_view_see_the_points_of_the_sample(mirrored: bool) -> None:
    sample = fake_sample()
    view = View(left=8, top=4, columns=32, rows=24, width=96, height=72, mirrored=mirrored)
    batch = look(sample, view, focal_px=100.0)
    K = camera_of(sample, view)
    assert torch.allclose(batch.K[0].double(), torch.from_numpy(K))
    for x, y in ((13, 7), (49, 70)):  # centres of the 3x3 pixels that each pixel became
        column = 31 - (x - 1) // 3 if mirrored else (x - 1) // 3
        at = (4 + (y - 1) // 3, 8 + column)
        metres = float(batch.depth[0, 0, y, x]) * K[0, 0] / 100.0
        seen = point(K, x, y, metres)
        true = point(CAMERA.K, at[1], at[0], sample.depth[at])
        assert np.allclose(seen, true * [-1 if mirrored else 1, 1, 1], atol=1e-5)
        assert batch.labels[0, y, x] == sample.labels[at]
        side = np.array([-1 if mirrored else 1, 1, 1])
        assert np.allclose(batch.normals[0, :, y, x], sample.normals[at] * side)


def test_beyond_the_rim_every_target_is_unknown() -> None:
    batch = look(fake_sample(), View(-8, -4, 80, 56, 80, 56))
    outside = torch.ones(56, 80, dtype=torch.bool)
    outside[4:52, 8:72] = False
    assert (batch.labels[0][outside] == 255).all() and (batch.labels[0][~outside] != 255).all()
    assert (batch.depth[0, 0][outside] == 0).all() and (batch.depth[0, 0][~outside] > 0).all()
    assert (batch.normals[0][:, outside] == 0).all()
    assert (batch.contours[0, 0][outside] == -1).all()


def test_what_a_sample_lacks_is_unknown_everywhere() -> None:
    bare = Sample("bare", fake_sample().color, CAMERA)
    batch = look(bare, whole(bare, 0))
    assert (batch.labels == 255).all() and (batch.depth == 0).all()
    assert (batch.normals == 0).all() and (batch.contours == -1).all()
    assert batch.neighbours.shape == (1, 0, 3, H, W) and batch.names == ("bare",)


def test_colours_change_and_nothing_else() -> None:
    sample = replace(fake_sample(), neighbours=(fake_sample().color,))
    view = whole(sample, 0)
    plain = look(sample, view)
    wild = look(sample, view, 0.0, Photometric(), np.random.default_rng(3))
    assert not torch.allclose(plain.images, wild.images, atol=0.1)
    assert torch.equal(plain.labels, wild.labels) and torch.equal(plain.depth, wild.depth)
    still = Photometric(*[0.0] * 9)
    assert torch.allclose(
        look(sample, view, 0.0, still, np.random.default_rng(3)).images, plain.images
    )
    quiet = replace(Photometric(), noise_chance=0.0)  # noise is each image's own
    pair = look(sample, view, 0.0, quiet, np.random.default_rng(4))
    assert torch.equal(pair.neighbours[:, 0], pair.images)


@pytest.mark.parametrize(
    ("field", "value"), [("depth", np.nan), ("depth", -1), ("normals", np.inf)]
)
def test_targets_that_are_no_measurements_are_refused_by_name(field: str, value: float) -> None:
    sample = fake_sample("crooked")
    getattr(sample, field)[10, 20] = value
    with pytest.raises(DataCorrupt, match="crooked"):
        look(sample, whole(sample, 0))


def test_random_views_stay_inside_where_they_fit() -> None:
    rng = np.random.default_rng(0)
    sample = fake_sample()
    limits = ViewConfig(height=32, width=32, zoom_min=0.6, zoom_max=2.0)
    views = [random_view(sample, limits, rng) for _ in range(300)]
    inside = [v for v in views if v.rows <= H]
    assert len(inside) > 200
    assert all(v.top >= 0 and v.top + v.rows <= H for v in inside)
    assert all(v.left >= 0 and v.left + v.columns <= W for v in views)
    assert all(v.top <= 0 and v.top + v.rows >= H for v in views if v.rows > H)
    assert 0.3 < np.mean([v.mirrored for v in views]) < 0.7
    zoom = np.array([v.height / v.rows for v in views])
    assert zoom.min() > 0.58 and zoom.max() < 2.1 and zoom.min() < 0.65 and zoom.max() > 1.8


def test_contours_are_where_the_class_changes_right_or_below() -> None:
    labels = torch.tensor([[[1, 1, 2], [1, 255, 2], [1, 1, 1]]])
    assert contours_of(labels)[0, 0].tolist() == [[0, -1, 0], [-1, -1, 1], [0, 0, 0]]


def test_thinned_targets_are_the_middle_ones_and_images_stay() -> None:
    sample = fake_sample()
    batch = look(sample, whole(sample, 0))
    thin = batch.thinned(3)
    assert torch.equal(thin.labels, batch.labels[:, 1::3, 1::3])
    assert torch.equal(thin.depth, batch.depth[:, :, 1::3, 1::3])
    assert thin.images is batch.images


class Listed:
    """Samples in memory, with a count of how often each was read."""

    label_set = None

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.read = np.zeros(count, int)

    def __len__(self) -> int:
        return len(self.read)

    def __getitem__(self, index: int) -> Sample:
        self.read[index] += 1
        return fake_sample(f"{self.name}{index}", index)


def test_every_sample_comes_once_before_any_comes_twice_and_shares_are_kept() -> None:
    mixture = Mixture((Listed("a", 7), Listed("b", 300)), (1.0, 3.0))
    draws = [mixture.draw(5, position) for position in range(2 * BLOCK)]
    of_b = [index for which, index in draws if which == 1]
    assert len(of_b) == 1500
    assert sorted(of_b[:300]) == list(range(300)) and sorted(of_b[300:600]) == list(range(300))
    assert of_b[:300] != of_b[300:600]
    assert draws != [mixture.draw(6, position) for position in range(2 * BLOCK)]


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    loader = Loader(Mixture((Listed("a", 9),), (1.0,)), ViewConfig(32, 32), 585.0, seed=1, batch=4)
    all_steps = dict(loader.batches(0, 6, workers=3))
    late = dict(loader.batches(4, 6, workers=1))
    for step in (4, 5):
        assert all_steps[step].names == late[step].names
        assert torch.equal(all_steps[step].images, late[step].images)
        assert torch.equal(all_steps[step].depth, late[step].depth)
    assert not torch.equal(all_steps[4].images, all_steps[5].images)


def test_processes_share_a_batch_without_overlap() -> None:
    loader = Loader(Mixture((Listed("a", 90),), (1.0,)), ViewConfig(32, 32), 0.0, seed=1, batch=6)
    whole_batch = next(loader.batches(3, 4, 1))[1]
    parts = [next(replace(loader, rank=r, world=3).batches(3, 4, 1))[1] for r in range(3)]
    assert sorted(stack(parts).names) == sorted(whole_batch.names)
    with pytest.raises(InvalidInput, match="6 images for 4 processes"):
        replace(loader, world=4)


def test_a_sample_that_cannot_be_read_stops_the_loader_at_its_step() -> None:
    class Torn(Listed):
        def __getitem__(self, index: int) -> Sample:
            raise DataCorrupt(f"{self.name}{index}: sha256 differs")

    loader = Loader(Mixture((Torn("a", 3),), (1.0,)), ViewConfig(32, 32), 0.0, seed=1, batch=2)
    with pytest.raises(DataCorrupt, match="sha256"):
        next(loader.batches(0, 5, 2))


def test_the_rate_rises_then_falls() -> None:
    cosine = ScheduleConfig("cosine", warmup=10, floor=0.0)
    rates = [rate(cosine, step, 110) for step in range(110)]
    assert rates[0] == pytest.approx(1 / 11) and rates[10] == 1.0
    assert rates[60] == pytest.approx(0.5) and rates[-1] < 0.001
    poly = ScheduleConfig("poly", warmup=0, power=0.9, floor=0.0)
    assert rate(poly, 50, 100) == pytest.approx(0.5**0.9)
    steps = ScheduleConfig("multistep", warmup=0, milestones=(0.5,), factor=0.1)
    assert [rate(steps, s, 100) for s in (0, 49, 50, 99)] == pytest.approx([1, 1, 0.1, 0.1])
    assert rate(ScheduleConfig("cosine", warmup=0, floor=0.2), 99, 100) == 0.2
    with pytest.raises(InvalidInput, match="linear"):
        ScheduleConfig("linear")
