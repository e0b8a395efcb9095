# SPDX-License-Identifier: Apache-2.0
"""The kernels for GPUs equal those for CPUs, bit for bit: on the CPU, and on a GPU where one is."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.conventions import Intrinsics, InvalidInput
from slam_fusion.frame import Frame
from slam_fusion.tsdf import kernels_carve, kernels_integrate
from slam_fusion.tsdf.block_store import VoxelArrays
from slam_fusion.tsdf.evidence import SLOTS
from slam_fusion.tsdf.gpu_device import GpuMissing, choose_device
from slam_fusion.volume import SemanticVolume, VolumeConfig, VolumeFull

wp = pytest.importorskip("warp", reason="needs warp-lang: see docs/installation.md")

WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32}
CAMERA = Intrinsics(width=80, height=60, fx=60.0, fy=61.0, cx=38.5, cy=29.0)
CONFIG = VolumeConfig(voxel_size=0.05, max_depth=3.0, memory_limit_mb=64, device="cpu")


@pytest.fixture(params=["cpu", "cuda:0"])
def device(request) -> str:
    if request.param != "cpu" and not wp.is_cuda_available():
        pytest.skip("no GPU here")
    return request.param


@pytest.fixture
def on_gpu(device, monkeypatch):
    """Make volumes whose blocks are fused by Warp, and which may keep so many there."""

    def make(config: VolumeConfig = CONFIG, gpu_blocks: int = 10_000) -> SemanticVolume:
        monkeypatch.setattr("slam_fusion.tsdf.warp_store.blocks_that_fit", lambda _: gpu_blocks)
        with monkeypatch.context() as patch:
            patch.setattr("slam_fusion.volume.choose_device", lambda _: device)
            return SemanticVolume(config)

    return make


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    word = WORDS[left.itemsize]
    return left.dtype == right.dtype and np.array_equal(left.view(word), right.view(word))


# Kernels, on plain arrays


def blocks_in_any_state(rows: int, rng: np.random.Generator) -> VoxelArrays:
    """Voxels anywhere between never seen and full counters."""
    count = rows * 4096
    seen = rng.random(count) < 0.8
    full = rng.random((count, SLOTS)) < 0.2
    evidence = np.where(full, rng.integers(65400, 65536, full.shape), 0)
    little = rng.integers(0, 200, full.shape) * (rng.random(full.shape) < 0.7)
    return VoxelArrays(
        np.where(seen, rng.uniform(-1, 1, count), 0).astype(np.float32),
        np.where(seen, rng.choice([0, 1, 2, 63, 64, 900, 65534, 65535], count), 0).astype("u2"),
        rng.choice([0, 1, 256, 40000, 65281], (count, 3)).astype(np.uint16),
        np.argsort(rng.random((count, 6)), axis=1)[:, :SLOTS].astype(np.uint8),  # distinct classes
        np.where(full, evidence, little).astype(np.uint16),
    )


def any_images(rng: np.random.Generator, size: int) -> list[np.ndarray]:
    """Depth, its weights, colour, labels, confidence: all that sensors and networks may give."""
    depth = rng.uniform(0.3, 2.0, size)
    odd = rng.random(size) < 0.2
    depth[odd] = rng.choice([0, np.nan, np.inf, -1, 0.1, 5.0, 7.0], odd.sum())
    confidence = rng.uniform(-0.1, 1.1, size)
    confidence[rng.random(size) < 0.1] = np.nan
    images = [
        depth.astype(np.float32),
        rng.integers(1, 256, size).astype(np.uint8),
        rng.integers(0, 256, (size, 3), np.uint8),
        np.where(rng.random(size) < 0.9, rng.integers(0, 8, size), 255).astype(np.uint8),
        confidence.astype(np.float32),
    ]
    for image in images:
        image.flags.writeable = False
    return images


@pytest.mark.parametrize("without", ["nothing", "shares", "color", "labels", "confidence"])
def test_a_frame_leaves_the_same_bits_in_every_voxel(device, without):
    warp_integrate = importlib.import_module("slam_fusion.tsdf.warp_integrate")
    rng = np.random.default_rng(len(without))
    expected = blocks_in_any_state(8, rng)
    voxels = VoxelArrays(
        *(wp.array(array.reshape(8, 4096, *array.shape[1:]), device=device) for array in expected)
    )
    before = [array.copy() for array in expected]
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for _ in range(3):
        images = any_images(rng, 80 * 60)
        if without != "nothing":
            gone = ["depth", "shares", "color", "labels", "confidence"].index(without)
            images[gone] = images[gone][:0]
        f32 = np.float32
        frame = (
            (
                rng.permutation(8)[:6].astype(np.int32),
                rng.uniform([-0.6, -0.6, -0.1], [0.6, 0.6, 1.6], (6, 3)),
                np.ascontiguousarray(rotation * 0.04),
            ),
            (80, 60, *images),
            (f32(60), f32(61), f32(38.5), f32(29)),
            (f32(0.1), f32(5)),
            f32(0.16),
            f32(0.12),
            rng.choice([3, 800, 65535], 256).astype(np.uint16)[: 256 * (without != "shares")],
        )
        kernels_integrate.integrate_blocks(*frame, expected)
        warp_integrate.integrate_blocks(*frame, voxels)
    for name, was, want, got in zip(expected._fields, before, expected, voxels, strict=True):
        assert same_bits(want, got.numpy().reshape(want.shape)), name
        assert without != "nothing" or np.count_nonzero(want != was) > 500, name


def test_carving_finds_the_same_blocks_and_leaves_the_same_bits(device):
    warp_carve = importlib.import_module("slam_fusion.tsdf.warp_carve")
    rng = np.random.default_rng(0)
    expected = blocks_in_any_state(8, rng)
    expected.weight[: 4096 * 2] = 0  # two blocks with nothing to carve
    voxels = VoxelArrays(
        *(wp.array(array.reshape(8, 4096, *array.shape[1:]), device=device) for array in expected)
    )
    before = [array.copy() for array in expected]
    f32 = np.float32
    for write in (False, True, True):
        clear = np.where(rng.random(80 * 60) < 0.8, rng.uniform(0.5, 2, 80 * 60), 0).astype("f4")
        rows = rng.permutation(8)[:6].astype(np.int32)
        origins = rng.uniform([-0.6, -0.6, -0.1], [0.6, 0.6, 1.0], (6, 3))
        axes = np.ascontiguousarray(np.linalg.qr(rng.normal(size=(3, 3)))[0] * 0.04)
        arguments = (
            (rows, origins, axes),
            (80, 60, clear),
            (f32(60), f32(61), f32(38.5), f32(29)),
            write,
        )
        want = kernels_carve.carve_blocks(*arguments, expected)
        np.testing.assert_array_equal(warp_carve.carve_blocks(*arguments, voxels), want)
        assert np.count_nonzero(want) >= 3 and not want[rows < 2].any()
        if not write:
            assert all(map(same_bits, expected, before))
    for name, was, want, got in zip(expected._fields, before, expected, voxels, strict=True):
        assert same_bits(want, got.numpy().reshape(want.shape)), name
        changes = name in ("tsdf", "weight", "evidence")
        assert (np.count_nonzero(want != was) > 500) == changes, name


# The volume


def corridor(x: float, seed: int) -> tuple[Frame, np.ndarray]:
    """See a corridor without end along world x, from inside it; and the pose."""
    rng = np.random.default_rng(seed)
    v, u = np.indices(CAMERA.shape)
    across, down = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
    with np.errstate(divide="ignore"):
        depth = np.minimum(1.0 / np.abs(across), 0.8 / np.abs(down))
    depth = depth + rng.normal(0, 0.003, depth.shape)
    along = ((x + depth) // 0.5).astype(int)
    frame = Frame(
        stamp_ns=seed,
        camera_frame="camera",
        intrinsics=CAMERA,
        depth=depth.astype(np.float32),
        color=np.stack([along % 256, u, v], axis=-1).astype(np.uint8),
        labels=(along % 13).astype(np.uint8),
        confidence=rng.uniform(0.5, 1, CAMERA.shape).astype(np.float32),
    )
    T_world_camera = np.eye(4)
    T_world_camera[:3] = [[0, 0, 1, x], [-1, 0, 0, 0], [0, -1, 0, 0]]
    return frame, T_world_camera


THERE_AND_BACK = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 4.5, 3.5, 2.5, 1.5, 0.5]


def walk(volume: SemanticVolume, places=THERE_AND_BACK) -> SemanticVolume:
    for seed, x in enumerate(places):
        assert volume.integrate(*corridor(x, seed)) > 0
    return volume


@pytest.fixture(scope="module")
def by_cpu() -> SemanticVolume:
    return walk(SemanticVolume(CONFIG))


def test_a_walk_gives_the_same_map_as_on_the_cpu(by_cpu, on_gpu):
    volume = walk(on_gpu())
    assert volume._store.gpu_count == volume.block_count == by_cpu.block_count > 100
    assert volume._store.fetches == 0  # nobody looked yet
    assert volume.state_hash() == by_cpu.state_hash()


@pytest.mark.parametrize("gpu_blocks", [64, 70])
def test_blocks_leave_a_small_gpu_and_come_back_unchanged(by_cpu, on_gpu, gpu_blocks):
    volume = walk(on_gpu(gpu_blocks=gpu_blocks))
    assert volume._store.gpu_count <= gpu_blocks < volume.block_count
    assert volume._store.uploads > volume.block_count  # some came twice
    assert volume.state_hash() == by_cpu.state_hash()


def test_blocks_go_from_the_gpu_to_disk_and_back_unchanged(by_cpu, on_gpu):
    volume = walk(on_gpu(replace(CONFIG, memory_limit_mb=7), gpu_blocks=64))  # 74 blocks
    assert volume.page_outs > 100 and volume.page_ins > 50
    assert volume._store.gpu_count <= 64 and volume.paged_count > 0
    assert volume.state_hash() == by_cpu.state_hash()


def test_room_on_the_gpu_grows_with_the_map(by_cpu, on_gpu, monkeypatch):
    monkeypatch.setattr("slam_fusion.tsdf.warp_store._FIRST_BLOCKS", 60)
    volume = walk(on_gpu())
    assert volume._store.gpu_count == volume.block_count > 60
    assert volume.state_hash() == by_cpu.state_hash()


def test_a_camera_that_stands_still_moves_no_voxels(on_gpu):
    volume = walk(on_gpu(), places=[1.0])
    uploads = volume._store.uploads
    walk(volume, places=[1.0, 1.0])
    assert volume._store.uploads == uploads == volume.block_count
    assert volume._store.fetches == 0
    volume.mesh_since(-1, min_weight=1)
    assert volume._store.fetches == volume.block_count
    volume.mesh_since(-1, min_weight=1)
    assert volume._store.fetches == volume.block_count  # nothing is newer there now


def test_a_frame_larger_than_the_gpu_changes_nothing(on_gpu):
    volume = walk(on_gpu(gpu_blocks=60), places=[1.0])
    state = volume.state_hash()
    volume._store.gpu_limit = 20
    with pytest.raises(VolumeFull, match="the GPU has room for 20"):
        volume.integrate(*corridor(1.0, 5))
    assert volume.state_hash() == state


def test_what_changed_of_the_mesh_is_what_the_cpu_finds(by_cpu, on_gpu):
    volume = walk(on_gpu(), THERE_AND_BACK[:-1])
    version = volume.version
    volume.mesh_since(-1)
    for seed, x in list(enumerate(THERE_AND_BACK))[-1:]:
        volume.integrate(*corridor(x, seed))
    got, want = volume.mesh_since(version), by_cpu.mesh_since(version)
    assert got.version == want.version and 0 < len(got.keys) < volume.block_count
    np.testing.assert_array_equal(got.keys, want.keys)
    np.testing.assert_array_equal(got.surface.positions, want.surface.positions)
    np.testing.assert_array_equal(got.surface.labels, want.surface.labels)


@pytest.mark.parametrize("min_weight", [1, 2])
def test_the_map_seen_from_a_camera_is_the_same_picture(by_cpu, on_gpu, min_weight):
    volume = walk(on_gpu())
    for x in (0.3, 2.2, 6.0):
        _, T = corridor(x, 0)
        T[:3, :3] = T[:3, :3] @ np.linalg.qr([[1, 0.1, 0.2], [-0.1, 1, 0], [-0.2, 0, 1]])[0]
        want = by_cpu.render_depth(CAMERA, T, min_weight)
        assert same_bits(want, volume.render_depth(CAMERA, T, min_weight))
        assert np.count_nonzero(want) > 500 or x == 6.0
    assert volume._store.fetches == 0
    far = T.copy()
    far[0, 3] = 100.0
    assert not volume.render_depth(CAMERA, far).any()


def test_a_map_saved_on_one_side_goes_on_on_the_other(by_cpu, on_gpu):
    half = walk(on_gpu(), THERE_AND_BACK[:6])
    by_turns = SemanticVolume.from_state(half.to_state())
    for seed, x in list(enumerate(THERE_AND_BACK))[6:]:
        by_turns.integrate(*corridor(x, seed))
    assert by_turns.state_hash() == by_cpu.state_hash()


def test_what_is_written_in_memory_is_seen_by_the_gpu(on_gpu):
    volume = walk(on_gpu(), places=[1.0])
    store = volume._store
    keys = store.sorted_keys()[:3]
    rows = store.activate(keys)
    blocks = [store.voxels.weight[4096 * row : 4096 * (row + 1)] for row in rows]
    for block in blocks:
        block[:] = 777
    slots, voxels = store.lend(keys, write=False)
    assert np.all(voxels.weight.numpy()[slots] == 777)
    store.lend(keys, write=True)  # what is there counts as newer now
    for block in blocks:
        block[:] = 0
    assert np.all(store.voxels.weight.reshape(-1, 4096)[store.find(keys)[0]] == 777)


def test_a_reset_forgets_what_is_on_the_gpu(on_gpu):
    volume = walk(on_gpu(), places=[3.0, 4.0])
    volume.reset()
    assert volume.block_count == 0
    walk(volume, places=[1.0])
    assert volume.state_hash() == walk(SemanticVolume(CONFIG), places=[1.0]).state_hash()


# The choice


def test_a_device_that_is_none_is_refused():
    with pytest.raises(InvalidInput, match="device='gpu' is not one of auto, cpu, cuda"):
        VolumeConfig(device="gpu")


def test_the_cpu_is_the_numba_kernels():
    assert choose_device("cpu") is None


@pytest.mark.skipif(wp.is_cuda_available(), reason="there is a GPU here")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_an_error():
    assert choose_device("auto") is None
    with pytest.raises(GpuMissing, match="device=cuda: .*GPU|driver"):
        SemanticVolume(replace(CONFIG, device="cuda"))
