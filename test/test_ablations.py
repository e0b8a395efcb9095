# SPDX-License-Identifier: Apache-2.0
"""Arms of an ablation get equal budgets, and a conclusion no wider than its numbers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")
pytest.importorskip("scipy", reason="needs scipy: pip install -e '.[fusion]'")
runner = pytest.importorskip("typer.testing", reason="needs typer: pip install -e '.[fusion]'")

from mtl_perception.conventions import Intrinsics, InvalidInput  # noqa: E402
from mtl_perception.data.sample import Sample  # noqa: E402
from mtl_perception.data.shard_index import ShardIndex  # noqa: E402
from mtl_perception.data.shard_write import write_shard  # noqa: E402
from mtl_perception.labels import LABEL_SETS  # noqa: E402
from mtl_perception.training.ablations import run as running  # noqa: E402
from mtl_perception.training.ablations.budget import AblationConfig  # noqa: E402
from mtl_perception.training.ablations.gain import joint_gain  # noqa: E402
from mtl_perception.training.ablations.results import Result, differences, table  # noqa: E402
from mtl_perception.training.ablations.run import run_study  # noqa: E402
from mtl_perception.training.ablations.small_data import SampleList, shrink  # noqa: E402
from mtl_perception.training.ablations.studies import STUDIES, find_study  # noqa: E402
from mtl_perception.training.objective import objective_for  # noqa: E402
from slam_fusion.commands.cli import app  # noqa: E402

CAMERA = Intrinsics(48, 36, 40.0, 40.0, 23.5, 17.5)
TINY = AblationConfig(steps=2, batch=2, seeds=1, height=36, threads=1)


def make_sample(number: int) -> Sample:
    """A floor below a wall, the border somewhere else in each."""
    rng = np.random.default_rng(number)
    rows = np.arange(36)[:, None].repeat(48, axis=1)
    labels = np.where(rows > 12 + number % 12, 1, 0).astype(np.uint8)
    color = (labels[:, :, None] * 120 + rng.integers(0, 60, (36, 48, 3))).astype(np.uint8)
    normals = np.zeros((36, 48, 3), np.float32)
    normals[labels == 0, 2] = -1
    normals[labels == 1, 1] = -1
    depth = np.where(labels == 1, 2, 3).astype(np.float32)
    return Sample(f"s{number}", color, CAMERA, depth, labels, normals)


def samples(first: int, stop: int) -> SampleList:
    made = tuple(make_sample(number) for number in range(first, stop))
    return SampleList("boxes", LABEL_SETS["nyu40"], made)


LEARN, JUDGE = samples(0, 16), samples(16, 18)


def test_finished_arms_are_read_and_a_killed_one_is_done_again_to_the_same_end(tmp_path):
    whole = list(run_study("joint", TINY, LEARN, JUDGE, tmp_path / "whole"))
    assert [r.arm for r in whole] == ["labels alone", "depth alone", "normals alone", "joint"]
    assert set(whole[0].measures) >= {"mean_iou", "pixel_accuracy"}
    assert "depth_rel" not in whole[0].measures and "depth_rel" in whole[3].measures

    asked = iter(range(100))
    killed = run_study("joint", TINY, LEARN, JUDGE, tmp_path / "parts", lambda: next(asked) == 6)
    assert len(list(killed)) == 3  # the fourth arm was in its first step
    again = list(run_study("joint", TINY, LEARN, JUDGE, tmp_path / "parts"))
    assert [(r.arm, r.seed, r.measures) for r in again] == [
        (r.arm, r.seed, r.measures) for r in whole
    ]
    assert list(run_study("joint", TINY, LEARN, JUDGE, tmp_path / "parts")) == again  # seconds too


def test_a_folder_of_another_budget_or_other_data_is_refused_and_more_seeds_are_welcome(tmp_path):
    few = replace(TINY, steps=1)
    first = list(run_study("joint", few, LEARN, JUDGE, tmp_path))
    with pytest.raises(InvalidInput, match="steps was 1, is 2"):
        next(run_study("joint", replace(few, steps=2), LEARN, JUDGE, tmp_path))
    with pytest.raises(InvalidInput, match="train was 'boxes, 16 images.*, is 'boxes, 4 images"):
        next(run_study("joint", few, LEARN.first(0.25), JUDGE, tmp_path))
    more = list(run_study("joint", replace(few, seeds=2), LEARN, JUDGE, tmp_path))
    assert more[:4] == first and [r.seed for r in more[4:]] == [1] * 4
    (tmp_path / "joint" / "joint-0.json").write_text("{}")
    with pytest.raises(InvalidInput, match="joint-0.json is damaged"):
        list(run_study("joint", few, LEARN, JUDGE, tmp_path))


def test_each_arm_of_the_expert_study_sees_the_labels_that_it_should(tmp_path, monkeypatch):
    seen = []
    trained = running._Trial._trained

    def watched(trial, network, steps, train):
        labels = [None if s.labels is None else s.labels.tobytes() for s in train.samples]
        seen.append((trial.arm.labels, network.tasks, labels))
        return trained(trial, network, steps, train)

    monkeypatch.setattr(running._Trial, "_trained", watched)
    one = replace(TINY, steps=1)
    results = list(run_study("expert", one, LEARN, JUDGE, tmp_path))
    true, both = [s.labels.tobytes() for s in LEARN.samples], ("labels", "depth")
    assert seen[0] == ("part only", both, true[:2])
    assert seen[1] == ("part", both, true[:2] + [None] * 14)
    assert seen[2] == ("expert", ("labels",), true[:2])
    assert seen[3][:2] == ("expert", both) and seen[3][2][:2] == true[:2]
    assert None not in seen[3][2] and seen[3][2] != true  # an expert of one step knows little
    assert seen[4] == ("all", both, true)
    assert "expert mean_iou" in results[2].measures


def test_arms_without_published_weights_start_from_one_encoder_that_learnt_first(
    tmp_path, monkeypatch
):
    starts = []
    trained = running._Trial._trained

    def watched(trial, network, steps, train):
        starts.append((steps, trial.seed, trial.encoder))
        return trained(trial, network, steps, train)

    monkeypatch.setattr(running._Trial, "_trained", watched)
    one = replace(TINY, steps=1)
    results = list(run_study("mti-net", one, LEARN, JUDGE, tmp_path))
    assert [start[:2] for start in starts] == [(5, 1000)] + [(1, 0)] * 4
    assert starts[0][2] is None and len({id(encoder) for *_, encoder in starts[1:]}) == 1
    (tmp_path / "mti-net" / "at-1-4-0.json").unlink()
    assert len(list(run_study("mti-net", one, LEARN, JUDGE, tmp_path))) == len(results) == 4
    assert [start[:2] for start in starts[5:]] == [(1, 0)]  # the encoder was read
    for name, tensor in starts[5][2].items():
        assert torch.equal(tensor, starts[1][2][name]), name
    with pytest.raises(InvalidInput, match="another budget"):
        next(run_study("mti-net", TINY, LEARN, JUDGE, tmp_path))
    (tmp_path / "mti-net" / "encoder.safetensors").write_bytes(b"torn")
    with pytest.raises(InvalidInput, match="damaged"):
        next(run_study("mti-net", one, LEARN, JUDGE, tmp_path))


@pytest.mark.parametrize("name", STUDIES)
def test_arms_can_be_built_and_are_compared_with_each_other(name):
    study = find_study(name)
    for arm in study.arms.values():
        with torch.device("meta"):
            arm.network.build()
        objective_for(arm.network, arm.loss)
    assert {title for pair in study.comparisons for title in pair} == set(study.arms)
    assert len({(arm.network, arm.loss, arm.labels) for arm in study.arms.values()}) == len(
        study.arms
    )


def test_an_unknown_study_is_answered_with_those_there_are():
    with pytest.raises(InvalidInput, match="joint, expert, pad-net, mti-net, x-distill"):
        find_study("jiont")


@pytest.mark.parametrize("values", [{"steps": 0}, {"seeds": 0}, {"height": 31}])
def test_budgets_of_nothing_are_refused(values):
    with pytest.raises(InvalidInput, match=next(iter(values))):
        AblationConfig(**values)


def test_a_shrunk_sample_keeps_its_rays_and_its_targets():
    sample = replace(make_sample(3), neighbours=(make_sample(4).color,))
    small = shrink(sample, 18)
    k, s = sample.intrinsics, small.intrinsics
    assert (s.width, s.height) == (24, 18) and small.neighbours[0].shape == (18, 24, 3)
    # The corner of pixel (0, 0) and the far corner of the last one look the same ways as before.
    for own, other in ((-0.5, -0.5), (47.5, 23.5)):
        assert (own - k.cx) / k.fx == pytest.approx((other - s.cx) / s.fx)
    for own, other in ((-0.5, -0.5), (35.5, 17.5)):
        assert (own - k.cy) / k.fy == pytest.approx((other - s.cy) / s.fy)
    assert set(np.unique(small.labels)) == {0, 1}
    assert np.array_equal(small.depth == 2, small.labels == 1)
    blocks = sample.color.reshape(18, 2, 24, 2, 3).mean(axis=(1, 3))
    assert np.abs(small.color - blocks).max() <= 0.5


def made_up(arm: str, values: dict[str, list[float]]) -> list[Result]:
    """Results of one arm, a seed per value."""
    count = len(next(iter(values.values())))
    return [
        Result(arm, seed, {name: value[seed] for name, value in values.items()}, 0.0, 1.0)
        for seed in range(count)
    ]


def test_differences_are_paired_by_seed_and_their_intervals_are_students():
    # Seeds differ far more than arms: unpaired, nothing could be told.
    base = made_up("base", {"mean_iou": [0.1, 0.5, 0.9], "depth_rel": [0.1, 0.5, 0.9]})
    arm = made_up("arm", {"mean_iou": [0.21, 0.60, 0.99], "depth_rel": [0.21, 0.60, 0.99]})
    iou, rel = differences(arm + base, [("arm", "base")])
    assert iou.mean == pytest.approx(0.1) and iou.seeds == 3
    assert iou.half_width == pytest.approx(4.302653 * 0.01 / np.sqrt(3), rel=1e-5)
    assert (iou.verdict, rel.verdict) == ("better", "worse")
    assert str(iou) == "arm against base, mIoU: +0.100 ± 0.025: better"


def test_what_the_spread_hides_is_not_told_apart():
    base = made_up("base", {"mean_iou": [0.3, 0.3, 0.3]})
    arm = made_up("arm", {"mean_iou": [0.31, 0.33, 0.29]})
    (found,) = differences(arm + base, [("arm", "base")])
    assert found.mean == pytest.approx(0.01) and found.verdict == "not told apart"
    (single,) = differences(arm[:1] + base[:1], [("arm", "base")])
    assert single.verdict == "not told apart" and "one seed" in str(single)
    assert differences(arm, [("arm", "base")]) == []


def test_delta_mtl_is_the_mean_relative_gain_over_the_single_tasks():
    results = (
        made_up("labels", {"mean_iou": [0.2, 0.4]})
        + made_up("depth", {"depth_rmse": [1.0, 0.5]})
        + made_up("both", {"mean_iou": [0.22, 0.44], "depth_rmse": [0.8, 0.4]})
    )
    alone = {"mean_iou": "labels", "depth_rmse": "depth"}
    gain = joint_gain(results, "both", alone)  # +10 % and, as less is better, +20 %
    assert gain.mean == pytest.approx(0.15) and gain.half_width == pytest.approx(0, abs=1e-9)
    assert str(gain) == "both, delta MTL against single tasks: +15.0% ± 0.0%: better"
    assert joint_gain(results[:2] + results[4:], "both", alone) is None  # depth is not done yet
    one = joint_gain([r for r in results if r.seed == 0], "both", alone)
    assert "(one seed): not told apart" in str(one)


def test_table_has_mean_and_deviation_of_every_arm():
    results = made_up("a", {"mean_iou": [0.2, 0.4]}) + made_up("b", {"depth_rel": [0.5]})
    assert table(results).splitlines()[2:] == [
        "| a | 2 | 0.300 ± 0.141 |  | 1 |",
        "| b | 1 |  | 0.500 | 1 |",
    ]


def test_the_command_trains_reports_and_goes_on(tmp_path: Path):
    made = [(make_sample(n), None) for n in range(8)]
    shard = write_shard(tmp_path / "room.shard", 0, made)
    ShardIndex("nyu40", {}, (shard,)).save(tmp_path)
    data = f"shards:{tmp_path}"
    line = ["ablate", "joint", "--train", data, "--test", data, "-o", str(tmp_path / "out")]
    line += ["--steps", "1", "--batch", "2", "--seeds", "1", "--height", "36", "--threads", "1"]
    told = runner.CliRunner().invoke(app, line, catch_exceptions=False).output
    assert "8 images of" in told and "joint, seed 0: mean_iou" in told
    assert "joint against depth alone, depth rel:" in told and "(one seed)" in told
    stored = json.loads((tmp_path / "out" / "joint" / "joint-0.json").read_text())
    assert stored["about"]["steps"] == 1 and stored["result"]["measures"]["depth_rel"] > 0
