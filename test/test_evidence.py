# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest

from slam_fusion.tsdf.evidence import SLOTS, UNIT, add_evidence, evidence_of, verdict


class OneVoxel:
    def __init__(self) -> None:
        self.labels = np.zeros((1, SLOTS), np.uint8)
        self.evidence = np.zeros((1, SLOTS), np.uint16)

    def add(self, class_id: int, units: int = UNIT) -> None:
        add_evidence(self.labels, self.evidence, 0, class_id, units)

    def sums(self) -> dict[int, int]:
        pairs = zip(self.labels[0].tolist(), self.evidence[0].tolist(), strict=True)
        return {label: units for label, units in pairs if units}

    def label(self) -> int:
        return verdict(self.labels[0], self.evidence[0])[0]


def test_empty_voxel_is_unlabelled_with_probability_0():
    voxel = OneVoxel()
    assert verdict(voxel.labels[0], voxel.evidence[0]) == (255, 0.0)


def test_up_to_four_classes_are_counted_exactly():
    voxel = OneVoxel()
    for class_id, units in ((0, 5), (253, 7), (9, 1), (40, 2), (0, 6), (9, 3)):
        voxel.add(class_id, units)
    assert voxel.sums() == {0: 11, 253: 7, 9: 4, 40: 2}
    assert voxel.label() == 0


def test_fifth_class_wears_down_the_weakest_and_takes_its_slot_with_the_rest():
    voxel = OneVoxel()
    for class_id, units in ((1, 10), (2, 20), (3, 30), (4, 40)):
        voxel.add(class_id, units)
    voxel.add(5, 4)
    assert voxel.sums() == {1: 6, 2: 20, 3: 30, 4: 40}
    voxel.add(5, 6)
    assert voxel.sums() == {2: 20, 3: 30, 4: 40}
    voxel.add(6, 3)
    assert voxel.sums() == {6: 3, 2: 20, 3: 30, 4: 40}
    voxel.add(5, 8)
    assert voxel.sums() == {5: 5, 2: 20, 3: 30, 4: 40}


def test_equal_evidence_gives_the_lower_class_id():
    voxel = OneVoxel()
    voxel.add(7)
    voxel.add(3)
    assert voxel.label() == 3


def test_full_counters_are_halved_and_keep_their_ratio():
    voxel = OneVoxel()
    for _ in range(1000):
        voxel.add(1)
    voxel.add(2, UNIT)
    for _ in range(2000):
        voxel.add(1)
        voxel.add(2, UNIT // 4)
    sums = voxel.sums()
    assert max(sums.values()) > 2**14
    assert sums[2] / sums[1] == pytest.approx(0.2, abs=0.06)


@pytest.mark.parametrize("seed", range(20))
def test_a_class_with_more_than_half_of_the_evidence_always_wins(seed):
    rng = np.random.default_rng(seed)
    others = rng.permutation(np.delete(np.arange(254), 77))[: rng.integers(4, 60)]
    arrivals = np.concatenate([np.full(101, 77), rng.choice(others, 100)])
    voxel = OneVoxel()
    for class_id in rng.permutation(arrivals):
        voxel.add(class_id, UNIT)
    assert voxel.label() == 77


def test_undercount_is_at_most_half_of_what_was_cancelled():
    rng = np.random.default_rng(0)
    voxel, true_sums = OneVoxel(), np.zeros(254, int)
    for class_id in rng.integers(0, 12, 300):
        units = int(rng.integers(1, UNIT))
        voxel.add(class_id, units)
        true_sums[class_id] += units
    sums = voxel.sums()
    lost = (true_sums.sum() - sum(sums.values())) / 2
    for class_id in range(12):
        assert true_sums[class_id] - lost <= sums.get(class_id, 0) <= true_sums[class_id]


@pytest.mark.parametrize(
    ("confidence", "units"),
    [(0.0, 0), (1.0, UNIT), (0.5, UNIT // 2), (2.0, UNIT), (-1.0, 0), (np.nan, 0), (0.001, 0)],
)
def test_confidence_becomes_units(confidence, units):
    assert evidence_of(np.float32(confidence)) == units


def probability(**units: int) -> float:
    labels = np.arange(len(units)).astype(np.uint8)
    return verdict(labels, np.array(list(units.values()), np.uint16))[1]


def test_probability_grows_with_the_lead_and_with_the_number_of_observations():
    assert probability(a=7 * UNIT, b=3 * UNIT) > probability(a=6 * UNIT, b=4 * UNIT)
    assert probability(a=70 * UNIT, b=30 * UNIT) > probability(a=7 * UNIT, b=3 * UNIT)
    assert probability(a=UNIT) > probability(a=UNIT // 8)


def test_a_tie_is_a_coin_toss_at_best_and_nothing_is_certain():
    assert probability(a=9 * UNIT, b=9 * UNIT) < 0.65
    assert 0.9 < probability(a=1000 * UNIT) < 1.0


def test_the_probability_does_not_depend_on_the_order_of_the_slots():
    labels, amounts = np.array([3, 9, 4, 1], np.uint8), np.array([5, 80, 70, 60], np.uint16)
    want = verdict(labels, amounts)
    for order in ([3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1]):
        assert verdict(labels[order], amounts[order]) == pytest.approx(want)
