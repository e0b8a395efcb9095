# SPDX-License-Identifier: Apache-2.0
"""Image in, prediction out, and everything between on the GPU.

The launches of a network's 200 kernels take longer than the kernels. So all that happens on the
device for one size of image is recorded once, as a CUDA graph, and then started as a whole.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from mtl_perception.inference.dense_outputs import check_size
from mtl_perception.inference.scores import Decision
from mtl_perception.inference.tensor_maps import TensorPostProcessor, TensorPreProcessor
from mtl_perception.models import ModelUnsupported
from mtl_perception.prediction import Prediction

GRAPHS = 4
"""Sizes of images whose graphs are kept; each holds some 300 MB of the device at 640x480."""

WARM_UP = 3
"""Runs before a graph is recorded, in which cuDNN tries its algorithms and memory is claimed."""

Sizes = tuple[tuple[int, int], tuple[int, int]]
"""(H, W) of what the network sees, and of what comes out."""


@dataclass(frozen=True, eq=False)
class _Plan:
    """Buffers that one graph reads and writes, always at the same addresses."""

    staged: Tensor  # (H, W, 3) uint8 on the host, pinned
    image: Tensor  # (H, W, 3) uint8 on the device
    depth_scale: Tensor  # () float32 on the device
    run: Callable[[], dict[str, Tensor]]  # image and depth_scale to what TensorPostProcessor gives


class CudaReader:
    """Reads images with a network, as ``scores.Reader``. Calls from several threads take turns.

    On a device of type ``cpu`` it does the same without graph, stream and pinned memory: for tests.

    Attributes:
        device_ms: time that the last call took on the device, from the first byte up to the last
            byte down, by its own events; host time on a CPU.
    """

    def __init__(
        self,
        network: Callable[[Tensor], dict[str, Tensor]],
        decision: Decision,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Prepare; what depends on the size of the images is done at the first of each size.

        Args:
            network: (1, 3, H, W) normalised images of ``dtype`` on ``device`` to maps by task.
            decision: how its scores become labels.
            device: cuda or cpu.
            dtype: of the network's weights.
        """
        self.device_ms = 0.0
        self._network, self._device = network, device
        self._pre_process = TensorPreProcessor(dtype).to(device)
        self._post_process = TensorPostProcessor(decision).to(device)
        self._plans: OrderedDict[Sizes, _Plan] = OrderedDict()
        self._on_gpu = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._on_gpu else None
        self._turn = Lock()

    @torch.inference_mode()
    def __call__(self, rgb: np.ndarray, shape: tuple[int, int], depth_scale: float) -> Prediction:
        """Read one image.

        Args:
            rgb: (h, w, 3) uint8 RGB as the network is to see it.
            shape: (H, W) of the prediction.
            depth_scale: metres per unit of the network's depth.

        Raises:
            InvalidInput: an image too small or too large.
            ModelUnsupported: scores that are not finite.
        """
        check_size(rgb)
        with self._turn, torch.cuda.stream(self._stream):
            plan = self._plan((rgb.shape[:2], shape))
            found = self._timed(plan, rgb, depth_scale)
        if not found.pop("finite"):
            raise ModelUnsupported("the network's scores are not finite: weights out of range?")
        arrays = {name: tensor.numpy() for name, tensor in found.items()}
        return Prediction(**{"depth": None, "normals": None, **arrays})

    def _timed(self, plan: _Plan, rgb: np.ndarray, depth_scale: float) -> dict[str, Tensor]:
        np.copyto(plan.staged.numpy(), rgb)
        if not self._on_gpu:
            start_s = time.perf_counter()
            found = self._transfer_and_run(plan, depth_scale)
            self.device_ms = (time.perf_counter() - start_s) * 1e3
            return found
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        found = self._transfer_and_run(plan, depth_scale)
        end.record()
        end.synchronize()  # from here on the host may read, and the staged image be overwritten
        self.device_ms = start.elapsed_time(end)
        return found

    def _transfer_and_run(self, plan: _Plan, depth_scale: float) -> dict[str, Tensor]:
        plan.image.copy_(plan.staged, non_blocking=True)
        plan.depth_scale.fill_(depth_scale)
        # Into memory of their own: the graph will write over its results at the next image.
        return {name: self._to_host(tensor) for name, tensor in plan.run().items()}

    def _to_host(self, tensor: Tensor) -> Tensor:
        if not self._on_gpu:
            return tensor
        # Pinned memory comes from torch's cache, to which it goes back with the prediction.
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)

    def _plan(self, sizes: Sizes) -> _Plan:
        if sizes not in self._plans:
            if len(self._plans) == GRAPHS:
                self._plans.popitem(last=False)
            self._plans[sizes] = self._new_plan(sizes)
        self._plans.move_to_end(sizes)
        return self._plans[sizes]

    def _new_plan(self, sizes: Sizes) -> _Plan:
        seen, shape = sizes
        staged = torch.zeros((*seen, 3), dtype=torch.uint8, pin_memory=self._on_gpu)
        image = torch.zeros((*seen, 3), dtype=torch.uint8, device=self._device)
        depth_scale = torch.ones((), device=self._device)

        def run() -> dict[str, Tensor]:
            return self._run(image, shape, depth_scale)

        return _Plan(staged, image, depth_scale, self._recorded(run) if self._on_gpu else run)

    def _run(self, image: Tensor, shape: tuple[int, int], depth_scale: Tensor) -> dict[str, Tensor]:
        maps = self._network(self._pre_process(image))
        return self._post_process(maps, shape, depth_scale)

    def _recorded(self, run: Callable[[], dict[str, Tensor]]) -> Callable[[], dict[str, Tensor]]:
        """Return what starts all kernels of ``run`` at once, and the tensors that they write."""
        for _ in range(WARM_UP):
            run()
        torch.cuda.current_stream().synchronize()
        graph = torch.cuda.CUDAGraph()
        # Of this thread only: another network may be answering in another one meanwhile.
        mode = "thread_local"
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode=mode):
            written = run()

        def replay() -> dict[str, Tensor]:
            graph.replay()
            return written

        return replay
