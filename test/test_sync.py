# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import numpy as np
import pytest

from mtl_perception.conventions import Intrinsics
from slam_fusion.frame import Frame
from slam_fusion.ledger import Ledger, Outcome
from slam_fusion.sync import FrameQueue, StampMatcher

SECOND = 1_000_000_000
MISSING = {"depth": Outcome.NO_DEPTH, "labels": Outcome.NO_LABELS}


def fake_frame(stamp_ns):
    camera = Intrinsics(2, 2, 1.0, 1.0, 0.5, 0.5)
    return Frame(stamp_ns, "camera", camera, np.ones((2, 2), np.float32))


def test_images_of_one_stamp_meet_whatever_comes_first():
    matcher = StampMatcher(MISSING, Ledger())
    assert matcher.add("labels", 10, "L10") is None
    assert matcher.add("depth", 10, "D10") == (10, {"labels": "L10", "depth": "D10"})
    assert matcher.add("depth", 20, "D20") is None
    assert matcher.add("labels", 20, "L20") == (20, {"labels": "L20", "depth": "D20"})


def test_a_set_that_can_never_complete_is_entered_with_what_it_lacked():
    ledger = Ledger()
    matcher = StampMatcher(MISSING, ledger)
    matcher.add("depth", 10, "D10")
    matcher.add("depth", 20, "D20")
    assert matcher.add("labels", 20, "L20") is not None
    assert [(r.stamp_ns, r.outcome) for r in ledger.rows] == [(10, Outcome.NO_LABELS)]
    assert len(matcher) == 0


def test_nearest_stamp_within_tolerance_pairs_and_the_reference_names_the_set():
    matcher = StampMatcher(MISSING, Ledger(), tolerance_ns=6)
    matcher.add("depth", 100, "D100")
    matcher.add("depth", 110, "D110")
    assert matcher.add("labels", 107, "L107") == (110, {"depth": "D110", "labels": "L107"})
    assert matcher.add("labels", 120, "L120") is None
    assert matcher.add("depth", 125, "D125") == (125, {"labels": "L120", "depth": "D125"})


def test_memory_is_bounded_and_the_oldest_gives_way():
    ledger = Ledger()
    matcher = StampMatcher(MISSING, ledger, queue_size=3)
    for stamp in range(10):
        matcher.add("depth", stamp, None)
    assert len(matcher) == 3
    assert ledger.counts() == {"no_labels": 7}
    matcher.finish()
    assert ledger.counts() == {"no_labels": 10}


def test_late_image_is_counted_and_a_restarted_clock_is_not_a_late_image():
    ledger = Ledger()
    matcher = StampMatcher(MISSING, ledger)
    matcher.add("depth", 5 * SECOND, None)
    matcher.add("depth", 5 * SECOND - 1, None)
    assert ledger.counts() == {"out_of_order": 1}
    matcher.add("depth", 0, "D0")
    assert ledger.counts() == {"out_of_order": 1, "clock_jumped_back": 1}
    assert matcher.add("labels", 0, "L0") == (0, {"depth": "D0", "labels": "L0"})


def test_labels_that_come_after_their_frame_was_given_up_do_not_count_it_again():
    ledger = Ledger()
    matcher = StampMatcher(MISSING, ledger, queue_size=2)
    for stamp in (1, 2, 3, 4, 5):
        matcher.add("depth", stamp, None)
    for stamp in (1, 2, 3):  # a slow network; the first two images it had were too old
        matcher.add("labels", stamp, None)
    assert matcher.add("labels", 4, "L4") is not None
    assert [(r.stamp_ns, r.outcome) for r in ledger.rows] == [
        (stamp, Outcome.NO_LABELS) for stamp in (1, 2, 3)
    ]


def test_labels_overtaken_by_newer_ones_do_not_count_their_frame_again():
    ledger = Ledger()
    matcher = StampMatcher(MISSING, ledger)
    matcher.add("depth", 1, None)
    matcher.add("depth", 2, None)
    assert matcher.add("labels", 2, None) is not None
    matcher.add("labels", 1, None)
    assert ledger.counts() == {"no_labels": 1}


def test_a_replay_after_a_reset_is_matched_though_its_stamps_were_dropped_before():
    matcher = StampMatcher(MISSING, Ledger(), queue_size=1)
    matcher.add("depth", 1, None)
    matcher.add("depth", 2, None)
    matcher.clear(Outcome.RESET)
    matcher.add("depth", 1, "D1")
    assert matcher.add("labels", 1, "L1") == (1, {"depth": "D1", "labels": "L1"})


def test_a_looped_bag_is_matched_though_its_stamps_were_dropped_in_the_first_round():
    matcher = StampMatcher(MISSING, Ledger(), queue_size=1)
    for stamp in (1, 2, 5 * SECOND):
        matcher.add("depth", stamp, None)
    matcher.add("labels", 5 * SECOND, None)
    matcher.add("labels", 1, "L1")
    assert matcher.add("depth", 1, "D1") == (1, {"depth": "D1", "labels": "L1"})


def test_full_queue_drops_its_oldest_frame():
    ledger = Ledger()
    queue = FrameQueue(ledger, size=2)
    for stamp in (1, 2, 3):
        queue.add(fake_frame(stamp))
    assert queue.head.stamp_ns == 2
    assert [(r.stamp_ns, r.outcome) for r in ledger.rows] == [(1, Outcome.QUEUE_FULL)]


def test_looped_clock_clears_the_queue():
    ledger = Ledger()
    queue = FrameQueue(ledger, size=5)
    queue.add(fake_frame(9 * SECOND))
    queue.add(fake_frame(9 * SECOND))
    queue.add(fake_frame(1))
    assert len(queue) == 1 and queue.head.stamp_ns == 1
    assert ledger.counts() == {"out_of_order": 1, "clock_jumped_back": 1}


def test_whole_sets_are_those_that_message_filters_finds():
    filters = pytest.importorskip("message_filters", reason="needs a ROS 2 install")
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    depth, labels = filters.SimpleFilter(), filters.SimpleFilter()
    theirs = []
    filters.TimeSynchronizer([depth, labels], 10).registerCallback(
        lambda d, _: theirs.append(d.header.stamp.nanosec)
    )
    ours, matcher = [], StampMatcher(MISSING, Ledger())
    # Frame 30 has no labels, frame 50 no depth, and labels lag by a frame.
    for kind, stamp in [("depth", 10), ("depth", 20), ("labels", 10), ("depth", 30)] + [
        ("labels", 20), ("depth", 40), ("labels", 40), ("labels", 50), ("depth", 60), ("labels", 60)
    ]:  # fmt: skip
        msg = Header(stamp=Time(nanosec=stamp))
        {"depth": depth, "labels": labels}[kind].signalMessage(SimpleNamespace(header=msg))
        if whole := matcher.add(kind, stamp, None):
            ours.append(whole[0])
    assert ours == theirs == [10, 20, 40, 60]
