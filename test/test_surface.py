# SPDX-License-Identifier: Apache-2.0
"""The surface's triangles, and its parts: what changed is all that is extracted again."""

import numpy as np
import open3d as o3d
import pytest
from test_volume import CONFIG, fake_frame, fake_walk, fused, looking_from, rays

from mtl_perception.conventions import Intrinsics
from slam_fusion.frame import Frame, Surface, SurfaceChange
from slam_fusion.tsdf.kernels_cube_table import (
    EDGE_AXES,
    EDGE_STARTS,
    TRIANGLE_COUNTS,
    TRIANGLE_EDGES,
)
from slam_fusion.tsdf.surface import in_fixed_order
from slam_fusion.volume import SemanticVolume, VolumeConfig, VolumeState

BLOCK_M = 16 * CONFIG.voxel_size


def field_volume(distance, shape, labels=None) -> SemanticVolume:
    """A volume of (bx, by, bz) blocks whose every voxel was seen; ``distance`` of (x, y, z)."""
    keys = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3)
    zyx = np.indices((16, 16, 16)).transpose(1, 2, 3, 0)
    xyz = (16 * keys[:, None, None, None] + zyx[..., ::-1]).astype(float)
    tsdf = np.clip(distance(*np.moveaxis(xyz, -1, 0)) / 4, -1, 1).astype(np.float32)
    tsdf[tsdf == 0] = 1e-5
    cubes = tsdf.shape
    label = np.zeros((*cubes, 4), np.uint8)
    evidence = np.zeros((*cubes, 4), np.uint16)
    if labels is not None:
        label[..., 0], evidence[..., 0] = labels(*np.moveaxis(xyz, -1, 0)), 640
    weight, color = np.full(cubes, 5, np.uint16), np.zeros((*cubes, 3), np.uint16)
    config = VolumeConfig(voxel_size=0.02, memory_limit_mb=256)
    return SemanticVolume.from_state(
        VolumeState(config, keys.astype(np.int32), tsdf, weight, color, label, evidence)
    )


def sphere(x, y, z):
    return np.sqrt((x - 24.3) ** 2 + (y - 23.6) ** 2 + (z - 24.1) ** 2) - 18.2


def area_of(positions, triangles) -> float:
    a, b, c = positions[triangles].transpose(1, 0, 2).astype(float)
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()


def uses_of_edges(triangles):
    """How many triangles each edge has, and how often each direction of an edge is walked."""
    walked = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    _, uses = np.unique(np.sort(walked, axis=1), axis=0, return_counts=True)
    _, walks = np.unique(walked, axis=0, return_counts=True)
    return uses, walks


class Viewer:
    """Keeps the newest part of every block, as a consumer of the changes does."""

    def __init__(self, since):
        self.since, self.version, self.parts = since, -1, {}

    def look(self) -> SurfaceChange:
        change = self.since(self.version, min_weight=1)
        self.version = change.version
        if change.restart:
            self.parts.clear()
        for key, vertices, triangles in change.parts():
            self.parts.pop(key, None)
            if vertices.stop > vertices.start:
                own = change.surface.triangles[triangles] - vertices.start
                columns = [getattr(change.surface, n)[vertices] for n in COLUMNS]
                self.parts[key] = (*columns, own)
        return change

    def whole(self) -> Surface:
        """All parts together, welded: what ``extract_mesh`` should give."""
        *columns, triangles = zip(*self.parts.values(), strict=True)
        firsts = np.cumsum([0, *map(len, columns[0])])
        triangles = np.concatenate([t + f for t, f in zip(triangles, firsts, strict=False)])
        columns = dict(zip(COLUMNS, map(np.concatenate, columns), strict=True))
        positions, normals, triangles = in_fixed_order(
            columns["positions"], columns["normals"], triangles
        )
        # Vertices of one place are one vertex: each of its copies must say the same of it.
        _, at, copy = np.unique(
            columns["positions"], axis=0, return_index=True, return_inverse=True
        )
        for name in ("colors", "labels", "confidence", "normals"):
            assert np.array_equal(columns[name], columns[name][at][copy.ravel()]), name
        rest = {name: columns[name][at] for name in ("colors", "labels", "confidence")}
        return Surface(positions=positions, normals=normals, triangles=triangles, **rest)


COLUMNS = ("positions", "normals", "colors", "labels", "confidence")


