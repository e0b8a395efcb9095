# SPDX-License-Identifier: Apache-2.0
"""A set of rooms is the same bytes however often its making was killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mtl_perception.conventions import UNLABELLED
from mtl_perception.data.shard_index import load_index
from mtl_perception.data.shards import ShardDataset
from mtl_perception.synthetic.room import make_room
from mtl_perception.synthetic.room_set import RoomSet, RoomSetError, make_room_set, room_samples
from mtl_perception.synthetic.viewpoints import ViewRules, random_views

WANTED = RoomSet(rooms=2, frames=3, seed=8, kind="corridor")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("rooms")
    make_room_set(path, WANTED, processes=2)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_set_that_was_killed_goes_on_to_the_same_bytes(folder, tmp_path):
    command = [sys.executable, "-m", "slam_fusion.commands.cli", "rooms", "-o", str(tmp_path)]
    command += ["--rooms=2", "--frames=3", "--seed=8", "--kind=corridor", "--processes=1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not (tmp_path / "index.json").exists():  # the first room is there, the second is not
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    first = load_index(tmp_path).shards
    assert len(first) == 1
    stamp = (tmp_path / first[0].file).stat().st_mtime_ns
    made = []
    make_room_set(tmp_path, WANTED, processes=1, progress=made.append)
    assert contents(tmp_path) == contents(folder)
    assert len(made) == 1 and (tmp_path / first[0].file).stat().st_mtime_ns == stamp


def test_shard_that_was_lost_is_made_again(folder):
    before = contents(folder)
    (folder / load_index(folder).shards[1].file).unlink()
    make_room_set(folder, WANTED, processes=1)
    assert contents(folder) == before


def test_rooms_of_another_recipe_do_not_mix(folder):
    with pytest.raises(RoomSetError, match="recipe"):
        make_room_set(folder, RoomSet(rooms=1, frames=4, seed=8, kind="corridor"), processes=1)


@pytest.mark.parametrize("numbers", [{"rooms": 0}, {"frames": 0}, {"seed": -1}])
def test_numbers_that_make_no_set_are_refused(numbers):
    with pytest.raises(RoomSetError, match="want at least one room"):
        RoomSet(**numbers)


def test_samples_are_of_their_rooms_and_fully_annotated(folder):
    data = ShardDataset(folder)
    assert len(data) == 6
    for index in range(6):
        sample = data[index]
        assert data.room_seed(index) == 8 + index // 3
        assert sample.name == f"room{data.room_seed(index):012d}-{index % 3:04d}"
        assert (sample.depth > 0).all() and (sample.labels != UNLABELLED).all()
        assert (sample.instances > 0).all()
        assert 480 <= sample.intrinsics.fx <= 620 and sample.color.shape == (480, 640, 3)


def test_neighbours_are_near_views_of_the_same_room():
    (sample, _), *_ = room_samples(8, RoomSet(frames=1, kind="corridor", neighbours=True))
    before, after = (image.astype(int) for image in sample.neighbours)
    other = np.random.default_rng(0).permutation(sample.color.reshape(-1, 3)).reshape(480, 640, 3)
    for image in (before, after):
        near = np.abs(image - sample.color).mean()
        assert 0.5 < near < 0.7 * np.abs(image - other).mean()


def test_views_are_free_level_and_see_more_than_walls():
    room, rules = make_room(5, "kitchen"), ViewRules()
    views = random_views(room, 6, np.random.default_rng(1), rules)
    for camera, pose in views:
        x, y, z = pose[:3, 3]
        assert 0 < x < room.size[0] and 0 < y < room.size[1]
        assert rules.heights[0] <= z <= rules.heights[1]
        pitch = np.degrees(np.arcsin(pose[2, 2]))
        assert rules.pitch_deg[0] - 1e-6 <= pitch <= rules.pitch_deg[1] + 1e-6
        assert abs(np.degrees(np.arcsin(pose[2, 0]))) <= 10  # roll: the x axis is nearly level
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
        corners = room.vertices[room.triangles]
        assert np.linalg.norm(corners.mean(axis=1) - (x, y, z), axis=1).min() >= rules.clearance
        assert camera.shape == (480, 640)
    again = random_views(room, 6, np.random.default_rng(1), rules)
    assert all((a[1] == b[1]).all() and a[0] == b[0] for a, b in zip(views, again, strict=True))
