# SPDX-License-Identifier: Apache-2.0
"""Label sets: ids, names, colours, remapping, and files from strangers."""

import itertools
import time

import cv2
import numpy as np
import pytest

from mtl_perception.conventions import InvalidInput
from mtl_perception.labels import LABEL_SETS, LabelClass, LabelSet, load_label_set, remap_table

CSV = "name,red,green,blue,alpha,id\nfloor,220,220,220,255,0\nwall, 150,150,150,255,7\n"
YAML = """
name: mine
classes:
  - {id: 7, name: wall, color: [150, 150, 150]}
  - {id: 0, name: floor, color: [220, 220, 220]}
remap: {nyu13: {wall: wall}}
"""


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("name", "count", "some"),
    [
        ("nyu40", 40, {0: "wall", 4: "chair", 23: "refridgerator", 39: "otherprop"}),
        ("nyu13", 13, {0: "bed", 4: "floor", 12: "window"}),
        ("kitti6", 6, {0: "sky", 2: "road", 5: "car"}),
        ("cityscapes19", 19, {0: "road", 11: "person", 18: "bicycle"}),
        ("ade20k32", 32, {0: "other", 4: "floor", 11: "cabinet", 31: "armchair"}),
        ("voc21", 21, {0: "background", 15: "person", 20: "tvmonitor"}),
    ],
)
def test_built_in_sets_number_their_classes_from_zero(name, count, some):
    label_set = load_label_set(name)
    assert label_set is LABEL_SETS[name]
    assert list(label_set.names) == list(range(count))
    assert some.items() <= label_set.names.items()
    assert all(label_set.id_of(class_name) == i for i, class_name in label_set.names.items())


def test_built_in_names_are_the_mapping_keys():
    assert list(LABEL_SETS) == ["nyu40", "nyu13", "kitti6", "cityscapes19", "ade20k32", "voc21"]
    with pytest.raises(KeyError):
        LABEL_SETS["nyu41"]


def test_voc_colours_interleave_the_bits_of_the_id_and_nyu40_is_one_further():
    palette = LABEL_SETS["nyu40"].palette
    assert palette[:3].tolist() == [[128, 0, 0], [0, 128, 0], [128, 128, 0]]
    bits = np.arange(41)[:, None, None] >> (3 * np.arange(8)[:, None] + np.arange(3)) & 1
    voc = (bits << (7 - np.arange(8))[:, None]).sum(axis=1)  # (41, 3)
    np.testing.assert_array_equal(palette[:40], voc[1:])
    np.testing.assert_array_equal(LABEL_SETS["voc21"].palette[:21], voc[:21])


def test_unlabelled_is_black_in_every_set():
    for label_set in LABEL_SETS.values():
        assert label_set.palette.shape == (256, 3)
        assert label_set.palette[255].tolist() == [0, 0, 0]


def test_ade20k_colours_can_be_told_apart():
    black, grey_of_unlabelled_surface = (0, 0, 0), (205, 205, 205)
    colors = [c.color for c in LABEL_SETS["ade20k32"].classes]
    colors += [black, grey_of_unlabelled_surface]
    lab = cv2.cvtColor(np.array([colors], np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)) > 18


def test_colorize_keeps_the_shape_and_refuses_other_types():
    kitti = LABEL_SETS["kitti6"]
    labels = np.array([[0, 2], [255, 5]], np.uint8)
    np.testing.assert_array_equal(
        kitti.colorize(labels),
        [[[128, 128, 128], [128, 64, 128]], [[0, 0, 0], [64, 0, 128]]],
    )
    with pytest.raises(InvalidInput, match="int64"):
        kitti.colorize(labels.astype(np.int64))


def test_unknown_class_name_lists_near_names():
    with pytest.raises(InvalidInput, match="'refridgerator'"):
        LABEL_SETS["nyu40"].id_of("refrigerator")


def test_a_name_of_several_ids_is_not_guessed():
    twice = LabelSet("s", (LabelClass(1, "void", (0, 0, 0)), LabelClass(2, "void", (1, 1, 1))))
    with pytest.raises(InvalidInput, match=r"\[1, 2\]"):
        twice.id_of("void")


def test_json_writes_characters_beyond_16_bits_as_pairs_and_reads_them_as_one():
    rocket = LabelSet("s", (LabelClass(1, "🚀", (1, 2, 3)),))
    assert "\\ud83d\\ude80" in rocket.to_json()
    assert LabelSet.from_json(rocket.to_json()) == rocket


