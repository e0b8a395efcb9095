# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks``: every stage on the real kitchen recording, then the networks."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks import bench_fusion, bench_fusion_limits, bench_rooms
from mtl_perception.models import ModelMissing
from mtl_perception.predictor import Predictor, PredictorConfig
from slam_fusion.frame import Frame
from slam_fusion.recordings.recording import open_recording

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
FRAMES = 60
STEP = 2  # every second frame that the recording holds


def load(folder: Path) -> tuple[list[Frame], list[np.ndarray]]:
    """Read the frames, without labels, and their poses T_world_camera."""
    with open_recording(folder) as recording:
        frames = list(islice(recording.frames(), 0, FRAMES * STEP, STEP))
        poses = [recording.poses.at(frame.stamp_ns, frame.camera_frame) for frame in frames]
    return frames, poses


def label(frame: Frame, predictor: Predictor | None) -> Frame:
    """Add the network's labels, or a grid of squares of 40 classes where there is no network."""
    if predictor is not None:
        prediction = predictor(frame.color)
        return replace(frame, labels=prediction.labels, confidence=prediction.confidence)
    v, u = np.indices(frame.depth.shape)
    labels = (v // 60 * 8 + u // 80) % bench_fusion.CLASSES
    return replace(frame, labels=labels.astype(np.uint8))


def open_predictor() -> Predictor | None:
    """Return the default network, or say that there is none."""
    try:
        return Predictor(PredictorConfig())
    except ModelMissing as error:
        print(f"perception: not timed, labels are a made-up grid ({error})")
        return None


def timed(name: str, count: int, call: Callable[[], T]) -> T:
    """Print the milliseconds and rate of ``count`` frames through ``call``; return its result."""
    start = time.perf_counter()
    result = call()
    each_ms = (time.perf_counter() - start) / count * 1e3
    print(f"{name:32s} {each_ms:8.2f} ms {1e3 / each_ms:10.1f} a second")
    return result


def fusion() -> int:
    """Run all stages of the map; 1 when the recording is absent."""
    data = Path(os.environ.get("DENSE_SLAM_DATA", ROOT.parent / "shared" / "data"))
    folder = data / "seven_scenes_kitchen"
    if not folder.is_dir():
        print(f"no recording at {folder}: set DENSE_SLAM_DATA", file=sys.stderr)
        return 1
    frames, poses = timed("read images and pose", FRAMES * STEP, lambda: load(folder))
    predictor = open_predictor()
    label(frames[0], predictor)
    how = "label by the network" if predictor else "label by a made-up grid"
    frames = timed(how, FRAMES, lambda: [label(f, predictor) for f in frames])
    volume = bench_fusion.run(frames, poses)
    bench_fusion_limits.run(frames, poses)
    print(f"\nmap of {volume.block_count} blocks, {volume.memory_bytes / 2**20:.0f} MiB")
    timed("extract the labelled cloud", 1, volume.extract_cloud)
    timed("extract the labelled mesh", 1, volume.extract_mesh)
    timed("hash the map", 1, volume.state_hash)
    print("\nsynthetic rooms")
    bench_rooms.run()
    return 0


def main() -> int:
    """Run all parts; 1 when one of them fails."""
    failed = fusion()
    for part in ("bench_network", "bench_cuda"):
        # Processes of their own: the first ties itself to two cores.
        run = subprocess.run([sys.executable, "-m", f"benchmarks.{part}"], cwd=ROOT)
        failed = failed or run.returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
