# SPDX-License-Identifier: Apache-2.0
"""Whole evaluations: predictions whose scores are known by construction, and what is written."""

import base64
import json
import re
import sys
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from mtl_perception.conventions import Intrinsics, InvalidInput
from mtl_perception.data.sample import DataCorrupt, Sample
from mtl_perception.evaluation.depth import DepthConfig
from mtl_perception.evaluation.evaluate import EvaluationConfig, evaluate_model
from mtl_perception.evaluation.pictures import UNKNOWN, WRONG, depth_colors, pictures
from mtl_perception.evaluation.report import write_report
from mtl_perception.evaluation.worst import WorstImages
from mtl_perception.labels import LABEL_SETS
from mtl_perception.prediction import Prediction

NYU40 = LABEL_SETS["nyu40"]
CAMERA = Intrinsics(16, 12, 20.0, 20.0, 7.5, 5.5)


@dataclass
class Rooms:
    """Samples whose truth is two classes, a ramp of depth, and a wall's normals."""

    count: int = 3
    name: str = "rooms"
    label_set = NYU40

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(index)
        labels = np.zeros(CAMERA.shape, np.uint8)
        labels[:, 8:] = 4
        labels[0] = 255
        depth = np.tile(np.linspace(1, 4, 16, dtype=np.float32), (12, 1))
        depth[:, 0] = 0
        normals = np.zeros((12, 16, 3), np.float32)
        normals[..., 2] = -1
        color = np.full((12, 16, 3), 100 + index, np.uint8)
        return Sample(f"room-{index}", color, CAMERA, depth, labels, normals)


def perfect(sample: Sample) -> Prediction:
    labels = np.where(sample.labels == 255, 0, sample.labels).astype(np.uint8)
    depth = np.where(sample.depth == 0, 1, sample.depth).astype(np.float32)
    return Prediction(labels, np.ones(CAMERA.shape, np.float32), depth, sample.normals)


def worse_and_worse(sample: Sample) -> Prediction:
    """Room k: k of the 16 columns are labelled 7, depth is (1 + k / 10) of the truth."""
    k = int(sample.name[-1])
    right = perfect(sample)
    labels = right.labels.copy()
    labels[:, :k] = 7
    return replace(right, labels=labels, depth=right.depth * np.float32(1 + k / 10))


def test_a_perfect_network_has_perfect_scores():
    result = evaluate_model(perfect, Rooms())
    assert result.segmentation.mean_iou == result.segmentation.pixel_accuracy == 1
    assert result.segmentation.pixels == 3 * 11 * 16
    assert result.calibration.ece == 0
    assert result.depth.pooled.rmse == 0 and result.depth.coverage == 1
    assert result.depth.pixels == 3 * 12 * 15
    assert result.normals.mean == 0 and result.normals.within_11 == 1
    assert {image.mean_iou for image in result.images} == {1}


def test_scores_of_images_and_of_the_whole_are_those_that_were_built_in():
    result = evaluate_model(worse_and_worse, Rooms())
    assert [i.pixel_accuracy for i in result.images] == [1, 15 / 16, 14 / 16]
    assert [i.depth_abs_rel for i in result.images] == pytest.approx([0, 0.1, 0.2], abs=1e-6)
    # Class 0 has 8 columns of which 0, 1, 2 are lost; class 4 is right.
    assert [i.mean_iou for i in result.images] == pytest.approx([1, 15 / 16, 14 / 16])
    assert result.segmentation.mean_iou == pytest.approx((21 / 24 + 1) / 2)
    assert result.segmentation.mean_iou_either == pytest.approx((21 / 24 + 1 + 0) / 3)
    assert result.depth.per_image.abs_rel == pytest.approx(0.1, abs=1e-6)
    assert result.calibration.overconfidence == pytest.approx(3 / 48)


def test_settings_reach_the_measures():
    config = EvaluationConfig(DepthConfig(max_depth=2.0, median_scaling=True), classes=(4,))
    result = evaluate_model(worse_and_worse, Rooms(), config)
    assert [c.id for c in result.segmentation.classes] == [4]
    assert result.segmentation.pixel_accuracy == 1
    assert result.depth.pixels == 3 * 12 * 4  # the columns of 1.2, 1.4, 1.6 and 1.8 m
    assert result.depth.pooled.abs_rel == pytest.approx(0, abs=1e-6)


