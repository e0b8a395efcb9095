# SPDX-License-Identifier: Apache-2.0
"""The joint network on two cores: every runtime in turns, the same weights, and what bounds them.

Run as a program of its own (``python -m benchmarks.bench_network``), for it ties itself to two
cores. The weights are random and lively: they say how long it takes, not how right it is.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

CORES = sorted(os.sched_getaffinity(0))[:2]
if __name__ == "__main__":
    # Before NumPy counts the cores for its own threads.
    os.sched_setaffinity(0, CORES)

import numpy as np  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

from benchmarks.roofline import BYTES, Machine, bounds, measure_machine, steps  # noqa: E402
from mtl_perception.inference.graph_network import normalise  # noqa: E402
from mtl_perception.inference.quantise import quantise  # noqa: E402
from mtl_perception.inference.runtimes import PACKAGES, open_network  # noqa: E402
from mtl_perception.labels import LABEL_SETS  # noqa: E402
from mtl_perception.networks.checkpoint_metadata import NetworkMetadata  # noqa: E402
from mtl_perception.networks.nekrasov_config import NekrasovConfig  # noqa: E402
from mtl_perception.networks.nekrasov_graph import nekrasov_graph, stored_shapes  # noqa: E402
from mtl_perception.predictor import Predictor, PredictorConfig  # noqa: E402

CASES = (("nyu40", 480, 640), ("kitti6", 350, 1200))
"""Label set, rows and columns: the two networks and image sizes of the publication."""

SECONDS = 45
"""For the turns of one case; each takes part at least MIN_ROUNDS times."""

MIN_ROUNDS, MAX_ROUNDS = 5, 15

EAGER, CHANNELS_LAST = "torch eager NCHW fp32", "torch channels_last fp32"

Calls = dict[str, Callable[[], object]]


def save_random_network(path: Path, label_set: str) -> None:
    """Write a network of random weights that keep values of order 1 through all layers."""
    rng = np.random.default_rng(0)
    config = NekrasovConfig(label_sets=((label_set, len(LABEL_SETS[label_set])),))
    tensors = {}
    for name, shape in stored_shapes(config).items():
        if len(shape) == 4:
            values = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)
        elif name.endswith(("running_var", ".weight")):
            values = rng.uniform(0.8, 1.2, shape)
        else:
            values = rng.normal(0, 0.1, shape)
        tensors[name] = values.astype(np.float32)
    metadata = NetworkMetadata(config.to_dict(), (LABEL_SETS[label_set],))
    save_file(tensors, path, metadata.to_strings())


def torch_calls(path: Path, x: np.ndarray) -> Calls:
    """Return the network alone by torch, three ways, or say what is not timed."""
    if find_spec("torch") is None:
        print("torch is not installed: its rows are left out")
        return {}
    import torch

    from mtl_perception.networks.checkpoint import load_network

    torch.set_num_threads(len(CORES))

    def call(model: Callable, memory_format: torch.memory_format) -> Callable[[], object]:
        images = torch.from_numpy(x).to(memory_format=memory_format)

        def run() -> object:
            with torch.inference_mode():
                return model(images)

        return run

    plain, last, compiled = (load_network(path).model for _ in range(3))
    last = last.to(memory_format=torch.channels_last)
    calls = {
        EAGER: call(plain, torch.contiguous_format),
        CHANNELS_LAST: call(last, torch.channels_last),
    }
    start = time.perf_counter()
    try:
        run = call(torch.compile(compiled), torch.contiguous_format)
        run()
    except RuntimeError as error:  # no compiler, or one that torch cannot use
        print(f"torch.compile fails, and is left out: {str(error).splitlines()[0]}")
    else:
        print(f"torch.compile: first call {time.perf_counter() - start:.0f} s")
        calls["torch.compile fp32"] = run
    return calls


def runtime_calls(files: dict[str, Path], rgb: np.ndarray, x: np.ndarray) -> Calls:
    """Return the network alone by ONNX Runtime and OpenVINO, then whole calls of the Predictor."""
    calls: Calls = {}
    shape = rgb.shape[:2]
    threads = len(CORES)
    for runtime, precision in (
        ("onnx", "fp32"),
        ("openvino", "fp32"),
        ("openvino", "bf16"),
        ("onnx", "int8"),
        ("openvino", "int8"),
    ):
        if any(find_spec(module) is None for module in PACKAGES[runtime]):
            print(f"{runtime} is not installed: its rows are left out")
            continue
        file = files["int8" if precision == "int8" else "float"]
        network = open_network(file, None, "cpu", precision, threads, runtime)
        calls[f"{runtime} {precision}"] = lambda network=network: network.run(x)
    base = PredictorConfig(model=str(files["float"]), device="cpu", threads=threads)
    for config in (
        replace(base, precision="fp32"),
        base,
        replace(base, model=str(files["int8"])),
    ):
        predictor = Predictor(config)
        predictor.warm_up(shape)
        name = f"whole call, {predictor.runtime} {predictor.precision}"
        if config == base:
            name += " (default)"
        calls[name] = lambda predictor=predictor: predictor(rgb)
    return calls


def take_turns(calls: Calls) -> dict[str, np.ndarray]:
    """Return the milliseconds of each call's runs; all take part in every round."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + SECONDS
    for done in range(MAX_ROUNDS):
        if done >= MIN_ROUNDS and time.perf_counter() > end:
            break
        for name, call in calls.items():
            call()  # what the others left in the caches is gone after it
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: np.array(ms) for name, ms in times.items()}


