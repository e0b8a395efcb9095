# SPDX-License-Identifier: Apache-2.0
import numpy as np
import open3d as o3d
import pytest

from slam_fusion.frame import Surface
from slam_fusion.output.ply import PlyFileError, read_ply, write_ply, write_ply_parts


def fake_surface(vertices: int = 5, faces: int = 3, seed: int = 0) -> Surface:
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(vertices, 3)).astype(np.float32)
    return Surface(
        positions=rng.normal(size=(vertices, 3)).astype(np.float32),
        normals=normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9),
        colors=rng.integers(0, 256, (vertices, 3), np.uint8),
        labels=rng.integers(0, 256, vertices).astype(np.uint8),
        confidence=rng.random(vertices, np.float32),
        triangles=rng.integers(0, max(vertices, 1), (faces, 3)).astype(np.int32),
    )


def assert_same(a: Surface, b: Surface) -> None:
    for name in ("positions", "normals", "colors", "labels", "confidence", "triangles"):
        left, right = getattr(a, name), getattr(b, name)
        assert left.dtype == right.dtype and left.shape == right.shape, name
        np.testing.assert_array_equal(left, right, err_msg=name)


@pytest.mark.parametrize(("vertices", "faces"), [(5, 3), (7, 0), (0, 0)])
def test_a_surface_comes_back_bit_for_bit(tmp_path, vertices, faces):
    surface = fake_surface(vertices, faces)
    path = tmp_path / "s.ply"
    assert write_ply(path, surface) == path.stat().st_size
    assert_same(read_ply(path), surface)


@pytest.mark.parametrize("faces", [4, 0])
def test_parts_become_one_file_whose_faces_name_the_right_vertices(tmp_path, faces):
    parts = [fake_surface(5, faces, 0), fake_surface(0, 0, 1), fake_surface(9, faces, 2)]
    path = tmp_path / "parts.ply"
    assert write_ply_parts(path, iter(parts)) == path.stat().st_size
    whole = read_ply(path)
    for name in ("positions", "normals", "colors", "labels", "confidence"):
        expected = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(getattr(whole, name), expected, err_msg=name)
    expected = np.concatenate([parts[0].triangles, parts[2].triangles + 5])
    np.testing.assert_array_equal(whole.triangles, expected)
    write_ply_parts(path, iter(parts), lambda part: 255 - part.colors)
    np.testing.assert_array_equal(read_ply(path).colors, 255 - whole.colors)
    assert [file.name for file in tmp_path.iterdir()] == ["parts.ply"]


def test_parts_that_break_off_leave_the_file_of_before(tmp_path):
    def broken():
        yield fake_surface()
        raise RuntimeError("no more")

    path = tmp_path / "parts.ply"
    write_ply(path, fake_surface(3, 1))
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="no more"):
        write_ply_parts(path, broken())
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_open3d_reads_the_mesh_with_colours_labels_and_confidence(tmp_path):
    surface = fake_surface(50, 30)
    write_ply(tmp_path / "mesh.ply", surface)

    mesh = o3d.t.io.read_triangle_mesh(str(tmp_path / "mesh.ply"))
    np.testing.assert_array_equal(mesh.vertex.positions.numpy(), surface.positions)
    np.testing.assert_array_equal(mesh.vertex.normals.numpy(), surface.normals)
    np.testing.assert_allclose(mesh.vertex.colors.numpy() * 255, surface.colors, atol=1e-3)
    np.testing.assert_array_equal(mesh.triangle.indices.numpy(), surface.triangles)

    cloud = o3d.t.io.read_point_cloud(str(tmp_path / "mesh.ply"))
    np.testing.assert_array_equal(cloud.point["label"].numpy().ravel(), surface.labels)
    np.testing.assert_array_equal(cloud.point["confidence"].numpy().ravel(), surface.confidence)


def test_open3d_reads_the_cloud(tmp_path):
    surface = fake_surface(50, 0)
    write_ply(tmp_path / "cloud.ply", surface)
    cloud = o3d.io.read_point_cloud(str(tmp_path / "cloud.ply"))
    np.testing.assert_array_equal(np.asarray(cloud.points, np.float32), surface.positions)


def test_class_colours_replace_true_colours(tmp_path):
    surface = fake_surface(4, 0)
    painted = np.full((4, 3), 7, np.uint8)
    write_ply(tmp_path / "c.ply", surface, painted)
    np.testing.assert_array_equal(read_ply(tmp_path / "c.ply").colors, painted)


def test_a_promise_of_more_vertices_than_bytes_is_refused_before_reading(tmp_path):
    path = tmp_path / "big.ply"
    write_ply(path, fake_surface(4, 0))
    path.write_bytes(path.read_bytes().replace(b"vertex 4", b"vertex 400000000000"))
    with pytest.raises(PlyFileError, match="promises 12800000000322"):
        read_ply(path)


def test_a_triangle_of_missing_vertices_is_refused(tmp_path):
    surface = fake_surface(4, 2)
    surface.triangles[1, 2] = 4
    write_ply(tmp_path / "m.ply", surface)
    with pytest.raises(PlyFileError, match="face 1"):
        read_ply(tmp_path / "m.ply")


def test_any_damage_gives_the_named_error_or_a_valid_surface(tmp_path):
    whole = tmp_path / "whole.ply"
    write_ply(whole, fake_surface(20, 10))
    data = whole.read_bytes()
    rng = np.random.default_rng(1)
    path = tmp_path / "damaged.ply"
    for _ in range(300):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged[: rng.integers(0, len(data) + 1)])
        with pytest.raises(PlyFileError):
            read_ply(path)
        path.write_bytes(damaged)
        try:
            surface = read_ply(path)
        except PlyFileError:
            continue
        assert surface.triangles.max(initial=-1) < len(surface)


def test_a_failed_write_keeps_the_old_file_and_leaves_no_partial(tmp_path):
    path = tmp_path / "s.ply"
    good = fake_surface(3, 1)
    write_ply(path, good)
    with pytest.raises(ValueError):
        write_ply(path, good, np.zeros((2, 3), np.uint8))
    assert_same(read_ply(path), good)
    assert [p.name for p in tmp_path.iterdir()] == ["s.ply"]
