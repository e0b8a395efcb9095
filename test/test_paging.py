# SPDX-License-Identifier: Apache-2.0

import os
from dataclasses import fields, replace

import numpy as np
import pytest

from mtl_perception.conventions import Intrinsics, InvalidInput
from slam_fusion.frame import Frame, Surface
from slam_fusion.ledger import Outcome
from slam_fusion.mapper import Mapper, MapperConfig
from slam_fusion.output.map_io import load_map, save_map, snapshot
from slam_fusion.tsdf import surface, whole_map
from slam_fusion.tsdf.block_store import BLOCK_BYTES, BlockStore
from slam_fusion.tsdf.kernels_blocks import pack_keys
from slam_fusion.volume import PageError, SemanticVolume, VolumeConfig, VolumeFull

CAMERA = Intrinsics(width=80, height=60, fx=60.0, fy=60.0, cx=39.5, cy=29.5)
HALF_WIDTH, HALF_HEIGHT = 1.0, 0.8  # metres, of the corridor; it has no end
MIB = 2**20
SMALL = VolumeConfig(voxel_size=0.05, max_depth=3.0, memory_limit_mb=5)  # 53 blocks
LARGE = replace(SMALL, memory_limit_mb=256)


def corridor_frame(stamp_ns: int, x: float, seed: int) -> Frame:
    """See a straight corridor along x, from inside; depth, colours and labels with noise."""
    rng = np.random.default_rng(seed)
    v, u = np.indices(CAMERA.shape)
    across, down = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
    with np.errstate(divide="ignore"):
        depth = np.minimum(HALF_WIDTH / np.abs(across), HALF_HEIGHT / np.abs(down))
    depth = depth + rng.normal(0, 0.003, depth.shape)
    along = ((x + depth) // 0.5).astype(int)
    return Frame(
        stamp_ns=stamp_ns,
        camera_frame="camera",
        intrinsics=CAMERA,
        depth=depth.astype(np.float32),
        color=np.stack([along % 256, u % 256, v % 256], axis=-1).astype(np.uint8),
        labels=(along % 13).astype(np.uint8),
        confidence=rng.uniform(0.5, 1, CAMERA.shape).astype(np.float32),
    )


def pose(x: float) -> np.ndarray:
    """Look along world +x."""
    T = np.eye(4)
    T[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    T[:3, 3] = x, 0, 0
    return T


THERE_AND_BACK = [0.6 * i for i in range(25)] + [0.6 * i for i in range(24, -1, -1)]


def walked(config: VolumeConfig, places=THERE_AND_BACK) -> SemanticVolume:
    volume = SemanticVolume(config)
    for seed, x in enumerate(places):
        assert volume.integrate(corridor_frame(seed, x, seed), pose(x)) > 0
    return volume


@pytest.fixture(scope="module")
def unpaged() -> SemanticVolume:
    volume = walked(LARGE)
    assert volume.page_outs == 0 and volume.block_count > 10 * 53 * 0.6
    return volume


@pytest.fixture(scope="module")
def paged() -> SemanticVolume:
    return walked(SMALL)


def same_surface(left: Surface, right: Surface) -> None:
    for field in fields(Surface):
        a, b = getattr(left, field.name), getattr(right, field.name)
        assert a.dtype == b.dtype and a.shape == b.shape, field.name
        assert a.tobytes() == b.tobytes(), field.name


def test_a_map_ten_times_its_memory_is_the_map_of_unlimited_memory(paged, unpaged):
    assert paged.block_capacity * BLOCK_BYTES <= SMALL.memory_limit_mb * MIB
    assert paged.paged_count > 0.8 * paged.block_count
    assert paged.page_ins > 0 and paged.page_outs == paged.page_ins + paged.paged_count
    assert paged.block_count == unpaged.block_count
    assert paged.state_hash() == unpaged.state_hash()


def test_every_reading_of_the_whole_map_takes_the_blocks_on_disk_too(paged, unpaged):
    for left, right in zip(paged.occupied_voxels(), unpaged.occupied_voxels(), strict=True):
        np.testing.assert_array_equal(left, right)
    mesh = paged.extract_mesh(min_weight=1)
    assert len(mesh.triangles) > 10_000
    same_surface(mesh, unpaged.extract_mesh(min_weight=1))
    same_surface(paged.extract_cloud(min_weight=2), unpaged.extract_cloud(min_weight=2))
    state, other = paged.to_state(), unpaged.to_state()
    for name in ("block_keys", "tsdf", "weight", "color", "label", "evidence"):
        np.testing.assert_array_equal(getattr(state, name), getattr(other, name))


def test_the_surface_of_a_paged_map_comes_in_parts_that_together_are_the_whole(
    paged, unpaged, monkeypatch
):
    monkeypatch.setattr(surface, "PART_BLOCKS", 40)
    for parts, whole in (
        (list(paged.mesh_parts(min_weight=1)), unpaged.extract_mesh(min_weight=1)),
        (list(paged.cloud_parts(min_weight=1)), unpaged.extract_cloud(min_weight=1)),
    ):
        assert len(parts) > 5 and max(map(len, parts)) < len(whole) / 3
        firsts = np.cumsum([0, *map(len, parts)])
        triangles = [part.triangles + first for part, first in zip(parts, firsts, strict=False)]
        positions, normals, triangles = surface.in_fixed_order(
            np.concatenate([part.positions for part in parts]),
            np.concatenate([part.normals for part in parts]),
            np.concatenate(triangles),
        )
        np.testing.assert_array_equal(positions, whole.positions)
        np.testing.assert_array_equal(normals, whole.normals)
        np.testing.assert_array_equal(triangles, whole.triangles)


def test_reading_the_whole_map_changes_nothing_and_brings_nothing_back(paged):
    before = paged.state_hash(), paged.page_ins, paged.page_outs
    paged.extract_mesh(), paged.to_state(), paged.occupied_voxels()
    assert (paged.state_hash(), paged.page_ins, paged.page_outs) == before


def test_a_view_of_blocks_on_disk_is_that_of_unlimited_memory(unpaged):
    paged = walked(replace(SMALL, memory_limit_mb=8))
    for x in (0.0, 7.3, 14.0):
        seen = paged.render_depth(CAMERA, pose(x), min_weight=1)
        np.testing.assert_array_equal(seen, unpaged.render_depth(CAMERA, pose(x), min_weight=1))
        assert np.count_nonzero(seen) > 1000
    assert paged.page_ins > 0


def test_the_surface_of_what_changed_is_the_same_when_its_neighbours_are_on_disk(unpaged):
    paged, wide = SemanticVolume(SMALL), SemanticVolume(LARGE)
    version = 0
    for seed, x in enumerate([0.0, 0.6, 12.0, 12.6, 0.3]):
        paged.integrate(corridor_frame(seed, x, seed), pose(x))
        wide.integrate(corridor_frame(seed, x, seed), pose(x))
        if seed == 1:
            version = paged.version
    assert paged.paged_count > 0
    for since in (-1, version, paged.version):
        left, right = paged.mesh_since(since, 1), wide.mesh_since(since, 1)
        np.testing.assert_array_equal(left.keys, right.keys)
        np.testing.assert_array_equal(left.starts, right.starts)
        same_surface(left.surface, right.surface)
    assert len(paged.mesh_since(version, 1).keys) > len(paged.mesh_since(paged.version, 1).keys)


def test_windows_cover_every_block_once_with_all_its_neighbours_and_their_voxels(monkeypatch):
    monkeypatch.setattr(whole_map, "WINDOW_BLOCKS", 60)
    rng = np.random.default_rng(0)
    keys = np.unique(rng.integers(-3, 4, (150, 3)).astype(np.int32), axis=0)
    store = BlockStore(0.05, memory_limit_mb=1, disk_limit_mb=100)  # 10 blocks
    for number, key in enumerate(keys):
        row = store.activate(key[None])[0]
        store.voxels.tsdf[row * 4096 : (row + 1) * 4096] = number
    existing = {tuple(key): number for number, key in enumerate(keys.tolist())}
    owned = []
    for own, near, rows, voxels in whole_map.windows(store, keys):
        owned += own.tolist()
        around = {tuple(np.add(k, d) - 1) for k in own.tolist() for d in np.ndindex(3, 3, 3)}
        assert set(map(tuple, near.tolist())) == around & existing.keys()
        for key, row in zip(near.tolist(), rows.tolist(), strict=True):
            assert np.all(voxels.tsdf[row * 4096 : (row + 1) * 4096] == existing[tuple(key)])
    assert owned == keys.tolist()


def test_a_long_walk_takes_the_same_memory_and_disk_traffic_all_the_way():
    # 64 m; memory holds the last few metres.
    volume, frame, outs, capacity = SemanticVolume(SMALL), corridor_frame(0, 0.0, 0), [], []
    for i in range(160):
        volume.integrate(frame, pose(0.4 * i))
        outs.append(volume.page_outs)
        capacity.append(volume.block_capacity)
    assert max(capacity) == SMALL.memory_limit_mb * MIB // BLOCK_BYTES
    assert volume.page_ins == 0  # nothing that is still needed goes out
    assert volume.block_count == volume.page_outs + volume.block_count - volume.paged_count
    first, last = outs[70] - outs[20], outs[159] - outs[109]
    assert abs(last - first) <= 0.1 * first
    assert volume.disk_bytes == volume.paged_count * BLOCK_BYTES


# Growth


def test_growth_within_the_limit_keeps_every_value_and_pages_for_a_moment_only():
    # 2133 blocks: 1024 and then all of them, which together would pass the limit.
    config = VolumeConfig(voxel_size=0.005, max_depth=2.0, memory_limit_mb=200)
    places = [0.0, 0.2]
    tight, wide = walked(config, places), walked(replace(config, memory_limit_mb=1000), places)
    assert tight.block_capacity == 2133 and 1024 < tight.block_count <= 2133
    assert tight.page_outs == tight.page_ins > 0 and tight.disk_bytes == 0
    assert tight.state_hash() == wide.state_hash()


# Full, damaged


def test_full_memory_and_disk_refuse_the_frame_and_nothing_has_changed():
    volume = SemanticVolume(replace(SMALL, disk_limit_mb=10))  # 53 and 106 blocks
    with pytest.raises(VolumeFull, match="memory_limit_mb allows 53 and disk_limit_mb 106"):
        for i in range(100):
            before = volume.state_hash(), volume.block_count
            volume.integrate(corridor_frame(i, 0.6 * i, i), pose(0.6 * i))
    assert (volume.state_hash(), volume.block_count) == before
    assert 120 < volume.block_count <= 159
    assert volume.integrate(corridor_frame(0, 0.0, 0), pose(0.0)) > 0  # swaps still go


def test_without_disk_a_full_memory_refuses():
    volume = SemanticVolume(replace(SMALL, disk_limit_mb=0))
    with pytest.raises(VolumeFull, match="disk_limit_mb 0"):
        for i in range(100):
            volume.integrate(corridor_frame(i, 0.6 * i, i), pose(0.6 * i))
    assert volume.page_outs == 0 and volume.disk_bytes == 0


def test_a_disk_that_fails_refuses_the_frame_and_nothing_has_changed(monkeypatch):
    volume = walked(SMALL, THERE_AND_BACK[:10])
    before, frame = volume.state_hash(), corridor_frame(0, 20.0, 0)
    written = []

    def full_after_two(*arguments):
        written.append(arguments)
        if len(written) > 2:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", full_after_two)
    with pytest.raises(VolumeFull, match="No space left on device"):
        volume.integrate(frame, pose(20.0))
    assert volume.state_hash() == before and len(written) == 3
    monkeypatch.undo()
    assert volume.integrate(frame, pose(20.0)) > 0


def damage(volume: SemanticVolume) -> None:
    """Flip a bit in every block on disk."""
    descriptor = volume._store._spill._descriptor
    for place in range(1000, volume.disk_bytes, BLOCK_BYTES):
        byte = os.pread(descriptor, 1, place)[0]
        os.pwrite(descriptor, bytes([byte ^ 4]), place)


def test_a_damaged_block_is_named_by_whoever_needs_it_and_the_rest_goes_on():
    volume = walked(SMALL, THERE_AND_BACK[:25])
    count = volume.block_count
    damage(volume)
    for need in (
        lambda: volume.integrate(corridor_frame(0, 0.0, 0), pose(0.0)),
        volume.state_hash,
        volume.extract_mesh,
        volume.to_state,
        lambda: volume.render_depth(CAMERA, pose(-1.0)),
    ):
        with pytest.raises(PageError, match=r"block .* in slot \d+ of the page file in .* damaged"):
            need()
    assert volume.block_count == count
    assert volume.integrate(corridor_frame(0, 14.4, 0), pose(14.4)) > 0


def test_a_shortened_page_file_is_named():
    volume = walked(SMALL, THERE_AND_BACK[:25])
    os.ftruncate(volume._store._spill._descriptor, BLOCK_BYTES // 2)
    with pytest.raises(PageError, match="is damaged"):
        volume.state_hash()


class Standing:
    """A pose for every stamp: along the corridor, 0.6 m a frame."""

    def at(self, stamp_ns, camera_frame):
        return pose(0.6 * (stamp_ns % 25))


def test_a_frame_that_needs_a_damaged_block_is_in_the_ledger_with_its_reason():
    config = {name: getattr(SMALL, name) for name in ("voxel_size", "max_depth", "memory_limit_mb")}
    mapper = Mapper(MapperConfig(**config, edge_rejection=0.0))
    for stamp in range(25):
        mapper.add(corridor_frame(stamp, 0.6 * stamp, stamp))
        mapper.integrate_ready(Standing())
    damage(mapper.volume)
    mapper.add(corridor_frame(25, 0.0, 0))
    mapper.integrate_ready(Standing())
    assert mapper.ledger.counts() == {"fused": 25, Outcome.PAGE_DAMAGED.value: 1}
    assert "damaged" in mapper.ledger.rows[-1].detail and len(mapper.trajectory) == 25


# The page file


def test_the_page_file_has_no_name_and_its_space_is_given_back(tmp_path):
    volume = walked(replace(SMALL, page_folder=str(tmp_path)), THERE_AND_BACK[:10])
    descriptor = volume._store._spill._descriptor
    assert volume.disk_bytes == os.fstat(descriptor).st_size > 0
    assert os.fstat(descriptor).st_dev == tmp_path.stat().st_dev and not list(tmp_path.iterdir())
    volume.reset()
    assert volume.disk_bytes == volume.paged_count == volume.page_outs == 0
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(descriptor)


def test_a_page_folder_that_is_none_is_refused_by_name(tmp_path):
    with pytest.raises(InvalidInput, match="page_folder"):
        replace(SMALL, page_folder=str(tmp_path / "none"))


def test_slots_are_used_again():
    store = BlockStore(0.05, memory_limit_mb=1, disk_limit_mb=100)  # 10 blocks
    keys = np.array([[i, 0, 0] for i in range(30)], np.int32)
    for _ in range(5):
        for key in keys:
            row = store.activate(key[None])[0]
            tsdf = store.voxels.tsdf[row * 4096 : (row + 1) * 4096]
            assert np.all(tsdf == tsdf[0]) and tsdf[0] in (0, key[0])
            tsdf[:] = key[0]
    assert store.page_ins > 80 and store.count + store.paged_count == 30
    assert store.disk_bytes <= 21 * BLOCK_BYTES
    assert np.array_equal(pack_keys(store.sorted_keys()), np.sort(pack_keys(keys)))


# Saving


def test_save_load_continue_equals_never_having_stopped_also_when_paged(tmp_path, unpaged):
    half = len(THERE_AND_BACK) // 2
    config = MapperConfig(**{f.name: getattr(SMALL, f.name) for f in fields(VolumeConfig)})
    mapper = Mapper(config)
    mapper.volume = walked(SMALL, THERE_AND_BACK[:half])
    save_map(tmp_path / "map.npz", snapshot(mapper, {}))
    volume = SemanticVolume.from_state(load_map(tmp_path / "map.npz").state)
    assert volume.config == SMALL and volume.paged_count > 0
    assert volume.state_hash() == mapper.volume.state_hash()
    for seed, x in list(enumerate(THERE_AND_BACK))[half:]:
        volume.integrate(corridor_frame(seed, x, seed), pose(x))
    assert volume.state_hash() == unpaged.state_hash()


def test_a_paged_map_is_saved_as_the_same_bytes(tmp_path, paged, unpaged):
    for name, volume in (("paged", paged), ("unpaged", unpaged)):
        mapper = Mapper(MapperConfig())
        mapper.volume = volume
        saved = snapshot(mapper, {})
        saved = replace(saved, state=replace(saved.state, config=SMALL))
        save_map(tmp_path / name, saved)
    assert (tmp_path / "paged").read_bytes() == (tmp_path / "unpaged").read_bytes()