def test_json_round_trip():
    for label_set in LABEL_SETS.values():
        assert LabelSet.from_json(label_set.to_json()) == label_set
    awkward = LabelSet("s", (LabelClass(3, 'a "quoted" é: #1', (1, 2, 3)),))
    assert LabelSet.from_json(awkward.to_json()) == awkward


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "null",
        '{"name": "x", "classes": []}',
        '{"name": "x", "classes": [{"id": 1, "name": "\\ud83d", "color": [1, 2, 3]}]}',
        '{"name": "\\ud83d", "classes": [{"id": 1, "name": "x", "color": [1, 2, 3]}]}',
        '{"name": "x", "classes": [{"id": 1, "name": "two\\nlines", "color": [1, 2, 3]}]}',
        '{"name": "x", "classes": [{"id": %s, "name": "a", "color": [1, 2, 3]}]}' % ("9" * 5000),
        "\x00",
        "[" * 50_000,
        " " * 200_000,
    ],
)
def test_json_that_is_no_label_set_is_refused(text):
    with pytest.raises(InvalidInput):
        LabelSet.from_json(text)


def test_every_shipped_remap_names_classes_that_exist():
    tables = {
        (source.name, target): remap_table(source, LABEL_SETS[target])
        for source in LABEL_SETS.values()
        for target in source.remaps
    }
    assert set(tables) == {
        ("nyu40", "nyu13"),
        ("nyu40", "ade20k32"),
        ("ade20k32", "nyu40"),
        ("ade20k32", "nyu13"),
        ("cityscapes19", "kitti6"),
        ("voc21", "nyu40"),
        ("voc21", "nyu13"),
    }
    assert all(table[255] == 255 for table in tables.values())
    assert (tables["nyu40", "nyu13"][:40] < 13).all()


def test_cityscapes_teacher_becomes_kitti_classes():
    cityscapes, kitti = LABEL_SETS["cityscapes19"], LABEL_SETS["kitti6"]
    table = remap_table(cityscapes, kitti)
    assert table[cityscapes.id_of("terrain")] == kitti.id_of("vegetation")
    assert table[cityscapes.id_of("bus")] == kitti.id_of("car")
    assert table[cityscapes.id_of("pole")] == 255


@pytest.mark.parametrize("name", ["ade20k32", "voc21"])
def test_the_way_to_nyu13_is_the_one_by_nyu40(name):
    source, nyu40, nyu13 = (LABEL_SETS[n] for n in (name, "nyu40", "nyu13"))
    by_nyu40 = remap_table(nyu40, nyu13)[remap_table(source, nyu40)]
    np.testing.assert_array_equal(remap_table(source, nyu13), by_nyu40)


def test_nyu40_and_ade20k32_agree_both_ways():
    """All but the classes that became part of a wider one come back as they were."""
    ade, nyu40 = LABEL_SETS["ade20k32"], LABEL_SETS["nyu40"]
    to_nyu40, to_ade = remap_table(ade, nyu40), remap_table(nyu40, ade)
    known = np.flatnonzero(to_ade[:40] != 255)
    np.testing.assert_array_equal(to_nyu40[to_ade[known]], known)
    lost = [ade.names[i] for i in range(32) if to_nyu40[i] != 255 and to_ade[to_nyu40[i]] != i]
    assert lost == ["plant", "armchair"]


def test_remap_tables_compose():
    ade, nyu40, nyu13 = (LABEL_SETS[n] for n in ("ade20k32", "nyu40", "nyu13"))
    ade_to_nyu13 = remap_table(nyu40, nyu13)[remap_table(ade, nyu40)]
    assert ade_to_nyu13[ade.id_of("armchair")] == nyu13.id_of("chair")
    assert ade_to_nyu13[ade.id_of("shelf")] == nyu13.id_of("furniture")
    assert ade_to_nyu13[ade.id_of("road")] == 255


def test_remap_by_equal_names_and_by_given_names():
    nyu40, kitti = LABEL_SETS["nyu40"], LABEL_SETS["kitti6"]
    assert (remap_table(nyu40, kitti) == 255).all()
    same = remap_table(nyu40, nyu40)
    np.testing.assert_array_equal(same[:40], np.arange(40))
    given = remap_table(nyu40, kitti, {"wall": "building"})
    assert given[0] == 1 and (given[1:] == 255).all()
    with pytest.raises(InvalidInput, match="no class 'walls'"):
        remap_table(nyu40, kitti, {"walls": "building"})


