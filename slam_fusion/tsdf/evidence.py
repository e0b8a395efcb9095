# SPDX-License-Identifier: Apache-2.0
"""The label evidence of one voxel: four counters that stand for up to 254 classes.

A voxel holds ``SLOTS`` pairs (class id, evidence). A pixel of class c with confidence p brings
``a = round(p * UNIT)`` units:

* c has a slot: its evidence grows by a.
* a slot is empty: c takes it with evidence a.
* otherwise the weakest slot is worn down by a; when a exceeds what is left, c takes the slot
  with the rest.

This is a weighted relative of the frequent-items summary of Misra & Gries (1982); they wear down
every slot, here only the weakest pays, which leaves the strong ones as counted. Each worn unit
cancels one unit that came against one that was stored, so with N units come and S stored, a
class's evidence falls short of its true sum by at most (N - S) / 2. Hence a class that brought
more than half of all units is always the strongest, and with up to four classes every sum is
exact. When a sum would pass 16 bits all slots are halved, which keeps their ratios.

The voxel's label is the strongest slot (ties: the lowest class id). How probable it is grows with
its lead over the second and with the number of observations N, though slower than N: views of one
surface err together. Never does it reach 1, for some surfaces are mislabelled in every view:

    lead = (first - second) / sum of the slots
    p = _MOST_PROBABLE * sigmoid(_GAIN * N**_GROWTH * lead + _OFFSET)

The four numbers are fitted by maximum likelihood to maps of two synthetic rooms (seeds 7 and 21):
to the vertices, with weighed pixels and a Kinect's depth, labelled by a network and in six ways of
being wrong, and to the voxels of ``python -m benchmarks.label_rules``, which shows how well they do
in other rooms. The strongest slot's share, for comparison, says 0.7 where three of ten pixels lie,
though the voxels are right nineteen times in twenty. The network is where this falls short: its
views of a surface err so much alike that nothing in the slots tells, and what is right on 0.87 to
0.89 of the vertices is called 0.94 probable.
"""

import numpy as np

from mtl_perception.conventions import UNLABELLED
from slam_fusion.tsdf.jit import jit

SLOTS = 4
"""Pairs of class id (uint8) and evidence (uint16) per voxel: 12 bytes."""

UNIT = 64
"""Evidence of one pixel of confidence 1: about a thousand such pixels until the first halving."""

MOST = 65535
"""Evidence that a slot can hold: the largest uint16."""

_GAIN, _GROWTH, _OFFSET, _MOST_PROBABLE = 6.05, 0.093, -0.272, 0.98  # see above


@jit
def evidence_of(confidence: float) -> int:
    """Units that a pixel of this confidence brings: 0 to ``UNIT``; NaN brings none."""
    if confidence >= 1.0:
        return UNIT
    if confidence > 0.0:
        return int(confidence * UNIT + 0.5)
    return 0


@jit
def add_evidence(
    labels: np.ndarray, evidence: np.ndarray, voxel: int, class_id: int, units: int
) -> None:
    """Add units of evidence for a class to one voxel, in place.

    Args:
        labels: (V, SLOTS) uint8 class ids; the id of a slot without evidence means nothing.
        evidence: (V, SLOTS) uint16; 0 = the slot is empty.
        voxel: which one.
        class_id: 0..253.
        units: 1..``UNIT``.
    """
    weakest = 0
    for slot in range(SLOTS):
        held = evidence[voxel, slot]
        if held > 0 and labels[voxel, slot] == class_id:
            if held > MOST - units:
                for other in range(SLOTS):
                    evidence[voxel, other] >>= 1
            evidence[voxel, slot] += np.uint16(units)
            return
        if held < evidence[voxel, weakest]:
            weakest = slot
    left = np.int32(evidence[voxel, weakest])
    if left > units:
        evidence[voxel, weakest] = left - units
    else:
        labels[voxel, weakest] = class_id
        evidence[voxel, weakest] = units - left if left else units


@jit
def verdict(labels: np.ndarray, amounts: np.ndarray) -> tuple[int, float]:
    """Return the class with most evidence, and how probable it is.

    Args:
        labels: (N,) uint8 class ids, distinct where their amount is not 0.
        amounts: (N,) uint16 or float32 evidence, 0 or more.

    Returns:
        (class id, probability); (255, 0.0) when there is no evidence.
    """
    best, first, second, total = UNLABELLED, 0.0, 0.0, 0.0
    for i in range(len(labels)):
        amount = np.float64(amounts[i])
        total += amount
        if amount > first or (amount == first and amount > 0 and labels[i] < best):
            best, first, second = int(labels[i]), amount, first
        elif amount > second:
            second = amount
    if total == 0:
        return UNLABELLED, 0.0
    certainty = _GAIN * (total / UNIT) ** _GROWTH * (first - second) / total + _OFFSET
    return best, _MOST_PROBABLE / (1 + np.exp(-certainty))
