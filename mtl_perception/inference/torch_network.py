# SPDX-License-Identifier: Apache-2.0
"""Our .safetensors networks, run by torch on the CPU or on CUDA."""

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mtl_perception.inference.dense_outputs import (
    MEAN,
    MIN_SIDE,
    READ,
    STD,
    check_size,
    check_tasks,
    to_output,
)
from mtl_perception.inference.scores import NetworkOutput
from mtl_perception.models import ModelUnsupported
from mtl_perception.networks.checkpoint import load_network

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

FORMATS = {"torch": torch.channels_last, "torch-eager": torch.contiguous_format}
"""How values lie in memory, by runtime: all channels of a pixel together, for which torch's kernels
are three times as fast; or plane after plane, as published."""


class TorchNetwork:
    """A joint network: RGB image in, scores, depth and normals out.

    Attributes:
        channels: classes scored, over all label sets.
        gives_depth, gives_normals: whether it has those heads.
        runtime, device, precision: as asked for, cpu or the GPU's name, a key of PRECISIONS.
        label_sets: meaning of the channels, one set behind the other.
        focal_px, temperature, input_height: what the file says of itself.
    """

    def __init__(
        self, path: Path, device: str, precision: str, threads: int, runtime: str = "torch"
    ) -> None:
        """Load a file that ``checkpoint.save_network`` wrote.

        Args:
            path: the .safetensors file.
            device: auto (cuda where there is one), cpu, cuda or cuda:1.
            precision: auto (bf16 on cuda, fp32 elsewhere), fp32, bf16.
            threads: of torch on the CPU; a setting of the whole process.
            runtime: a key of FORMATS.

        Raises:
            ModelMissing, ModelCorrupt, ModelUnsupported: see ``load_network``; or no such device
                or precision; or a network without class scores.
        """
        self.runtime = runtime
        self._device = find_device(device)
        self._dtype = _dtype(precision, self._device)
        self.device = "cpu"
        if self._device.type == "cuda":
            self.device = torch.cuda.get_device_name(self._device)
        self.precision = next(name for name, t in PRECISIONS.items() if t == self._dtype)
        torch.set_num_threads(threads)
        stored = load_network(path)
        metadata = stored.metadata
        self.label_sets = metadata.label_sets
        self.focal_px, self.temperature = metadata.focal_px, metadata.temperature
        self.input_height = metadata.input_height
        self._format = FORMATS[runtime]
        self._model = self._prepare(stored.model)
        self._offset = -torch.tensor(MEAN).div(torch.tensor(STD)).to(self._device)[:, None, None]
        self._scale = torch.tensor(STD).mul(255).reciprocal().to(self._device)[:, None, None]
        maps = self._run(np.zeros((2 * MIN_SIDE, 2 * MIN_SIDE, 3), np.uint8))
        check_tasks({task: len(values) for task, values in maps.items()}, path)
        self.channels = len(maps["labels"])
        self.gives_depth, self.gives_normals = "depth" in maps, "normals" in maps

    def _prepare(self, model: nn.Module) -> nn.Module:
        model = model.to(self._device, memory_format=self._format)
        for module in model.modules():
            # Statistics and affine of batch norm stay in fp32, as torch's kernels expect them.
            if not isinstance(module, nn.modules.batchnorm._BatchNorm):
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.to(self._dtype)
        return model.eval()

    def __call__(self, rgb: np.ndarray) -> NetworkOutput:
        """Run on one image.

        Args:
            rgb: (H, W, 3) uint8 RGB.

        Raises:
            InvalidInput: an image too small or too large.
        """
        check_size(rgb)
        return to_output(self._run(rgb), rgb.shape[:2])

    @torch.inference_mode()
    def _run(self, rgb: np.ndarray) -> dict[str, np.ndarray]:
        """Return (C, h, w) float32 by task."""
        image = torch.from_numpy(np.ascontiguousarray(rgb))
        if self._device.type == "cuda":
            image = image.pin_memory().to(self._device, non_blocking=True)
        # The image's bytes are channels_last already, and stay so.
        x = image.permute(2, 0, 1)[None].float()  # (1, 3, H, W)
        x = x.mul_(self._scale).add_(self._offset)
        with honest_cudnn():
            outputs = self._model(x.to(self._dtype, memory_format=self._format))
        return {task: outputs[task][0].float().cpu().numpy() for task in READ if task in outputs}


def honest_cudnn() -> AbstractContextManager:
    """Let cuDNN try its algorithms at the first image of a size, and multiply fp32 as fp32.

    Torch lets it use TF32, which keeps 10 of fp32's 23 bits.
    """
    return torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)


def find_device(name: str) -> torch.device:
    """Return auto (cuda where there is one), cpu, cuda or cuda:1 as torch calls it.

    Raises:
        ModelUnsupported: another one, or one that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelUnsupported(f"device {name!r}: want auto, cpu or cuda") from None
    if device.type not in ("cpu", "cuda"):
        raise ModelUnsupported(f"device {name!r}: want auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelUnsupported(
            f"device {name!r}: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            "devices here; take cpu or auto"
        )
    return device


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in PRECISIONS:
        raise ModelUnsupported(f"precision {name!r}: torch has auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[name]