def assert_same(one: Surface, other: Surface) -> None:
    for name in (*COLUMNS, "triangles"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name


# Triangles


def test_every_case_of_the_table_uses_exactly_the_edges_that_change_sign():
    ends = EDGE_STARTS + np.eye(3, dtype=int)[EDGE_AXES]
    for case in range(256):
        inside = [case >> (x << 2 | z << 1 | y) & 1 for x, y, z in EDGE_STARTS]
        end_inside = [case >> (x << 2 | z << 1 | y) & 1 for x, y, z in ends]
        crossed = np.flatnonzero(np.not_equal(inside, end_inside))
        used = TRIANGLE_EDGES[case, : 3 * TRIANGLE_COUNTS[case]]
        assert np.array_equal(np.unique(used), crossed)


def test_noise_that_meets_every_case_has_no_crack_and_two_triangles_at_every_edge():
    noise = np.random.default_rng(0).normal(0, 1, (32, 32, 32))

    def walled(x, y, z):
        x, y, z = (axis.astype(int) for axis in (x, y, z))
        outer = (np.minimum.reduce([x, y, z]) == 0) | (np.maximum.reduce([x, y, z]) == 31)
        return np.where(outer, 1.0, noise[x, y, z])

    mesh = field_volume(walled, (2, 2, 2)).extract_mesh()
    uses, walks = uses_of_edges(mesh.triangles)
    assert len(mesh.triangles) > 40_000
    assert np.all(uses == 2) and np.all(walks == 1)


def test_a_sphere_over_block_borders_is_closed_and_faces_outwards():
    mesh = field_volume(sphere, (3, 3, 3)).extract_mesh()
    uses, walks = uses_of_edges(mesh.triangles)
    assert np.all(uses == 2) and np.all(walks == 1)
    assert len(mesh) - len(uses) + len(mesh.triangles) == 2  # Euler: one sphere
    outward = mesh.positions / CONFIG.voxel_size - [24.3, 23.6, 24.1]
    distance = np.linalg.norm(outward, axis=1)
    assert np.abs(distance - 18.2).max() < 0.02
    assert np.all(np.sum(mesh.normals * outward, axis=1) > 0.99 * distance)
    a, b, c = mesh.positions[mesh.triangles].transpose(1, 0, 2)
    middle = (a + b + c) / 3 / CONFIG.voxel_size - [24.3, 23.6, 24.1]
    assert np.all(np.sum(np.cross(b - a, c - a) * middle, axis=1) > 0)
    true_area = 4 * np.pi * (18.2 * CONFIG.voxel_size) ** 2
    assert area_of(mesh.positions, mesh.triangles) == pytest.approx(true_area, rel=0.005)


def test_open3ds_marching_cubes_finds_the_same_surface():
    centre, radius = np.array([0.05, -0.03, 1.0]), 0.3
    b, a = rays() @ centre, np.sum(rays() ** 2, axis=-1)
    discriminant = b**2 - a * (centre @ centre - radius**2)
    depth = np.where(discriminant > 0, (b - np.sqrt(np.maximum(discriminant, 0))) / a, 1.5)
    volume = fused(fake_frame(depth))
    grid = volume._store.grid
    theirs = grid.extract_triangle_mesh(0.5, -1)
    positions, triangles = theirs.vertex.positions.numpy(), theirs.triangle.indices.numpy()
    mesh, cloud = volume.extract_mesh(min_weight=1), volume.extract_cloud(min_weight=1)
    assert area_of(mesh.positions, mesh.triangles) == pytest.approx(
        area_of(positions, triangles), rel=0.02
    )
    points = grid.extract_point_cloud(0.5, -1).point.positions.numpy()
    for ours, other in ((mesh.positions, positions), (cloud.positions, points)):
        for one, two in ((ours, other), (other, ours)):
            tree = o3d.core.nns.NearestNeighborSearch(o3d.core.Tensor(two))
            tree.knn_index()
            squared = tree.knn_search(o3d.core.Tensor(one), 1)[1].numpy()
            assert np.sqrt(squared.max()) < 0.5 * CONFIG.voxel_size


def test_classes_meet_in_a_sharp_border_between_voxels():
    volume = field_volume(
        lambda x, y, z: z - 9.5, (2, 1, 1), labels=lambda x, y, z: np.where(x < 16, 3, 8)
    )
    mesh = volume.extract_mesh()
    x = mesh.positions[:, 0] / CONFIG.voxel_size
    assert np.all(mesh.labels == np.where(x < 15.5, 3, 8))
    assert mesh.confidence.min() > 0.9


# Parts


@pytest.mark.parametrize("kind", ["mesh", "cloud"])
def test_parts_renewed_as_the_map_grows_are_together_the_whole_surface(kind):
    volume = SemanticVolume(CONFIG)
    viewer = Viewer(getattr(volume, f"{kind}_since"))
    for frame, T in fake_walk():
        volume.integrate(frame, T)
        viewer.look()
    assert len(viewer.parts) > 20
    assert_same(viewer.whole(), getattr(volume, f"extract_{kind}")(min_weight=1))


def test_a_change_of_one_block_renews_its_neighbours_for_they_share_the_seams():
    volume = field_volume(sphere, (3, 3, 3))
    viewer = Viewer(volume.mesh_since)
    viewer.look()
    row = int(volume._store.activate(np.array([[1, 1, 0]], np.int32))[0])
    voxels = slice(4096 * row, 4096 * (row + 1))
    volume._store.voxels.tsdf[voxels] += np.linspace(0.02, 0.1, 4096, dtype=np.float32)
    volume._store.voxels.color[voxels] = 256 * 200 + 1
    change = viewer.look()
    assert np.array_equal(np.unique(change.keys[:, 2]), [0, 1]) and len(change.keys) == 18
    assert_same(viewer.whole(), volume.extract_mesh(min_weight=1))


def test_growth_of_the_buffers_forgets_no_change_and_invents_none():
    volume = SemanticVolume(CONFIG)
    viewer = Viewer(volume.mesh_since)
    volume.integrate(fake_frame(1.0), np.eye(4))
    viewer.look()
    far = np.zeros((1100, 3), np.int32)
    far[:, 0] = 100 + np.arange(1100)
    volume._store.activate(far)
    assert volume.block_capacity > 1024
    change = viewer.look()
    assert not change.restart and np.array_equal(change.keys, far)
    assert_same(viewer.whole(), volume.extract_mesh(min_weight=1))


def test_only_blocks_at_a_change_are_extracted_again():
    volume = fused(fake_frame(1.0))
    volume.integrate(fake_frame(1.0), looking_from([10.0, 0, 0], 0.0))
    viewer = Viewer(volume.mesh_since)
    assert viewer.look().restart
    T = looking_from([10.0, 0, 0], 0.0)
    alone = fused(fake_frame(1.05), T=T)
    volume.integrate(fake_frame(1.05), T)
    change = viewer.look()
    assert not change.restart and len(change.keys) > 10
    assert change.keys[:, 0].min() * BLOCK_M > 10 - 1.5
    # What it costs does not depend on what lies elsewhere.
    assert len(change.keys) <= len(alone.to_state().block_keys) + 40
    assert len(viewer.look().keys) == 0


def test_a_surface_that_vanishes_is_reported_as_a_block_without_rows():
    volume = field_volume(lambda x, y, z: sphere(x, y, z) + 13, (3, 3, 3))  # radius 5.2
    viewer = Viewer(volume.mesh_since)
    viewer.look()
    assert list(viewer.parts) == [(1, 1, 1)]
    row = int(volume._store.activate(np.array([[1, 1, 1]], np.int32))[0])
    volume._store.voxels.tsdf[4096 * row : 4096 * (row + 1)] = 1.0  # seen through: all free
    change = viewer.look()
    assert [1, 1, 1] in change.keys.tolist() and not viewer.parts
    assert len(volume.extract_mesh(min_weight=1)) == 0


def test_after_a_reset_all_of_before_is_void():
    volume = fused(fake_frame(1.0))
    viewer = Viewer(volume.mesh_since)
    viewer.look()
    volume.reset()
    change = viewer.look()
    assert change.restart and len(change.keys) == 0 and not viewer.parts
    volume.integrate(fake_frame(1.3), np.eye(4))
    assert not viewer.look().restart
    assert_same(viewer.whole(), volume.extract_mesh(min_weight=1))


def test_a_loaded_map_is_new_to_everybody():
    volume = SemanticVolume.from_state(fused(fake_frame(1.0)).to_state())
    change = volume.mesh_since(-1, min_weight=1)
    assert change.restart and len(change.surface.triangles) > 1000


def test_fewer_observations_than_wanted_give_no_part():
    volume = fused(fake_frame(1.0))
    assert len(volume.mesh_since(-1, min_weight=2).surface) == 0


# Labels


def test_specks_of_another_class_vanish_and_a_border_of_classes_stays_where_it_is():
    rng = np.random.default_rng(0)
    camera = Intrinsics(width=160, height=120, fx=140.0, fy=140.0, cx=79.5, cy=59.5)
    volume = SemanticVolume(VolumeConfig(voxel_size=0.02, device="cpu"))
    u = np.broadcast_to(np.arange(160), camera.shape)
    border = 90  # pixels: x = 0.075 m on the wall, the middle of a voxel
    for _ in range(4):
        labels = np.where(u < border, 1, 2)
        lies = rng.random(camera.shape) < 0.25
        labels = np.where(lies, rng.integers(3, 9, camera.shape), labels).astype(np.uint8)
        depth = np.full(camera.shape, 1.01, np.float32)
        volume.integrate(Frame(0, "", camera, depth, labels=labels), np.eye(4))
    mesh = volume.extract_mesh()
    x = mesh.positions[:, 0]
    at = (border - 0.5 - camera.cx) / camera.fx * 1.01
    assert np.mean(mesh.labels == np.where(x < at, 1, 2)) > 0.995
    assert set(mesh.labels[x < at - 0.02]) == {1} and set(mesh.labels[x > at + 0.02]) == {2}
    centres, labels = volume.occupied_voxels()
    inner = np.abs(centres[:, 0] * 0.02 - at) > 0.03
    assert np.mean(labels[inner] > 2) > 0.003  # single voxels do lie
