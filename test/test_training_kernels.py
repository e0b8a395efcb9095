# SPDX-License-Identifier: Apache-2.0
"""What makes training faster on a CPU computes what torch does."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from mtl_perception.networks.presets import build  # noqa: E402
from mtl_perception.training.fast_depthwise import use_fast_depthwise  # noqa: E402
from mtl_perception.training.fast_pool import max_pool_5x5, use_fast_pool  # noqa: E402
from mtl_perception.training.initial import start_decoder  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 8, 13, 7), (1, 256, 3, 40), (1, 3, 1, 1), (3, 64, 70, 3)])
def test_the_pooling_kernels_equal_torch(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    count = int(np.prod(shape))
    # Whole numbers below 256 are exact in bfloat16; larger ones are rounded, some to equal values.
    values = (torch.randperm(count, generator=generator) - count // 2).reshape(shape).to(dtype)
    ours, theirs = (values.clone().requires_grad_() for _ in range(2))
    pooled, expected = max_pool_5x5(ours), F.max_pool2d(theirs, 5, stride=1, padding=2)
    assert torch.equal(pooled, expected)
    gradient = torch.randint(-4, 5, shape, generator=generator).to(dtype)  # exact sums
    pooled.backward(gradient)
    expected.backward(gradient)
    assert torch.equal(ours.grad, theirs.grad)
    double = values.double()
    assert torch.equal(max_pool_5x5(double), F.max_pool2d(double, 5, stride=1, padding=2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_equal_maxima_the_first_one_gets_the_gradient(dtype: torch.dtype) -> None:
    ours, theirs = (torch.zeros(2, 4, 9, 11, dtype=dtype).requires_grad_() for _ in range(2))
    max_pool_5x5(ours).sum().backward()
    F.max_pool2d(theirs, 5, stride=1, padding=2).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("size", [(8, 10), (7, 9), (1, 2)])
def test_a_strided_depthwise_convolution_stays_itself(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6)
    fast = nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6)
    fast.load_state_dict(plain.state_dict())
    use_fast_depthwise(fast)
    ours, theirs = (x.requires_grad_() for x in torch.randn(1, 2, 6, *size).repeat(2, 1, 1, 1, 1))
    got, expected = fast(ours), plain(theirs)
    torch.testing.assert_close(got, expected)
    weights = torch.randn(expected.shape)
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(fast.weight.grad, plain.weight.grad)


def test_kernels_do_not_change_what_a_network_says() -> None:
    torch.manual_seed(0)
    network = build("nekrasov-nyud").eval()
    start_decoder(network)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        before = network(images)
        after = use_fast_pool(network)(images)
        assert all(torch.equal(before[task], after[task]) for task in before)
        after = use_fast_depthwise(network)(images)
    for task in before:
        torch.testing.assert_close(before[task], after[task])
