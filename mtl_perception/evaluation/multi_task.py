# SPDX-License-Identifier: Apache-2.0
"""One number for several tasks: how much better than single-task networks of the same encoder."""

from collections.abc import Sequence
from dataclasses import dataclass

from mtl_perception.conventions import InvalidInput


@dataclass(frozen=True)
class TaskResult:
    """The measure of one task, of the joint and of the single-task network."""

    task: str
    joint: float
    single: float
    lower_is_better: bool = False


def delta_mtl(results: Sequence[TaskResult]) -> float:
    """Return the mean relative gain over the single-task networks, 0.01 = one percent better.

    Delta = 1/T sum_i (-1)^l_i (M_i - B_i) / B_i with l_i = 1 where lower is better (Maninis et al.
    2019, arXiv 1904.08918; Vandenhende et al. 2020).

    Raises:
        InvalidInput: no task, or a single-task measure of 0, to which nothing is relative.
    """
    if not results or any(r.single == 0 for r in results):
        raise InvalidInput(f"delta_mtl of {[(r.task, r.single) for r in results]}: want non-zero")
    gains = [(r.joint - r.single) / r.single * (-1 if r.lower_is_better else 1) for r in results]
    return sum(gains) / len(gains)
