# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one network, started by torchrun."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """Which one this process is."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0  # on this machine, = number of its GPU

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0


@contextmanager
def processes(on_cuda: bool) -> Iterator[Processes]:
    """Join the other processes, if torchrun has set the variables that tell of them."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    dist.init_process_group("nccl" if on_cuda else "gloo")
    try:
        local = int(os.environ.get("LOCAL_RANK", "0"))
        yield Processes(dist.get_rank(), dist.get_world_size(), local)
    finally:
        dist.destroy_process_group()


@torch.no_grad()
def average(tensors: Sequence[Tensor], world: int) -> None:
    """Replace tensors by their mean over all processes, in one message."""
    if world == 1 or not tensors:
        return
    flat = torch.cat([tensor.float().reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    flat /= world
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def any_of(flag: bool, world: int) -> bool:
    """Return whether the flag is up in any process, the same answer in all."""
    if world == 1:
        return flag
    raised = torch.tensor([float(flag)])
    dist.all_reduce(raised)
    return bool(raised > 0)


def wait(world: int) -> None:
    """Wait for the other processes."""
    if world > 1:
        dist.barrier()
