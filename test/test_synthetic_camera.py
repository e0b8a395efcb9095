# SPDX-License-Identifier: Apache-2.0
"""Imperfections of synthetic cameras and the light of rooms do what their numbers say."""

import numpy as np
import pytest

from mtl_perception.conventions import Intrinsics
from mtl_perception.synthetic.camera import rays, render
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.light_points import light_points
from mtl_perception.synthetic.light_transport import from_emitter, from_sun
from mtl_perception.synthetic.materials import plaster
from mtl_perception.synthetic.mood import Mood, light_color, light_items, random_mood
from mtl_perception.synthetic.patches import box, quad
from mtl_perception.synthetic.photo import ColorNoise, photograph, random_noise
from mtl_perception.synthetic.room import Room, make_room, triangulate
from mtl_perception.synthetic.viewpoints import along
from mtl_perception.synthetic.walk import look

CAMERA = Intrinsics(160, 120, 131.25, 131.25, 79.5, 59.5)
GREY = np.full((40, 60, 3), 100, np.float32)
WHITE = plaster((255, 255, 255), 0.0)


@pytest.fixture(scope="module")
def room() -> Room:
    return make_room(3, "corridor")


@pytest.fixture(scope="module")
def pose(room: Room) -> np.ndarray:
    middle = np.append(room.size[:2] / 2, 1.4)
    return look(middle, np.arctan2(room.size[1], room.size[0]), -0.2, 0.0)


def linear(level: float) -> float:
    return (level / 255) ** 2.2


def test_ideal_camera_changes_nothing():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3)).astype(np.float32)
    np.testing.assert_array_equal(photograph(image, ColorNoise()), image.astype(np.uint8))


def test_one_stop_doubles_linear_light():
    bright = photograph(GREY, ColorNoise(exposure=1.0))[0, 0, 0]
    assert linear(bright) == pytest.approx(2 * linear(100), rel=0.02)


def test_overexposed_is_white_not_wrapped():
    assert (photograph(GREY, ColorNoise(exposure=6.0)) == 255).all()


def test_metering_brings_dark_and_bright_scenes_to_the_same_grey():
    ends = [photograph(GREY * f, ColorNoise(metering=1.0)).mean() for f in (0.7, 1.0, 1.8)]
    assert np.ptp(ends) < 2
    left = [photograph(GREY * f, ColorNoise(metering=0.0)).mean() for f in (0.7, 1.0, 1.8)]
    assert np.ptp(left) > 100


def test_warm_white_balance_raises_red_and_lowers_blue():
    red, green, blue = photograph(GREY, ColorNoise(warmth=0.3))[0, 0].astype(int)
    assert red > 100 + 5 and green == 100 and blue < 100 - 5


def test_gamma_keeps_black_and_white():
    image = np.repeat(np.array([0.0, 100, 255], np.float32), 3).reshape(1, 3, 3)
    dark = photograph(image, ColorNoise(gamma=1.3))[0, :, 0]
    assert dark[0] == 0 and dark[1] < 90 and dark[2] == 255


def test_defocus_spreads_an_edge_by_its_sigma():
    step = np.zeros((20, 80, 3), np.float32)
    step[:, 40:] = 200
    profile = photograph(step, ColorNoise(defocus=2.0))[10, :, 0] / 200
    weights = np.diff(profile)
    at = np.arange(79) + 0.5
    centre = (weights * at).sum() / weights.sum()
    assert np.sqrt((weights * (at - centre) ** 2).sum()) == pytest.approx(2.0, abs=0.2)


def test_compression_loses_more_at_lower_quality():
    rng = np.random.default_rng(1)
    image = np.repeat(rng.integers(90, 160, (64, 64, 1)), 3, axis=2).astype(np.float32)
    loss = [np.abs(photograph(image, ColorNoise(jpeg=q)) - image).mean() for q in (30, 95)]
    assert loss[0] > 1.5 * loss[1] > 0


def test_random_cameras_are_seeded_and_differ():
    one, same = (random_noise(np.random.default_rng(4)) for _ in range(2))
    assert one == same != random_noise(np.random.default_rng(5))


def test_motion_blur_is_the_mean_of_what_the_moving_camera_sees(room, pose):
    turn = np.array([0, 0, 0, 0, 0.06, 0])
    shutter = along(pose, turn, np.linspace(-0.5, 0.5, 5))
    blurred = render(room, CAMERA, pose, shutter=shutter)
    sharp = [render(room, CAMERA, T).color.astype(float) for T in shutter]
    assert np.abs(blurred.color - np.mean(sharp, axis=0)).max() <= 1.01
    still = render(room, CAMERA, pose)
    for name in ("depth", "labels", "instances", "normals"):
        np.testing.assert_array_equal(getattr(blurred, name), getattr(still, name))


def test_motion_of_nothing_stays_and_a_turn_is_a_turn(pose):
    (still,) = along(pose, np.ones(6), np.zeros(1))
    np.testing.assert_allclose(still, pose)
    (turned,) = along(pose, np.array([0.1, 0, 0, 0, np.pi / 2, 0]), np.ones(1))
    np.testing.assert_allclose(turned[:3, 2], pose[:3, 0], atol=1e-12)  # forward is what was right
    np.testing.assert_allclose(turned[:3, 3], pose[:3, 3] + 0.1 * pose[:3, 0])


