# SPDX-License-Identifier: Apache-2.0
"""The joint network on two cores: every runtime in turns, the same weights, and what bounds them.

Run as a program of its own (``python -m benchmarks.bench_network``), for it ties itself to two
cores. The weights are random and lively: they say how long it takes, not how right it is; that all
runtimes compute the same is checked on the way. ``--rounds 2`` is for trying it.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
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
from mtl_perception.hardware import hardware_name  # noqa: E402
from mtl_perception.inference.dense_outputs import READ, to_output  # noqa: E402
from mtl_perception.inference.graph_network import GraphNetwork, normalise  # noqa: E402
from mtl_perception.inference.post_processing import PostProcessor  # noqa: E402
from mtl_perception.inference.quantise import quantise  # noqa: E402
from mtl_perception.inference.runtimes import PACKAGES, open_network  # noqa: E402
from mtl_perception.inference.scores import Decision  # noqa: E402
from mtl_perception.labels import LABEL_SETS  # noqa: E402
from mtl_perception.models import ModelUnsupported  # noqa: E402
from mtl_perception.networks.checkpoint_metadata import NetworkMetadata  # noqa: E402
from mtl_perception.networks.nekrasov_config import NekrasovConfig  # noqa: E402
from mtl_perception.networks.nekrasov_graph import nekrasov_graph, stored_shapes  # noqa: E402
from mtl_perception.predictor import Predictor, PredictorConfig  # noqa: E402

CASES = (("nyu40", 480, 640), ("kitti6", 350, 1200))
"""Label set, rows and columns: the two networks and image sizes of the publication."""

ROUNDS = 15
"""In each of which every row is run twice and timed once."""

EAGER, CHANNELS_LAST, COMPILED = "torch eager NCHW", "torch channels_last", "torch.compile"

SHIPPED = "rooms"

ALONE = (("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"), ("onnx", "int8"))
ALONE += (("openvino", "int8"),)
"""Runtimes and precisions whose network is timed without what goes before and after."""

WHOLE = ("fp32", "bf16", "int8")
"""Precisions in which the whole call is timed, by the runtime that ``auto`` takes."""

Call = Callable[[], object]


@dataclass
class Rows:
    """What is timed, by name."""

    calls: dict[str, Call] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)  # of each whole call: the row of its own
    scores: dict[str, np.ndarray] = field(default_factory=dict)  # (C, h, w) of networks alone


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


def add_torch(rows: Rows, path: Path, x: np.ndarray) -> None:
    """Add the network alone by torch, three ways, or say what is not timed."""
    if find_spec("torch") is None:
        print("torch is not installed: its rows are left out")
        return
    import torch

    from mtl_perception.networks.checkpoint import load_network

    torch.set_num_threads(len(CORES))

    def add(name: str, memory_format: torch.memory_format, compiled: bool = False) -> None:
        images = torch.from_numpy(x).to(memory_format=memory_format)
        model = load_network(path).model.to(memory_format=memory_format)
        run_model = torch.compile(model, dynamic=False) if compiled else model

        def run() -> dict[str, torch.Tensor]:
            with torch.inference_mode():
                return run_model(images)

        start = time.perf_counter()
        rows.scores[name] = run()["labels"][0].contiguous().numpy()
        if compiled:
            print(f"torch.compile takes {time.perf_counter() - start:.0f} s")
        rows.calls[name] = run

    add(EAGER, torch.contiguous_format)
    add(CHANNELS_LAST, torch.channels_last)
    try:
        add(COMPILED, torch.channels_last, compiled=True)
    except RuntimeError as error:  # no compiler, or one that torch cannot use
        print(f"torch.compile fails, and is left out: {str(error).splitlines()[0]}")


def add_runtimes(rows: Rows, files: dict[str, Path], rgb: np.ndarray, x: np.ndarray) -> None:
    """Add the network alone by ONNX Runtime and OpenVINO, and what goes before and after it."""
    threads = len(CORES)
    for runtime, precision in ALONE:
        if any(find_spec(module) is None for module in PACKAGES[runtime]):
            print(f"{runtime} is not installed: its rows are left out")
            continue
        network = open_network(files[precision], None, "cpu", precision, threads, runtime)
        assert isinstance(network, GraphNetwork)
        name = f"{runtime} {precision}"
        rows.scores[name] = network.run(x)[0][0]
        rows.calls[name] = lambda network=network: network.run(x)
    maps = dict(zip(READ, (m[0] for m in network.run(x)), strict=False))  # it has no normals
    output = to_output(maps, x.shape[2:])
    process = PostProcessor(Decision(np.arange(network.channels, dtype=np.uint8)), threads)
    rows.calls["image to input"] = lambda: normalise(rgb)
    rows.calls["post-processing"] = lambda: process(output, rgb.shape[:2])


def add_predictors(rows: Rows, files: dict[str, Path], rgb: np.ndarray) -> None:
    """Add whole calls: uint8 image in, labels, confidence and depth of its size out."""
    default = Predictor(PredictorConfig(str(files["fp32"]), "cpu", threads=len(CORES))).precision
    for precision in WHOLE:
        config = PredictorConfig(str(files[precision]), "cpu", precision, threads=len(CORES))
        try:
            predictor = Predictor(config)
        except ModelUnsupported as error:
            print(f"no whole call in {precision}: {error}")
            continue
        network = f"{predictor.runtime} {predictor.precision}"
        name = f"whole call, {network}" + (" (default)" if precision == default else "")
        rows.calls[name] = lambda predictor=predictor: predictor(rgb)
        rows.networks[name] = network


def take_turns(calls: dict[str, Call], rounds: int) -> dict[str, np.ndarray]:
    """Return the milliseconds of each call's runs; all take part in every round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()  # what the others left in the caches is gone after it
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: np.array(ms) for name, ms in times.items()}


