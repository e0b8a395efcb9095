# SPDX-License-Identifier: Apache-2.0
"""Our .safetensors networks, compiled by torch for the size of the images."""

from pathlib import Path

import numpy as np
import torch
from torch._dynamo.exc import TorchDynamoException

from mtl_perception.inference.scores import NetworkOutput
from mtl_perception.inference.torch_network import TorchNetwork
from mtl_perception.models import ModelUnsupported


class CompiledNetwork(TorchNetwork):
    """As its base; the first image of each size takes half a minute.

    After eight sizes torch compiles no more: it runs images of further ones as they are.
    """

    def __init__(self, path: Path, device: str, precision: str, threads: int) -> None:
        """Load a file; see the base. Needs a C++ compiler, or Triton for a GPU."""
        super().__init__(path, device, precision, threads)
        self.runtime = "torch-compile"
        self._path = path
        self._model = torch.compile(self._model, dynamic=False)

    def __call__(self, rgb: np.ndarray) -> NetworkOutput:
        """See the base.

        Raises:
            ModelUnsupported: besides, torch cannot compile the network here.
        """
        try:
            return super().__call__(rgb)
        except TorchDynamoException as error:
            reason = str(error).splitlines()[0]
            raise ModelUnsupported(f"{self._path}: torch cannot compile it: {reason}") from None