def test_what_is_not_there_is_not_judged():
    def labels_only(sample: Sample) -> Prediction:
        return replace(perfect(sample), depth=None, normals=None)

    result = evaluate_model(labels_only, Rooms())
    assert result.depth is None and result.normals is None
    assert result.images[0].depth_abs_rel is None

    class Bare(Rooms):
        label_set = None

        def __getitem__(self, index: int) -> Sample:
            return replace(super().__getitem__(index), labels=None, normals=None)

    result = evaluate_model(lambda sample: perfect(Rooms()[0]), Bare())
    assert result.segmentation is None and result.calibration is None
    assert result.label_set == "" and result.depth is not None


def test_an_evaluation_does_not_pass_over_damage():
    class Damaged(Rooms):
        def __getitem__(self, index: int) -> Sample:
            if index == 1:
                raise DataCorrupt("room-1.png is cut short")
            return super().__getitem__(index)

    with pytest.raises(DataCorrupt, match="room-1"):
        evaluate_model(perfect, Damaged())
    with pytest.raises(InvalidInput, match="no samples"):
        evaluate_model(perfect, Rooms(0))
    with pytest.raises(InvalidInput, match="12, 16"):
        evaluate_model(lambda s: replace(perfect(s), labels=s.labels[:5]), Rooms())


def test_the_worst_images_are_kept_worst_first():
    worst = WorstImages(2)
    evaluate_model(worse_and_worse, Rooms(5), watch=worst.add)
    assert [f.sample.name for f in worst.by_task()["labels"]] == ["room-4", "room-3"]
    assert [f.sample.name for f in worst.by_task()["depth"]] == ["room-4", "room-3"]
    same = WorstImages(2)
    evaluate_model(perfect, Rooms(5), watch=same.add)
    assert [f.sample.name for f in same.by_task()["labels"]] == ["room-0", "room-1"]


def test_error_pictures_are_red_where_labels_are_wrong_and_depth_is_too_far():
    sample = Rooms()[2]
    rows = pictures(sample, worse_and_worse(sample), NYU40)
    label_row, depth_row, normal_row = (rows[task] for task in ("labels", "depth", "normals"))
    assert [len(row) for row in (label_row, depth_row, normal_row)] == [4, 4, 4]
    error = label_row[3].pixels.astype(int)
    assert tuple(error[0, 3]) == UNKNOWN  # truth is 255
    assert error[5, 0, 0] > 2 * error[5, 0, 1] and WRONG[0] > 2 * WRONG[1]
    assert error[5, 9].max() == error[5, 9].min()  # right: grey
    assert label_row[1].pixels[5, 12].tolist() == NYU40.palette[4].tolist()
    too_far = depth_row[3].pixels.astype(int)
    assert too_far[5, 8, 0] > too_far[5, 8, 2] + 100 and tuple(too_far[5, 0]) == UNKNOWN
    near, far = depth_colors(np.array([[1.0, 4.0]], np.float32), 1, 4)[0].astype(int)
    assert near.sum() > far.sum()


