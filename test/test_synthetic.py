# SPDX-License-Identifier: Apache-2.0
"""Rooms, walks and rendered views are exactly what they claim to be."""

import numpy as np
import pytest

from mtl_perception.conventions import UNLABELLED, Intrinsics, InvalidInput
from mtl_perception.labels import LABEL_SETS
from mtl_perception.synthetic.camera import ROOM_CAMERA, ColorNoise, render
from mtl_perception.synthetic.depth_noise import KINECT, sensed_depth
from mtl_perception.synthetic.layout import SHOW_ROOM
from mtl_perception.synthetic.patches import box, drape, pillow, quad, rounded_box, tube
from mtl_perception.synthetic.room import Room, make_room, triangulate
from mtl_perception.synthetic.walk import CLEARANCE, walk

SMALL = Intrinsics(160, 120, 131.25, 131.25, 79.5, 59.5)
NYU = LABEL_SETS["nyu40"]


@pytest.fixture(scope="module")
def room() -> Room:
    return make_room(3, SHOW_ROOM)


@pytest.fixture(scope="module")
def poses(room: Room) -> list[tuple[int, np.ndarray]]:
    return walk(room, 120, 3)


def looking(position, right, down, forward) -> np.ndarray:
    T = np.eye(4)
    T[:3] = np.stack([right, down, forward, position], axis=1)
    return T


def up_from(room: Room, height: float) -> np.ndarray:
    """A camera that looks straight up from a spot beside the ceiling lamp."""
    spot = (room.size[0] / 2 + 0.6, room.size[1] / 2, height)
    return looking(spot, (1, 0, 0), (0, -1, 0), (0, 0, 1))


def test_depth_is_the_distance_to_the_ceiling_along_z(room):
    narrow = Intrinsics(160, 120, 600.0, 600.0, 79.5, 59.5)
    view = render(room, narrow, up_from(room, 1.7))
    np.testing.assert_allclose(view.depth, room.size[2] - 1.7, atol=2e-6)
    assert (view.labels == NYU.id_of("ceiling")).all()
    np.testing.assert_allclose(
        view.normals, np.broadcast_to((0, 0, -1), view.normals.shape), atol=1e-6
    )


def test_rays_that_leave_the_room_are_unknown(room):
    outside = looking((-1, 1, 1), (0, -1, 0), (0, 0, -1), (-1, 0, 0))
    view = render(room, SMALL, outside)
    assert (view.depth == 0).all() and (view.labels == UNLABELLED).all()
    assert (view.instances == 0).all() and (view.color == 0).all()


def test_pixels_reproject_onto_the_triangles_of_their_class(room, poses):
    view = render(room, SMALL, poses[20][1])
    v, u = np.nonzero(view.depth > 0)
    rays = np.stack([(u - SMALL.cx) / SMALL.fx, (v - SMALL.cy) / SMALL.fy, np.ones(len(u))], 1)
    T = poses[20][1]
    points = (rays * view.depth[v, u][:, None]) @ T[:3, :3].T + T[:3, 3]
    for name in np.unique(view.labels):
        triangles = room.vertices[room.triangles[room.labels == name]]
        low, high = triangles.min(axis=(0, 1)), triangles.max(axis=(0, 1))
        of_class = points[view.labels[v, u] == name]
        assert (of_class > low - 1e-4).all() and (of_class < high + 1e-4).all()


def test_normals_are_unit_and_face_the_camera(room, poses):
    view = render(room, SMALL, poses[50][1])
    v, u = np.mgrid[:120, :160]
    rays = np.stack([(u - SMALL.cx) / SMALL.fx, (v - SMALL.cy) / SMALL.fy, np.ones_like(u)], -1)
    known = view.depth > 0
    np.testing.assert_allclose(np.linalg.norm(view.normals[known], axis=1), 1, atol=1e-5)
    assert ((view.normals * rays).sum(axis=-1)[known] <= 1e-6).all()


def test_an_instance_has_one_class(room):
    for instance in np.unique(room.instances):
        assert len(np.unique(room.labels[room.instances == instance])) == 1


def test_room_is_furnished(room):
    present = {NYU.names[int(i)] for i in np.unique(room.labels)}
    furniture = {"table", "chair", "sofa", "bookshelf", "cabinet", "lamp", "television", "box"}
    shell = {"floor", "wall", "ceiling", "window", "door", "picture", "curtain"}
    assert furniture | shell <= present


def test_same_seed_same_bytes_other_seed_other_room(room):
    again, other = make_room(3, SHOW_ROOM), make_room(4, SHOW_ROOM)
    for name in ("vertices", "triangles", "labels", "instances", "texels"):
        assert getattr(again, name).tobytes() == getattr(room, name).tobytes()
    assert other.vertices.tobytes() != room.vertices.tobytes()