def test_rays_go_through_pixel_centres():
    T = look(np.array([1.0, 2.0, 3.0]), 0.7, -0.3, 0.1)
    bundle = rays(CAMERA, T)
    v, u = 17, 101
    wanted = T[:3, :3] @ np.linalg.inv(CAMERA.K) @ (u, v, 1)
    np.testing.assert_allclose(bundle[v, u, 3:], wanted, atol=1e-6)
    np.testing.assert_allclose(bundle[v, u, :3], (1, 2, 3))


class _Scene:
    """Patches alone, as the light sees a room."""

    def __init__(self, patches) -> None:
        import open3d as o3d

        parts = [triangulate(patch, 0.05) for patch in patches]
        counts = np.cumsum([0] + [len(points) for points, _, _ in parts[:-1]])
        points = np.concatenate([points for points, _, _ in parts]).astype(np.float32)
        triangles = np.concatenate([t + n for (_, t, _), n in zip(parts, counts, strict=True)])
        self.triangles = triangles
        self.scene = o3d.t.geometry.RaycastingScene()
        self.scene.add_triangles(
            o3d.core.Tensor.from_numpy(points), o3d.core.Tensor.from_numpy(triangles.astype("u4"))
        )


def test_small_lamp_lights_by_the_inverse_square():
    floor = quad((-2, -2, 0), (4, 0, 0), (0, 4, 0), WHITE)
    lamp = quad((0.05, -0.05, 2), (-0.1, 0, 0), (0, 0.1, 0), WHITE, emission=100.0)
    points = light_points([floor], 0.5)
    light = from_emitter(
        lamp, np.ones((2, 2, 3)), points, _Scene([floor, lamp]), np.random.default_rng(0)
    )
    square = (points.positions[:, :2] ** 2).sum(axis=1) + 4
    exact = 100 * 0.01 * 4 / (np.pi * square**2)  # radiosity x area x both cosines / (pi r^2)
    np.testing.assert_allclose(light[:, 0], exact, rtol=0.02)


def test_box_casts_a_shadow():
    floor = quad((-2, -2, 0), (4, 0, 0), (0, 4, 0), WHITE)
    lamp = quad((0.05, -0.05, 2), (-0.1, 0, 0), (0, 0.1, 0), WHITE, emission=100.0)
    blocker = box((-0.3, -0.3, 1), (0.3, 0.3, 1.1), WHITE)
    points = light_points([floor], 0.25)
    light = from_emitter(
        lamp, np.ones((2, 2, 3)), points, _Scene([floor, lamp, *blocker]), np.random.default_rng(0)
    )
    reach = np.abs(points.positions[:, :2]).max(axis=1)
    assert (light[reach < 0.4] == 0).all() and (light[reach > 0.8] > 0).all()


def test_sun_comes_through_glass_alone():
    floor = quad((0, 0, 0), (2, 0, 0), (0, 2, 0), WHITE)
    glass = quad((1, 0, 1), (0, 2, 0), (1, 0, 0), WHITE, emission=1.0)
    roof = quad((0, 0, 1), (0, 2, 0), (1, 0, 0), WHITE)
    scene = _Scene([floor, glass, roof])
    points = light_points([floor], 0.2)
    light = from_sun(
        np.array([0, 0, 1], np.float32),
        np.array([0, 0, 1, 1, 0, 0, 0], bool),  # of two triangles each; the last row is open sky
        points,
        scene,
    )
    under_glass = points.positions[:, 0] > 1.0
    np.testing.assert_allclose(
        light[under_glass], np.tile(light_color(5000.0), (under_glass.sum(), 1))
    )
    assert (light[~under_glass] == 0).all()


def test_light_is_never_all_off():
    lamps = [Item("lamp", [quad((0, 0, 0), (1, 0, 0), (0, 1, 0), WHITE, 3.0)]) for _ in range(3)]
    for seed in range(20):
        lit = light_items(lamps, Mood(lamps_on=0.0, daylight=0.0), np.random.default_rng(seed))
        assert sum(item.patches[0].emission > 0 for item in lit) == 1


def test_mood_dims_windows_and_lamps_apart():
    pane = quad((0, 0, 0), (1, 0, 0), (0, 1, 0), WHITE, 4.0)
    items = [
        Item("window", [pane]),
        Item("lamp", [pane]),
        Item("table", box((0, 0, 0), (1, 1, 1), WHITE)),
    ]
    lit = light_items(items, Mood(daylight=0.5, lamps=2.0), np.random.default_rng(0))
    assert [item.patches[0].emission for item in lit] == [2.0, 8.0, 0.0]


def test_warm_light_is_red():
    warm, cold = light_color(2700), light_color(9000)
    assert warm[0] == 1 and warm[2] < 0.5 and cold[2] == 1 and cold[0] < 0.9


def test_moods_are_seeded_and_differ(room):
    one, same = (random_mood(np.random.default_rng(4)) for _ in range(2))
    assert one == same != random_mood(np.random.default_rng(5))
    other = make_room(3, "corridor", Mood(screen=0.3))
    assert other.vertices.tobytes() == room.vertices.tobytes()
    assert other.texels.tobytes() != room.texels.tobytes()