def report(rows: Rows, times: dict[str, np.ndarray]) -> None:
    """Print minima, medians, and how many times faster than torch's two ways, round by round.

    Then how far the scores are from those of the first row, relative to the greatest of them, and
    how many cells have the same best class.
    """
    print(f"{'':36s}{'min ms':>9s}{'median':>9s}{'x eager':>9s}{'x ch.last':>10s}", end="")
    print(f"{'differs':>10s}{'same':>8s}")
    first = next(iter(rows.scores.values()))
    for name, ms in times.items():
        row = f"{name:36s}{ms.min():9.1f}{np.median(ms):9.1f}"
        for baseline, width in ((EAGER, 9), (CHANNELS_LAST, 10)):
            has_network = name in rows.scores or name in rows.networks
            compares = has_network and baseline in times
            row += (f"{np.median(times[baseline] / ms):.1f}" if compares else "").rjust(width)
        if name in rows.scores:
            scores = rows.scores[name]
            differs = np.abs(scores - first).max() / np.abs(first).max()
            row += f"{differs:10.1e}{(scores.argmax(0) == first.argmax(0)).mean():8.2%}"
        print(row)
    for name, network in rows.networks.items():
        if network in times:
            minima = times[name].min() / times[network].min()
            medians = np.median(times[name]) / np.median(times[network])
            print(f"{name}: {minima:.2f} times the network alone (medians {medians:.2f})")


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


def report_shipped(shape: tuple[int, int], rounds: int) -> None:
    """Print the whole call of the network that comes with the package, as it is by default."""
    rgb = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    predictor = Predictor(PredictorConfig(SHIPPED, "cpu", threads=len(CORES)))
    what = f"{SHIPPED}, {predictor.runtime} {predictor.precision}"
    (ms,) = take_turns({what: lambda: predictor(rgb)}, 4 * rounds).values()
    print(f"\n{shape[0]}x{shape[1]}, {what}, whole call by default: ", end="")
    print(f"min {ms.min():.1f} ms, median {np.median(ms):.1f} ms")


def main() -> int:
    """Run both cases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    print(f"\njoint network, batch 1, {hardware_name('cpu')}, ", end="")
    print(f"{len(CORES)} cores of {os.cpu_count()}, load {os.getloadavg()[0]:.1f}")
    machine = measure_machine(len(CORES))
    peaks = ", ".join(f"{n} {v / 1e9:.0f} Gop/s" for n, v in machine.operations.items())
    print(f"measured peaks: {peaks}, memory {machine.bandwidth / 1e9:.1f} GB/s")
    rng = np.random.default_rng(1)
    for label_set, height, width in CASES:
        rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
        with TemporaryDirectory() as folder:
            whole, eighth = Path(folder) / "net.safetensors", Path(folder) / "net.onnx"
            files = {"fp32": whole, "bf16": whole, "int8": eighth}
            save_random_network(whole, label_set)
            quantise(whole, [rgb], eighth)
            print(f"\n{height}x{width}, {label_set}:")
            x, rows = normalise(rgb), Rows()
            add_torch(rows, whole, x)
            add_runtimes(rows, files, rgb, x)
            add_predictors(rows, files, rgb)
            report(rows, take_turns(rows.calls, rounds))
            report_bounds(whole, (height, width), machine)
    report_shipped(CASES[0][1:], rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
