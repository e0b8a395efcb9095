# SPDX-License-Identifier: Apache-2.0
"""Learning rate over the run, as a factor of its highest value (no torch)."""

import math
from dataclasses import dataclass

from mtl_perception.conventions import InvalidInput


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate changes."""

    kind: str = "cosine"  # cosine, poly, multistep or constant
    warmup: int = 200  # steps of a linear rise at the start
    power: float = 0.9  # of poly
    milestones: tuple[float, ...] = (0.33, 0.67)  # of multistep, parts of the run
    factor: float = 0.5  # of multistep, at each milestone
    floor: float = 0.01  # the rate never falls below this part of its highest value

    def __post_init__(self) -> None:
        """Refuse kinds that there are not.

        Raises:
            InvalidInput: with the value.
        """
        if self.kind not in ("cosine", "poly", "multistep", "constant"):
            raise InvalidInput(f"schedule {self.kind!r}: want cosine, poly, multistep or constant")
        if self.warmup < 0 or not 0 <= self.floor <= 1:
            raise InvalidInput(f"schedule: warmup {self.warmup}, floor {self.floor}")


def rate(schedule: ScheduleConfig, step: int, steps: int) -> float:
    """Return the factor for a step, 0-based, of a run of ``steps``."""
    if step < schedule.warmup:
        return (step + 1) / (schedule.warmup + 1)
    part = (step - schedule.warmup) / max(1, steps - schedule.warmup)  # of the run, 0..1
    if schedule.kind == "cosine":
        value = (1 + math.cos(math.pi * min(1.0, part))) / 2
    elif schedule.kind == "poly":
        value = max(0.0, 1 - part) ** schedule.power
    elif schedule.kind == "multistep":
        value = schedule.factor ** sum(part >= milestone for milestone in schedule.milestones)
    else:
        value = 1.0
    return max(schedule.floor, value)