def test_walk_is_rigid_smooth_free_of_furniture_and_inside(room, poses):
    stamps = np.array([stamp for stamp, _ in poses])
    T = np.stack([pose for _, pose in poses])
    assert (np.diff(stamps) > 0).all() and len(poses) == 120
    R = T[:, :3, :3]
    np.testing.assert_allclose(
        R @ R.transpose(0, 2, 1), np.broadcast_to(np.eye(3), R.shape), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(R), 1)
    assert (T[:, :3, 3] > 0).all() and (T[:, :3, 3] < room.size).all()
    for _, pose in poses[::7]:  # nothing nearer than the clearance in six directions
        for turn in (np.eye(3), np.diag([-1, 1, -1])):
            turned = pose.copy()
            turned[:3, :3] = pose[:3, :3] @ turn
            depth = render(room, SMALL, turned).depth
            assert depth.min() > CLEARANCE * 0.5
    assert np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1).max() < 0.15


def test_walk_is_the_same_for_the_same_seed(room, poses):
    again = walk(room, 120, 3)
    assert all(a[0] == b[0] and (a[1] == b[1]).all() for a, b in zip(poses, again, strict=True))


def test_walk_without_frames_is_refused(room):
    with pytest.raises(InvalidInput, match="0 frames"):
        walk(room, 0, 1)


def test_walk_sees_nearly_all_classes(room, poses):
    seen = set()
    for _, pose in poses[::4]:
        seen |= set(np.unique(render(room, SMALL, pose).labels).tolist())
    assert set(np.unique(room.labels).tolist()) - seen == set()


def test_supersampling_changes_colour_only(room, poses):
    one, four = (render(room, SMALL, poses[0][1], samples=n) for n in (1, 2))
    assert (one.depth == four.depth).all() and (one.labels == four.labels).all()
    assert np.abs(one.color.astype(int) - four.color).mean() < 8


def test_colour_noise_is_seeded_and_vignetting_darkens_corners(room, poses):
    pose = poses[0][1]
    ideal = render(room, SMALL, pose).color.astype(int)
    noisy = [render(room, SMALL, pose, noise=ColorNoise(grain=3, seed=s)).color for s in (1, 1, 2)]
    assert (noisy[0] == noisy[1]).all() and (noisy[0] != noisy[2]).any()
    dark = render(room, SMALL, pose, noise=ColorNoise(vignetting=0.5)).color
    assert abs(int(dark[60, 80].sum()) - ideal[60, 80].sum()) <= 3
    assert dark[0, 0].sum() <= 0.52 * ideal[0, 0].sum() + 3


def test_sensed_depth_is_quantised_and_noisy_as_modelled(room):
    camera = Intrinsics(160, 120, 525.0, 525.0, 79.5, 59.5)
    view = render(room, camera, up_from(room, 0.9))
    sensed = sensed_depth(view, camera, seed=1)
    known = sensed > 0
    assert known.mean() > 0.9
    steps = camera.fx * KINECT.baseline / sensed[known] / KINECT.disparity_step
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    z = room.size[2] - 0.9
    step = z**2 / (camera.fx * KINECT.baseline) * KINECT.disparity_step
    spread = np.hypot(KINECT.noise_floor + KINECT.noise_growth * (z - 0.4) ** 2, step / 12**0.5)
    error = sensed[known] - view.depth[known]
    assert abs(error.mean()) < 0.1 * step + 1e-3
    assert 0.8 * spread < error.std() < 1.2 * spread
    assert (sensed_depth(view, camera, seed=1) == sensed).all()


def test_sensed_depth_fails_at_grazing_surfaces_and_near_the_camera(room):
    along_wall = looking((1.5, 1.5, room.size[2] - 0.1), (1, 0, 0), (0, 0, -1), (0, 1, 0))
    view = render(room, ROOM_CAMERA, along_wall)
    sensed = sensed_depth(view, ROOM_CAMERA, seed=1)
    ceiling = view.labels == NYU.id_of("ceiling")
    assert view.depth[ceiling].max() > 1.0
    assert (sensed[ceiling & (view.depth > 1.2)] == 0).all()  # angle of 85 degrees and more
    assert (sensed[(view.depth < KINECT.min_depth)] == 0).all()


@pytest.mark.parametrize(
    "patches",
    [
        box((0, 0, 0), (1, 2, 3), None),
        rounded_box((0, 0, 0), (1, 2, 3), 0.2, None),
        pillow(0.4, 0.2, None),
        [tube((0, 0), [0, 0, 1, 1], [0, 0.5, 0.5, 0], None)],
    ],
)
def test_solids_face_outwards(patches):
    """The signed volume of a closed surface is positive if all triangles face outwards."""
    volume = 0.0
    for patch in patches:
        points, triangles, _ = triangulate(patch, 0.01)
        a, b, c = points[triangles].transpose(1, 0, 2)
        volume += (np.cross(a, b) * c).sum() / 6
    (low, high) = (
        f([p.grid.reshape(-1, 3) for p in patches])
        for f in (lambda g: np.concatenate(g).min(0), lambda g: np.concatenate(g).max(0))
    )
    assert 0.4 * np.prod(high - low) < volume <= np.prod(high - low) * (1 + 1e-9)


def test_reflected_patch_still_faces_outwards():
    face = quad((0, 0, 1), (1, 0, 0), (0, 1, 0), None).moved(np.diag([-1.0, 1, 1, 1]))
    points, triangles, _ = triangulate(face, 0.01)
    a, b, c = points[triangles[0]]
    assert np.cross(b - a, c - a)[2] > 0
    assert len(drape(1, 2, 4, 0.1, None)) == 2
