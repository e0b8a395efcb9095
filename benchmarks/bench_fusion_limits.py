# SPDX-License-Identifier: Apache-2.0
"""What fusion costs at most and at least: with ever more classes, and against memory's speed."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numba
import numpy as np

from benchmarks.bench_fusion import CONFIG
from benchmarks.roofline import memory_bandwidth
from slam_fusion.frame import Frame
from slam_fusion.tsdf.block_store import BLOCK_VOXELS
from slam_fusion.volume import SemanticVolume

CLASSES = (10, 40, 250)
LIES = 0.3
"""Share of pixels of any class: they fill the voxels' slots and keep them in dispute."""

_LINE = 64  # bytes that memory gives at once
_WIDTHS = {"tsdf": 4, "weight": 2, "color": 6, "label": 4, "evidence": 8}  # bytes of a voxel


def run(frames: list[Frame], poses: list[np.ndarray]) -> None:
    """Time integration with few and with many classes, in turns; compare with the least it takes.

    Args:
        frames: with colour; their labels are replaced.
        poses: (4, 4) T_world_camera of each.
    """
    times = _times_by_classes(frames, poses)
    print("\nfusion by number of classes, three pixels in ten of any class")
    for classes, times_ms in times.items():
        print(f"{classes:4d} classes {np.min(times_ms):8.2f} ms {np.median(times_ms):8.2f} median")
    few, many = times[CLASSES[0]], times[CLASSES[-1]]
    print(
        f"{CLASSES[-1]} against {CLASSES[0]} classes: {np.min(many) / np.min(few):.2f}x by the "
        f"fastest frames, {np.median(np.divide(many, few)):.2f}x frame by frame"
    )
    _roofline(frames, poses, times[CLASSES[1]])


def _times_by_classes(frames: list[Frame], poses: list[np.ndarray]) -> dict[int, list[float]]:
    """Return the milliseconds of every frame but the first, which touches memory first."""
    SemanticVolume.warm_up(CONFIG.device)
    volumes = {classes: SemanticVolume(CONFIG) for classes in CLASSES}
    times: dict[int, list[float]] = {classes: [] for classes in CLASSES}
    for index, (frame, T_world_camera) in enumerate(zip(frames, poses, strict=True)):
        turns = CLASSES if index % 2 else CLASSES[::-1]
        for classes in turns:
            labelled = _labelled(frame, classes, index)
            start = time.perf_counter()
            volumes[classes].integrate(labelled, T_world_camera)
            times[classes].append((time.perf_counter() - start) * 1e3)
    return {classes: times_ms[1:] for classes, times_ms in times.items()}


def _labelled(frame: Frame, classes: int, seed: int) -> Frame:
    """Squares of classes, some of whose pixels lie."""
    rng = np.random.default_rng(seed)
    v, u = np.indices(frame.depth.shape)
    labels = ((v // 30 * 22 + u // 30) % classes).astype(np.uint8)
    lies = rng.random(labels.shape) < LIES
    labels[lies] = rng.integers(0, classes, int(lies.sum()))
    return replace(frame, labels=labels, confidence=None)


def _roofline(frames: list[Frame], poses: list[np.ndarray], times_ms: list[float]) -> None:
    bandwidth = memory_bandwidth(numba.get_num_threads())
    traffic = np.median([sum(_bytes_moved(f, T)) for f, T in _some(frames, poses)])
    least_ms = float(traffic / bandwidth * 1e3)
    taken_ms = min(times_ms)
    print(
        f"\nroofline: a frame moves {traffic / 1e6:.1f} MB at least (lines of {_LINE} bytes with a "
        f"voxel that changes, read and written once, and the images); memory gives "
        f"{bandwidth / 1e9:.1f} GB/s to {numba.get_num_threads()} threads: {least_ms:.2f} ms.\n"
        f"the fastest frame takes {taken_ms:.2f} ms, {taken_ms / least_ms:.1f} times as long: "
        f"{'memory' if taken_ms < 1.5 * least_ms else 'arithmetic'} is what limits it"
    )


def _some(frames: list[Frame], poses: list[np.ndarray]) -> Iterator[tuple[Frame, np.ndarray]]:
    return zip(frames[::12], poses[::12], strict=True)


def _bytes_moved(frame: Frame, T_world_camera: np.ndarray) -> Iterator[int]:
    """Yield bytes of each array that integrating a frame reads and writes."""
    volume = SemanticVolume(CONFIG)
    volume.integrate(_labelled(frame, CLASSES[1], 0), T_world_camera)
    state = volume.to_state()
    for name, width in _WIDTHS.items():
        # An empty volume's array is 0 where the frame changed nothing.
        changed = getattr(state, "weight" if name == "tsdf" else name)
        changed = changed.reshape(len(state.block_keys) * BLOCK_VOXELS, -1).any(axis=1)
        lines = np.unique(np.flatnonzero(changed) * width // _LINE)
        yield 2 * _LINE * len(lines)
    yield frame.depth.size * (4 + 3 + 1)  # depth, colour, label
