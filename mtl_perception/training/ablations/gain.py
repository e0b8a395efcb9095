# SPDX-License-Identifier: Apache-2.0
"""What one network for several tasks gains over one for each, as one number (no torch)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mtl_perception.evaluation.multi_task import TaskResult, delta_mtl
from mtl_perception.training.ablations.results import MEASURES, Result, by_seed, half_width


@dataclass(frozen=True)
class JointGain:
    """Delta MTL of an arm, over the seeds that it and all single tasks have."""

    arm: str
    mean: float  # 0.01 = the tasks are one percent better on average
    half_width: float  # of the 95 % interval; infinite with one seed
    seeds: int

    def __str__(self) -> str:
        """Return one line for people."""
        told = "better" if self.mean > 0 else "worse"
        if not abs(self.mean) > self.half_width:
            told = "not told apart"
        spread = f"± {self.half_width:.1%}" if np.isfinite(self.half_width) else "(one seed)"
        return f"{self.arm}, delta MTL against single tasks: {self.mean:+.1%} {spread}: {told}"


def joint_gain(results: Sequence[Result], arm: str, alone: Mapping[str, str]) -> JointGain | None:
    """Return delta MTL of an arm, seed by seed; None while a single task lacks its result.

    Args:
        results: of one study.
        arm: that learnt all tasks.
        alone: measure to the arm that learnt its task alone.
    """
    joint = {measure: by_seed(results, arm, measure) for measure in alone}
    single = {measure: by_seed(results, name, measure) for measure, name in alone.items()}
    seeds = set.intersection(*(set(found) for found in (*joint.values(), *single.values())))
    gains = [
        delta_mtl(
            [
                TaskResult(m, joint[m][seed], single[m][seed], lower_is_better=not MEASURES[m][1])
                for m in alone
            ]
        )
        for seed in sorted(seeds)
    ]
    return JointGain(arm, float(np.mean(gains)), half_width(gains), len(gains)) if gains else None
