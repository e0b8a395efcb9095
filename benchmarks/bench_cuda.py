# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.bench_cuda``: a joint network on a CUDA device, image in, prediction out.

Times are those of the device's own events, from the first byte of the image up to the last byte of
the prediction down, and next to them those of the host for the whole call.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mtl_perception.inference.runtimes import require_modules
from mtl_perception.labels import load_label_set
from mtl_perception.models import ModelUnsupported

SIZES = (("nekrasov-nyud", "nyu40", (480, 640)), ("nekrasov-kitti", "kitti6", (350, 1200)))
"""Preset, label set and (H, W) of the images: those of the network's publication."""

RUNS = 300
"""Of which the first third warms the device up."""


def main() -> int:
    """Print a line for each size and precision; say so where there is no GPU."""
    try:
        require_modules("the CUDA bench", "torch", "safetensors")
    except ModelUnsupported as error:
        print(f"cuda: not timed ({error})")
        return 0
    import torch

    if not torch.cuda.is_available():
        print(f"cuda: not timed (torch {torch.__version__} sees no CUDA device here)")
        return 0
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, milliseconds, batch 1")
    with tempfile.TemporaryDirectory() as folder:
        for preset, label_set, shape in SIZES:
            path = Path(folder) / f"{preset}.safetensors"
            write_network(path, preset, label_set)
            for precision in ("bf16", "fp16", "fp32"):
                report(path, label_set, shape, precision)
    return 0


def write_network(path: Path, preset: str, label_set: str) -> None:
    """Save a preset with random weights: time does not depend on what they are."""
    import torch

    from mtl_perception.networks.checkpoint import save_network
    from mtl_perception.networks.presets import build, find_preset

    torch.manual_seed(0)
    save_network(path, build(find_preset(preset)).eval(), load_label_set(label_set))


def report(path: Path, label_set: str, shape: tuple[int, int], precision: str) -> None:
    """Print minimum, median and 95th percentile of many runs."""
    from mtl_perception.inference.cuda_network import CudaNetwork
    from mtl_perception.inference.scores import Decision

    network = CudaNetwork(path, "cuda", precision, threads=1)
    ids = np.array([c.id for c in load_label_set(label_set).classes], np.uint8)
    read = network.reader(Decision(ids))
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    device_ms, host_ms = [], []
    for _ in range(RUNS):
        start_s = time.perf_counter()
        read(rgb, shape, 1.0)
        host_ms.append((time.perf_counter() - start_s) * 1e3)
        device_ms.append(read.device_ms)
    for name, times in (("device", device_ms), ("host", host_ms)):
        least, median, late = np.quantile(times[RUNS // 3 :], (0, 0.5, 0.95))
        print(
            f"{path.stem:16s} {shape[1]}x{shape[0]} {precision:5s} {name:7s} "
            f"min {least:6.3f}  median {median:6.3f}  p95 {late:6.3f}"
        )


if __name__ == "__main__":
    sys.exit(main())