def test_real_masks_have_nyu40_ids(shared_data):
    mask = cv2.imread(str(shared_data / "nyuv2_samples/000464_labels.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(mask)) - {255} <= set(LABEL_SETS["nyu40"].names)


def test_user_sets_from_yaml_and_csv_agree(tmp_path):
    from_yaml = load_label_set(write(tmp_path, "mine.yaml", YAML))
    from_csv = load_label_set(write(tmp_path, "mine.csv", CSV))
    assert from_yaml == from_csv
    assert from_csv.names == {0: "floor", 7: "wall"}
    assert remap_table(from_yaml, LABEL_SETS["nyu13"])[7] == 11


def test_csv_tolerates_blank_lines_repeats_bom_and_the_unlabelled_row(tmp_path):
    text = "\ufeff" + CSV.replace("\n", "\r\n\r\n") + "floor,220,220,220,255,0\nvoid,0,0,0,0,255\n"
    assert load_label_set(write(tmp_path, "a.csv", text)).names == {0: "floor", 7: "wall"}


def test_csv_without_header_reads_the_same(tmp_path):
    bare = load_label_set(write(tmp_path, "mine.csv", CSV.split("\n", 1)[1]))
    assert bare.names == {0: "floor", 7: "wall"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("door,1,2,3,255,7", r"id 7 is both .*wall.*door"),
        ("wall,1,2,3,255,7", r"id 7 is both"),
        ("door,1,2,3,255", "line 4"),
        ("door,1,2,red,255,8", "line 4"),
        ("door,1,2,300,255,8", "300"),
        ("door,1,2,3,255,254", "254"),
        ("door,1,2,3,255,-1", "-1"),
        (",1,2,3,255,8", "name"),
    ],
)
def test_csv_rows_that_cannot_be_are_named(tmp_path, row, message):
    with pytest.raises(InvalidInput, match=message):
        load_label_set(write(tmp_path, "a.csv", CSV + row + "\n"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just words",
        "name: x\n",
        "name: x\nclasses: 3\n",
        "name: x\nclasses: [{id: 0, name: a}]\n",
        "name: x\nclasses: [{id: 0, name: a, color: [1, 2, 3], colour: 4}]\n",
        "name: x\nclasses: [{id: zero, name: a, color: [1, 2, 3]}]\n",
        "name: x\nclasses: [{id: true, name: a, color: [1, 2, 3]}]\n",
        "name: x\nclasses: [{id: 0, name: 5, color: [1, 2, 3]}]\n",
        "name: x\nclasses: [{id: 0, name: a, color: [1, 2]}]\n",
        "name: x\nclasses: [{id: 0, name: a, color: [1.0, 2, 3]}]\n",
        "name: x\nclasses: [{id: 0, name: a, color: [1, 2, 3]}]\nremap: [1]\n",
        "name: x\nclasses: [{id: 0, name: a, color: [1, 2, 3]}]\nremap: {y: {a: 1}}\n",
        "? [a]: b\n",
        "name: !!python/object/apply:os.getcwd []\n",
        "a: &a [*a]\n",
        "2024-99-99",
        "!!int ''",
        "!!float ''",
        "!!bool perhaps",
        "!!timestamp soon",
        "name: x\nclasses: [{id: 0x%s, name: a, color: [1, 2, 3]}]\n" % ("F" * 5000),
    ],
)
def test_yaml_that_is_no_label_set_is_refused(tmp_path, text):
    with pytest.raises(InvalidInput):
        load_label_set(write(tmp_path, "a.yaml", text))


def test_large_or_entangled_files_are_refused_quickly(tmp_path):
    bomb = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
    )
    levels = ", ".join(["&a0 [x, x]", *(f"&a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))])
    in_a_row = f"name: x\nclasses: [{{id: y, name: [{levels}], color: [1, 2, 3]}}]\n"
    start = time.monotonic()
    for text in (bomb, in_a_row, "x" * 200_000):
        with pytest.raises(InvalidInput) as refusal:
            load_label_set(write(tmp_path, "a.yaml", text))
        assert len(str(refusal.value)) < 500
    assert time.monotonic() - start < 2


def test_missing_files_and_names_say_what_there_is(tmp_path):
    with pytest.raises(InvalidInput, match="No such file"):
        load_label_set(str(tmp_path / "none.yaml"))
    with pytest.raises(InvalidInput, match="did you mean 'nyu40'"):
        load_label_set("nyu4")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
        load_label_set(str(tmp_path / "b.csv"))
