# SPDX-License-Identifier: Apache-2.0
"""The decoder's 5x5 maximum on a CPU, made for training.

Torch remembers in 8 bytes where each window had its maximum; one byte does, and rows, columns and
gradients become plain loops over neighbouring memory. A training step of the Nekrasov network
spent 43 % of its time in these windows (batches of 8 at 240x320 in bfloat16, 4 cores).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl_perception.networks.light_weight_refinenet import ChainedResidualPooling
from mtl_perception.training.pool_kernels import maximum_backward, maximum_forward

DTYPES = {torch.bfloat16: torch.int16, torch.float32: torch.int32}
"""Formats that the kernels know, and whole numbers of the same size: they compare bits."""

WIDE = {np.dtype(np.int16): np.int32, np.dtype(np.int32): np.int64}
"""Whole numbers and those twice as wide."""


def use_fast_pool(network: nn.Module) -> nn.Module:
    """Let every pooling chain of a network on the CPU use the kernels; values stay the same."""
    for module in network.modules():
        if isinstance(module, ChainedResidualPooling):
            module._pool = max_pool_5x5  # type: ignore[method-assign]
    return network


def max_pool_5x5(x: Tensor) -> Tensor:
    """Return the maximum of the 5x5 window about every pixel of (B, C, H, W), same shape.

    As ``F.max_pool2d(x, 5, stride=1, padding=2)``, bit for bit; of equal values the gradient goes
    to the topmost one, and of these to the leftmost. NaN is not promised to survive: the
    chains that use this add their input to what comes of it. Formats without kernels are torch's.
    """
    if x.dtype not in DTYPES:
        return F.max_pool2d(x, 5, stride=1, padding=2)
    return _MaxPool5x5.apply(x)


class _MaxPool5x5(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        bits = _bits(x)  # (B, H, W, C)
        out = np.empty_like(bits)
        early_x, early_y = np.empty(bits.shape, np.uint8), np.empty(bits.shape, np.uint8)
        wide = np.empty(1, WIDE[bits.dtype])
        _over_images(partial(maximum_forward, wide=wide), bits, out, early_x, early_y)
        ctx.early, ctx.dtype = (early_x, early_y), x.dtype
        return _tensor(out, x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        bits = _bits(gradient.to(ctx.dtype))
        out = np.empty_like(bits)
        _over_images(maximum_backward, bits, out, *ctx.early)
        return _tensor(out, ctx.dtype)


def _bits(x: Tensor) -> np.ndarray:
    """View (B, C, H, W) as whole numbers (B, H, W, C) in this order of memory."""
    return x.detach().permute(0, 2, 3, 1).contiguous().view(DTYPES[x.dtype]).numpy()


def _tensor(bits: np.ndarray, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(bits).view(dtype).permute(0, 3, 1, 2)


def _over_images(kernel: Callable[..., None], *arrays: np.ndarray) -> None:
    """Run a kernel on arrays (B, H, W, C), some of the images in each thread."""
    images, rows, columns, _ = arrays[0].shape
    threads = min(torch.get_num_threads(), images)
    flat = [array.reshape(images, rows, -1) for array in arrays]
    ends = np.linspace(0, images, threads + 1).astype(int)
    first, *others = [
        (*(array[start:stop] for array in flat), columns)
        for start, stop in zip(ends[:-1], ends[1:], strict=True)
    ]
    jobs = [_pool(threads).submit(kernel, *part) for part in others]
    kernel(*first)
    for job in jobs:
        job.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="pool")
