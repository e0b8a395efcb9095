# SPDX-License-Identifier: Apache-2.0
"""Synthetic rooms: how long one takes to make, and how many views of it a second."""

import time
from collections.abc import Callable

import numpy as np

from mtl_perception.data.sample import Sample
from mtl_perception.data.shard_write import encoded
from mtl_perception.synthetic.camera import ROOM_CAMERA, render
from mtl_perception.synthetic.depth_noise import sensed_depth
from mtl_perception.synthetic.photo import ColorNoise
from mtl_perception.synthetic.room import make_room
from mtl_perception.synthetic.walk import walk

SEED = 1000
KIND = "living room"
VIEWS = 20


def run() -> None:
    """Print the times; Open3D takes all cores unless the process is held to fewer."""
    start = time.perf_counter()
    room = make_room(SEED, KIND)
    print(f"{'furnish, texture and light a room':36s} {time.perf_counter() - start:8.2f} s")
    poses = [pose for _, pose in walk(room, VIEWS, SEED)]
    noise = ColorNoise(metering=0.5, grain=2.0, vignetting=0.2)
    view = render(room, ROOM_CAMERA, poses[0], samples=2)  # compiles
    sample = Sample(
        "bench", view.color, ROOM_CAMERA, view.depth, view.labels, view.normals, view.instances
    )
    calls: dict[str, Callable[[np.ndarray], object]] = {
        "render 640x480, all images": lambda pose: render(room, ROOM_CAMERA, pose),
        "the same, antialiased, as a camera": lambda pose: render(
            room, ROOM_CAMERA, pose, noise=noise, samples=2
        ),
        "depth as a sensor measures it": lambda _: sensed_depth(view, ROOM_CAMERA, 1),
        "encode a training sample": lambda _: dict(encoded(sample)),
    }
    for name, call in calls.items():
        start = time.perf_counter()
        for pose in poses:
            call(pose)
        each_ms = (time.perf_counter() - start) / len(poses) * 1e3
        print(f"{name:36s} {each_ms:8.2f} ms {1e3 / each_ms:10.1f} a second")
