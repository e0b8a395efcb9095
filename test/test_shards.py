# SPDX-License-Identifier: Apache-2.0
"""Shards give back what was written, and say what is wrong with a damaged one."""

import json
from pathlib import Path

import numpy as np
import pytest

from mtl_perception.conventions import Intrinsics
from mtl_perception.data.sample import DataCorrupt, DataMissing, Sample
from mtl_perception.data.shard_index import INDEX, ShardIndex, load_index
from mtl_perception.data.shard_write import write_shard
from mtl_perception.data.shards import ShardDataset

CAMERA = Intrinsics(64, 48, 52.5, 52.0, 31.0, 24.5)
POSE = np.arange(16, dtype=np.float64).reshape(4, 4) / 7


def sample(name: str, seed: int = 0, **changes: object) -> Sample:
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(48, 64, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    normals[:3] = 0
    smooth = np.linspace(0, 255, 64)[None, :, None] * np.linspace(0.2, 1, 48)[:, None, None]
    color = np.repeat(smooth, 3, axis=2).astype(np.uint8)
    arrays = {
        "depth": rng.uniform(0.3, 9, (48, 64)).astype(np.float32),
        "labels": rng.choice([0, 5, 39, 255], (48, 64)).astype(np.uint8),
        "normals": normals,
        "instances": rng.integers(0, 2**16, (48, 64)).astype(np.uint16),
        "neighbours": (color[::-1].copy(), color[:, ::-1].copy()),
    }
    return Sample(name, color, CAMERA, **{**arrays, **changes})


def write(folder: Path, *shards: list[Sample]) -> Path:
    folder.mkdir(exist_ok=True)
    written = tuple(
        write_shard(folder / f"room-{n}.shard", n, [(one, POSE) for one in samples])
        for n, samples in enumerate(shards)
    )
    ShardIndex("nyu40", {"of": "test"}, written).save(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "set", [sample("a", 1), sample("b", 2)], [sample("c", 3)])


def edit_index(folder: Path, change) -> None:
    content = json.loads((folder / INDEX).read_text())
    change(content)
    (folder / INDEX).write_text(json.dumps(content))


def test_what_was_written_is_read(folder):
    data = ShardDataset(folder)
    assert [data[i].name for i in range(len(data))] == ["a", "b", "c"]
    assert data.label_set.name == "nyu40" and data.name == "set"
    read, true = data[1], sample("b", 2)
    assert read.intrinsics == CAMERA
    np.testing.assert_allclose(read.depth, true.depth, atol=0.5001 / 5000)
    assert (read.labels == true.labels).all() and (read.instances == true.instances).all()
    known = np.linalg.norm(true.normals, axis=2) > 0
    cosine = (read.normals * true.normals).sum(axis=2)[known]
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 0.4
    np.testing.assert_allclose(np.linalg.norm(read.normals, axis=2)[known], 1, atol=1e-6)
    assert (read.normals[~known] == 0).all()
    for image, wanted in zip(
        (read.color, *read.neighbours), (true.color, *true.neighbours), strict=True
    ):
        assert np.abs(image.astype(int) - wanted).mean() < 2  # the loss of the JPEG
    np.testing.assert_array_equal(data.pose(1), POSE)
    assert [data.room_seed(i) for i in range(3)] == [0, 0, 1]


def test_what_a_sample_lacks_it_still_lacks(tmp_path):
    bare = Sample("bare", sample("x").color, CAMERA)
    shard = write_shard(tmp_path / "room-0.shard", 0, [(bare, None)])
    ShardIndex("nyu40", {}, (shard,)).save(tmp_path)
    data = ShardDataset(tmp_path)
    assert data.pose(0) is None
    read = data[0]
    assert read.depth is None and read.labels is None and read.normals is None
    assert read.instances is None and read.neighbours == ()


def test_depth_beyond_what_16_bits_hold_is_unknown(tmp_path):
    depth = np.full((48, 64), 13.1, np.float32)
    depth[0] = 13.2
    read = ShardDataset(write(tmp_path / "far", [sample("a", depth=depth)]))[0].depth
    assert (read[0] == 0).all()
    np.testing.assert_allclose(read[1:], 13.1, atol=1e-4)


def test_equal_samples_give_equal_bytes(folder, tmp_path):
    again = write(tmp_path / "again", [sample("a", 1), sample("b", 2)], [sample("c", 3)])
    for file in sorted(folder.iterdir()):
        assert (again / file.name).read_bytes() == file.read_bytes()


def test_no_sample_outside_the_range(folder):
    data = ShardDataset(folder)
    for index in (-1, 3):
        with pytest.raises(IndexError, match=f"sample {index} of 3"):
            data[index]


def test_flipped_bit_is_found_in_its_sample_alone(folder):
    index = load_index(folder)
    hurt = index.shards[0].samples[1]
    file = folder / "room-0.shard"
    data = bytearray(file.read_bytes())
    data[hurt.offset + hurt.size // 2] ^= 1
    file.write_bytes(data)
    dataset = ShardDataset(folder)
    assert dataset[0].name == "a"
    with pytest.raises(DataCorrupt, match=r"room-0\.shard: sample b: sha256"):
        dataset[1]


def test_truncated_shard_is_named(folder):
    file = folder / "room-1.shard"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataCorrupt, match=r"room-1\.shard has \d+ bytes, the index says"):
        ShardDataset(folder)


def test_missing_shard_is_named(folder):
    (folder / "room-1.shard").unlink()
    with pytest.raises(DataMissing, match=r"room-1\.shard"):
        ShardDataset(folder)


def test_shard_that_vanishes_while_it_is_read_is_named(folder):
    dataset = ShardDataset(folder)
    (folder / "room-1.shard").unlink()
    with pytest.raises(DataMissing, match=r"room-1\.shard: sample c"):
        dataset[2]


def test_folder_without_index_is_missing(tmp_path):
    with pytest.raises(DataMissing, match=r"index\.json"):
        ShardDataset(tmp_path)


def test_class_id_that_the_label_set_lacks_is_named(tmp_path):
    labels = np.full((48, 64), 40, np.uint8)
    data = ShardDataset(write(tmp_path / "set", [sample("odd", labels=labels)]))
    with pytest.raises(DataCorrupt, match=r"sample odd: class ids \[40\] are not in .*nyu40"):
        data[0]


def test_image_of_another_size_than_its_camera_is_refused(folder):
    def narrower(content):
        content["shards"][0]["samples"][0]["camera"][0] = 63

    edit_index(folder, narrower)
    with pytest.raises(DataCorrupt, match="sample a: .*want"):
        ShardDataset(folder)[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="else"), "want 'dense_semantic_slam samples' version 1"),
        (lambda c: c.update(version=99), "version 1, found .*99"),
        (lambda c: c.update(count=4), "count says 4, 3 samples"),
        (lambda c: c.update(label_set="nyu41"), "'nyu41' is not one of ours"),
        (lambda c: c.pop("shards"), "KeyError 'shards'"),
        (lambda c: c["shards"][0].update(file="../else.shard"), r"file name '\.\./else\.shard'"),
        (lambda c: c["shards"][0].update(file="/etc/passwd"), "file name"),
        (lambda c: c["shards"][0].update(size=5), "has 5 bytes, its samples"),
        (lambda c: c["shards"][0]["samples"][1].update(offset=3), "'b' starts at 3"),
        (lambda c: c["shards"][0]["samples"][0]["parts"][0].__setitem__(1, -1), "damaged"),
        (lambda c: c["shards"][0]["samples"][0]["parts"].reverse(), "'a' has parts"),
        (lambda c: c["shards"][0]["samples"][0]["parts"][1].__setitem__(0, "x"), "has parts"),
        (lambda c: c["shards"][0]["samples"][0]["camera"].pop(), "TypeError"),
        (lambda c: c["shards"][0]["samples"][0]["pose"].pop(), "pose of 15 numbers"),
        (lambda c: c["shards"].append(None), "TypeError"),
    ],
)
def test_damaged_index_is_refused(folder, change, message):
    edit_index(folder, change)
    with pytest.raises(DataCorrupt, match=message):
        ShardDataset(folder)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_index_that_is_no_json_object_is_refused(folder, text):
    (folder / INDEX).write_bytes(text)
    with pytest.raises(DataCorrupt, match=r"index\.json"):
        ShardDataset(folder)


def test_camera_that_is_none_is_refused(folder):
    edit_index(
        folder, lambda c: c["shards"][0]["samples"][0]["camera"].__setitem__(2, float("nan"))
    )
    with pytest.raises(DataCorrupt, match="fx=nan"):
        ShardDataset(folder)[0]


def test_writer_that_fails_leaves_nothing(tmp_path):
    def samples():
        yield sample("a"), POSE
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_shard(tmp_path / "room-0.shard", 0, samples())
    assert list(tmp_path.iterdir()) == []
