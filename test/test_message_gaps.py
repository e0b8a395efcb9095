# SPDX-License-Identifier: Apache-2.0
"""Messages that nobody saw are counted by the numbers of those that were seen."""

import pytest

from mtl_perception.message_gaps import MAX_PUBLISHERS, MessageGaps


def info(number, publisher=None):
    gid = None if publisher is None else {"data": bytes([publisher])}
    return {"publication_sequence_number": number, "publisher_gid": gid}


def missed(*infos):
    gaps = MessageGaps()
    for one in infos:
        gaps.see(one)
    return gaps.missed


@pytest.mark.parametrize(
    ("numbers", "count"),
    [
        ((5,), 0),  # what was sent before we came is not missed
        ((1, 2, 3), 0),
        ((1, 4, 5, 9), 5),
        ((7, 1, 3), 1),  # the camera was started again
        ((3, 3), 0),
    ],
)
def test_gaps_between_the_numbers_are_what_was_missed(numbers, count):
    assert missed(*(info(number) for number in numbers)) == count
    assert missed(*(info(number, publisher=1) for number in numbers)) == count


def test_two_cameras_on_one_topic_count_for_themselves():
    assert missed(info(1, 1), info(100, 2), info(2, 1), info(103, 2), info(4, 1)) == 3


def test_without_numbers_nothing_is_claimed():
    assert missed() == 0
    assert missed({"source_timestamp": 5}, {}) is None
    assert missed(info(1), info(None), info(9)) is None


def test_cameras_that_come_and_go_are_forgotten():
    gaps = MessageGaps()
    for publisher in range(3 * MAX_PUBLISHERS):
        gaps.see({"publication_sequence_number": 1, "publisher_gid": {"data": [publisher % 251]}})
    assert len(gaps._last) == MAX_PUBLISHERS
