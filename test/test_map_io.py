# SPDX-License-Identifier: Apache-2.0
import io
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from dataclasses import fields, replace

import numpy as np
import pytest

from mtl_perception.labels import LABEL_SETS
from slam_fusion.output.map_format import MapFileError, SavedMap
from slam_fusion.output.map_io import load_map, open_map, save_map
from slam_fusion.tsdf.volume_state import VolumeConfig, VolumeState
from slam_fusion.volume import SemanticVolume

SLOTS = 4


def fake_map(blocks: int = 3, poses: int = 4, seed: int = 0) -> SavedMap:
    rng = np.random.default_rng(seed)
    voxels = (blocks, 16, 16, 16)
    state = VolumeState(
        config=VolumeConfig(voxel_size=0.05),
        block_keys=np.stack([np.arange(blocks), -np.arange(blocks), np.zeros(blocks)], 1).astype(
            np.int32
        ),
        tsdf=rng.uniform(-1, 1, voxels).astype(np.float32),
        weight=rng.integers(0, 9, voxels, np.uint16),
        color=rng.integers(0, 65536, (*voxels, 3), np.uint16),
        label=rng.integers(0, 256, (*voxels, SLOTS), np.uint8),
        evidence=rng.integers(0, 65536, (*voxels, SLOTS), np.uint16),
    )
    T_world_camera = np.tile(np.eye(4), (poses, 1, 1))
    T_world_camera[:, :3, 3] = rng.normal(size=(poses, 3))
    return SavedMap(
        state=state,
        label_set=LABEL_SETS["nyu13"],
        global_frame="odom",
        stamps_ns=np.arange(poses, dtype=np.int64) * 10**8 + 1_700_000_000_000_000_000,
        T_world_camera=T_world_camera,
        ledger_counts={"fused": poses, "pose_never": 1},
        provenance={"source": "a walk"},
    )


