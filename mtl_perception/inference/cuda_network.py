# SPDX-License-Identifier: Apache-2.0
"""Our .safetensors networks on a CUDA device, with all that goes before and after."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mtl_perception.inference.cuda_reader import CudaReader
from mtl_perception.inference.dense_outputs import (
    MIN_SIDE,
    READ,
    check_size,
    check_tasks,
    to_output,
)
from mtl_perception.inference.scores import Decision, NetworkOutput
from mtl_perception.inference.tensor_maps import TensorPreProcessor
from mtl_perception.inference.torch_network import find_device, honest_cudnn
from mtl_perception.models import ModelUnsupported
from mtl_perception.networks.checkpoint import load_network

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class CudaNetwork:
    """A joint network whose predictions, not only its maps, are made on the device.

    Attributes:
        channels: classes scored, over all label sets.
        gives_depth, gives_normals: whether it has those heads.
        runtime, device, precision: cuda, the GPU's name, a key of PRECISIONS.
        label_sets: meaning of the channels, one set behind the other.
        focal_px, temperature, input_height: what the file says of itself.
    """

    runtime = "cuda"

    def __init__(self, path: Path, device: str, precision: str, threads: int) -> None:
        """Load a file that ``checkpoint.save_network`` wrote.

        Args:
            path: the .safetensors file.
            device: auto (the first CUDA device), cuda, cuda:1; cpu does the same there, slowly.
            precision: auto (bf16 where the device has it, else fp16), fp32, bf16, fp16. Weights
                are kept in it; nothing is cast on the way.
            threads: not used; of CPU kernels in other runtimes.

        Raises:
            ModelMissing, ModelCorrupt, ModelUnsupported: see ``load_network``; or no such device
                or precision; or a network without class scores.
        """
        self._device = find_device("cuda" if device == "auto" else device)
        on_gpu = self._device.type == "cuda"
        self.device = torch.cuda.get_device_name(self._device) if on_gpu else "cpu"
        self.precision = _precision(precision, on_gpu)
        self._dtype = PRECISIONS[self.precision]
        stored = load_network(path)
        metadata = stored.metadata
        self.label_sets = metadata.label_sets
        self.focal_px, self.temperature = metadata.focal_px, metadata.temperature
        self.input_height = metadata.input_height
        fold_batch_norm(stored.model)
        self._model = stored.model.to(self._device, self._dtype, memory_format=torch.channels_last)
        self._pre_process = TensorPreProcessor(self._dtype).to(self._device)
        maps = self._maps(np.zeros((2 * MIN_SIDE, 2 * MIN_SIDE, 3), np.uint8))
        check_tasks({task: values.shape[1] for task, values in maps.items()}, path)
        self.channels = maps["labels"].shape[1]
        self.gives_depth, self.gives_normals = "depth" in maps, "normals" in maps

    def __call__(self, rgb: np.ndarray) -> NetworkOutput:
        """Run on one image and fetch the coarse maps; ``reader`` is the fast way.

        Args:
            rgb: (H, W, 3) uint8 RGB.

        Raises:
            InvalidInput: an image too small or too large.
        """
        check_size(rgb)
        maps = self._maps(rgb)
        return to_output({t: v[0].float().cpu().numpy() for t, v in maps.items()}, rgb.shape[:2])

    def reader(self, decision: Decision) -> CudaReader:
        """Return what turns images into predictions, without a detour by the host."""
        return CudaReader(self._run, decision, self._device, self._dtype)

    @torch.inference_mode()
    def _maps(self, rgb: np.ndarray) -> dict[str, Tensor]:
        image = torch.from_numpy(np.ascontiguousarray(rgb)).to(self._device)
        return self._run(self._pre_process(image))

    def _run(self, images: Tensor) -> dict[str, Tensor]:
        with honest_cudnn():
            outputs = self._model(images)
        return {task: outputs[task] for task in READ if task in outputs}


def fold_batch_norm(model: nn.Module) -> None:
    """Make batch norm part of the convolution before it, where a ``Sequential`` has them in a row.

    That is all of MobileNet-v2's and saves a pass over memory each; the function stays the same.

    Args:
        model: in evaluation mode; changed.
    """
    for module in list(model.modules()):
        if not isinstance(module, nn.Sequential):
            continue
        for i in range(len(module) - 1):
            conv, norm = module[i], module[i + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[i], module[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()


def _precision(name: str, on_gpu: bool) -> str:
    if name == "auto":
        return "bf16" if not on_gpu or torch.cuda.is_bf16_supported() else "fp16"
    if name not in PRECISIONS:
        raise ModelUnsupported(f"precision {name!r}: CUDA has auto, {', '.join(PRECISIONS)}")
    return name
