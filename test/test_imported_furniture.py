# SPDX-License-Identifier: Apache-2.0
"""Imported models stand where procedural pieces stood, lit as they were; bad ones are counted."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from mtl_perception.synthetic import obj_files
from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.materials import plaster
from mtl_perception.synthetic.mood import Mood
from mtl_perception.synthetic.obj_files import BadModel, MtlEntry, read_mtl, read_obj
from mtl_perception.synthetic.patches import box, quad
from mtl_perception.synthetic.room import Room, build_room
from mtl_perception.synthetic.soup import Soup, SoupMaterial, merged, painted
from mtl_perception.synthetic.sweethome3d import (
    CATALOGUE,
    FOLDER,
    CatalogueMissing,
    open_catalogue,
)

WHITE = plaster((255, 255, 255), 0.0)
CUBE = """mtllib cube.mtl
v 0 0 0
v 2 0 0
v 2 4 0
v 0 4 0
v 0 0 3
v 2 0 3
v 2 4 3
v 0 4 3
usemtl red
f 5 6 7 8
f 4 3 2 1
f 6 2 3 7
f 1 5 8 4
f 8 7 3 4
f 1 2 6 5
"""
MTL = "newmtl red\nKd 1 0 0\nd 1.0\n"


def nothing(_name: str) -> None:
    return None


def parse(text: str, mtl: str = MTL) -> Soup:
    return read_obj(text.encode(), lambda _: read_mtl(mtl.encode()), nothing)


def volume(soup: Soup) -> float:
    a, b, c = soup.corners.transpose(1, 0, 2)
    return float((np.cross(a, b) * c).sum() / 6)


def write_catalogue(folder: Path, obj: str = CUBE, name: str = "Sofa", **parts: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    entry = f"version=9\nname#1={name}\nmodel#1=/m/cube.obj\nwidth#1=200\ndepth#1=80\nheight#1=90\n"
    with zipfile.ZipFile(folder / "mine.sh3f", "w") as archive:
        archive.writestr(CATALOGUE, entry)
        archive.writestr("m/cube.obj", obj)
        archive.writestr("m/cube.mtl", MTL)
        for part, data in parts.items():
            archive.writestr(f"m/{part}", data)
    return folder


def sofa() -> Item:
    return Item("sofa", box((-1, 0, 0), (1, 0.8, 0.9), WHITE))


def test_obj_faces_become_outward_triangles():
    soup = parse(CUBE)
    assert len(soup) == 12
    assert volume(soup) == pytest.approx(24)
    centre = soup.corners.reshape(-1, 3).mean(axis=0)
    assert ((soup.corners.mean(axis=1) - centre) * soup.normals[:, 0]).sum(axis=1).min() > 0
    red, green, _ = soup.materials[0].color
    assert red > 0.85 and green < 0.05


def test_obj_counts_from_the_end_and_takes_uv_and_normals():
    soup = parse(
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nvn 0 0 1\nf -3/1/1 -2/2/1 -1/3/1\n"
    )
    np.testing.assert_array_equal(soup.corners[0], [(0, 0, 0), (1, 0, 0), (0, 1, 0)])
    np.testing.assert_array_equal(soup.uv[0], [(0, 0), (1, 0), (0, 1)])
    np.testing.assert_array_equal(soup.normals[0], [(0, 0, 1)] * 3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no faces"),
        ("v 0 0 0\nf 1 1 1\n", "no faces"),
        ("v 0 0 0\nf 1 2 3\n", "bad face"),
        ("v 0 0 0\nf 1 1\n", "bad face"),
        ("v 0 0 0\nf 1 1 -9\n", "bad face"),
        ("v 0 0 0\nf a b c\n", "bad face"),
        ("v 0 0 0\nf /1 /1 /1\n", "bad face"),
        ("v 0 0\n", "bad number"),
        ("v 0 0 nan\n", "bad number"),
        ("v 0 0 1e999\n", "bad number"),
        ("v 0 0 x\n", "bad number"),
        ("v 0 0 0\nf " + "1 " * 99, "bad face"),
        ("#" * (obj_files.MAX_OBJ_BYTES + 1), "too large"),
        ("v 0 0 0\n" + "f 1 1 1\n" * (obj_files.MAX_TRIANGLES + 1), "too many triangles"),
    ],
)
def test_bad_obj_is_refused_by_its_reason(text, reason):
    with pytest.raises(BadModel) as raised:
        parse(text)
    assert raised.value.reason == reason


def test_mtl_gives_colours_pictures_and_opacity():
    entries = read_mtl(b"Kd 9 9 9\nnewmtl a\nKd 0.1 0.2 0.3\nd 0.5\nmap_Kd my wood.jpg\nnewmtl b\n")
    assert entries["a"] == MtlEntry((0.1, 0.2, 0.3), "my wood.jpg", 0.5)
    assert list(entries) == ["a", "b"]


def test_reflected_soup_still_faces_outwards():
    soup = parse(CUBE).moved(np.diag([-1.0, 1, 1, 1]))
    assert volume(soup) == pytest.approx(24)
    centre = soup.corners.reshape(-1, 3).mean(axis=0)
    assert ((soup.corners.mean(axis=1) - centre) * soup.normals[:, 0]).sum(axis=1).min() > 0


def test_division_keeps_the_surface():
    parts = parse(CUBE).divided(0.7)
    assert volume(parts) == pytest.approx(24)
    edges = np.linalg.norm(parts.corners - np.roll(parts.corners, -1, axis=1), axis=2)
    assert edges.max() <= 0.7


def test_painted_triangle_shows_its_picture_and_its_light():
    image = np.zeros((2, 2, 3), np.float32)
    image[0, 0] = 0.8  # upper left quarter: u < 0.5, v > 0.5
    soup = Soup(
        np.array([[(0, 0, 0), (1, 0, 0), (0, 1, 0)]], float),
        np.array([[(0, 0, 1)] * 3], float),
        np.array([[(0.1, 0.1), (0.9, 0.1), (0.1, 0.9)]]),
        np.zeros(1, int),
        (SoupMaterial(image.mean(axis=(0, 1)), image),),
    )
    light = np.array([[(1, 1, 1), (1, 1, 1), (2, 2, 2)]], float)
    block = painted(soup, np.array([9]), light).reshape(9, 9, 3)
    assert block[8, 0, 0] == pytest.approx(1.6)  # corner 2: in the picture's bright quarter
    assert (block[0] == 0).all()  # from corner 0 to corner 1: below it
    assert block[6, 0, 0] == pytest.approx(0.8 * 1.75)


def test_merged_soups_keep_their_materials():
    red, blue = parse(CUBE), parse(CUBE, MTL.replace("1 0 0", "0 0 1"))
    both = merged([red, blue])
    np.testing.assert_array_equal(both.albedo(), np.vstack([red.albedo(), blue.albedo()]))
    assert merged([]) is None


def test_model_takes_exactly_the_place_of_the_piece(tmp_path):
    catalogue = open_catalogue(write_catalogue(tmp_path / "c"))
    placed = sofa().placed(3, 2, 0.1, 30)
    items = catalogue.furnished([placed] * 40, np.random.default_rng(0))
    soups = [item.soups[0] for item in items if item.soups]
    assert 10 < len(soups) < 40  # about the share of them
    points = np.concatenate([patch.grid.reshape(-1, 3) for patch in placed.patches])
    np.testing.assert_allclose(soups[0].corners.min(axis=(0, 1)), points.min(axis=0), atol=1e-9)
    np.testing.assert_allclose(soups[0].corners.max(axis=(0, 1)), points.max(axis=0), atol=1e-9)
    assert volume(soups[0]) == pytest.approx(2 * 0.8 * 0.9)
    assert all(item.class_name == "sofa" for item in items)


def test_what_does_not_fit_or_gives_light_stays(tmp_path):
    catalogue = open_catalogue(write_catalogue(tmp_path / "c"))
    small = Item("sofa", box((0, 0, 0), (0.8, 0.8, 0.9), WHITE))
    bright = Item("sofa", [quad((0, 0, 0), (2, 0, 0), (0, 0.8, 0.9), WHITE, emission=1.0)])
    table = Item("table", box((-1, 0, 0), (1, 0.8, 0.9), WHITE))
    items = [small, bright, table] * 20
    assert catalogue.furnished(items, np.random.default_rng(0)) == items


def test_model_that_is_inside_out_is_turned(tmp_path):
    lines = CUBE.splitlines()
    flipped = [f"f {' '.join(reversed(n[2:].split()))}" if n.startswith("f ") else n for n in lines]
    catalogue = open_catalogue(write_catalogue(tmp_path / "c", "\n".join(flipped)))
    soup = catalogue.soup(catalogue.models["sofa"][0])
    assert volume(soup) == pytest.approx(1)
    assert ((soup.corners.mean(axis=1) - 0.5) * soup.normals[:, 0]).sum(axis=1).min() > 0


def test_front_of_a_model_is_the_front_of_the_piece(tmp_path):
    """Sweet Home 3D looks along -z at the front; ours is +y. Its x is to the right of it."""
    marked = CUBE.replace("v 0 0 3\n", "v 0 0 3.5\n")  # left lower corner of the front
    catalogue = open_catalogue(write_catalogue(tmp_path / "c", marked))
    corners = catalogue.soup(catalogue.models["sofa"][0]).corners.reshape(-1, 3)
    tip = corners[corners[:, 1].argmax()]
    np.testing.assert_allclose(tip, (1, 1, 0), atol=1e-6)  # seen from the front, left is +x


@pytest.mark.parametrize(
    ("obj", "parts", "reason"),
    [
        ("v 0 0 0\n", {}, "no faces"),
        (CUBE.replace("cube.mtl", "no.mtl"), {}, "missing file"),
        (CUBE.replace("cube.mtl", "big.mtl"), {"big.mtl": b" " * (5 * 2**20)}, "too large"),
        (
            CUBE.replace("cube.mtl", "p.mtl"),
            {"p.mtl": b"newmtl red\nmap_Kd p.png\n", "p.png": b"x"},
            "bad picture",
        ),
    ],
)
def test_bad_model_is_counted_and_the_piece_stays(tmp_path, obj, parts, reason):
    catalogue = open_catalogue(write_catalogue(tmp_path / "c", obj, **parts))
    items = [sofa()] * 20
    assert catalogue.furnished(items, np.random.default_rng(0)) == items
    assert catalogue.refused == {reason: 1}


def test_unknown_names_are_counted(tmp_path):
    catalogue = open_catalogue(write_catalogue(tmp_path / "c", name="Space ship"))
    assert catalogue.models == {} and catalogue.refused == {"not in the class table": 1}


def test_damaged_zip_is_named(tmp_path):
    (tmp_path / "bad.sh3f").write_bytes(b"PK\x03\x04 no zip at all")
    with pytest.raises(BadModel, match=r"bad zip: .*bad\.sh3f"):
        open_catalogue(tmp_path)


def test_folder_without_furniture_says_what_to_install(tmp_path):
    with pytest.raises(CatalogueMissing, match="apt-get install sweethome3d-furniture"):
        open_catalogue(tmp_path)


def lit_room(thing: Item) -> Room:
    size = np.array([4.0, 4.0, 2.5])
    shell = [
        Item("floor", [quad((0, 0, 0), (4, 0, 0), (0, 4, 0), WHITE)]),
        Item("ceiling", [quad((0, 4, 2.5), (4, 0, 0), (0, -4, 0), WHITE)]),
        Item("lamp", [quad((2.2, 1.8, 2.45), (-0.4, 0, 0), (0, 0.4, 0), WHITE, emission=9.0)]),
    ]
    return build_room(
        "test", size, ((0, 0, 4, 4),), [*shell, thing], Mood(), np.random.default_rng(0)
    )


def test_model_is_lit_as_the_patches_of_the_same_shape(tmp_path):
    place = np.array([[1, 0, 0, 1.0], [0, 1, 0, 2.2], [0, 0, 1, 0.0], [0, 0, 0, 1]])
    patches = Item("sofa", box((0, 0, 0), (2, 0.8, 0.9), WHITE)).moved(place)
    cube = parse(CUBE, "newmtl red\nKd 1 1 1\n").moved(np.diag([1, 0.2, 0.3, 1]))
    cube = cube.moved(place)
    means = []
    for thing in (patches, Item("sofa", [], (cube,))):
        room = lit_room(thing)
        of_sofa = np.flatnonzero(room.instances == 4)
        corner = room.vertices[room.triangles[of_sofa]]
        up = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])[:, 2] > 1e-6
        texels = []
        for row in of_sofa[up & (corner[:, 0, 2] > 0.5)]:
            first, stride = room.texture_at[row]
            r, c = room.corners[row].mean(axis=0)
            texels.append(room.texels[first + round(float(r)) * stride + round(float(c))])
        means.append(np.mean(texels))
    assert means[0] > 60 and abs(means[0] - means[1]) < 0.1 * means[0]


def test_installed_catalogue_has_every_class_of_the_table():
    if not FOLDER.is_dir():
        pytest.skip("sweethome3d-furniture is not installed")
    catalogue = open_catalogue()
    assert {"bed", "chair", "sofa", "table", "person", "toilet"} <= set(catalogue.models)
    assert set(catalogue.refused) == {"not in the class table"}
    soup = catalogue.soup(catalogue.models["toilet"][0])
    assert soup.corners.min() >= -1e-9 and soup.corners.max() <= 1 + 1e-9


def test_picture_is_read_as_linear_light(tmp_path):
    green = np.zeros((8, 8, 3), np.uint8)
    green[..., 1] = 186
    png = cv2.imencode(".png", green)[1].tobytes()
    obj = CUBE.replace("cube.mtl", "p.mtl")
    parts = {"p.mtl": b"newmtl red\nmap_Kd p.png\n", "p.png": png}
    catalogue = open_catalogue(write_catalogue(tmp_path / "c", obj, **parts))
    color = catalogue.soup(catalogue.models["sofa"][0]).materials[0].color
    np.testing.assert_allclose(color, (0, (186 / 255) ** 2.2, 0), atol=1e-3)
