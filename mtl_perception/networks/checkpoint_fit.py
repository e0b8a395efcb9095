# SPDX-License-Identifier: Apache-2.0
"""Whether tensors by name fit a network, and what stands in for a part that a file lacks."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_perception.networks.checkpoint_names import COUNTER, some


def problems(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], only: tuple[str, ...] = ()
) -> list[str]:
    """Say why entries do not fit a network.

    Args:
        given: the entries, by the network's names.
        own: the network's state_dict; its values do not matter, they may be on the meta device.
        only: beginnings of the names that must be given; all of them when empty.

    Returns:
        One text per kind of problem, naming the first entries; empty where everything fits.
        Counters of batch normalisation may always be missing.
    """
    wanted = [name for name in own if not only or name.startswith(only)]
    shapes = [
        f"{name} {tuple(given[name].shape)}, want {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in given and given[name].shape != tensor.shape
    ]
    found = {
        "missing": [n for n in wanted if n not in given and not n.endswith(COUNTER)],
        "not in the network": [name for name in given if name not in own],
        "wrong shape": shapes,
        "not finite": [name for name, t in given.items() if not torch.isfinite(t).all()],
    }
    return [f"{what}: {some(names)}" for what, names in found.items() if names]


def identity_expansion(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights that make the extra 1x1 convolution of MobileNet-v2's first block a no-op.

    Other implementations do not have it. The identity is exact: what comes in is in 0..6 already.

    Args:
        own: state_dict of a network; without that convolution nothing is returned.
    """
    conv, norm = "layer2.0.output.0.0", "layer2.0.output.0.1"
    if f"{norm}.weight" not in own:
        return {}
    width = len(own[f"{norm}.weight"])
    return {
        f"{conv}.weight": torch.eye(width)[:, :, None, None],
        f"{norm}.weight": torch.full((width,), math.sqrt(1 + 1e-5)),  # undoes the eps
        f"{norm}.bias": torch.zeros(width),
        f"{norm}.running_mean": torch.zeros(width),
        f"{norm}.running_var": torch.ones(width),
        f"{norm}.num_batches_tracked": torch.tensor(0),
    }
