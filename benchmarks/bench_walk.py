# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.bench_walk``: a walk of a kilometre in fixed memory, time frame by frame.

The corridor is made on the fly: walls, floor and ceiling, with posts that come every few metres.
Blocks that lie behind go to disk. Printed are the milliseconds of processor time of fusing a frame
at some places, the memory of the process, and what the disk took. Processor time of the thread that
fuses: what else the machine does changes it less than time by the clock, and other threads spin
while they wait. At the first place memory has been full for some hundred frames already.
"""

import argparse
import hashlib
import re
import time
from pathlib import Path

import numpy as np

from mtl_perception.conventions import Intrinsics
from slam_fusion.frame import Frame
from slam_fusion.fusing import FrameFuser
from slam_fusion.mapper import MapperConfig
from slam_fusion.timing import StageTimes
from slam_fusion.volume import SemanticVolume

CAMERA = Intrinsics(width=160, height=120, fx=120.0, fy=120.0, cx=79.5, cy=59.5)
HALF_WIDTH, HALF_HEIGHT = 1.5, 1.3  # metres
POST_EVERY, POST_AT = 4.0, 1.1  # metres along, and from the middle
PLACES = (500, 2000, 5000, 10000)
AROUND = 100  # frames on both sides of a place that its time is taken from


def frame_at(index: int, x: float) -> Frame:
    """See the corridor from its middle, along +x, at ``x`` metres."""
    v, u = np.indices(CAMERA.shape)
    across, down = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
    depth = np.minimum(HALF_WIDTH / np.abs(across), HALF_HEIGHT / np.abs(down))
    for ahead in POST_EVERY - x % POST_EVERY + POST_EVERY * np.arange(2):
        on_post = np.abs(np.abs(across * ahead) - POST_AT) < 0.1
        depth = np.where(on_post, np.minimum(depth, ahead), depth)
    along = ((x + depth) // 1.0).astype(int)
    return Frame(
        stamp_ns=index,
        camera_frame="camera",
        intrinsics=CAMERA,
        depth=depth.astype(np.float32),
        color=np.stack([along * 37 % 256, u, v], axis=-1).astype(np.uint8),
        labels=(along % 20).astype(np.uint8),
        confidence=np.full(CAMERA.shape, 0.9, np.float32),
    )


def pose_at(x: float) -> np.ndarray:
    """Return T_world_camera of a camera that looks along world +x."""
    T = np.eye(4)
    T[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    T[0, 3] = x
    return T


def memory_mib(field: str = "VmRSS") -> float:
    """Memory of this process; VmHWM is its peak."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+)", status)[1]) / 1024


def run(frames: int, metres: float, config: MapperConfig) -> SemanticVolume:
    """Walk, and print the table."""
    SemanticVolume.warm_up()
    before = memory_mib()
    volume, fuse = SemanticVolume(config), FrameFuser(config, StageTimes())
    took_ms = np.empty(frames)
    print(f"{frames} frames over {metres:.0f} m, voxels of {config.voxel_size * 100:g} cm")
    print(" frame   median ms   p99 ms  blocks  on disk  RSS of the map, MiB")
    for index in range(frames):
        x = metres * index / frames
        frame, T = frame_at(index, x), pose_at(x)
        start = time.thread_time()
        fuse(frame, T, volume)
        took_ms[index] = (time.thread_time() - start) * 1e3
        if index - AROUND in PLACES or index == frames - 1:
            near = took_ms[max(index - 2 * AROUND, 0) : index + 1]
            print(
                f"{index - AROUND:6d} {np.median(near):11.2f} {np.percentile(near, 99):8.2f} "
                f"{volume.block_count:7d} {volume.paged_count:8d} {memory_mib() - before:8.0f}"
            )
    print(f"peak beside {before:.0f} MiB of the bare process: {memory_mib('VmHWM') - before:.0f}")
    print(
        f"paged out {volume.page_outs}, back {volume.page_ins}; "
        f"{volume.disk_bytes / 2**20:.0f} MiB on disk, limit in memory {config.memory_limit_mb} MiB"
    )
    ends = [np.median(took_ms[at - AROUND : at + AROUND]) for at in (500, min(10000, frames - 100))]
    print(f"frame {min(10000, frames - 100)} against frame 500: {ends[1] / ends[0]:.2f} times")
    return volume


def main() -> int:
    """Walk as the arguments say; 1 when ``--check`` finds another map than in unlimited memory."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=10200)
    parser.add_argument("--metres", type=float, default=1000.0)
    parser.add_argument("--voxel-size", type=float, default=0.05)
    parser.add_argument("--memory-limit-mb", type=int, default=96)
    parser.add_argument("--check", action="store_true", help="compare with unlimited memory")
    arguments = parser.parse_args()
    config = MapperConfig(
        voxel_size=arguments.voxel_size,
        max_depth=5.0,
        memory_limit_mb=arguments.memory_limit_mb,
    )
    volume = run(arguments.frames, arguments.metres, config)
    start = time.perf_counter()
    found = volume.state_hash()
    print(f"hash of the whole map {found[:16]}, {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    before, triangles = memory_mib(), 0
    digest = hashlib.sha256()
    for part in volume.mesh_parts():
        triangles += len(part.triangles)
        digest.update(part.positions.tobytes() + part.triangles.tobytes())
    print(
        f"mesh of the whole map in parts: {triangles} triangles, {digest.hexdigest()[:16]}, "
        f"{time.perf_counter() - start:.1f} s, peak {memory_mib('VmHWM') - before:.0f} MiB beside "
        "the map"
    )
    if not arguments.check:
        return 0
    del volume
    limit = MapperConfig(voxel_size=config.voxel_size, max_depth=5.0, memory_limit_mb=12288)
    unlimited = run(arguments.frames, arguments.metres, limit)
    print(f"unlimited memory: {unlimited.state_hash()[:16]}")
    return int(unlimited.state_hash() != found)


if __name__ == "__main__":
    raise SystemExit(main())