def rewrite(path, change) -> None:
    """Apply ``change`` to the dict of a map file's entries and write the file anew."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def edit_header(path, **values) -> None:
    def change(entries):
        header = json.loads(entries["header.json"]) | values
        entries["header.json"] = json.dumps(header).encode()

    rewrite(path, change)


@pytest.fixture
def path(tmp_path):
    save_map(tmp_path / "map.npz", fake_map())
    return tmp_path / "map.npz"


@pytest.mark.parametrize(("blocks", "poses"), [(3, 4), (0, 0)])
def test_a_map_comes_back_bit_for_bit(tmp_path, blocks, poses):
    saved = fake_map(blocks, poses)
    size = save_map(tmp_path / "m.npz", saved)
    assert size == (tmp_path / "m.npz").stat().st_size
    loaded = load_map(tmp_path / "m.npz")
    for field in fields(VolumeState):
        if field.name != "config":
            left, right = getattr(loaded.state, field.name), getattr(saved.state, field.name)
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)
    assert loaded.state.config == saved.state.config
    np.testing.assert_array_equal(loaded.stamps_ns, saved.stamps_ns)
    np.testing.assert_array_equal(loaded.T_world_camera, saved.T_world_camera)
    for name in ("label_set", "global_frame", "ledger_counts", "provenance"):
        assert getattr(loaded, name) == getattr(saved, name)


def test_equal_maps_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        save_map(tmp_path / name, fake_map())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_numpy_opens_a_map_without_pickle(path):
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["tsdf"], fake_map().state.tsdf)
        assert json.loads(arrays["header.json"])["version"] == 1


def test_a_map_without_label_set_comes_back_without(tmp_path):
    save_map(tmp_path / "m", replace(fake_map(), label_set=None))
    assert load_map(tmp_path / "m").label_set is None


def test_a_map_over_the_memory_limit_is_refused_before_reading(tmp_path):
    save_map(tmp_path / "map.npz", fake_map(blocks=40))
    with pytest.raises(MapFileError, match="needs 3 MiB, the limit is 2 MiB"):
        load_map(tmp_path / "map.npz", memory_limit_mb=2)


def test_a_header_that_promises_more_than_there_is_is_refused_before_memory_is_taken(path):
    edit_header(path, blocks=2**31 - 1, poses=2**31 - 1)
    tracemalloc.start()
    with pytest.raises(MapFileError, match="the header promises"):
        load_map(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_map_larger_than_memory_is_rebuilt_piece_by_piece(tmp_path):
    saved = fake_map(blocks=400)  # 38 MiB
    save_map(tmp_path / "map.npz", saved)
    tracemalloc.start()
    with open_map(tmp_path / "map.npz", memory_limit_mb=4) as opened:
        volume = SemanticVolume.from_state(opened.state)
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()
    assert volume.paged_count >= 400 - 42
    assert volume.state_hash() == SemanticVolume.from_state(saved.state).state_hash()
    np.testing.assert_array_equal(opened.T_world_camera, saved.T_world_camera)


@pytest.mark.parametrize("name", ["tsdf", "evidence"])
def test_damage_in_a_map_that_is_read_piece_by_piece_has_its_name_too(tmp_path, name):
    path = tmp_path / "map.npz"
    save_map(path, fake_map(blocks=100))

    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(f"{name}.npy")
    data = bytearray(path.read_bytes())
    data[entry.header_offset + entry.compress_size // 2] ^= 1
    path.write_bytes(data)
    with open_map(path) as opened, pytest.raises(MapFileError, match=str(path)):
        SemanticVolume.from_state(opened.state)


def test_a_zip_bomb_is_refused_by_its_size(path):
    def change(entries):
        entries["tsdf.npy"] += bytes(64 << 20)

    rewrite(path, change)
    with pytest.raises(MapFileError, match="tsdf: .* the header promises"):
        load_map(path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"format": "other"}, "not a map of this package"),
        ({"version": 2}, "map version 2; this release reads 1"),
        ({"blocks": -1}, "blocks = -1"),
        ({"blocks": True}, "blocks = True"),
        ({"blocks": 2}, "the header promises"),
        ({"poses": 2**31}, "poses = 2147483648"),
        ({"config": {"voxel_size": -1.0}}, "voxel_size"),
        ({"config": {"no_such": 1}}, "no_such"),
        ({"config": {"page_folder": "/"}}, "page_folder"),
        ({"config": {"disk_limit_mb": 2**24}}, "disk_limit_mb"),
        ({"label_set": {"name": "x"}}, "not a readable map"),
        ({"ledger": 3}, "not a readable map"),
    ],
)
def test_a_wrong_header_is_refused_in_words(path, values, words):
    edit_header(path, **values)
    with pytest.raises(MapFileError, match=words):
        load_map(path)


def test_arrays_of_another_type_are_refused(path):
    def change(entries):
        entries["weight.npy"] = entries["weight.npy"].replace(b"<u2", b"<i2")

    rewrite(path, change)
    with pytest.raises(MapFileError, match="weight: not an array of uint16"):
        load_map(path)


@pytest.mark.parametrize("name", ["extra.npy", "../outside"])
def test_strange_entries_are_refused(path, name):
    rewrite(path, lambda entries: entries.update({name: b"x"}))
    with pytest.raises(MapFileError, match="other entries"):
        load_map(path)


def set_values(path, name, index, value) -> None:
    """Put a value into one array of a map file."""

    def change(entries):
        array = np.load(io.BytesIO(entries[name]))
        head = entries[name][: -array.nbytes]
        array[index] = value
        entries[name] = head + array.tobytes()

    rewrite(path, change)


@pytest.mark.parametrize(
    ("name", "index", "value", "words"),
    [
        ("tsdf", (1, 2, 3, 4), np.nan, "tsdf"),
        ("tsdf", (1, 2, 3, 4), np.inf, "tsdf"),
        ("block_keys", slice(None), 0, "block_keys are not sorted, or not distinct"),
        ("block_keys", 2, 2**31 - 1, "block_keys"),
        ("T_world_camera", (2, 0, 0), 2.0, "no rigid transform"),
        ("T_world_camera", (2, 0, 0), -1.0, "no rigid transform"),  # a mirror
        ("T_world_camera", (2, 0, 0), 1e300, "no rigid transform"),
        ("T_world_camera", (2, 0, 3), np.inf, "no rigid transform"),
        ("T_world_camera", (2, 1, 1), np.nan, "no rigid transform"),
        ("stamps_ns", 1, -(2**63), "go backwards"),
    ],
)
def test_numbers_that_no_map_has_are_refused(path, name, index, value, words):
    set_values(path, f"{name}.npy", index, value)
    with pytest.raises(MapFileError, match=words):
        load_map(path)


def test_missing_files_and_other_files_are_said_in_words(tmp_path):
    with pytest.raises(MapFileError, match="No such file"):
        load_map(tmp_path / "none.npz")
    (tmp_path / "text").write_text("not a map")
    with pytest.raises(MapFileError, match="not a zip file"):
        load_map(tmp_path / "text")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(MapFileError, match=r"header\.json"):
        load_map(tmp_path / "other.npz")


def test_any_damage_gives_the_named_error_or_the_whole_map(tmp_path):
    saved = fake_map(blocks=1)
    for array in (saved.state.tsdf, saved.state.color, saved.state.evidence, saved.state.label):
        array[...] = 0  # A small file, so that the flips hit its structure often.
    save_map(tmp_path / "whole", saved)
    data = (tmp_path / "whole").read_bytes()
    rng = np.random.default_rng(2)
    damaged_file = tmp_path / "damaged"
    refused = 0
    for _ in range(400):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            damaged[place] ^= 1 << rng.integers(0, 8)
        damaged_file.write_bytes(damaged)
        try:
            loaded = load_map(damaged_file)
        except MapFileError:
            refused += 1
        else:  # Dates and attributes of a zip entry do not matter.
            np.testing.assert_array_equal(loaded.state.weight, saved.state.weight)
        damaged_file.write_bytes(data[: rng.integers(0, len(data))])
        with pytest.raises(MapFileError):
            load_map(damaged_file)
    assert refused > 200


KILLED = """
import json, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_map_io import fake_map
from slam_fusion.output.map_io import save_map

