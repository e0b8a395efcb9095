# SPDX-License-Identifier: Apache-2.0
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mtl_perception.conventions import InvalidInput
from mtl_perception.data.open_dataset import open_dataset
from mtl_perception.labels import LABEL_SETS
from slam_fusion.commands import cli
from slam_fusion.map_labels import MapLabeller
from slam_fusion.mapper import Mapper, MapperConfig
from slam_fusion.offline import map_recording
from slam_fusion.recordings.recording import RecordingOptions, open_recording

NYU40 = LABEL_SETS["nyu40"]


def wall_in_two_classes(folder: Path) -> Path:
    """Three frames, 0.1 m apart, of a wall at 2 m: left of the middle of the first it is a door."""
    folder.mkdir()
    (folder / "camera-intrinsics.txt").write_text("100 0 79.5\n0 100 59.5\n0 0 1\n")
    for i in range(3):
        labels = np.zeros((120, 160), np.uint8)
        labels[:, : 80 - 5 * i] = 7  # 0.1 m are 5 pixels
        T = np.eye(4)
        T[0, 3] = 0.1 * i
        stem = folder / f"frame-{i:06d}"
        cv2.imwrite(f"{stem}.depth.png", np.full((120, 160), 2000, np.uint16))
        cv2.imwrite(f"{stem}.color.png", np.full((120, 160, 3), 90, np.uint8))
        cv2.imwrite(f"{stem}.segm.png", labels)
        np.savetxt(f"{stem}.pose.txt", T)
    return folder


@pytest.fixture(scope="module")
def mapped(tmp_path_factory) -> tuple[Path, Path]:
    """The folder, and a map of it."""
    root = tmp_path_factory.mktemp("mapped")
    folder = wall_in_two_classes(root / "wall")
    with open_recording(folder, RecordingOptions()) as recording:
        mapper = Mapper(MapperConfig(voxel_size=0.04), label_set=NYU40)
        map_recording(recording, mapper, None, root / "map")
    return folder, root / "map" / "map.npz"


def test_a_map_labels_the_images_that_it_was_made_of(mapped):
    folder, map_file = mapped
    dataset = open_dataset(f"rgbd:{folder}")
    labeller = MapLabeller(map_file, dataset, NYU40, 0.5)
    for i in range(3):
        labels = labeller(i, dataset[i])
        edge = 80 - 5 * i
        assert (labels[30:90, 20 : edge - 4] == 7).mean() > 0.99
        assert (labels[30:90, edge + 4 : 140] == 0).mean() > 0.99


def test_what_stands_elsewhere_than_in_the_map_gets_no_label(mapped):
    folder, map_file = mapped
    dataset = open_dataset(f"rgbd:{folder}")
    depth = dataset[0].depth.copy()
    depth[30:60, 30:60] = 1.5  # somebody in front of the wall
    depth[60:90, 30:60] = 0  # unknown: the map's word is taken
    labels = MapLabeller(map_file, dataset, NYU40, 0.5)(0, replace(dataset[0], depth=depth))
    assert (labels[30:60, 30:60] == 255).all() and (labels[61:90, 31:59] == 7).all()


def test_labels_come_in_the_wanted_set(mapped):
    folder, map_file = mapped
    dataset = open_dataset(f"rgbd:{folder}")
    labels = MapLabeller(map_file, dataset, LABEL_SETS["nyu13"], 0.5)(0, dataset[0])
    assert set(np.unique(labels)) <= {LABEL_SETS["nyu13"].id_of("wall"), 255}  # a door is a wall


def test_images_without_poses_cannot_see_a_map(mapped):
    folder, map_file = mapped
    with pytest.raises(InvalidInput, match="only frames of kind rgbd"):
        MapLabeller(map_file, open_dataset(f"rgbd:{folder}?every=2"), NYU40, 0.5)


def test_the_command_takes_a_map_or_a_network_but_not_both(mapped, tmp_path, monkeypatch, capsys):
    folder, map_file = mapped

    def run(*more) -> int:
        spec, out = f"rgbd:{folder}", tmp_path / "labels"
        arguments = ("pseudo-label", spec, "-o", out, "--map", map_file.parent, *more)
        monkeypatch.setattr(sys, "argv", ["dense-semantic-slam", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            cli.main()
        return done.value.code or 0

    assert run("--model", "deeplab-ade20k") == 2
    assert "--model or --map" in capsys.readouterr().err
    assert run() == 0
    assert "3 of 3 images" in capsys.readouterr().out
    labelled = open_dataset(f"rgbd:{folder}?labels={tmp_path / 'labels'}")
    assert labelled.label_set == NYU40 and (labelled[0].labels[40:80, 30:70] == 7).all()
