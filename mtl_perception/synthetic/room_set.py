# SPDX-License-Identifier: Apache-2.0
"""A data set of rooms: one shard each, made by several processes, resumed where one was killed."""

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from mtl_perception.conventions import DenseSlamError, Intrinsics
from mtl_perception.data.sample import DataMissing, Sample
from mtl_perception.data.shard_index import Shard, ShardIndex, load_index
from mtl_perception.data.shard_write import write_shard
from mtl_perception.synthetic.camera import render
from mtl_perception.synthetic.photo import ColorNoise, random_noise
from mtl_perception.synthetic.room import LABEL_SET, Room, make_room
from mtl_perception.synthetic.sweethome3d import Catalogue, open_catalogue
from mtl_perception.synthetic.viewpoints import ViewRules, along, random_shake, random_views

SHAKEN = 0.3  # part of the images that the camera moved in
SHUTTER_STEPS = 6  # images whose mean a blurred one is


class RoomSetError(DenseSlamError):
    """The folder holds rooms of another kind, or the numbers make no set."""


@dataclass(frozen=True)
class RoomSet:
    """What a data set of rooms consists of; equal ones give equal bytes."""

    rooms: int = 100
    frames: int = 36  # views of each room
    seed: int = 1000  # of the first room; the next has the next
    kind: str = ""  # of every room, one of ``layout.KINDS``; empty draws them
    imported: bool = False  # furniture of ``sweethome3d`` replaces some of the procedural
    neighbours: bool = False  # each view also from a moment before and a moment after
    samples: int = 2  # colour is the mean of samples x samples rays per pixel
    rules: ViewRules = ViewRules()

    def __post_init__(self) -> None:
        """Refuse numbers that make no set.

        Raises:
            RoomSetError: with the values.
        """
        if not (self.rooms > 0 and 0 < self.frames <= 10_000 and 0 <= self.seed < 2**40):
            raise RoomSetError(
                f"{self.rooms} rooms of {self.frames} frames from seed {self.seed}: want at least "
                "one room, 1..10000 frames and a seed of 0 or more"
            )

    @property
    def recipe(self) -> dict[str, object]:
        """All that decides what a room's shard holds, but its seed."""
        return {
            "code": _code_digest(),
            "frames": self.frames,
            "kind": self.kind,
            "imported": _catalogue().version if self.imported else "",
            "neighbours": self.neighbours,
            "samples": self.samples,
            "rules": {name: _plain(value) for name, value in asdict(self.rules).items()},
        }


def make_room_set(
    folder: Path,
    wanted: RoomSet,
    processes: int,
    progress: Callable[[Shard], None] | None = None,
) -> ShardIndex:
    """Make the shards that the folder lacks; more rooms of the same recipe may be added later.

    Args:
        folder: made if it is not there.
        wanted: the rooms.
        processes: how many work at once, each on a room of its own.
        progress: told each shard when it is complete.

    Returns:
        What the folder now holds.

    Raises:
        RoomSetError: the folder holds rooms of another recipe.
        CatalogueMissing: imported furniture is wanted and not installed.
        DataCorrupt: its index is damaged.
        OSError: the folder cannot be written, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = _index_of(folder, wanted)
    done = {s.seed for s in index.shards if (folder / s.file).is_file()}
    index = replace(index, shards=tuple(s for s in index.shards if s.seed in done))
    missing = [s for s in range(wanted.seed, wanted.seed + wanted.rooms) if s not in done]
    for shard in _made(folder, missing, wanted, processes):
        index = replace(index, shards=(*index.shards, shard))
        index.save(folder)
        if progress:
            progress(shard)
    return index


def _made(folder: Path, seeds: list[int], wanted: RoomSet, processes: int) -> Iterator[Shard]:
    """Yield shards as they are completed."""
    if min(processes, len(seeds)) <= 1:
        yield from (make_shard(folder, seed, wanted) for seed in seeds)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(seeds)), context) as pool:
        jobs = [pool.submit(make_shard, folder, seed, wanted) for seed in seeds]
        try:
            yield from (job.result() for job in as_completed(jobs))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def make_shard(folder: Path, seed: int, wanted: RoomSet) -> Shard:
    """Make one room and write its views; the same seed and recipe give the same bytes."""
    cv2.setNumThreads(1)
    path = folder / f"room-{seed:012d}.shard"
    return write_shard(path, seed, room_samples(seed, wanted))


def room_samples(seed: int, wanted: RoomSet) -> Iterator[tuple[Sample, np.ndarray]]:
    """Yield the views of a room and their T_world_camera."""
    room = make_room(seed, wanted.kind, catalogue=_catalogue() if wanted.imported else None)
    rng = np.random.default_rng([seed, 1])
    for number, (camera, pose) in enumerate(random_views(room, wanted.frames, rng, wanted.rules)):
        shutter = []
        if rng.random() < SHAKEN:
            shutter = along(pose, random_shake(rng), np.linspace(-0.5, 0.5, SHUTTER_STEPS))
        noise = random_noise(rng)
        view = render(
            room,
            camera,
            pose,
            noise=noise,
            samples=1 if shutter else wanted.samples,
            shutter=shutter,
        )
        sample = Sample(
            name=f"room{seed:012d}-{number:04d}",
            color=view.color,
            intrinsics=camera,
            depth=view.depth,
            labels=view.labels,
            normals=view.normals,
            instances=view.instances,
            neighbours=_neighbours(room, camera, pose, noise, rng) if wanted.neighbours else (),
        )
        yield sample, pose


def _neighbours(
    room: Room,
    camera: Intrinsics,
    T_world_camera: np.ndarray,
    noise: ColorNoise,
    rng: np.random.Generator,
) -> tuple[np.ndarray, ...]:
    """Return what the walking camera saw a moment before and will see a moment after."""
    motion = np.concatenate([rng.normal(0, 0.06, 3), np.radians(rng.normal(0, 2.0, 3))])
    poses = along(T_world_camera, motion, np.array([-1.0, 1.0]))
    noises = (replace(noise, seed=noise.seed + number) for number in (1, 2))
    return tuple(
        render(room, camera, pose, noise=other, samples=2).color
        for pose, other in zip(poses, noises, strict=True)
    )


def _index_of(folder: Path, wanted: RoomSet) -> ShardIndex:
    try:
        index = load_index(folder)
    except DataMissing:
        return ShardIndex(LABEL_SET, wanted.recipe)
    if index.recipe != wanted.recipe:
        raise RoomSetError(
            f"{folder} holds rooms of recipe {index.recipe}, these are of {wanted.recipe}; "
            "choose another folder"
        )
    return index


@cache
def _code_digest() -> str:
    """Return a hash of this package's code: what it draws depends on every line of it."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@cache
def _catalogue() -> Catalogue:
    return open_catalogue()


def _plain(value: object) -> object:
    """Return what JSON gives back for a value."""
    return list(value) if isinstance(value, tuple) else value