path = Path(sys.argv[1])
old, new = fake_map(blocks=3), fake_map(blocks=5, seed=1)
calls = 0
def count(frame, event, argument):  # of Python and of C, at its start and at its end
    global calls
    calls += 1
    if calls == last:
        os.kill(os.getpid(), signal.SIGKILL)

last = 0
save_map(path, new)  # what is done only once is done
sys.setprofile(count)
save_map(path, new)
sys.setprofile(None)
total = calls
after = path.read_bytes()
save_map(path, old)
before = path.read_bytes()
found = []
# All along, and each of the last, among them those around the change of names.
for moment in [*range(1, total - 40, total // 40), *range(total - 40, total + 1)]:
    path.write_bytes(before)
    child = os.fork()
    if child == 0:
        calls, last = 0, moment
        sys.setprofile(count)
        save_map(path, new)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (moment, status)
    data = path.read_bytes()
    found.append("old" if data == before else "new" if data == after else "broken")
save_map(path, new)  # what the killed ones left behind does not stop the next
assert path.read_bytes() == after
print(json.dumps(found))
"""


def test_a_writer_killed_at_any_moment_leaves_the_old_map_or_the_new_one_whole(path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), os.path.dirname(__file__)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert len(found) > 80 and found[0] == "old" and found[-1] == "new"
    assert found == sorted(found, key=["old", "new"].index)


def test_a_folder_that_cannot_be_written_keeps_the_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        save_map(tmp_path / "no" / "map.npz", fake_map())
