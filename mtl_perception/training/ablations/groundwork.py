# SPDX-License-Identifier: Apache-2.0
"""An encoder without published weights learns first, once, for all arms of a study.

From random weights the few steps of an arm teach next to nothing, whatever the arm. PAD-Net's
authors too taught their front end alone before the whole.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mtl_perception.atomic_file import atomic_file
from mtl_perception.conventions import InvalidInput

ENCODER_FILE = "encoder.safetensors"

GROUNDWORK = 5
"""Times the steps of an arm that the encoder learns before."""

GROUNDWORK_SEED = 1000
"""Of its weights and its order of the images: none of the arms'."""


def encoder_of(network: nn.Module) -> nn.Module:
    """Return the part of a network that starts from ImageNet where there are such weights."""
    return network.encoder if hasattr(network, "encoder") else network.backbone


def prepared_encoder(
    path: Path, about: Mapping[str, Any], prepare: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Return the encoder that ``path`` holds, or prepare it and store it there.

    Args:
        path: of the file, .safetensors.
        about: the budget; stored along.
        prepare: returns weights by name.

    Raises:
        InvalidInput: the file is damaged, or of another budget; names it.
        OSError: the folder cannot be written.
    """
    told = {"about": json.dumps(about, sort_keys=True)}
    if path.exists():
        try:
            with safe_open(path, "pt") as file:
                was = file.metadata()
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise InvalidInput(f"{path} is damaged ({error}): delete it") from None
        if was != told:
            raise InvalidInput(f"{path} is of another budget: {was}, not {told}")
        return found
    tensors = prepare()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(save({name: t.contiguous() for name, t in tensors.items()}, told))
    return tensors