def report(times: dict[str, np.ndarray]) -> None:
    """Print minimum, median, and how many times faster than torch's two ways; by round's pairs."""
    print(f"{'':36s}{'min ms':>9s}{'median':>9s}{'x eager':>9s}{'x ch.last':>10s}")
    for name, ms in times.items():
        row = f"{name:36s}{ms.min():9.1f}{np.median(ms):9.1f}"
        for baseline, width in ((EAGER, 9), (CHANNELS_LAST, 10)):
            ratio = np.median(times[baseline] / ms) if baseline in times else np.nan
            row += f"{ratio:{width}.1f}" if np.isfinite(ratio) else " " * (width - 1) + "-"
        print(row)


def report_bounds(path: Path, shape: tuple[int, int], machine: Machine) -> None:
    """Print what sums and memory alone would take."""
    found = steps(nekrasov_graph(path), *shape)
    operations, values = sum(s.operations for s in found), sum(s.values for s in found)
    print(f"{operations / 2e9:.2f} G multiply-adds, {values / 1e6:.0f} M values moved; at least:")
    for precision in machine.operations:
        sums, memory, step = bounds(found, machine, precision)
        print(
            f"    {precision}: sums {sums:5.1f} ms, memory {memory:5.1f} ms "
            f"({values * BYTES[precision] / 1e9:.2f} GB), step by step {step:5.1f} ms"
        )


def main() -> int:
    """Run both cases."""
    print(f"\njoint network, batch 1, cores {CORES}, load {os.getloadavg()[0]:.1f}")
    machine = measure_machine(len(CORES))
    peaks = ", ".join(f"{n} {v / 1e9:.0f} Gop/s" for n, v in machine.operations.items())
    print(f"measured peaks: {peaks}, memory {machine.bandwidth / 1e9:.1f} GB/s")
    rng = np.random.default_rng(1)
    for label_set, height, width in CASES:
        rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
        with TemporaryDirectory() as folder:
            files = {"float": Path(folder) / "net.safetensors", "int8": Path(folder) / "net.onnx"}
            save_random_network(files["float"], label_set)
            quantise(files["float"], [rgb], files["int8"])
            print(f"\n{height}x{width}, {label_set}:")
            x = normalise(rgb)
            calls = torch_calls(files["float"], x) | runtime_calls(files, rgb, x)
            report(take_turns(calls))
            report_bounds(files["float"], (height, width), machine)
    return 0


if __name__ == "__main__":
    sys.exit(main())