class Page(HTMLParser):
    """The parts of a page that a test looks at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[bytes] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "href"):
                if value.startswith("data:"):
                    self.images.append(base64.b64decode(value.partition(",")[2]))
                else:
                    self.links.append(value)


def report(folder: Path, rooms: Rooms | None = None) -> str:
    worst = WorstImages(2)
    result = evaluate_model(worse_and_worse, rooms or Rooms(), watch=worst.add)
    write_report(folder, result, worst, NYU40, {"network": "a <b> & c"})
    return (folder / "report.html").read_text()


def test_the_report_is_one_page_that_needs_nothing_else(tmp_path):
    html = report(tmp_path)
    page = Page(html)
    assert page.links == [] and "<script" not in html
    assert len(page.images) == 6  # two images for each of three tasks
    for data in page.images:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (240, 4 * 320 + 3 * 6, 3)
    assert "a &lt;b&gt; &amp; c" in html and "room-2" in html
    assert re.search(r"mean IoU, classes of the truth</td><td>0\.938", html)
    for class_name in ("wall", "chair", "door"):
        assert f"</span>{class_name}</td>" in html
    names = sorted(p.name for p in (tmp_path / "pictures").iterdir())
    tasks = ("depth", "labels", "normals")
    assert names == [f"{task}-{rank:02d}.png" for task in tasks for rank in (1, 2)]


def test_charts_are_whole_svg_with_all_numbers_finite(tmp_path):
    charts = re.findall(r"<svg.*?</svg>", report(tmp_path), re.DOTALL)
    assert len(charts) == 5  # reliability, depth over distance, three of sorted images
    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert root.tag.endswith("svg") and "nan" not in chart and "inf" not in chart


def test_names_in_a_report_are_text_not_markup(tmp_path):
    html = report(tmp_path, Rooms(name="<script>alert(1)</script>"))
    assert "<script" not in html and "&lt;script&gt;" in html


def test_json_holds_every_figure(tmp_path):
    report(tmp_path)
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["facts"] == {"network": "a <b> & c"}
    assert content["segmentation"]["mean_iou"] == pytest.approx((21 / 24 + 1) / 2)
    assert content["depth"]["pooled"]["delta1"] == 1
    assert [image["name"] for image in content["images"]] == ["room-0", "room-1", "room-2"]


# --- the command line ---------------------------------------------------------------------------


def run_cli(monkeypatch, *arguments) -> int:
    from slam_fusion.commands import cli

    monkeypatch.setattr(sys, "argv", ["dense-semantic-slam", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        cli.main()
    return done.value.code or 0


@pytest.fixture
def nyud_samples(shared_data, monkeypatch) -> str:
    monkeypatch.setenv("DENSE_SLAM_MODELS", str(shared_data / "models"))
    return f"masks:{shared_data / 'nyuv2_samples'}"


def test_the_help_of_evaluate_names_the_defaults_that_are_used():
    from typing import get_args

    from mtl_perception.predictor import PredictorConfig
    from slam_fusion.commands.cli_evaluate import evaluate

    hints = evaluate.__annotations__
    for config in (DepthConfig(), PredictorConfig()):
        for name, value in vars(config).items():
            if name in hints and name not in ("model", "median_scaling"):
                (option,) = (a for a in get_args(hints[name]) if hasattr(a, "show_default"))
                assert option.show_default == str(value), name


def test_a_real_network_is_judged_on_real_images(nyud_samples, tmp_path, monkeypatch, capsys):
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT for the DeepLab network")
    arguments = ("deeplab-ade20k", nyud_samples, "-o", tmp_path, "--classes", "ade20k32")
    assert run_cli(monkeypatch, "evaluate", *arguments) == 0
    assert "4 images of nyuv2_samples" in capsys.readouterr().out
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["segmentation"]["pixel_accuracy"] > 0.8
    assert content["depth"] is None
    assert len(list((tmp_path / "pictures").iterdir())) == 4


def test_a_wrong_class_or_network_is_one_line(nyud_samples, tmp_path, monkeypatch, capsys):
    assert (
        run_cli(
            *(monkeypatch, "evaluate", "deeplab-ade20k", nyud_samples),
            *("-o", tmp_path, "--classes", "wall,florr"),
        )
        == 2
    )
    assert "did you mean 'floor'" in capsys.readouterr().err
    assert run_cli(monkeypatch, "evaluate", "deeplap", nyud_samples, "-o", tmp_path) == 2
    assert "deeplab-ade20k" in capsys.readouterr().err


def test_pseudo_labels_are_made_once(nyud_samples, tmp_path, monkeypatch, capsys):
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT for the DeepLab network")
    assert run_cli(monkeypatch, "pseudo-label", nyud_samples, "-o", tmp_path) == 0
    assert "4 of 4 images" in capsys.readouterr().out
    assert run_cli(monkeypatch, "pseudo-label", nyud_samples, "-o", tmp_path) == 0
    assert "(0 of them new)" in capsys.readouterr().out
