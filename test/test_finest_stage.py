# SPDX-License-Identifier: Apache-2.0
"""The finest stage by the kernel is the one that the network's graph says, at any size."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")
pytest.importorskip("onnx", reason="needs onnx: see docs/installation.md")
pytest.importorskip("safetensors", reason="needs safetensors: see docs/installation.md")

from joint_networks import lively_network  # noqa: E402
from torch.nn import functional  # noqa: E402

from mtl_perception.inference.finest_stage import (  # noqa: E402
    FinestStage,
    FinestWeights,
    finest_weights,
)
from mtl_perception.labels import LABEL_SETS  # noqa: E402
from mtl_perception.networks.checkpoint import save_network  # noqa: E402
from mtl_perception.networks.nekrasov_graph import nekrasov_graph  # noqa: E402


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def as_published(weights: FinestWeights, fine: np.ndarray, coarse: np.ndarray) -> dict:
    """The stage operator by operator: (1, h, w, C) by task."""
    channels = len(coarse)
    lateral = weights.lateral.reshape(-1, channels).T[:, :, None, None].copy()
    x = functional.conv2d(torch.from_numpy(fine)[None], torch.from_numpy(lateral))
    x = x + functional.interpolate(
        torch.from_numpy(coarse)[None], x.shape[2:], mode="bilinear", align_corners=False
    )
    top = total = x.clamp(0, 6)
    for factor in torch.from_numpy(weights.factors).reshape(4, channels, 1, 1):
        top = functional.max_pool2d(top, 5, stride=1, padding=2) * factor
        total = total + top
    return {
        task: (total * torch.from_numpy(gain)[:, None, None]).clamp(0, 6).permute(0, 2, 3, 1)
        for task, gain in weights.gains.items()
    }


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 14), (25, 33), (4, 7)])
def test_it_is_the_published_stage_at_even_and_odd_sizes(
    size: tuple[int, int], threads: int
) -> None:
    """Pools reach beyond the smallest images on all sides."""
    channels, (height, width) = 48, size
    fine = drawn(5, *size)
    coarse = 2 * drawn(channels, -(-height // 2), -(-width // 2), seed=1)
    weights = FinestWeights(
        0.5 * drawn(5 * channels, seed=2),
        0.5 * drawn(4 * channels, seed=3),
        {"labels": drawn(channels, seed=4), "depth": drawn(channels, seed=5)},
    )
    stage = FinestStage(weights, threads)
    stage(fine[:, :1], coarse[:, :1])  # another size before
    found = stage(fine, coarse)
    expected = as_published(weights, fine, coarse)
    assert list(found) == list(expected)
    for task, values in expected.items():
        np.testing.assert_allclose(found[task], values.numpy(), atol=2e-5)


def graph_of(folder: Path, **changes: object) -> bytes:
    model = lively_network("nekrasov-nyud-normals", **changes)
    save_network(folder / "net.safetensors", model, LABEL_SETS["nyu40"])
    return nekrasov_graph(folder / "net.safetensors").SerializeToString()


def test_its_weights_are_found_in_the_graph_by_name(tmp_path: Path) -> None:
    weights = finest_weights(graph_of(tmp_path))
    state = lively_network("nekrasov-nyud-normals").state_dict()
    assert weights is not None and list(weights.gains) == ["labels", "depth", "normals"]
    np.testing.assert_array_equal(weights.gains["depth"], state["pre_depth.weight"].ravel())
    np.testing.assert_array_equal(
        weights.lateral.reshape(24, 256), state["conv3.weight"][:, :, 0, 0].T
    )
    third = state["crp1.0.3_outvar_dimred.weight"].ravel()
    np.testing.assert_array_equal(weights.factors.reshape(4, 256)[2], third)


@pytest.mark.parametrize(
    "changes", [{"grouped_crp1": False}, {"pre_heads": False}, {"align_corners": True}]
)
def test_a_network_with_another_last_stage_is_left_to_its_graph(
    changes: dict, tmp_path: Path
) -> None:
    assert finest_weights(graph_of(tmp_path, **changes)) is None


def test_bf16_is_the_nearest_to_what_fp32_gives() -> None:
    channels = 16
    weights = FinestWeights(
        drawn(5 * channels), drawn(4 * channels, seed=1), {"labels": drawn(channels, seed=2)}
    )
    fine, coarse = drawn(5, 9, 10), drawn(channels, 5, 5)
    exact = FinestStage(weights, 1)(fine, coarse)["labels"]
    bits = FinestStage(weights, 1, bf16=True)(fine, coarse)["labels"]
    assert bits.dtype == np.uint16
    nearest = torch.from_numpy(exact).bfloat16().view(torch.int16).numpy().view(np.uint16)
    np.testing.assert_array_equal(bits, nearest)


def test_views_are_read_as_they_look() -> None:
    channels = 16
    weights = FinestWeights(
        drawn(5 * channels), drawn(4 * channels, seed=1), {"labels": drawn(channels, seed=2)}
    )
    fine, coarse = drawn(5, 18, 24)[:, ::2, ::2], drawn(channels, 10, 12)[:, ::2, ::2]
    stage = FinestStage(weights, 1)
    seen = stage(fine, coarse)["labels"].copy()
    np.testing.assert_array_equal(seen, stage(fine.copy(), coarse.copy())["labels"])
